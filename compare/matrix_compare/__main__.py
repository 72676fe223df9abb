"""Compare the captures of a lane from the command line."""

import argparse
import sys
from collections.abc import Callable, Collection, Sequence
from itertools import combinations, pairwise
from pathlib import Path

from rich.console import Console

from matrix_capture.errors import MatrixError
from matrix_capture.schema import Capture
from matrix_capture.settings import Settings, settings_of
from matrix_capture.values import ValueStore
from matrix_compare.captures import load_captures
from matrix_compare.cascade import DISCRETE, cascade
from matrix_compare.drift import bands, drifts, told
from matrix_compare.explained import conclusion
from matrix_compare.explanation import explanation_path, read_explanation
from matrix_compare.gauge import Gauge
from matrix_compare.junit import junit
from matrix_compare.markdown import markdown
from matrix_compare.origin import DIFFERING
from matrix_compare.pairs import Verdicts, compare
from matrix_compare.report import NEEDED, Report, build, json_of, plain, sentence
from matrix_compare.schema import Verdict, write_verdicts
from matrix_compare.terminal import print_report, say
from matrix_compare.tolerance import read_profiles

_MOVED = (Verdict.CLOSE, Verdict.DIFFERS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, or 2 for bad input."""
    options = _parser().parse_args(arguments)
    try:
        _run(options)
    except MatrixError as error:
        _complain(f"error: {error}")
        return 2
    return 0


def _run(options: argparse.Namespace) -> None:
    settings = settings_of(options.data)
    settings.lane(options.lane)
    wanted = {settings.release(name, options.lane) for name in options.releases}
    if len(wanted) == 1:
        raise MatrixError(f"one release makes no pair; name another beside {wanted.pop()}")
    captures = _captures(options, settings, wanted)
    store = ValueStore(options.data / "values")
    gauge = Gauge(store, read_profiles(settings), options.data / "distances.parquet")
    verdicts = compare(captures, gauge, store)
    gauge.save()
    path = write_verdicts(verdicts.table, options.data, options.lane)

    console = Console(highlight=False)
    shown = [capture for capture in captures if not wanted or capture.record.torch in wanted]
    names = [capture.record.torch for capture in shown]
    reports = []
    if wanted or options.json or options.markdown or options.junit:
        for a, b in pairwise(shown):
            with console.status(f"following {a.record.torch}...{b.record.torch} into the index"):
                reports.append(_report(a, b, verdicts, settings, store))
    if wanted:
        for report in reports:
            _print(console, report, options)
    else:
        for pair in pairwise(names):
            say(console, sentence(*pair, verdicts.of(*pair, NEEDED)))
    if len(names) == 1:
        say(
            console,
            f"{names[0]} is the only capture of lane {options.lane}; there is nothing to compare",
        )
    found, steps = bands(names, verdicts), drifts(names, verdicts, tuple(settings.profiles))
    if len(names) > 2:
        for line in told(found, steps):
            say(console, line)
    outputs: dict[Path | None, Callable[[], bytes]] = {
        options.json: lambda: json_of(
            reports,
            lane=options.lane,
            bands=found,
            drifts=steps,
            verdicts=[row for pair in combinations(names, 2) for row in verdicts.of(*pair)],
        ),
        options.markdown: lambda: markdown(reports).encode("utf-8"),
        options.junit: lambda: junit(reports),
    }
    for target, content in outputs.items():
        if target:
            _write(target, content())
            say(console, f"wrote {target}")
    say(console, f"wrote {path}")


def _captures(
    options: argparse.Namespace, settings: Settings, wanted: Collection[str]
) -> tuple[Capture, ...]:
    """The captures of the lane; why others are left out is told."""
    loaded = load_captures(options.data, options.lane, settings)
    for line in loaded.excluded:
        _complain(line)
    for name in wanted:
        loaded.of(name)
    if loaded.excluded and len(loaded.captures) < 2:
        raise MatrixError("fewer than two captures can be read; the verdicts stay as they were")
    return loaded.captures


def _report(
    a: Capture, b: Capture, verdicts: Verdicts, settings: Settings, store: ValueStore
) -> Report:
    """The report of a pair, down to what its differences do to the index."""
    rows = verdicts.of(a.record.torch, b.record.torch)
    flipped = None
    if any(row["artifact"] in DISCRETE and row["verdict"] in _MOVED for row in rows):
        flipped = cascade(a, b, store)
    return build(a, b, rows, settings, flipped)


def _print(console: Console, report: Report, options: argparse.Namespace) -> None:
    """Print a report, and what explains it or would."""
    print_report(console, report)
    path = explanation_path(options.data, options.lane, report.a, report.b)
    differs = any(line.verdict in DIFFERING for line in report.lines)
    if path.exists():
        try:
            say(console, f"why: {conclusion(read_explanation(path))}")
        except MatrixError as error:
            _complain(str(error))
    elif differs and "+" not in options.lane:  # a quick run has options that are not known here
        pair = f"{report.a} {report.b} --lane {options.lane}"
        say(console, f"why: nox -s explain -- {pair} finds out")


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise MatrixError(f"cannot write {path}: {error.strerror}") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m matrix_compare",
        description="Compare every pair of captures of a lane and write the verdicts. Prints a "
        "table for each consecutive pair of the releases named, or one line for each consecutive "
        "pair of the lane if none is named.",
    )
    parser.add_argument("releases", nargs="*", metavar="RELEASE", help="torch releases, e.g. 2.8.0")
    parser.add_argument(
        "--data", type=Path, default=Path("_data"), metavar="DIR", help="data folder"
    )
    parser.add_argument("--lane", required=True, help="a lane of matrix.toml, e.g. cpu-pinned")
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="also write the verdict rows here, of all pairs of the releases named, else all, and "
        "the reports of consecutive ones",
    )
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="also write the reports here, for people"
    )
    parser.add_argument(
        "--junit", type=Path, metavar="FILE", help="also write the reports here, for a build server"
    )
    return parser


def _complain(text: str) -> None:
    print(plain(text), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
