"""What the tensors of a capture look like."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matrix_capture.errors import MatrixError
from matrix_capture.schema import COLUMNS, Capture, write_capture
from matrix_site.tensors import Form, read_forms
from tests.site.conftest import make_record


def _row(artifact: str, **changes: Any) -> dict[str, Any]:
    return {
        "seq": 0,
        "repeat": 0,
        "stage": "encode",
        "artifact": artifact,
        "part": "",
        "scope": "",
        "occurrence": 0,
        "dtype": "float32",
        "shape": [],
        "digest": bytes(32),
    } | changes


def _forms(folder: Path, rows: list[dict[str, Any]]) -> dict[str, tuple[Form, ...]]:
    table = pa.Table.from_pylist(rows, schema=COLUMNS)
    record = make_record("cpu-pinned", "2.8.0")
    return read_forms(write_capture(Capture(record=record, rows=table), folder))


def test_batches_of_many_lengths_are_one_form(tmp_path: Path) -> None:
    rows = [
        _row("batches", repeat=repeat, occurrence=n, shape=[32, length, 96], scope=scope)
        for repeat in (0, 1)
        for scope in ("sample", "chunk.0")
        for n, length in enumerate((61, 220, 100))
    ]
    assert _forms(tmp_path, rows) == {
        "batches": (
            Form(
                dtype="float32",
                sizes=((32, 32), (61, 220), (96, 96)),
                parts=(),
                scopes=("sample", "chunk.0"),
            ),
        )
    }


def test_other_dtypes_and_numbers_of_axes_are_other_forms(tmp_path: Path) -> None:
    rows = [
        _row("weights", part="a.weight", shape=[4, 2]),
        _row("weights", part="a.bias", shape=[4]),
        _row("weights", part="b.weight", shape=[3, 9]),
        _row("weights", part="ids", shape=[4], dtype="int64"),
        _row("num_passages", dtype="int64"),
    ]
    forms = _forms(tmp_path, rows)
    assert [(f.dtype, f.sizes, f.parts) for f in forms["weights"]] == [
        ("float32", ((3, 4), (2, 9)), ("a.weight", "b.weight")),
        ("float32", ((4, 4),), ("a.bias",)),
        ("int64", ((4, 4),), ("ids",)),
    ]
    assert [f.sizes for f in forms["num_passages"]] == [()]


@settings(deadline=None)  # the first example waits for Arrow
@given(shapes=st.lists(st.lists(st.integers(0, 2**40), min_size=2, max_size=2), min_size=1))
def test_sizes_hold_every_shape(
    shapes: list[list[int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = [_row("D", occurrence=n, shape=shape) for n, shape in enumerate(shapes)]
    (form,) = _forms(tmp_path_factory.mktemp("data"), rows)["D"]
    for axis, (low, high) in enumerate(form.sizes):
        sizes = [shape[axis] for shape in shapes]
        assert (low, high) == (min(sizes), max(sizes))


def test_a_file_that_is_no_capture_is_told(tmp_path: Path) -> None:
    with pytest.raises(MatrixError, match="no such digest file"):
        read_forms(tmp_path / "torch-2.8.0.parquet")
