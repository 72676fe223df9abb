"""Compare the captures of a lane from the command line."""

import argparse
import sys
from collections.abc import Sequence
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text

from matrix_capture.errors import MatrixError
from matrix_capture.schema import SCHEMA_VERSION
from matrix_capture.settings import read_settings
from matrix_capture.values import ValueStore
from matrix_compare.gauge import Gauge
from matrix_compare.pairs import compare, load_captures
from matrix_compare.report import plain, print_pair, sentence
from matrix_compare.schema import write_verdicts
from matrix_compare.tolerance import read_profiles


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, or 2 for bad input."""
    options = _parser().parse_args(arguments)
    try:
        _run(options.data, options.lane, options.releases, options.json)
    except MatrixError as error:
        _complain(f"error: {error}")
        return 2
    return 0


def _run(data: Path, lane: str, named: Sequence[str], json: Path | None) -> None:
    settings = read_settings()
    settings.lane(lane)
    wanted = {settings.release(name) for name in named}
    if len(wanted) == 1:
        raise MatrixError(f"one release makes no pair; name another beside {wanted.pop()}")
    loaded = load_captures(data, lane, settings)
    for line in loaded.excluded:
        _complain(line)
    for name in wanted:
        loaded.of(name)
    if loaded.excluded and len(loaded.captures) < 2:
        raise MatrixError("fewer than two captures can be read; the verdicts stay as they were")
    gauge = Gauge(ValueStore(data / "values"), read_profiles(settings))
    verdicts = compare(loaded.captures, gauge)
    path = write_verdicts(verdicts.table, data, lane)

    shown = [c for c in loaded.captures if not wanted or c.record.torch in wanted]
    console = Console(highlight=False)
    for a, b in pairwise(shown):
        pair = verdicts.of(a.record.torch, b.record.torch)
        if wanted:
            print_pair(console, a, b, pair, tuple(settings.profiles))
        else:
            console.print(Text(sentence(a.record.torch, b.record.torch, pair)), soft_wrap=True)
    if len(shown) == 1:
        torch = shown[0].record.torch
        _say(console, f"{torch} is the only capture of lane {lane}; there is nothing to compare")
    if json:
        pairs = combinations((capture.record.torch for capture in shown), 2)
        asked = [row for pair in pairs for row in verdicts.of(*pair)]
        _write_json(json, lane, asked)
        _say(console, f"wrote {json}")
    _say(console, f"wrote {path}")


def _write_json(path: Path, lane: str, rows: list[dict[str, Any]]) -> None:
    content = {"schema_version": SCHEMA_VERSION, "lane": lane, "verdicts": rows}
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(content)) + b"\n")
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
        help="also write the verdict rows here: of all pairs of the releases named, else all",
    )
    return parser


def _say(console: Console, text: str) -> None:
    console.print(Text(plain(text)), soft_wrap=True)


def _complain(text: str) -> None:
    print(plain(text), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
