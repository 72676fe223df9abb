"""Distances between stored values, each measured once and remembered from run to run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import blake3
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from matrix_capture.digest import Layout
from matrix_capture.errors import MatrixError
from matrix_capture.schema import write_atomically
from matrix_capture.values import ValueStore
from matrix_compare.metrics import Distances, Piece, measure
from matrix_compare.schema import NO_VALUES
from matrix_compare.tolerance import Profile
from matrix_compare.verdict import Occurrence


class Gauge:
    """Measures stored values; a pair of values that recurs is not read again.

    With `memory`, a Parquet file, not in a later run either. It holds nothing but distances between
    contents, so it is right whatever happens to the captures; it starts anew where profiles or the
    code that measures are others, or where it is damaged.
    """

    def __init__(
        self, store: ValueStore, profiles: Sequence[Profile], memory: Path | None = None
    ) -> None:
        self._store = store
        # A value is in many pairs, and a store may be far away.
        self._kept = cache(store.__contains__)
        self._profiles = profiles
        self._memory = memory
        self._remembered = _recalled(memory, profiles) if memory else {}
        self._known: dict[tuple[bytes, bytes], Distances | str] = dict(self._remembered)

    def __call__(self, a: Occurrence, b: Occurrence) -> Distances | str:
        """The distances of value b from value a, or the reason why there are none.

        They have one dtype and shape, but not one digest.
        """
        pair = (a.digest, b.digest)
        if pair not in self._known:
            self._known[pair] = self._measure(a, b)
        return self._known[pair]

    def save(self) -> None:
        """Remember what was measured, if there is a memory and anything new."""
        found = {pair: d for pair, d in self._known.items() if isinstance(d, Distances)}
        if self._memory is None or found == self._remembered:
            return
        rows = [{"a": a, "b": b, **asdict(found[a, b])} for a, b in sorted(found)]
        table = pa.Table.from_pylist(rows, schema=_COLUMNS)
        key = {_KEY: _key(self._profiles)}
        write_atomically(self._memory, table.replace_schema_metadata(key))

    def _measure(self, a: Occurrence, b: Occurrence) -> Distances | str:
        if not (self._kept(a.digest) and self._kept(b.digest)):
            return NO_VALUES
        layout = Layout(dtype=a.dtype, shape=a.shape, device="store")
        try:
            return measure(layout, self._pieces(a, b, layout), self._profiles)
        except MatrixError as error:
            return str(error)

    def _pieces(self, a: Occurrence, b: Occurrence, layout: Layout) -> Iterator[Piece]:
        """The blocks that differ, or all where a NaN is: it equals nothing, not even itself."""
        numbers = range(-(-layout.nbytes // max(1, layout.block_rows * layout.row_bytes)))
        if not len(a.blocks) == len(b.blocks) == len(numbers):
            raise MatrixError(
                f"{len(a.blocks)} and {len(b.blocks)} hashes of {len(numbers)} blocks"
            )
        wanted = [n for n in numbers if a.nan or b.nan or a.blocks[n] != b.blocks[n]]
        left, right = (
            self._read(side.digest, layout, {n: side.blocks[n] for n in wanted or numbers})
            for side in (a, b)
        )
        # `strict` also has the second one come to its end, where its last block is checked.
        for (start, x), (_, y) in zip(left, right, strict=True):
            yield start, x, y

    def _read(
        self, digest: bytes, layout: Layout, hashes: Mapping[int, bytes]
    ) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        try:
            yield from self._store.blocks(digest, layout, hashes)
        except MatrixError:
            # The store's own message holds a path of this machine, and verdicts are published.
            raise MatrixError(unreadable(digest)) from None


def unreadable(digest: bytes) -> str:
    """What is told of a value that cannot be read."""
    return f"value {digest.hex()[:12]} is unreadable or damaged"


_KEY = b"key"
_SOURCES = ("kernel.py", "metrics.py", "tolerance.py")
_COLUMNS = pa.schema(
    [
        ("a", pa.binary(32)),
        ("b", pa.binary(32)),
        ("elements", pa.int64()),
        ("unordered", pa.int64()),
        ("max_abs", pa.float64()),
        ("mean_abs", pa.float64()),
        ("max_rel", pa.float64()),
        ("equal_fraction", pa.float64()),
        ("max_ulp", pa.int64()),
        ("p50_ulp", pa.float64()),
        ("p99_ulp", pa.float64()),
        ("ulp_histogram", pa.list_(pa.int64())),
        ("rtol_needed", pa.float64()),
        ("first_index", pa.list_(pa.int64())),
        ("first_occurrence", pa.int64()),
        ("largest_index", pa.list_(pa.int64())),
        ("largest_occurrence", pa.int64()),
        ("profiles", pa.list_(pa.string())),
        ("violations", pa.list_(pa.int64())),
    ]
)


def _recalled(memory: Path, profiles: Sequence[Profile]) -> dict[tuple[bytes, bytes], Distances]:
    """What a memory holds; nothing if it is absent, damaged or of other profiles or code."""
    try:
        table = pq.read_table(memory, page_checksum_verification=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        return {}
    key = (table.schema.metadata or {}).get(_KEY)
    if key != _key(profiles) or table.schema != _COLUMNS:
        return {}
    return {(row.pop("a"), row.pop("b")): _distances(row) for row in table.to_pylist()}


def _distances(row: dict[str, Any]) -> Distances:
    fields: dict[str, Any] = {
        name: tuple(item) if isinstance(item, list) else item for name, item in row.items()
    }
    return Distances(**fields)


def _key(profiles: Sequence[Profile]) -> bytes:
    """A hash of all that distances depend on beside the values."""
    hasher = blake3.blake3(repr(profiles).encode())
    for module in _SOURCES:
        hasher.update(Path(__file__).with_name(module).read_bytes())
    return hasher.hexdigest().encode()
