"""What rows upload: folders with captures, values and rankings; and what collect makes of them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from matrix_capture.rankings import SCHEMA_VERSION, Header, Search, record_searches
from matrix_capture.schema import CaptureCode, read_capture, write_capture
from matrix_capture.search import ranking_rows
from matrix_capture.values import ValueStore
from matrix_operate.collected import SCHEMA_VERSION as COLLECTED
from matrix_operate.collected import Arrived, Collected, write_collected
from matrix_operate.plan import SCHEMA_VERSION as PLAN
from matrix_operate.plan import NotRun, Plan, Row, write_plan
from tests.compare.conftest import LANE, Put, as_snapshot, capture_of

SAME = np.linspace(-1, 1, 12).astype(np.float32).reshape(3, 4)
STARTED = "2025-01-01T00:00:00+00:00"
FACTORS = {"python": "3.11", "device": "cpu", "colbert-ai": "0.2.22"}
INPUTS = {"collection": "0a", "queries": "0b"}
FOUND = [[(4, 1, 0.75), (0, 2, 0.5)], [(2, 1, 0.25)]]


def puts(embs: Any = SAME) -> list[Put]:
    """Two tensors of which one is stored, and one of the index."""
    codes = np.arange(6, dtype=np.int32)
    return [
        Put(artifact="embs", value=embs),
        Put(artifact="codes", value=codes, keep=False),
        Put(artifact="index_codes", scope="disk", value=codes, keep=False),
    ]


def fill(folder: Path, torch: str, values: Sequence[Put] | None = None, **record: Any) -> Path:
    """Write a capture with its values below a folder; returns the digest file."""
    values = puts() if values is None else values
    known = {"started": STARTED, "factors": FACTORS, "inputs": INPUTS, "torch_build": torch}
    capture = capture_of(torch, values, **{**known, **record})
    store = ValueStore(folder / "values")
    for put, row in zip(values, capture.rows.to_pylist(), strict=True):
        if put.keep:
            store.put(as_snapshot(put.value), row["digest"])
    return write_capture(capture, folder)


def fill_rankings(
    folder: Path,
    keys: Iterable[tuple[str, str]],
    *,
    lane: str = LANE,
    found: Any = None,
    relevant: tuple[tuple[int, ...], ...] = ((0,), (1, 2)),
    inputs: dict[str, str] = INPUTS,
    **search: Any,
) -> Path:
    """Write what was found in some indexes below a folder; returns the file."""
    header = Header(schema_version=SCHEMA_VERSION, lane=lane, inputs=inputs, relevant=relevant)
    facts: dict[str, Any] = {
        "state": "ok",
        "index": "0c",
        "started": STARTED,
        "seconds": 1.5,
        "capture_code": CaptureCode(version="1", hash="0d"),
        **search,
    }
    rows = FOUND if found is None else found
    searches = [
        (
            Search(index_torch=index, search_torch=by, mmap=False, **facts),
            ranking_rows(rows, index_torch=index, search_torch=by, mmap=False),
        )
        for index, by in keys
    ]
    return record_searches(folder, header, searches)


def planned(path: Path, *rows: Row, not_run: tuple[NotRun, ...] = ()) -> Path:
    """Write a plan; without rows, of two releases in a row each."""
    rows = rows or (row("one", "2.7.1"), row("two", "2.8.0"))
    write_plan(path, Plan(schema_version=PLAN, rows=rows, not_run=not_run))
    return path


def row(name: str, *torch: str, lane: str = LANE, **more: Any) -> Row:
    return Row(name=name, lane=lane, torch=torch, runs_on=("ubuntu-24.04",), **more)


def accepted(folder: Path, lane: str = LANE) -> Path:
    """Write of a folder with captures what collect would write beside them; returns the folder."""
    captures = [read_capture(path) for path in sorted((folder / "digests" / lane).iterdir())]
    arrived = tuple(
        Arrived(
            row="one",
            lane=lane,
            torch=capture.record.torch,
            attempt=1,
            started=capture.record.started,
            stopped="",
            values=1,
            stored=1,
        )
        for capture in captures
    )
    write_collected(
        folder,
        Collected(schema_version=COLLECTED, arrived=arrived, missing=(), refused=(), not_run=()),
    )
    return folder


def files(folder: Path) -> dict[str, bytes]:
    """The files of a data folder and what they hold; not values, and nothing hidden."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    places = {path.relative_to(folder): path for path in paths}
    return {
        place.as_posix(): path.read_bytes()
        for place, path in sorted(places.items())
        if place.parts[0] != "values" and not any(part.startswith(".") for part in place.parts)
    }
