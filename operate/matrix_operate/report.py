"""Tell of a check where GitHub shows it: job summary, annotations, JUnit, check run."""

import argparse
import json
from pathlib import Path

from matrix_capture.errors import MatrixError
from matrix_compare.check import read_check
from matrix_compare.check_junit import check_junit
from matrix_compare.check_markdown import check_markdown
from matrix_compare.policy import Level
from matrix_operate.annotations import annotations
from matrix_operate.check_run import check_run, post

_RED = {"failure": {Level.FAILURE}, "alert": {Level.FAILURE, Level.ALERT}, "never": set[Level]()}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--check", type=Path, required=True, metavar="FILE", help="of a check")
    parser.add_argument("--summary", type=Path, metavar="FILE", help="add the summary there")
    parser.add_argument("--annotations", action="store_true", help="print workflow commands")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write JUnit XML there")
    parser.add_argument("--check-run", type=Path, metavar="FILE", help="write the payload there")
    parser.add_argument("--post", metavar="OWNER/NAME", help="make the check run in a repository")
    parser.add_argument("--dry-run", action="store_true", help="post nothing")
    parser.add_argument(
        "--fail-on", choices=_RED, default="failure", help="what ends with status 1 (%(default)s)"
    )


def run(options: argparse.Namespace) -> int:
    """Write what was asked for; returns the exit status."""
    check = read_check(options.check)
    if options.annotations:
        for line in annotations(check):
            print(line)
    try:
        if options.summary:
            with options.summary.open("ab") as file:
                file.write(check_markdown(check).encode("utf-8"))
        if options.junit:
            options.junit.write_bytes(check_junit(check))
        if options.check_run:
            payload = json.dumps(check_run(check), indent=1)
            options.check_run.write_text(f"{payload}\n", encoding="utf-8")
    except OSError as error:
        raise MatrixError(f"cannot write {error.filename}: {error.strerror}") from None
    if options.post and options.dry_run:
        print(f"would make a check run in {options.post}")
    elif options.post:
        print(f"made {post(options.post, check_run(check))}")
    return int(check.level in _RED[options.fail_on])
