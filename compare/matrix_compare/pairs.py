"""Every pair of captures of a lane, with a verdict for everything that either side has."""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from matrix_capture.catalogue import (
    BY_NAME,
    DEPTHS,
    POSITION,
    Artifact,
    Device,
    expected,
)
from matrix_capture.errors import MatrixError
from matrix_capture.schema import Capture, Record, list_captures, read_capture
from matrix_capture.settings import Settings
from matrix_compare.alignment import Alignment, Column
from matrix_compare.comparable import obstacles
from matrix_compare.gauge import Gauge
from matrix_compare.metrics import Distances
from matrix_compare.origin import DIFFERING, ROLES, Family, Place
from matrix_compare.schema import COLUMNS, Verdict
from matrix_compare.verdict import Finding, Side, judge, stop

_Numbers = npt.NDArray[np.int64] | npt.NDArray[np.int8]
_NONE = np.zeros(0, np.int64)
_OF_PAIR = ("lane", "a", "b", "role")
_CODES = {verdict: code for code, verdict in enumerate(Verdict)}
_DIFFERING = [_CODES[verdict] for verdict in DIFFERING]


@dataclass(frozen=True, kw_only=True, slots=True)
class Captures:
    """The readable captures of a lane in release order; `excluded` says why others are not."""

    lane: str
    captures: tuple[Capture, ...]
    excluded: tuple[str, ...]

    def of(self, torch: str) -> Capture:
        """The capture of one release.

        Raises:
            MatrixError: there is none.
        """
        for capture in self.captures:
            if capture.record.torch == torch:
                return capture
        state = "no"
        if any(f"torch-{torch}.parquet" in line for line in self.excluded):
            state = "no readable"
        raise MatrixError(
            f"{state} capture of torch {torch} in lane {self.lane}; nox -s capture-{torch} makes it"
        )


def load_captures(data: Path, lane: str, settings: Settings) -> Captures:
    """Read every capture of a lane that can be read and belongs to a release of `matrix.toml`.

    Raises:
        MatrixError: the lane has no capture at all.
    """
    paths = list_captures(data, lane)
    if not paths:
        raise MatrixError(f"no captures of lane {lane} in {data}; make some with nox -s matrix")
    captures, excluded = [], []
    for path in paths:
        try:
            capture = read_capture(path)
            _check(capture, path, lane, settings)
        except MatrixError as error:
            excluded.append(str(error))
        else:
            captures.append(capture)
    captures.sort(key=lambda capture: settings.releases.index(capture.record.torch))
    return Captures(lane=lane, captures=tuple(captures), excluded=tuple(excluded))


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdicts:
    """The verdicts of all pairs: a table with `schema.COLUMNS`, and where in it each pair lies.

    Strings are dictionary-encoded: a lane has millions of rows and few hundred words.
    """

    table: Any
    places: Mapping[tuple[str, str], slice]

    def of(self, a: str, b: str) -> list[dict[str, Any]]:
        """The rows of one pair."""
        place = self.places.get((a, b), slice(0, 0))
        rows: list[dict[str, Any]] = self.table.slice(
            place.start, place.stop - place.start
        ).to_pylist()
        return rows


def compare(captures: Sequence[Capture], gauge: Gauge) -> Verdicts:
    """The verdicts of all pairs, each capture against every later one.

    Rows come in the order of a, b, catalogue, scope and part. Where a run stopped, whatever the
    other side has is `failed` or `not_run`. An artifact that neither side has, but that a whole run
    on this device at this depth shows, gets one row without part and scope if a run stopped before
    it or could not tap it, so that a pair of failed captures is not empty; otherwise it is not
    mentioned.
    """
    records = [capture.record for capture in captures]
    pairs = list(combinations(range(len(captures)), 2))
    judging = _Judging(captures, gauge)
    judged = [judging.pair(a, b) for a, b in pairs]
    sizes = [len(numbers) for numbers, _ in judged]
    ends = np.cumsum(sizes, dtype=np.int64)
    names = [record.torch for record in records]
    columns = {
        **judging.findings(np.concatenate([numbers for numbers, _ in judged] or [_NONE])),
        "role": _words(ROLES, np.concatenate([found for _, found in judged] or [_NONE])),
        "lane": _words(sorted({record.lane for record in records}), np.zeros(sum(sizes), np.int8)),
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
    """Judges pairs of aligned captures; equal contents are settled without a look at their rows.

    What is found is kept once, as a row without lane, pair and role; the rows of a pair are the
    numbers of such findings.
    """

    def __init__(self, captures: Sequence[Capture], gauge: Gauge) -> None:
        self._records = [capture.record for capture in captures]
        self._gauge = gauge
        self._aligned = Alignment(captures)
        self._rows: list[dict[str, Any]] = []
        self._verdicts = array("b")
        self._known: dict[tuple[int, ...], int] = {}
        self._families: dict[tuple[Place, ...], Family] = {}
        self._places: list[Place] = [
            (column.artifact.name, column.part, column.scope) for column in self._aligned.columns
        ]
        self._identical = [self._of_identical(n) for n in range(len(captures))]

    def pair(self, a: int, b: int) -> tuple[_Numbers, _Numbers]:
        """The findings of one pair in order, and the role of each."""
        reasons = obstacles(self._records[a], self._records[b])
        left, right = self._aligned.content[a], self._aligned.content[b]
        here = (left != -1) | (right != -1)
        same = (left == right) & (left >= 0) & (not reasons)
        numbers = self._identical[a].copy()
        for n in np.flatnonzero(here & ~same).tolist():
            # Other captures of the lane have no say: only the key columns of this pair count.
            keys = [key for key in self._aligned.columns[n].keys if here[key]]
            key_identical = bool(keys) and bool(same[keys].all())
            numbers[n] = self._judged(a, b, n, reasons, key_identical=key_identical)
        columns = np.flatnonzero(here)
        places = [self._places[n] for n in columns.tolist()]
        found = [*numbers[columns].tolist(), *self._absent(a, b, places, reasons)]
        if len(found) > len(places):
            found.sort(key=lambda number: _position(self._rows[number]["artifact"]))
            places = [_place(self._rows[number]) for number in found]
        ordered = np.array(found, np.int64)
        return ordered, self._roles(tuple(places), ordered)

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

    def _roles(self, places: tuple[Place, ...], numbers: _Numbers) -> _Numbers:
        if places not in self._families:
            self._families[places] = Family(places)
        verdicts = np.array(self._verdicts, np.int8)[numbers]
        return self._families[places].roles(
            np.isin(verdicts, _DIFFERING), verdicts == _CODES[Verdict.IDENTICAL]
        )

    def _of_identical(self, capture: int) -> _Numbers:
        """The finding that each column of a capture is identical, as far as it may be."""
        numbers = np.full(len(self._places), -1, np.int64)
        for n in np.flatnonzero(self._aligned.content[capture] >= 0).tolist():
            count = self._aligned.count[capture, n].item()
            known = (n, count)
            if known not in self._known:
                finding = Finding(verdict=Verdict.IDENTICAL, occurrences=count, identical=count)
                self._known[known] = self._keep(self._aligned.columns[n], finding)
            numbers[n] = self._known[known]
        return numbers

    def _judged(
        self, a: int, b: int, n: int, reasons: tuple[str, ...], *, key_identical: bool
    ) -> int:
        contents = self._aligned.content[a, n].item(), self._aligned.content[b, n].item()
        known = (n, *contents, key_identical)
        if not reasons and known in self._known:
            return self._known[known]
        finding = judge(
            self._aligned.columns[n].artifact,
            Side(record=self._records[a], cell=self._aligned.cell(a, n)),
            Side(record=self._records[b], cell=self._aligned.cell(b, n)),
            obstacles=reasons,
            key_identical=key_identical,
            gauge=self._gauge,
        )
        number = self._keep(self._aligned.columns[n], finding)
        # Only these depend on the contents alone; the others tell of the two captures.
        if min(contents) >= 0 and finding.verdict in DIFFERING:
            self._known[known] = number
        return number

    def _absent(
        self, a: int, b: int, places: Sequence[Place], reasons: tuple[str, ...]
    ) -> list[int]:
        """Findings on the artifacts that neither side has, where a record says why."""
        sides = [Side(record=self._records[n], cell=None) for n in (a, b)]
        present = {artifact for artifact, _, _ in places}
        wanted = set().union(*(_expected(side.record) for side in sides)) - present
        numbers = []
        for artifact in (BY_NAME[name] for name in sorted(wanted, key=POSITION.__getitem__)):
            if any(_explains(side, artifact) for side in sides):
                finding = judge(
                    artifact,
                    *sides,
                    obstacles=reasons,
                    key_identical=False,
                    gauge=self._gauge,
                )
                column = Column(artifact=artifact, part="", scope="", keys=())
                numbers.append(self._keep(column, finding))
        return numbers

    def _keep(self, column: Column, finding: Finding) -> int:
        self._rows.append(_row(column, finding))
        self._verdicts.append(_CODES[finding.verdict])
        return len(self._rows) - 1


def _check(capture: Capture, path: Path, lane: str, settings: Settings) -> None:
    record = capture.record
    if record.lane != lane or path.name != f"torch-{record.torch}.parquet":
        raise MatrixError(
            f"{path}: its record says torch {record.torch} of lane {record.lane}; "
            "move it where it belongs"
        )
    if record.torch not in settings.releases:
        raise MatrixError(f"{path}: torch {record.torch} is not in matrix.toml; add it there")
    for name in _REQUIRED:
        if capture.rows.column(name).null_count:
            raise MatrixError(f"{path}: column {name} has empty entries; capture the release again")


_REQUIRED = (
    *("seq", "repeat", "stage", "artifact", "part", "scope", "occurrence"),
    *("dtype", "shape", "digest"),
)


def _expected(record: Record) -> set[str]:
    """What a whole run of this kind shows; the record may come from anywhere."""
    depth = next((depth for depth in DEPTHS if depth == record.options.get("depth")), DEPTHS[0])
    devices: tuple[Device, ...] = get_args(Device)
    own = tuple(device for device in devices if device == record.factors.get("device"))
    return {artifact.name for device in own or devices for artifact in expected(device, depth)}


def _explains(side: Side, artifact: Artifact) -> bool:
    return stop(artifact, side) is not None or artifact.name in side.record.missing


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
