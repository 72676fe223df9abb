"""Capture one row of a plan, one build of torch after the other."""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from matrix_capture.errors import MatrixError
from matrix_capture.names import capture_session
from matrix_capture.schema import digest_path
from matrix_capture.settings import read_settings
from matrix_operate.errors import OutageError
from matrix_operate.log import unheeded
from matrix_operate.plan import Row, expected, read_plan

_PRIVATE = ("ACTIONS_", "GITHUB_", "RUNNER_")
"""How variables begin that are between a runner and this command: tokens, files of commands."""

_SECONDS = 0.5  # between two looks at what was printed
_PART = 2**16


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line takes."""
    parser.add_argument("--plan", required=True, type=Path, metavar="FILE")
    parser.add_argument("--row", required=True, metavar="NAME", help="of the plan")
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="an empty folder")


def run(options: argparse.Namespace) -> int:
    """Capture; returns 0 once everything is on record."""
    plan = read_plan(options.plan)
    row = next((row for row in plan.rows if row.name == options.row), None)
    if row is None:
        rows = ", ".join(row.name for row in plan.rows)
        raise MatrixError(f"{options.plan} has no row {options.row!r}, but {rows}")
    wanted = [each for each in expected(plan, read_settings()) if each.row == row.name]
    for title, command in commands(row, options.data):
        with _grouped(title):
            _show(command)
    missing = [
        f"torch {each.torch} in lane {each.lane}"
        for each in wanted
        if not digest_path(options.data, each.lane, each.torch).is_file()
    ]
    if missing:
        raise OutageError(f"nothing on record of {', '.join(missing)}; run the job again")
    return 0


def commands(row: Row, data: Path) -> Iterator[tuple[str, list[str]]]:
    """What captures each build of a row with each revision, with a title."""
    slice_of = [] if row.passages is None else ["--passages", str(row.passages)]
    for torch in row.torch:
        session, *build = capture_session(torch).split()
        which = [*(build or ["--"]), "--lane", row.lane, "--data", str(data), *slice_of]
        for revision in row.colbert or ("",):
            other = ["--colbert", revision] if revision else []
            title = f"torch {torch}, lane {row.lane}{revision and f', colbert-ai {revision}'}"
            yield title, [sys.executable, "-m", "nox", "-s", session, *which, *other]


@contextmanager
def _grouped(title: str) -> Iterator[None]:
    """Have GitHub's runner fold what is printed inside, and take none of it for a command.

    It may come from anybody's code.
    """
    if os.environ.get("GITHUB_ACTIONS") != "true":
        print(title, flush=True)
        yield
        return
    print(f"::group::{title}", flush=True)
    try:
        with unheeded():
            yield
    finally:
        print("::endgroup::", flush=True)


def _show(command: Sequence[str]) -> None:
    """Run a command and show what it prints until its end.

    By way of a file: what it leaves running in the background does not get to the terminal.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_PRIVATE)}
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=kept
        ) as process,
    ):
        shown, running = 0, True
        while running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=_SECONDS)
            running = process.returncode is None
            size = os.fstat(log.fileno()).st_size
            while shown < size and (part := os.pread(log.fileno(), _PART, shown)):
                sys.stdout.buffer.write(part)
                shown += len(part)
            sys.stdout.flush()
