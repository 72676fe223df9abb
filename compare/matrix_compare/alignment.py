"""The captures of a lane side by side: what each has, and which contents are the same."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from matrix_capture.catalogue import POSITION, SCOPES, Artifact
from matrix_capture.schema import Capture
from matrix_compare.columns import Numbers, joined, numbered, rows_of
from matrix_compare.schema import Place
from matrix_compare.verdict import Cell, artifact_of, cell_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One artifact, part and scope that some capture of the lane has.

    `keys` are the columns in this scope of the artifact that the order rule refers to.
    """

    artifact: Artifact
    part: str
    scope: str
    keys: tuple[int, ...]


class Alignment:
    """Captures by columns, columns in the order of catalogue, scope and part.

    `content` numbers what a capture has in a column: equal numbers mean equal digests in every
    occurrence. It is -1 where the capture has nothing and -2 where the numbers cannot settle it,
    because repeats disagree or repeat 0 has nothing. `count` is the number of occurrences.
    """

    def __init__(self, captures: Sequence[Capture]) -> None:
        # In one piece: taking single rows of lists out of many chunks costs milliseconds each.
        rows = pa.concat_tables([capture.rows for capture in captures]).combine_chunks()
        self._rows = rows.select(_OF_A_CELL)
        self.columns, column = _columns(rows)
        capture = np.repeat(np.arange(len(captures)), [len(one.rows) for one in captures])
        repeat, occurrence, seq = (
            rows[name].to_numpy() for name in ("repeat", "occurrence", "seq")
        )
        self._order = np.lexsort((seq, occurrence, repeat, column, capture))
        capture, column, repeat = (part[self._order] for part in (capture, column, repeat))
        cells, runs = _starts(capture, column), _starts(capture, column, repeat)
        # A multiset hash counts, lest a capture without one hides that others have it.
        same = joined(numbered(rows[name].combine_chunks()) for name in ("digest", "multiset"))
        contents = _contents(np.stack([occurrence, same], axis=1)[self._order], runs)
        # Of each cell its first run, which is repeat 0 if there is that, and how many it has.
        first = np.searchsorted(runs, cells)
        content, many = contents[first], np.diff(first, append=len(runs))
        stable = np.logical_and.reduceat(contents == np.repeat(content, many), first)
        settled = stable & (repeat[cells] == 0)

        at = capture[cells], column[cells]
        shape = (len(captures), len(self.columns))
        self.content: Numbers = np.full(shape, -1, np.int64)
        self.content[at] = np.where(settled, content, -2)
        self.count: Numbers = np.zeros(shape, np.int64)
        self.count[at] = np.where(repeat[cells] == 0, np.diff(runs, append=len(rows))[first], 0)
        self._spans = np.zeros((*shape, 2), np.int64)
        self._spans[at] = np.stack([cells, np.append(cells, len(rows))[1:]], axis=1)

    def cells(self, places: Collection[tuple[int, int]]) -> dict[tuple[int, int], Cell]:
        """The rows of some captures in some columns; a capture that has none there is left out."""
        found = {place: self._spans[place].tolist() for place in places}
        spans = {place: (start, end) for place, (start, end) in found.items() if start < end}
        numbers = [self._order[start:end] for start, end in spans.values()]
        rows = rows_of(self._rows.take(np.concatenate([*numbers, np.zeros(0, np.int64)])))
        ends = np.cumsum([0, *map(len, numbers)]).tolist()
        return {
            place: cell_of(rows[start:end])
            for place, (start, end) in zip(spans, pairwise(ends), strict=True)
        }


_OF_A_CELL = [
    *("repeat", "occurrence", "dtype", "shape", "digest", "multiset", "blocks", "numel", "nan")
]


def _columns(rows: Any) -> tuple[list[Column], Numbers]:
    """The columns in order, and in which of them each row lies."""
    names = ["artifact", "part", "scope", "stage"]
    numbers = joined(numbered(rows[name].combine_chunks()) for name in names)
    _, first, of = np.unique(numbers, return_index=True, return_inverse=True)
    places: list[Place] = []
    stages: dict[Place, str] = {}
    for row in rows_of(rows.select(names).take(first)):
        artifact, part, scope, stage = row.values()
        places.append((artifact, part, scope))
        stages[places[-1]] = min(stage, stages.get(places[-1], stage))
    ordered = sorted(stages, key=_position)
    in_scope: dict[tuple[str, str], list[int]] = {}
    for number, (artifact, _, scope) in enumerate(ordered):
        in_scope.setdefault((artifact, scope), []).append(number)
    columns = []
    for place in ordered:
        name, part, scope = place
        artifact = artifact_of(name, stages[place])
        keys = tuple(in_scope.get((artifact.order_key or "", scope), ()))
        columns.append(Column(artifact=artifact, part=part, scope=scope, keys=keys))
    number_of = {place: number for number, place in enumerate(ordered)}
    return columns, np.array([number_of[place] for place in places], np.int64)[of]


def _starts(*parts: npt.NDArray[Any]) -> Numbers:
    """Where rows begin that are alike in some columns of numbers from 0, like ones together."""
    changed = [np.diff(part, prepend=-1) != 0 for part in parts]
    return np.flatnonzero(np.any(changed, axis=0))


def _contents(rows: Numbers, starts: Numbers) -> Numbers:
    """A number for each run of rows, the same for the same rows."""
    ends = np.append(starts, len(rows)) * rows.strides[0]
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(rows)]
    return numbered(pa.Array.from_buffers(pa.large_binary(), len(starts), buffers))


def _position(place: Place) -> tuple[Any, ...]:
    name, part, scope = place
    pass_name = scope.partition(".")[0]
    order = SCOPES.index(pass_name) if pass_name in SCOPES else len(SCOPES)
    position = POSITION.get(name, len(POSITION))
    return (position, name, order, _natural(scope), _natural(part), scope, part)


def _natural(text: str) -> tuple[tuple[int, str], ...]:
    """A key that sorts `chunk.2` before `chunk.10`."""
    # Of two numbers without leading zeros the longer is the larger: no need of int() and its limit.
    pieces = re.split(r"0*([0-9]+)", text)
    return tuple((len(piece) if n % 2 else 0, piece) for n, piece in enumerate(pieces))
