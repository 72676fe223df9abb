"""`python -m matrix_compare.cross`: show which index may be searched with which release."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from matrix_capture.errors import MatrixError
from matrix_capture.names import release_order
from matrix_capture.rankings import rankings_path, read_rankings
from matrix_capture.settings import read_settings
from matrix_compare.advice import record_crossings
from matrix_compare.change import Crossing
from matrix_compare.crossing import crossings
from matrix_compare.report import plain
from matrix_compare.terminal import say

_WAYS = {False: "loaded", True: "mapped into memory (load_index_with_mmap)"}
_MARKS = {
    "identical": "=",
    "same order": "=*",
    "same top 10": "≈",
    "failed": "!",
    "unknown": "?",
}
_LEGEND = (
    "= the same results (* with other scores), ≈ other results only below rank 10, ≠ other results "
    "above it, for so many queries, ! no answer"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, or 2 for bad input."""
    options = _parser().parse_args(arguments)
    try:
        read_settings().lane(options.lane)
        found = crossings(read_rankings(rankings_path(options.data, options.lane)))
        path = record_crossings(options.data, options.lane, found)
    except (MatrixError, OSError) as error:
        print(plain(f"error: {error}"), file=sys.stderr)
        return 2
    console = Console(highlight=False)
    for mmap, way in _WAYS.items():
        if shown := [crossing for crossing in found if crossing.mmap == mmap]:
            say(console, f"What is found in an index {way}, against the release that built it:")
            console.print(_table(shown))
    say(console, _LEGEND)
    for text in dict.fromkeys(f"! {c.search}: {c.error}" for c in found if c.error):
        say(console, text)
    say(console, f"wrote {path}")
    return 0


def _table(found: Sequence[Crossing]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), show_edge=False)
    table.add_column("index of", no_wrap=True)
    columns = sorted({c.search for c in found}, key=release_order)
    for name in columns:
        table.add_column(Text(plain(name)), no_wrap=True)
    cells = {(c.index, c.search): _cell(c) for c in found}
    for index in dict.fromkeys(c.index for c in found):
        row = [cells.get((index, search), Text("")) for search in columns]
        table.add_row(Text(plain(index)), *row)
    return table


def _cell(crossing: Crossing) -> Text:
    """What came of one search; where results changed, for how many queries."""
    if crossing.outcome == "changed":
        return Text(f"≠ {crossing.changed_top}")
    return Text(_MARKS[crossing.outcome])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m matrix_compare.cross",
        description="Show, of every index that was searched, whether a release finds in it what "
        f"the one that built it finds: {_LEGEND}.",
    )
    parser.add_argument("--lane", required=True, help="a lane of matrix.toml, e.g. cpu-pinned")
    parser.add_argument("--data", type=Path, default=Path("_data"), help="where records are kept")
    return parser


if __name__ == "__main__":
    sys.exit(main())
