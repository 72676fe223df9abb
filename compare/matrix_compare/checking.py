"""`python -m matrix_compare.checking`: hold captures of a head of colbert-ai against its base's."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec.structs
import pyarrow.compute as pc
from rich.console import Console

from matrix_capture.errors import MatrixError
from matrix_capture.names import lane_name, lane_options
from matrix_capture.rankings import rankings_path, read_rankings
from matrix_capture.revision import read_revision
from matrix_capture.schema import Capture, Record
from matrix_capture.settings import Settings, read_settings
from matrix_capture.values import ValueStore
from matrix_compare.captures import Captures, load_captures
from matrix_compare.check import (
    SCHEMA_VERSION,
    Check,
    Checked,
    CheckLine,
    Effect,
    Ranked,
    Side,
    write_check,
)
from matrix_compare.check_junit import check_junit
from matrix_compare.check_markdown import check_markdown
from matrix_compare.check_terminal import print_check
from matrix_compare.comparable import environment_difference
from matrix_compare.document import encoded
from matrix_compare.gauge import Gauge
from matrix_compare.pairs import compare
from matrix_compare.policy import Level, worst_level
from matrix_compare.ranking import first_change, ranking_change
from matrix_compare.report import Line, build, listed, plain
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
    lines = [_line(line) for line in report.lines if line.verdict is not Verdict.IDENTICAL]
    ranked, unranked = _ranked(base.record, head.record, data)
    doubts = (*(doubt.removeprefix("torch ") for doubt in report.doubts), *unranked)
    doubts += tuple(_moved(base.record, head.record))
    levels = [report.level, Level.ALERT if doubts else Level.PASS]
    if base.record.failed_stage():
        # The head is not to blame for what its base does not do either, but that is no pass.
        lines = [_excused(line) for line in lines]
        levels = [Level.ALERT, *(line.level for line in lines)]
    return Checked(
        torch=plain(base.record.torch),
        level=worst_level(levels),
        sentence=report.sentence,
        counts=report.summary.counts,
        starts=tuple(start.artifact for start in report.summary.starts),
        lines=tuple(lines),
        doubts=doubts,
        base=_side(base),
        head=_side(head),
        ranked=ranked,
    )


def check(
    base: Captures,
    head: Captures,
    settings: Settings,
    data: Path,
    *,
    number: int = 0,
    sha: str = "",
    torch: Sequence[str] = (),
) -> Check:
    """Hold every release that both sides have captured against each other, or those of `torch`.

    Raises:
        MatrixError: a side lacks one of `torch`, or they have none in common.
    """
    gauge = Gauge(ValueStore(data / "values"), read_profiles(settings), data / "distances.parquet")
    heads = {capture.record.torch: capture for capture in head.captures}
    both = [(one, heads[one.record.torch]) for one in base.captures if one.record.torch in heads]
    if torch:
        both = [(base.of(release), head.of(release)) for release in dict.fromkeys(torch)]
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
    parser = argparse.ArgumentParser(
        prog="python -m matrix_compare.checking",
        description="Compare the captures of two colbert-ai, release by release; of a pull request "
        "write what the site shows below pr/.",
    )
    declare(parser)
    try:
        run(parser.parse_args(arguments))
    except MatrixError as error:
        print(plain(f"error: {error}"), file=sys.stderr)
        return 2
    return 0


def declare(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("releases", nargs="*", metavar="RELEASE", help="without any: all of both")
    parser.add_argument("--data", type=Path, default=Path("_data"), help="data folder")
    for side in ("--base", "--head"):
        parser.add_argument(
            side,
            required=True,
            metavar="LANE|COLBERT",
            help="the lane that it is recorded in, or the colbert-ai that it is",
        )
    parser.add_argument("--lane", default="cpu-pinned", help="of COLBERT (default: %(default)s)")
    parser.add_argument("--passages", type=int, metavar="N", help="of COLBERT")
    parser.add_argument("--number", type=int, default=0, help="the pull request")
    parser.add_argument("--sha", default="", help="its commit, 40 hexadecimal digits")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the check there too")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="and a summary for people")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="the same for a build server")


def run(options: argparse.Namespace) -> None:
    """Compare, print and write.

    Raises:
        MatrixError: a side has no captures, or something cannot be read or written.
    """
    if bool(options.number) != bool(options.sha):
        raise MatrixError("a pull request has a number and a commit: give --number and --sha")
    settings = read_settings()
    base, head = (
        load_captures(options.data, _lane(side, options, settings), settings)
        for side in (options.base, options.head)
    )
    found = check(
        base,
        head,
        settings,
        options.data,
        number=options.number,
        sha=options.sha,
        torch=options.releases,
    )
    console = Console(highlight=False)
    print_check(console, found)
    written = [write_check(options.data, found)] if found.number else []
    outputs: dict[Path | None, Callable[[], bytes]] = {
        options.json: lambda: encoded(found),
        options.markdown: lambda: check_markdown(found).encode("utf-8"),
        options.junit: lambda: check_junit(found),
    }
    for target, content in outputs.items():
        if target:
            try:
                target.write_bytes(content())
            except OSError as error:
                raise MatrixError(f"cannot write {target}: {error.strerror}") from None
            written.append(target)
    for path in written:
        say(console, f"wrote {path}")


def _named(capture: Capture, name: str) -> Capture:
    """A capture under the name of its side; what is free to differ is no obstacle then."""
    factors = {key: value for key, value in capture.record.factors.items() if key != FREE}
    record = msgspec.structs.replace(capture.record, torch=name, factors=factors)
    return Capture(record=record, rows=capture.rows)


def _line(line: Line) -> CheckLine:
    names = CheckLine.__struct_fields__
    return CheckLine(**{name: getattr(line, name) for name in names})


def _lane(side: str, options: argparse.Namespace, settings: Settings) -> str:
    """The lane that a side is recorded in."""
    if side.partition("+")[0] in settings.lanes:
        return side
    chosen = lane_options(
        passages=options.passages,
        colbert=read_revision(side).label,
        pinned=settings.lane(options.lane).colbert,
    )
    return lane_name(options.lane, chosen)


def _excused(line: CheckLine) -> CheckLine:
    failed = line.verdict is Verdict.FAILED
    return msgspec.structs.replace(line, level=Level.ALERT) if failed else line


def _moved(base: Record, head: Record) -> list[str]:
    """Which packages beside colbert-ai have another version, in one line, if both were installed.

    What is on one side only counts for nothing: it may be left over, or be an installer.
    """
    if "failed" in (base.state("install"), head.state("install")):
        return []
    moved = [
        f"{one.name} {one.a} → {one.b}"
        for one in environment_difference(base, head)
        if one.section == "packages" and one.name != FREE and one.a and one.b
    ]
    return [plain(f"the head came with other versions too: {listed(moved)}")] if moved else []


def _ranked(base: Record, head: Record, data: Path) -> tuple[Ranked | None, list[str]]:
    """What becomes of the rankings, or why they cannot be told; neither without any."""
    paths = [rankings_path(data, record.lane) for record in (base, head)]
    searched = all(record.state("search") == "ok" for record in (base, head))
    if not searched or base.inputs != head.inputs or not all(path.exists() for path in paths):
        return None, []
    try:
        found = [read_rankings(path) for path in paths]
        a, b = (one.rows(base.torch, base.torch) for one in found)
        relevant = found[0].header.relevant
        change = ranking_change(a, b, relevant)
        first = first_change(a, b, len(relevant))
    except MatrixError as error:
        return None, [plain(f"rankings cannot be compared: {str(error).rpartition('/')[2]}")]
    effects = tuple(
        Effect(
            measure=effect.measure,
            base=effect.a,
            head=effect.b,
            chance=effect.difference.low <= 0 <= effect.difference.high,
        )
        for effect in change.effectiveness
    )
    return (
        Ranked(
            queries=change.queries,
            changed=change.queries - change.same_order,
            changed_top=change.changed_top["10"],
            first=first,
            rescored=change.same_order - change.identical,
            effects=effects,
        ),
        [],
    )


def _side(capture: Capture) -> Side:
    record = capture.record
    return Side(
        colbert=plain(record.factors.get(FREE, "")),
        stopped=plain(_stopped(capture)),
        seconds={plain(stage): seconds for stage, seconds in record.seconds.items()},
        seconds_again={plain(stage): seconds for stage, seconds in record.seconds_again.items()},
        cpu_seconds={plain(stage): tuple(found) for stage, found in record.cpu_seconds.items()},
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


if __name__ == "__main__":
    sys.exit(main())
