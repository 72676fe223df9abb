"""`python -m matrix_site`: publish a data folder."""

import argparse
import gc
import re
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from pathlib import Path

from matrix_capture.errors import MatrixError
from matrix_capture.settings import SITE_URL, settings_of
from matrix_site.publish import publish
from matrix_site.snapshot import read_snapshot


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    gc.disable()  # a site is all that is made before the end, and looking for rubbish takes a sixth
    try:
        snapshot = read_snapshot(
            options.data, settings_of(options.data), options.lane, options.today
        )
        for problem in snapshot.problems:
            print(problem, file=sys.stderr)
        number = publish(snapshot, options.out, options.url)
    except MatrixError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{number} page{'' if number == 1 else 's'}")
    print((options.out / "index.html").resolve().as_uri())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m matrix_site",
        description="Render digests and verdicts as a static site.",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of digests and verdicts")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the site to")
    parser.add_argument(
        "--lane",
        action="append",
        default=[],
        help="show this lane only; may be repeated; quick runs (lane+xxxxxxxx) must be named",
    )
    parser.add_argument(
        "--url",
        type=_address,
        help="where the site will be published (default: that of matrix.toml)",
    )
    parser.add_argument(
        "--today",
        type=_day,
        metavar="YYYY-MM-DD",
        help="tell how old the data are on that day (default: the day of the newest capture)",
    )
    return parser


def _day(text: str) -> datetime:
    try:
        return datetime.combine(date.fromisoformat(text), time(), UTC)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day like 2026-11-22") from None


def _address(text: str) -> str:
    address = f"{text.removesuffix('/')}/"
    if not re.match(SITE_URL, address):
        raise argparse.ArgumentTypeError(f"{text!r} is no address like https://example.org/site/")
    return address


if __name__ == "__main__":
    sys.exit(main())
