"""One fault in one place of a real capture: the report must name that place and nothing else."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from matrix_capture.catalogue import BY_NAME
from matrix_capture.digest import (
    Snapshot,
    block_hashes,
    content_hash,
    figures,
    multiset_hash,
)
from matrix_capture.schema import COLUMNS, Capture, write_capture
from matrix_capture.settings import read_settings
from matrix_capture.values import ValueStore
from matrix_compare.captures import load_captures
from matrix_compare.gauge import Gauge
from matrix_compare.pairs import compare
from matrix_compare.tolerance import read_profiles
from tests.e2e.conftest import LANE, RELEASES, ROOT, Done

SETTINGS = read_settings(ROOT / "matrix.toml")
SOUND, FAULTY = "2.8.0", "2.9.0"

Row = dict[str, Any]
Fault = Callable[[Snapshot], Snapshot]


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a fault is planted: the occurrence of an artifact that a real run has."""

    artifact: str
    part: str = ""
    scope: str
    occurrence: int = 0


# One or two of each stage; those of several megabytes have several blocks.
PLACES = [
    Place(artifact="probe_matmul", scope="probe"),
    Place(artifact="batches", scope="sample", occurrence=1),
    Place(artifact="D", scope="chunk.0"),
    Place(artifact="sample", scope="sample"),
    Place(artifact="prenorm_centroids", scope="sample"),
    Place(artifact="bucket_weights", scope="heldout"),
    Place(artifact="index_centroids", part="centroids.pt#0", scope="disk"),
    Place(artifact="raw_residuals", scope="chunk.0"),
    Place(artifact="codes", scope="chunk.0"),
    Place(artifact="codes_before_sort", scope="index"),
    Place(artifact="codes_sorted_values", scope="index"),
    Place(artifact="index_residuals", part="0.residuals.pt#0", scope="disk"),
]


def _at(snap: Snapshot) -> int:
    """The last element that is not zero: the sign of a zero is no difference to torch."""
    return int(np.flatnonzero(snap.numbers())[-1])


def ulp(snap: Snapshot) -> Snapshot:
    """One element becomes the next number, or the next integer."""
    data = snap.data.copy()
    data.view(f"u{data.itemsize}")[_at(snap)] += 1
    return replace(snap, data=data)


def sign(snap: Snapshot) -> Snapshot:
    """One element has its sign bit flipped."""
    data = snap.data.copy()
    bits = data.view(f"u{data.itemsize}")
    bits[_at(snap)] ^= bits.dtype.type(1 << (8 * data.itemsize - 1))
    return replace(snap, data=data)


def nan(snap: Snapshot) -> Snapshot:
    data = snap.data.copy()
    data[_at(snap)] = np.nan
    return replace(snap, data=data)


def _rows(snap: Snapshot) -> npt.NDArray[Any]:
    return snap.data.reshape(snap.shape[0], -1).copy()


def swapped_rows(snap: Snapshot) -> Snapshot:
    """The last row and the first that is not the same."""
    rows = _rows(snap)
    other = int((rows != rows[-1]).any(axis=1).argmax())
    rows[[other, -1]] = rows[[-1, other]]
    return replace(snap, data=rows.reshape(-1))


def permutation(snap: Snapshot) -> Snapshot:
    return replace(snap, data=_rows(snap)[::-1].reshape(-1).copy())


def another_dtype(snap: Snapshot) -> Snapshot:
    wide = {"float16": "float32", "float32": "float64", "int32": "int64", "int64": "int32"}
    dtype = wide.get(snap.dtype, "int16")
    return replace(snap, dtype=dtype, data=snap.data.astype(dtype))


def dropped_block(snap: Snapshot) -> Snapshot:
    """The last block is gone, or the last row where there is one block."""
    rows = snap.shape[0]
    kept = (rows - 1) // snap.block_rows * snap.block_rows or rows - 1
    shape = (kept, *snap.shape[1:])
    return replace(snap, shape=shape, data=snap.data[: prod(shape)].copy())


FAULTS: dict[str, Fault] = {
    fault.__name__: fault
    for fault in (ulp, sign, nan, swapped_rows, permutation, another_dtype, dropped_block)
}
IN_PLACE = {"ulp", "sign", "nan"}
CASES = [
    pytest.param(place, name, id=f"{place.artifact}-{name}") for place in PLACES for name in FAULTS
]


@pytest.fixture(scope="module")
def sound(done: Done, tmp_path_factory: pytest.TempPathFactory) -> tuple[Capture, Path]:
    """A real capture, and a folder with its values."""
    data = tmp_path_factory.mktemp("planted")
    shutil.copytree(done.data / "values", data / "values")
    capture = done.capture(RELEASES[1])
    assert capture.record.torch == SOUND
    write_capture(capture, data)
    return capture, data


def _plant(sound: tuple[Capture, Path], place: Place, fault: Fault | None) -> list[Row]:
    """The verdicts of a sound capture and one with a fault; None drops the occurrence."""
    capture, data = sound
    rows = []
    for row in capture.rows.to_pylist():
        where = {name: row[name] for name in ("artifact", "part", "scope", "occurrence")}
        if where == {name: getattr(place, name) for name in where}:
            if fault:
                rows.append(row | _faulty(row, fault, ValueStore(data / "values")))
        else:
            rows.append(row)
    record = msgspec.structs.replace(capture.record, torch=FAULTY)
    write_capture(Capture(record=record, rows=pa.Table.from_pylist(rows, schema=COLUMNS)), data)
    loaded = load_captures(data, LANE, SETTINGS)
    assert loaded.excluded == ()
    store = ValueStore(data / "values")
    gauge = Gauge(store, read_profiles(SETTINGS))
    return compare(loaded.captures, gauge, store).of(SOUND, FAULTY)


def _faulty(row: Row, fault: Fault, store: ValueStore) -> Row:
    """The digest row of a value with a fault, and that value in the store."""
    snap = fault(store.get(row["digest"]))
    store.put(snap, content_hash(snap))
    order = BY_NAME[row["artifact"]].order
    counted = figures(snap)
    return {
        "dtype": snap.dtype,
        "shape": list(snap.shape),
        "numel": snap.numel,
        "nbytes": snap.nbytes,
        "digest": content_hash(snap),
        "multiset": None if order == "none" else multiset_hash(snap, order),
        "blocks": block_hashes(snap),
        "block_rows": snap.block_rows,
        **{name: getattr(counted, name) for name in counted.__dataclass_fields__},
    }


def _the_one(rows: list[Row], place: Place) -> Row:
    """The only row that is not identical: nothing upstream, and downstream nothing new."""
    (row,) = (row for row in rows if row["verdict"] != "identical")
    assert (row["artifact"], row["part"], row["scope"]) == (
        place.artifact,
        place.part,
        place.scope,
    )
    assert {other["role"] for other in rows if other is not row} <= {"", "absorbed"}
    return row


@pytest.mark.parametrize(("place", "name"), CASES)
def test_a_fault_is_named_and_nothing_upstream(
    sound: tuple[Capture, Path], place: Place, name: str
) -> None:
    capture, data = sound
    (kept,) = (
        row
        for row in capture.rows.to_pylist()
        if row["repeat"] == 0
        and (row["artifact"], row["part"], row["scope"], row["occurrence"])
        == (place.artifact, place.part, place.scope, place.occurrence)
    )
    before = ValueStore(data / "values").get(kept["digest"])
    if name == "nan" and before.data.dtype.kind != "f":
        with pytest.raises(ValueError, match="NaN"):
            FAULTS[name](before)
        return
    row = _the_one(_plant(sound, place, FAULTS[name]), place)
    assert row["differing_occurrences"] == [place.occurrence]
    assert row["verdict"] in ("close", "differs")
    assert row["role"] == "origin"
    if name == "another_dtype":
        assert row["reason"].startswith(f"dtype {before.dtype} and ")
        return
    if name == "dropped_block":
        assert row["reason"].startswith(f"shape {before.shape} and ")
        return
    first = int(np.ravel_multi_index(row["first_index"], before.shape))
    if name in IN_PLACE:
        assert first == _at(before)
        assert row["differing_blocks"] == 1
        assert row["equal_fraction"] < 1
    if name == "ulp" and before.data.dtype.kind == "f":
        assert row["max_ulp"] == 1
    if name == "nan":
        assert "NaN" in row["reason"]
        assert row["verdict"] == "differs"
    assert row["first_occurrence"] == place.occurrence


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.artifact)
def test_a_missing_occurrence_is_named(sound: tuple[Capture, Path], place: Place) -> None:
    row = _the_one(_plant(sound, place, None), place)
    assert row["verdict"] == "missing"
    assert FAULTY in row["reason"]


def test_without_a_fault_nothing_is_named(sound: tuple[Capture, Path]) -> None:
    rows = _plant(sound, PLACES[0], lambda snap: snap)
    assert {row["verdict"] for row in rows} == {"identical"}
