"""Every pair of captures of a lane, with a verdict for everything that either side has."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, get_args

import numpy as np

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
from matrix_capture.values import ValueStore
from matrix_compare.alignment import Alignment, Column
from matrix_compare.comparable import obstacles
from matrix_compare.gauge import Gauge
from matrix_compare.metrics import Distances
from matrix_compare.origin import roles
from matrix_compare.schema import COLUMNS, Verdict
from matrix_compare.tolerance import read_profiles
from matrix_compare.verdict import Finding, Side, judge, stop


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


def compare(
    captures: Sequence[Capture], settings: Settings, store: ValueStore
) -> list[dict[str, Any]]:
    """The verdict rows (`schema.COLUMNS`) of all pairs, each capture against every later one.

    Rows come in the order of a, b, catalogue, scope and part. Where a run stopped, whatever the
    other side has is `failed` or `not_run`. An artifact that neither side has, but that a whole run
    on this device at this depth shows, gets one row without part and scope if a run stopped before
    it or could not tap it, so that a pair of failed captures is not empty; otherwise it is not
    mentioned.
    """
    if len(captures) < 2:
        return []
    judging = _Judging(captures, Gauge(store, read_profiles(settings)))
    rows: list[dict[str, Any]] = []
    for a, b in combinations(range(len(captures)), 2):
        pair = judging.pair(a, b)
        for row, role in zip(pair, roles(pair), strict=True):
            row["role"] = role
        rows += pair
    return rows


class _Judging:
    """Judges pairs of aligned captures; equal contents are settled without a look at their rows."""

    def __init__(self, captures: Sequence[Capture], gauge: Gauge) -> None:
        self._records = [capture.record for capture in captures]
        self._gauge = gauge
        self._aligned = Alignment(captures)
        self._templates = [
            _row(column, Finding(verdict=Verdict.IDENTICAL)) for column in self._aligned.columns
        ]
        self._known: dict[tuple[int, int, int, bool], dict[str, Any]] = {}

    def pair(self, a: int, b: int) -> list[dict[str, Any]]:
        """The rows of one pair in order, without roles."""
        reasons = obstacles(self._records[a], self._records[b])
        left, right = self._aligned.content[a], self._aligned.content[b]
        here = ((left != -1) | (right != -1)).tolist()
        same = ((left == right) & (left >= 0) & (not reasons)).tolist()
        counts = self._aligned.count[a].tolist()
        rows = []
        for n in np.flatnonzero(here).tolist():
            if same[n]:
                row = self._templates[n].copy()
                row["occurrences"] = row["identical"] = counts[n]
            else:
                # Other captures of the lane have no say: only the key columns of this pair count.
                keys = [key for key in self._aligned.columns[n].keys if here[key]]
                key_identical = bool(keys) and all(same[key] for key in keys)
                row = self._judged(a, b, n, reasons, key_identical=key_identical)
            rows.append(row)
        absent = self._absent(a, b, {row["artifact"] for row in rows}, reasons)
        if absent:
            rows = sorted(
                rows + absent, key=lambda row: POSITION.get(row["artifact"], len(POSITION))
            )
        place = {
            "lane": self._records[a].lane,
            "a": self._records[a].torch,
            "b": self._records[b].torch,
        }
        for row in rows:
            row.update(place)
        return rows

    def _judged(
        self, a: int, b: int, n: int, reasons: tuple[str, ...], *, key_identical: bool
    ) -> dict[str, Any]:
        contents = self._aligned.content[a, n].item(), self._aligned.content[b, n].item()
        known = (n, *contents, key_identical)
        if not reasons and known in self._known:
            return self._known[known].copy()
        finding = judge(
            self._aligned.columns[n].artifact,
            Side(record=self._records[a], cell=self._aligned.cell(a, n)),
            Side(record=self._records[b], cell=self._aligned.cell(b, n)),
            obstacles=reasons,
            key_identical=key_identical,
            gauge=self._gauge,
        )
        row = _row(self._aligned.columns[n], finding)
        # Only these depend on the contents alone; the others tell of the two captures.
        if min(contents) >= 0 and finding.verdict in (
            Verdict.REORDERED,
            Verdict.CLOSE,
            Verdict.DIFFERS,
        ):
            self._known[known] = row.copy()
        return row

    def _absent(
        self, a: int, b: int, present: set[str], reasons: tuple[str, ...]
    ) -> list[dict[str, Any]]:
        """Rows for the artifacts that neither side has, where a record says why."""
        sides = [Side(record=self._records[n], cell=None) for n in (a, b)]
        wanted = set().union(*(_expected(side.record) for side in sides)) - present
        rows = []
        for artifact in (BY_NAME[name] for name in sorted(wanted, key=POSITION.__getitem__)):
            if any(_explains(side, artifact) for side in sides):
                finding = judge(
                    artifact,
                    *sides,
                    obstacles=reasons,
                    key_identical=False,
                    gauge=self._gauge,
                )
                rows.append(_row(Column(artifact=artifact, part="", scope="", keys=()), finding))
        return rows


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
