"""Columns of Arrow tables as numbers that tell entries apart, and as plain Python."""

from collections.abc import Iterable
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Numbers = npt.NDArray[np.int64]


def numbered(column: Any) -> Numbers:
    """A number from 0 for each entry, the same for the same; a null is an entry too."""
    numbers: Numbers = _encoded(column).indices.to_numpy().astype(np.int64)
    return numbers


def joined(parts: Iterable[npt.NDArray[Any]]) -> Numbers:
    """A number from 0 for each row of columns of such numbers, the same for the same row."""
    rows: Numbers = np.zeros(1, np.int64)
    for part in parts:
        # Counted anew each time, lest the codes overflow.
        rows = numbered(pa.array(rows * (int(part.max(initial=0)) + 1) + part))
    return rows


def rows_of(table: Any) -> list[dict[str, Any]]:
    """The rows of a table as `to_pylist` has them, which takes several times as long."""
    names = table.column_names
    columns = [_plain(column.combine_chunks()) for column in table.columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _plain(column: Any) -> list[Any]:
    if pa.types.is_list(column.type):
        items, lengths = _plain(column.flatten()), _plain(column.value_lengths())
        ends = accumulate(length or 0 for length in lengths)
        return [
            None if length is None else items[end - length : end]
            for length, end in zip(lengths, ends, strict=True)
        ]
    # Each entry of Arrow becomes an object of its own first, so only different ones are converted.
    encoded = _encoded(column)
    words = encoded.dictionary.to_pylist()
    return [words[number] for number in encoded.indices.to_numpy().tolist()]


def _encoded(column: Any) -> Any:
    return column.dictionary_encode(null_encoding="encode")
