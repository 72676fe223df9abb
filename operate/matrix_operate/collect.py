"""Take in what the rows of a plan have captured, as far as it is what was planned."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from matrix_capture.errors import MatrixError
from matrix_capture.rankings import Header, record_searches
from matrix_capture.schema import Capture, write_capture
from matrix_capture.settings import Settings, read_settings
from matrix_capture.values import ValueStore
from matrix_compare.markdown import code, table
from matrix_compare.report import plain
from matrix_operate.collected import (
    SCHEMA_VERSION,
    Arrived,
    Collected,
    Missing,
    Refused,
    write_collected,
)
from matrix_operate.log import unheeded
from matrix_operate.plan import Expected, Plan, expected, read_plan
from matrix_operate.quarantine import attempts, bounded, take_capture, take_rankings, take_values


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command is told."""
    parser.add_argument("--plan", type=Path, required=True, metavar="FILE", help="what was planned")
    parser.add_argument(
        "--incoming",
        type=Path,
        required=True,
        metavar="DIR",
        help="a folder capture-<row>-<attempt> for each run of a row, with what it uploaded",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="where what is accepted goes"
    )
    parser.add_argument(
        "--summary", type=Path, metavar="FILE", help="Markdown to append what came of it to"
    )


def run(options: argparse.Namespace) -> int:
    """Run the command; status 2 if something was refused, else 75 if something is missing."""
    plan = read_plan(options.plan)
    if options.out.exists() and any(options.out.iterdir()):
        raise MatrixError(f"{options.out} is not empty; name another folder")
    if not options.incoming.is_dir():
        raise MatrixError(f"no folder {options.incoming}; nothing was uploaded")
    with bounded():
        collected = collect(plan, read_settings(), options.incoming, options.out)
    with unheeded():
        _print(Console(highlight=False), collected)
    if options.summary:
        with options.summary.open("a", encoding="utf-8") as file:
            file.write("\n".join([*_markdown(collected), ""]))
    return 2 if collected.refused else 75 if collected.missing else 0


def collect(plan: Plan, settings: Settings, incoming: Path, out: Path) -> Collected:
    """Write what is accepted to `out`, and what came of the rest beside it."""
    taking = _Taking(incoming, out)
    for wanted in expected(plan, settings):
        taking.take(wanted)
    taking.take_rankings()
    collected = Collected(
        schema_version=SCHEMA_VERSION,
        arrived=tuple(taking.arrived),
        missing=tuple(taking.missing),
        refused=tuple(taking.refused),
        not_run=plan.not_run,
        current=plan.current,
    )
    write_collected(out, collected)
    return collected


class _Taking:
    """What has been taken so far, and where from."""

    def __init__(self, incoming: Path, out: Path) -> None:
        self.arrived: list[Arrived] = []
        self.missing: list[Missing] = []
        self.refused: list[Refused] = []
        self._incoming, self._out = incoming, out
        self._store = ValueStore(out / "values")
        # By row, lane and folder: the inputs of each release that was taken from there.
        self._inputs: dict[tuple[str, str, Path], dict[str, dict[str, str]]] = {}

    def take(self, wanted: Expected) -> None:
        """Take a capture from the newest run of its row that made it, with its values."""
        try:
            found = next(self._found(wanted), None)
        except MatrixError as error:
            self._refuse(wanted.row, wanted.lane, wanted.torch, str(error))
            return
        if found is None:
            self.missing.append(Missing(row=wanted.row, lane=wanted.lane, torch=wanted.torch))
            return
        attempt, folder, capture = found
        record = capture.record
        write_capture(capture, self._out)
        values, stored, refused = take_values(folder, capture.rows, self._store)
        for reason in refused:
            self._refuse(wanted.row, wanted.lane, wanted.torch, reason)
        self.arrived.append(
            Arrived(
                row=wanted.row,
                lane=wanted.lane,
                torch=wanted.torch,
                attempt=attempt,
                started=record.started,
                stopped=record.failed_stage() or "",
                values=values,
                stored=stored,
            )
        )
        place = wanted.row, wanted.lane, folder
        self._inputs.setdefault(place, {})[wanted.torch] = record.inputs

    def take_rankings(self) -> None:
        """Take what was found beside the captures; in one lane all must have asked the same."""
        headers: dict[str, Header] = {}
        for (row, lane, folder), inputs in self._inputs.items():
            try:
                if found := take_rankings(folder, lane, inputs):
                    header, searches = found
                    if headers.setdefault(lane, header) != header:
                        raise MatrixError("another row has other inputs or relevant passages")
                    record_searches(self._out, header, searches)
            except MatrixError as error:
                self._refuse(row, lane, "", str(error))

    def _found(self, wanted: Expected) -> Iterator[tuple[int, Path, Capture]]:
        for attempt, folder in attempts(self._incoming, wanted.row):
            if capture := take_capture(folder, wanted):
                yield attempt, folder, capture

    def _refuse(self, row: str, lane: str, torch: str, reason: str) -> None:
        told = plain(reason)
        told = told if len(told) <= _LETTERS else f"{told[:_LETTERS]}…"
        self.refused.append(Refused(row=row, lane=lane, torch=torch, reason=told))


_LETTERS = 300
_TITLES = ("", "row", "lane", "torch", "")


def _sentence(collected: Collected) -> str:
    """How much of what was planned has come."""
    arrived = {(one.row, one.lane, one.torch) for one in collected.arrived}
    refused = {(one.row, one.lane, one.torch) for one in collected.refused if one.torch}
    planned = len(arrived | refused) + len(collected.missing)
    counts = {
        "missing": len(collected.missing),
        "refused": len(collected.refused),
        "not run": len(collected.not_run),
    }
    rest = [f"{number} {what}" for what, number in counts.items() if number]
    return ", ".join([f"{len(arrived)} of {planned} captures arrived", *rest])


def _lines(collected: Collected) -> Iterator[tuple[str, str, str, str, str]]:
    """What became of each capture; what is bad comes first."""
    for refused in collected.refused:
        yield "✗ refused", refused.row, refused.lane, refused.torch or "rankings", refused.reason
    for missing in collected.missing:
        yield "? missing", missing.row, missing.lane, missing.torch, ""
    for one in collected.arrived:
        values = f"{one.values} of {one.stored} values"
        told = f"stopped at {one.stopped}, {values}" if one.stopped else values
        yield "✓ arrived", one.row, one.lane, one.torch, told
    for left in collected.not_run:
        yield "\N{EN DASH} not run", "", left.lane, left.torch, plain(left.reason)


def _print(console: Console, collected: Collected) -> None:
    grid = Table(*_TITLES, box=box.SIMPLE_HEAD)
    for line in _lines(collected):
        grid.add_row(*map(Text, line))
    console.print(Text(_sentence(collected)))
    console.print(grid)


def _markdown(collected: Collected) -> Iterator[str]:
    yield f"**Captures:** {_sentence(collected)}\n"
    rows = ((line[0], *map(code, line[1:])) for line in _lines(collected))
    yield from table(_TITLES, rows)
