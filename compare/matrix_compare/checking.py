"""`python -m matrix_compare.checking`: hold a pull request's captures against those of its base."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec.structs
import pyarrow.compute as pc
from rich.console import Console

from matrix_capture.errors import MatrixError
from matrix_capture.schema import Capture
from matrix_capture.settings import Settings, read_settings
from matrix_capture.values import ValueStore
from matrix_compare.captures import Captures, load_captures
from matrix_compare.check import SCHEMA_VERSION, Check, Checked, CheckLine, Side, write_check
from matrix_compare.gauge import Gauge
from matrix_compare.pairs import compare
from matrix_compare.policy import worst_level
from matrix_compare.report import Line, build, plain
from matrix_compare.schema import Verdict
from matrix_compare.terminal import say
from matrix_compare.tolerance import read_profiles

FREE = "colbert-ai"
"""The one factor that may differ between the two sides of a check."""


def checked(base: Capture, head: Capture, settings: Settings, gauge: Gauge, data: Path) -> Checked:
    """What changes from the base to the head of colbert-ai, both captured with one torch release.

    Raises:
        MatrixError: the two are not of one release.
    """
    if base.record.torch != head.record.torch:
        raise MatrixError(
            f"torch {base.record.torch} and {head.record.torch} make no check; capture base and "
            "head with one release"
        )
    sides = _named(base, "base"), _named(head, "head")
    verdicts = compare(sides, gauge, ValueStore(data / "values"))
    report = build(*sides, verdicts.of("base", "head"), settings)
    return Checked(
        torch=plain(base.record.torch),
        level=report.level,
        sentence=report.sentence,
        counts=report.summary.counts,
        starts=tuple(start.artifact for start in report.summary.starts),
        lines=tuple(_line(line) for line in report.lines if line.verdict != Verdict.IDENTICAL),
        doubts=report.doubts,
        base=_side(base),
        head=_side(head),
    )


def check(
    base: Captures, head: Captures, settings: Settings, data: Path, *, number: int, sha: str
) -> Check:
    """Hold every release that both sides have captured against each other.

    Raises:
        MatrixError: they have none in common.
    """
    gauge = Gauge(ValueStore(data / "values"), read_profiles(settings), data / "distances.parquet")
    heads = {capture.record.torch: capture for capture in head.captures}
    both = [(one, heads[one.record.torch]) for one in base.captures if one.record.torch in heads]
    if not both:
        raise MatrixError(f"lanes {base.lane} and {head.lane} have no torch release in common")
    releases = tuple(checked(one, other, settings, gauge, data) for one, other in both)
    gauge.save()
    return Check(
        schema_version=SCHEMA_VERSION,
        lane=plain(base.lane.partition("+")[0]),
        number=number,
        sha=sha,
        started=min(plain(side.record.started) for pair in both for side in pair),
        level=worst_level(release.level for release in releases),
        releases=releases,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, or 2 for bad input."""
    options = _parser().parse_args(arguments)
    try:
        settings = read_settings()
        base = load_captures(options.data, options.base, settings)
        head = load_captures(options.data, options.head, settings)
        found = check(base, head, settings, options.data, number=options.number, sha=options.sha)
        path = write_check(options.data, found)
    except MatrixError as error:
        print(plain(f"error: {error}"), file=sys.stderr)
        return 2
    console = Console(highlight=False)
    for release in found.releases:
        say(console, f"torch {release.torch}: {release.level}: {release.sentence}")
    say(console, f"wrote {path}")
    return 0


def _named(capture: Capture, name: str) -> Capture:
    """A capture under the name of its side; what is free to differ is no obstacle then."""
    factors = {key: value for key, value in capture.record.factors.items() if key != FREE}
    record = msgspec.structs.replace(capture.record, torch=name, factors=factors)
    return Capture(record=record, rows=capture.rows)


def _line(line: Line) -> CheckLine:
    names = CheckLine.__struct_fields__
    return CheckLine(**{name: getattr(line, name) for name in names})


def _side(capture: Capture) -> Side:
    record = capture.record
    return Side(
        colbert=plain(record.factors.get(FREE, "")),
        stopped=plain(_stopped(capture)),
        seconds={plain(stage): seconds for stage, seconds in record.seconds.items()},
        index_bytes=_index_bytes(capture.rows),
    )


def _stopped(capture: Capture) -> str:
    stage = capture.record.failed_stage()
    if stage is None:
        return ""
    status = capture.record.status[stage]
    why = ": ".join(filter(None, (status.error, status.message)))
    return f"failed at {stage}: {why}" if why else f"failed at {stage}"


def _index_bytes(rows: Any) -> int:
    """The size of the tensors of the finished index."""
    of_index = pc.and_(pc.starts_with(rows["artifact"], "index_"), pc.equal(rows["repeat"], 0))
    return int(pc.sum(rows.filter(of_index)["nbytes"]).as_py() or 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m matrix_compare.checking",
        description="Compare the captures of a pull request with those of its base, release by "
        "release, and write what the site shows below pr/.",
    )
    parser.add_argument("--data", type=Path, default=Path("_data"), help="data folder")
    parser.add_argument("--base", required=True, metavar="LANE", help="lane of the base's captures")
    parser.add_argument("--head", required=True, metavar="LANE", help="lane of the head's captures")
    parser.add_argument("--number", required=True, type=int, help="the pull request")
    parser.add_argument("--sha", required=True, help="its commit, 40 hexadecimal digits")
    return parser


if __name__ == "__main__":
    sys.exit(main())
