"""Fail loudly when a lane has not been recorded for too long."""

import argparse
import datetime
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from matrix_capture.errors import MatrixError
from matrix_capture.settings import read_settings
from matrix_compare.report import plain
from matrix_operate.annotations import escaped
from matrix_operate.recorded import Recorded, read_recorded


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command is told."""
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="what the branch holds"
    )
    parser.add_argument(
        "--hours", type=float, required=True, help="how old the last record of a lane may be"
    )
    parser.add_argument(
        "--lanes",
        default="",
        help="lanes that are expected, separated by spaces (default: all that were ever recorded)",
    )
    parser.add_argument("--now", metavar="TIME", help="look from there, in ISO 8601 (default: now)")


def run(options: argparse.Namespace) -> int:
    """Run the command; status 1 if a lane is late."""
    settings = read_settings()
    recorded = read_recorded(options.data)
    lanes = options.lanes.split() or [lane for lane in settings.lanes if lane in recorded.lanes]
    for lane in lanes:
        settings.lane(lane)
    now = _time(options.now) if options.now else datetime.datetime.now(datetime.UTC)
    late = list(_late(recorded, lanes, now - datetime.timedelta(hours=options.hours)))
    if not late:
        print(f"every lane was recorded within {options.hours:g} hours")
        return 0
    told = plain(f"not recorded for {options.hours:g} hours: {', '.join(late)}")
    print(f"::error::{escaped(told)}" if os.environ.get("GITHUB_ACTIONS") else told)
    return 1


def _late(recorded: Recorded, lanes: Sequence[str], since: datetime.datetime) -> Iterator[str]:
    """Each lane that is late, and since when."""
    if not lanes:
        yield "any lane (never)"
    for lane in lanes:
        last = recorded.lanes.get(lane)
        if last is None:
            yield f"{lane} (never)"
        elif _time(last.time) < since:
            yield f"{lane} (last {last.time})"


def _time(text: str) -> datetime.datetime:
    """A time in ISO 8601, of UTC where it does not say."""
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise MatrixError(f"{text!r} is no time; expected 2026-11-22T10:00:00+00:00") from None
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)
