from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matrix_compare.columns import joined, numbered, rows_of

TYPES = [
    (pa.int8(), st.integers(-2, 2)),
    (pa.float64(), st.sampled_from([0.0, -0.0, 1.5, float("inf")])),
    (pa.bool_(), st.booleans()),
    (pa.string(), st.text(max_size=2)),
    (pa.binary(2), st.binary(min_size=2, max_size=2)),
    (pa.list_(pa.int64()), st.lists(st.none() | st.integers(0, 3), max_size=3)),
    (pa.list_(pa.binary(1)), st.lists(st.binary(min_size=1, max_size=1), max_size=3)),
]


@pytest.mark.parametrize(("kind", "entries"), TYPES, ids=str)
@settings(deadline=None)  # Arrow imports pandas at first, if that is installed
@given(data=st.data())
def test_rows_are_those_of_arrow(kind: Any, entries: st.SearchStrategy[Any], data: Any) -> None:
    values = data.draw(st.lists(st.none() | entries, max_size=8))
    start = data.draw(st.integers(0, 8))
    halves = [pa.array(part, kind) for part in (values[:3], values[3:])]
    table = pa.table({"a": pa.chunked_array(halves), "b": pa.array(range(len(values)), pa.int32())})
    assert repr(rows_of(table.slice(start))) == repr(table.slice(start).to_pylist())


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2**40)), max_size=8))
def test_joined_numbers_tell_rows_apart(rows: list[tuple[int, int]]) -> None:
    columns = np.array(rows, np.int64).reshape(-1, 2).T
    numbers = joined([*columns, *columns])  # codes of so many columns would overflow
    assert len(numbers) == len(rows)
    assert len(set(zip(rows, numbers.tolist(), strict=True))) == len(set(rows))
    assert len(set(numbers.tolist())) == len(set(rows))


def test_nothing_is_an_entry_of_its_own() -> None:
    assert numbered(pa.array(["a", None, "b", None, "a"])).tolist() == [0, 1, 2, 1, 0]
