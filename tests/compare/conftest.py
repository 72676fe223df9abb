"""Captures made of real digests, written as real Parquet files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from matrix_capture.catalogue import BY_NAME
from matrix_capture.digest import (
    Snapshot,
    block_hashes,
    content_hash,
    figures,
    multiset_hash,
    snapshot,
)
from matrix_capture.schema import (
    COLUMNS,
    SCHEMA_VERSION,
    STAGES,
    Capture,
    CaptureCode,
    Record,
    StageStatus,
    digest_path,
    write_capture,
)
from matrix_capture.settings import Settings, Tolerance, read_settings
from matrix_capture.values import ValueStore

LANE = "cpu-pinned"
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True, slots=True)
class Put:
    """One value of a capture to be made."""

    artifact: str
    value: Any
    part: str = ""
    scope: str = "chunk.0"
    repeat: int = 0
    occurrence: int = 0
    key: Any = None
    keep: bool = True
    stage: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


class Maker(Protocol):
    def __call__(self, torch: str, puts: Sequence[Put] = (), **record: Any) -> Path: ...


def status_of(failed: str | None = None) -> dict[str, StageStatus]:
    """All stages of an indexing run ok, or stopped at `failed`."""
    if failed is None:
        return {stage: StageStatus(state="ok") for stage in STAGES}
    at = STAGES.index(failed)
    return {
        **{stage: StageStatus(state="ok") for stage in STAGES[:at]},
        failed: StageStatus(state="failed", error="ImportError", message="no module\nsecond line"),
        **{stage: StageStatus(state="not_run") for stage in STAGES[at + 1 :]},
    }


def record_of(torch: str = "2.7.1", **changes: Any) -> Record:
    record = Record(
        schema_version=SCHEMA_VERSION,
        lane=LANE,
        torch=torch,
        torch_build=f"{torch}+cu128",
        status=status_of(),
        packages={"torch": torch, "numpy": "1.26.4"},
        host={"cpu_model": "X"},
        environ={},
        inputs={"checkpoint": "aa", "collection": "bb"},
        factors={"python": "3.11"},
        fingerprint={"cpu_model": "X", "threads": 2},
        capture_code=CaptureCode(version="0.1.0", hash="00"),
        started="2026-01-01T00:00:00+00:00",
        seconds={"index": 1.0},
        repeats=1,
    )
    return msgspec.structs.replace(record, **changes)


def row_of(put: Put, seq: int = 0) -> dict[str, Any]:
    """The digest row of one value, as a capture would write it."""
    snap = as_snapshot(put.value)
    entry = BY_NAME.get(put.artifact)
    rule = entry.order if entry else "none"
    key = None if put.key is None else as_snapshot(put.key)
    numbers = figures(snap)
    return {
        "seq": seq,
        "repeat": put.repeat,
        "stage": put.stage or (entry.stage if entry else "index"),
        "artifact": put.artifact,
        "part": put.part,
        "scope": put.scope,
        "occurrence": put.occurrence,
        "dtype": snap.dtype,
        "shape": list(snap.shape),
        "device": snap.device,
        "numel": snap.data.size,
        "nbytes": snap.data.nbytes,
        "digest": content_hash(snap),
        "multiset": None if rule == "none" else multiset_hash(snap, rule, key),
        "blocks": block_hashes(snap),
        "block_rows": snap.block_rows,
        **{name: getattr(numbers, name) for name in numbers.__dataclass_fields__},
        "stored": put.keep,
        **put.extra,
    }


def as_snapshot(value: Any) -> Snapshot:
    return value if isinstance(value, Snapshot) else snapshot(value)


def capture_of(torch: str, puts: Sequence[Put] = (), **record: Any) -> Capture:
    rows = [row_of(put, seq) for seq, put in enumerate(puts)]
    return Capture(
        record=record_of(torch, **record), rows=pa.Table.from_pylist(rows, schema=COLUMNS)
    )


def pipeline_puts(embs: Any, **changes: Any) -> list[Put]:
    """A small run: weights, embeddings, codes, sorted codes; `changes` replace values."""
    codes = np.array([2, 0, 1, 0, 2, 1], dtype=np.int32)
    values = np.sort(codes)
    made = {
        "embs": embs,
        "codes": codes,
        "codes_before_sort": codes,
        "codes_sorted_values": values,
        "codes_sorted_indices": np.argsort(codes, kind="stable"),
        **changes,
    }
    weights = [
        Put(
            artifact="weights",
            part=f"layer.{n}",
            scope="setup",
            value=np.array([n, 1], dtype=np.float32),
        )
        for n in range(3)
    ]
    rest = [
        Put(
            artifact=name,
            value=value,
            key=made["codes_sorted_values"] if name == "codes_sorted_indices" else None,
        )
        for name, value in made.items()
    ]
    return weights + rest


@pytest.fixture
def settings() -> Settings:
    return read_settings(ROOT / "matrix.toml")


@pytest.fixture
def loose() -> Settings:
    """Two profiles whose bounds are easy to reason about."""
    return Settings(
        releases=("2.7.0", "2.7.1", "2.8.0"),
        lanes={},
        profiles={
            "tight": {"other": Tolerance(atol=0.0, rtol=0.001)},
            "wide": {"other": Tolerance(atol=0.5, rtol=0.0)},
        },
    )


@pytest.fixture
def store(tmp_path: Path) -> ValueStore:
    return ValueStore(tmp_path / "values")


@pytest.fixture
def make(tmp_path: Path, store: ValueStore) -> Maker:
    """Writes a capture and the values it keeps below `tmp_path`; returns the digest file."""

    def make(torch: str, puts: Sequence[Put] = (), **record: Any) -> Path:
        for put in puts:
            if put.keep:
                snap = as_snapshot(put.value)
                store.put(snap, content_hash(snap))
        write_capture(capture_of(torch, puts, **record), tmp_path)
        return digest_path(tmp_path, LANE, torch)

    return make
