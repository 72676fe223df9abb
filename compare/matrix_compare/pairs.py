"""Every pair of captures of a lane, with a verdict for everything that either side has."""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from matrix_capture.catalogue import (
    BY_NAME,
    CATALOGUE,
    DEPTHS,
    POSITION,
    Device,
    expected,
)
from matrix_capture.digest import Snapshot
from matrix_capture.errors import MatrixError
from matrix_capture.schema import Capture, Record
from matrix_capture.values import ValueStore
from matrix_compare.alignment import Alignment, Column
from matrix_compare.columns import joined, rows_of
from matrix_compare.comparable import obstacles
from matrix_compare.location import GROUNDS, Locator
from matrix_compare.metrics import Distances
from matrix_compare.origin import DIFFERING, ROLES, Family
from matrix_compare.relabelling import CENTROIDS, LABELLED, relabelled
from matrix_compare.schema import COLUMNS, Place, Verdict
from matrix_compare.verdict import Cell, Finding, Gauging, Side, judge, stop

_Numbers = npt.NDArray[np.int64] | npt.NDArray[np.int8]
RENUMBERED = "equal up to the numbering of the centroids"
"""The reason of a reordering that no order rule explains."""

_OF_PAIR = ("lane", "a", "b", "role")
_CODES = {verdict: code for code, verdict in enumerate(Verdict)}
# By code, and for the code -1 the last.
_DIFFERING = np.array([*(verdict in DIFFERING for verdict in Verdict), False])


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdicts:
    """The verdicts of all pairs: a table with `schema.COLUMNS`, and where in it each pair lies.

    Strings are dictionary-encoded: a lane has millions of rows and few hundred words.
    """

    table: Any
    places: Mapping[tuple[str, str], slice]

    def of(self, a: str, b: str, columns: Sequence[str] = COLUMNS.names) -> list[dict[str, Any]]:
        """The rows of one pair."""
        schema = pa.schema([COLUMNS.field(name) for name in columns])
        return rows_of(self._slice(a, b).select(columns).cast(schema))

    def identical(self, a: str, b: str) -> bool:
        """Whether a pair has rows and all of them are identical."""
        rows = self._slice(a, b)
        same = pc.equal(rows["verdict"], Verdict.IDENTICAL.value)
        return len(rows) > 0 and bool(pc.all(same).as_py())

    def _slice(self, a: str, b: str) -> Any:
        place = self.places.get((a, b), slice(0, 0))
        return self.table.slice(place.start, place.stop - place.start)


def compare(captures: Sequence[Capture], gauge: Gauging, store: ValueStore) -> Verdicts:
    """The verdicts of all pairs, each capture against every later one.

    Rows come in the order of a, b, catalogue, scope and part. Where a run stopped, whatever the
    other side has is `failed` or `not_run`. An artifact that neither side has, but that a whole run
    on this device at this depth shows, gets one row without part and scope if a run stopped before
    it or could not tap it, so that a pair of failed captures is not empty; otherwise it is not
    mentioned.
    """
    if len(captures) < 2:
        return Verdicts(table=COLUMNS.empty_table(), places={})
    records = [capture.record for capture in captures]
    judging = _Judging(captures, gauge, store)
    pairs = judging.pairs
    judged = list(judging.judged())
    sizes = [len(numbers) for numbers, _ in judged]
    ends = np.cumsum(sizes, dtype=np.int64)
    names = [record.torch for record in records]
    columns = {
        **judging.findings(np.concatenate([numbers for numbers, _ in judged])),
        "role": _words(ROLES, np.concatenate([found for _, found in judged])),
        "lane": _words([*{record.lane for record in records}], np.zeros(sum(sizes), np.int8)),
        "a": _words(names, np.repeat([a for a, _ in pairs], sizes)),
        "b": _words(names, np.repeat([b for _, b in pairs], sizes)),
    }
    return Verdicts(
        table=pa.table([columns[name] for name in COLUMNS.names], COLUMNS.names),
        places={
            (names[a], names[b]): slice(int(end) - size, int(end))
            for (a, b), size, end in zip(pairs, sizes, ends, strict=True)
        },
    )


class _Judging:
    """Judges pairs of aligned captures; what has the same contents is judged once.

    What is found is kept as a row without lane, pair and role; the rows of a pair are the numbers
    of such findings.
    """

    def __init__(self, captures: Sequence[Capture], gauge: Gauging, store: ValueStore) -> None:
        self._records = [capture.record for capture in captures]
        self._gauge = gauge
        self._store = store
        self._aligned = Alignment(captures)
        self._locators = [Locator(capture, store) for capture in captures]
        self._renumbered: dict[bytes, set[int]] = {}
        self._rows: list[dict[str, Any]] = []
        self._verdicts = array("b")
        self._families: dict[tuple[bytes, tuple[int, ...]], Family] = {}
        self._places: list[Place] = [
            (column.artifact.name, column.part, column.scope) for column in self._aligned.columns
        ]
        labelled = [n for n, place in enumerate(self._places) if place[0] in LABELLED]
        self._labelled = np.array(labelled, np.int64)
        self.pairs = list(combinations(range(len(captures)), 2))
        self._reasons = [obstacles(self._records[a], self._records[b]) for a, b in self.pairs]
        a, b = np.array(self.pairs).T
        self._left, self._right = self._aligned.content[a], self._aligned.content[b]
        self._free = ~np.array([bool(why) for why in self._reasons])[:, None]
        self._expected = [_expected(record) for record in self._records]
        self._explained = [_explained(record) for record in self._records]

    def judged(self) -> Iterator[tuple[_Numbers, _Numbers]]:
        """The findings of each pair in order, and the role of each."""
        for (a, b), cells, why in zip(self.pairs, self._cells(), self._reasons, strict=True):
            self._settle_numbering(a, b, cells)
            columns = np.flatnonzero(cells >= 0)
            found, absent = cells[columns].tolist(), self._absent(a, b, columns, why)
            if absent:
                found = sorted([*found, *absent], key=self._position)
            numbers = np.array(found, np.int64)
            known_as = columns.tobytes(), tuple(map(self._position, absent))
            if known_as not in self._families:
                self._families[known_as] = Family([_place(self._rows[n]) for n in found])
            verdicts = self._codes(numbers)
            yield (
                numbers,
                self._families[known_as].roles(
                    _DIFFERING[verdicts], verdicts == _CODES[Verdict.IDENTICAL]
                ),
            )

    def findings(self, numbers: _Numbers) -> dict[str, Any]:
        """The columns of some findings, one row for each number."""
        names = [name for name in COLUMNS.names if name not in _OF_PAIR]
        schema = pa.schema([COLUMNS.field(name) for name in names])
        table = pa.Table.from_pylist(self._rows, schema=schema)
        for place, field in enumerate(schema):
            if field.type == pa.string():
                table = table.set_column(place, field.name, table[place].dictionary_encode())
        taken = table.combine_chunks().take(pa.array(numbers))
        return {name: taken[name] for name in names}

    def _codes(self, numbers: _Numbers) -> npt.NDArray[np.int8]:
        """The verdicts of some findings, as numbers; -1 where there is none."""
        return np.append(np.array(self._verdicts, np.int8), np.int8(-1))[numbers]

    def _cells(self) -> npt.NDArray[np.int64]:
        """The finding of each pair in each column, -1 where neither capture has anything."""
        left, right = self._left, self._right
        here = (left != -1) | (right != -1)
        same = (left == right) & (left >= 0) & self._free
        numbers = np.where(same, self._identical()[[a for a, _ in self.pairs]], -1)
        todo = here & ~same
        # Keys come first: whether they are identical decides about what they are the keys of.
        keys = sorted({key for column in self._aligned.columns for key in column.keys})
        of_keys = np.zeros(len(self._places), bool)
        of_keys[keys] = True
        nothing = np.zeros(here.shape, bool)
        self._judge(numbers, todo & of_keys, nothing)
        found = self._codes(numbers) == _CODES[Verdict.IDENTICAL]
        key_identical = self._key_identical(here, here & of_keys & found)
        self._judge(numbers, todo & ~of_keys, key_identical)
        return numbers

    def _judge(
        self,
        numbers: npt.NDArray[np.int64],
        todo: npt.NDArray[np.bool_],
        key_identical: npt.NDArray[np.bool_],
    ) -> None:
        """Fill in the findings of the cells in question."""
        left, right = self._left, self._right
        # Contents that are settled on both sides decide alone; the rest tells of the two captures.
        settled = todo & (left >= 0) & (right >= 0) & self._free
        pair, column = np.nonzero(settled)
        code = joined(
            (
                column,
                left[settled],
                right[settled],
                self._grounds()[[a for a, _ in self.pairs]][pair],
                key_identical[settled],
            )
        )
        _, first, of = np.unique(code, return_index=True, return_inverse=True)
        examples = list(zip(pair[first].tolist(), column[first].tolist(), strict=True))
        judged = np.array(self._judged(examples, key_identical), np.int64)
        alone = _DIFFERING[self._codes(judged)]
        numbers[settled] = np.where(alone, judged, -1)[of]

        others = np.argwhere(todo & (numbers < 0)).tolist()
        cells = [(pair, column) for pair, column in others]
        for cell, number in zip(cells, self._judged(cells, key_identical), strict=True):
            numbers[cell] = number

    def _identical(self) -> npt.NDArray[np.int64]:
        """The finding that a column of a capture is identical, as far as it may be."""
        count, settled = self._aligned.count, self._aligned.content >= 0
        numbers = np.full(count.shape, -1, np.int64)
        capture, column = np.nonzero(settled)
        most = int(count.max(initial=0)) + 1
        code, of = np.unique(column * most + count[settled], return_inverse=True)
        found = [
            self._keep(
                self._aligned.columns[n],
                Finding(verdict=Verdict.IDENTICAL, occurrences=many, identical=many),
            )
            for n, many in (divmod(one, most) for one in code.tolist())
        ]
        numbers[capture, column] = np.array(found, np.int64)[of]
        return numbers

    def _key_identical(
        self, here: npt.NDArray[np.bool_], identical: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.bool_]:
        """In which pairs the key of each column is identical: the key columns that they have."""
        found = np.zeros(here.shape, bool)
        for n, column in enumerate(self._aligned.columns):
            if keys := list(column.keys):
                found[:, n] = here[:, keys].any(axis=1) & (identical | ~here)[:, keys].all(axis=1)
        return found

    def _judged(
        self,
        cells: Sequence[tuple[int, int]],
        key_identical: npt.NDArray[np.bool_],
    ) -> list[int]:
        """The findings of some cells, each the number of a pair and of a column."""
        needed = {(side, column) for pair, column in cells for side in self.pairs[pair]}
        found = self._aligned.cells(needed)
        numbers = []
        for pair, column in cells:
            a, b = (
                Side(record=self._records[side], cell=found.get((side, column)))
                for side in self.pairs[pair]
            )
            finding = judge(
                self._aligned.columns[column].artifact,
                a,
                b,
                obstacles=self._reasons[pair],
                key_identical=bool(key_identical[pair, column]),
                gauge=self._gauge,
            )
            where = self._located(self.pairs[pair][0], self._places[column], finding.distances)
            numbers.append(self._keep(self._aligned.columns[column], finding, **where))
        return numbers

    def _grounds(self) -> npt.NDArray[np.int64]:
        """A number for each capture, the same where an index means the same place."""
        columns = [n for n, place in enumerate(self._places) if place[0] in GROUNDS]
        contents = self._aligned.content[:, columns]
        # What nobody can settle is like nothing else.
        alone = -3 - np.arange(len(contents))[:, None]
        contents = np.where(contents == -2, alone, contents)
        grounds: npt.NDArray[np.int64] = np.unique(contents, axis=0, return_inverse=True)[1]
        return grounds.reshape(-1)

    def _located(self, capture: int, place: Place, distances: Distances | None) -> dict[str, str]:
        """Where the first and the largest difference lie, in words."""
        if distances is None:
            return {}
        found = {
            "first_at": (distances.first_occurrence, distances.first_index),
            "largest_at": (distances.largest_occurrence, distances.largest_index),
        }
        return {
            name: self._locators[capture].tell(*place, occurrence, index)
            for name, (occurrence, index) in found.items()
            if index is not None
        }

    def _settle_numbering(self, a: int, b: int, cells: npt.NDArray[np.int64]) -> None:
        """Where only the numbers of the centroids moved, have the cells of a pair say so."""
        labelled = self._labelled[cells[self._labelled] >= 0]
        verdicts = self._codes(cells[labelled])
        differing = labelled[_DIFFERING[verdicts]].tolist()
        if not any(self._places[n][0] in CENTROIDS for n in differing):
            return
        contents = self._aligned.content[[a, b]][:, labelled]
        # What nobody can settle tells of these two captures alone.
        who = np.array([a, b] if (contents == -2).any() else [])
        known_as = b"".join(part.tobytes() for part in (who, labelled, verdicts, contents))
        if known_as not in self._renumbered:
            number = {self._places[n]: n for n in labelled.tolist()}
            sets = [n for place, n in number.items() if place[0] in CENTROIDS]
            known = self._aligned.cells([(side, n) for side in (a, b) for n in sets])
            same = labelled[verdicts == _CODES[Verdict.IDENTICAL]].tolist()
            equal = relabelled(
                lambda place: self._values(a, b, number[place], known),
                differing=[self._places[n] for n in differing],
                identical=[self._places[n] for n in same],
            )
            self._renumbered[known_as] = {number[place] for place in equal}
        for n in self._renumbered[known_as]:
            row = self._rows[cells[n]]
            finding = Finding(
                verdict=Verdict.REORDERED,
                reason=RENUMBERED,
                occurrences=row["occurrences"],
                identical=row["identical"],
                differing_occurrences=tuple(row["differing_occurrences"]),
                differing_blocks=row["differing_blocks"],
            )
            cells[n] = self._keep(self._aligned.columns[n], finding)

    def _values(
        self, a: int, b: int, column: int, known: Mapping[tuple[int, int], Cell]
    ) -> list[tuple[Snapshot, Snapshot]] | None:
        """What two captures have in a column; None where it cannot be read or set side by side."""
        if (a, column) not in known:
            known = self._aligned.cells([(a, column), (b, column)])
        sides = [known[side, column].occurrences for side in (a, b)]
        try:
            return [
                (self._store.get(x.digest), self._store.get(y.digest))
                for x, y in zip(*sides, strict=True)
            ]
        except (MatrixError, ValueError):
            return None

    def _absent(
        self, a: int, b: int, columns: npt.NDArray[np.int64], reasons: tuple[str, ...]
    ) -> list[int]:
        """Findings on the artifacts that neither side has, where a record says why."""
        wanted = (self._expected[a] | self._expected[b]) & (self._explained[a] | self._explained[b])
        if not wanted:
            return []
        wanted -= {self._places[n][0] for n in columns.tolist()}
        sides = [Side(record=self._records[n], cell=None) for n in (a, b)]
        numbers = []
        for artifact in (BY_NAME[name] for name in sorted(wanted, key=_position)):
            finding = judge(
                artifact, *sides, obstacles=reasons, key_identical=False, gauge=self._gauge
            )
            column = Column(artifact=artifact, part="", scope="", keys=())
            numbers.append(self._keep(column, finding))
        return numbers

    def _position(self, number: int) -> int:
        return _position(self._rows[number]["artifact"])

    def _keep(self, column: Column, finding: Finding, **where: str) -> int:
        self._rows.append(_row(column, finding) | where)
        self._verdicts.append(_CODES[finding.verdict])
        return len(self._rows) - 1


def _expected(record: Record) -> set[str]:
    """What a whole run of this kind shows; the record may come from anywhere."""
    depth = next((depth for depth in DEPTHS if depth == record.options.get("depth")), DEPTHS[0])
    devices: tuple[Device, ...] = get_args(Device)
    own = tuple(device for device in devices if device == record.factors.get("device"))
    return {artifact.name for device in own or devices for artifact in expected(device, depth)}


def _explained(record: Record) -> set[str]:
    """The artifacts that a record says why it lacks."""
    side = Side(record=record, cell=None)
    return {a.name for a in CATALOGUE if stop(a, side)} | (record.missing.keys() & BY_NAME.keys())


def _position(artifact: str) -> int:
    return POSITION.get(artifact, len(POSITION))


def _place(row: Mapping[str, Any]) -> Place:
    return row["artifact"], row["part"], row["scope"]


def _words(words: Sequence[str], numbers: _Numbers) -> Any:
    """One word for each number, kept as that number."""
    return pa.DictionaryArray.from_arrays(numbers.astype(np.int32), pa.array(words, pa.string()))


def _row(column: Column, finding: Finding) -> dict[str, Any]:
    found = finding.distances
    return {
        **_EMPTY,
        "artifact": column.artifact.name,
        "part": column.part,
        "scope": column.scope,
        "kind": column.artifact.kind,
        "stage": column.artifact.stage,
        "occurrences": finding.occurrences,
        "identical": finding.identical,
        "verdict": finding.verdict.value,
        "reason": finding.reason,
        "profile": finding.profile,
        "profiles": list(finding.profiles),
        **({name: getattr(found, name) for name in _DISTANCES} if found else {}),
        "first_index": list(found.first_index) if found and found.first_index is not None else None,
        "differing_blocks": finding.differing_blocks,
        "differing_occurrences": list(finding.differing_occurrences),
    }


_EMPTY: dict[str, Any] = dict.fromkeys(COLUMNS.names) | {"role": ""}
_DISTANCES = sorted(set(COLUMNS.names) & set(Distances.__dataclass_fields__) - {"profiles"})
