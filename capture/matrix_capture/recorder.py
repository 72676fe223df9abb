"""Collects digest rows while the pipeline runs."""

from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import pyarrow as pa

from matrix_capture.catalogue import BY_NAME, Artifact, Depth, Device, expected
from matrix_capture.device import Copies, fits
from matrix_capture.digest import (
    Figures,
    Snapshot,
    block_hashes,
    content_hash,
    figures,
    multiset_hash,
    snapshot,
)
from matrix_capture.schema import COLUMNS
from matrix_capture.values import ValueStore

_BATCH = 1024  # rows that wait as Python objects, which take ten times the memory of columns

_BESIDE = ThreadPoolExecutor(thread_name_prefix="count")

_Row = dict[str, Any]


class Recorder:
    """Turns values into digest rows, in the order in which they arise.

    Values go to `store` where the catalogue keeps them; without a store nothing is kept. `depth` is
    how closely to look, `scope` the pass that values recorded now belong to. `missing` collects the
    artifacts that could not be observed, with the reason.
    """

    def __init__(
        self,
        store: ValueStore | None = None,
        repeat: int = 0,
        depth: Depth = "default",
        device: Device = "cpu",
    ) -> None:
        self.missing: dict[str, str] = {}
        self.depth = depth
        self.scope = "setup"
        self._store = store
        self._repeat = repeat
        self._expected = {artifact.name: artifact for artifact in expected(device, depth)}
        self._copies = Copies() if device == "cuda" else None
        self._rows: list[tuple[_Row, _Row | Future[_Row]]] = []
        self._batches: list[pa.RecordBatch] = []
        self._count = 0
        self._occurrences: defaultdict[tuple[str, str, str], int] = defaultdict(int)

    @contextmanager
    def within(self, scope: str) -> Iterator[None]:
        """Values recorded inside belong to `scope`."""
        outer, self.scope = self.scope, scope
        try:
            yield
        finally:
            self.scope = outer

    def record(self, artifact: str, value: Any, part: str = "", key: Any = None) -> None:
        """Digest a value as it is now.

        `key` is the value of the artifact that the order rule of this one refers to.
        """
        entry = BY_NAME[artifact]
        measured: _Row | Future[_Row]
        if self._copies and entry.order == "none" and fits(value):
            measured = self._copies.submit(value, partial(_measured_alone, entry, self._store))
        else:
            key = None if key is None else snapshot(key)
            measured = _measured(entry, self._store, snapshot(value), key)
        place = (artifact, part, self.scope)
        row = {
            "seq": self._count,
            "repeat": self._repeat,
            "stage": entry.stage,
            "artifact": artifact,
            "part": part,
            "scope": self.scope,
            "occurrence": self._occurrences[place],
        }
        self._rows.append((row, measured))
        self._occurrences[place] += 1
        self._count += 1
        if len(self._rows) == _BATCH:
            self._settle()

    def has(self, artifact: str) -> bool:
        """Whether the scope has a value of that artifact already."""
        return (artifact, "", self.scope) in self._occurrences

    def note(self, artifact: str, reason: str) -> None:
        """Note why an artifact is missing that a whole run shows here; the first reason stands."""
        if artifact in self._expected:
            self.missing.setdefault(artifact, reason)

    def note_unseen(self) -> None:
        """Note every artifact that a whole run did not show although it should."""
        seen = {artifact for artifact, _, _ in self._occurrences}
        for artifact in self._expected.values():
            if artifact.name not in seen:
                self.note(artifact.name, f"never seen in {artifact.source}")

    def table(self) -> pa.Table:
        """The rows so far, with the columns of the digest file."""
        self._settle()
        return pa.Table.from_batches(self._batches, schema=COLUMNS)

    def close(self) -> None:
        """End the threads that digest what lives on a device."""
        if self._copies:
            self._copies.close()

    def _settle(self) -> None:
        """Wait for the digests of the rows so far and lay those rows out in columns."""
        rows = [
            row | (measured.result() if isinstance(measured, Future) else measured)
            for row, measured in self._rows
        ]
        self._batches.append(pa.RecordBatch.from_pylist(rows, schema=COLUMNS))
        self._rows.clear()


def _counted(entry: Artifact, snap: Snapshot) -> tuple[list[bytes], Figures]:
    return block_hashes(snap), figures(snap, statistics=entry.keep == "always")


def _measured(
    entry: Artifact, store: ValueStore | None, snap: Snapshot, key: Snapshot | None = None
) -> _Row:
    """The columns of a row that follow from the value, by all cores."""
    beside = _BESIDE.submit(_counted, entry, snap)
    digest = content_hash(snap)
    return _columns(entry, store, snap, digest=digest, counts=beside.result(), key=key)


def _measured_alone(entry: Artifact, store: ValueStore | None, snap: Snapshot) -> _Row:
    """The same by this thread alone, beside others like it."""
    digest = content_hash(snap, alone=True)
    return _columns(entry, store, snap, digest=digest, counts=_counted(entry, snap))


def _columns(
    entry: Artifact,
    store: ValueStore | None,
    snap: Snapshot,
    *,
    digest: bytes,
    counts: tuple[list[bytes], Figures],
    key: Snapshot | None = None,
) -> _Row:
    blocks, counted = counts
    stored = entry.keep == "always" and store is not None
    if stored and store is not None:
        store.put(snap, digest)
    return {
        "dtype": snap.dtype,
        "shape": list(snap.shape),
        "device": snap.device,
        "numel": snap.data.size,
        "nbytes": snap.data.nbytes,
        "digest": digest,
        "multiset": None if entry.order == "none" else multiset_hash(snap, entry.order, key),
        "blocks": blocks,
        "block_rows": snap.block_rows,
        "stored": stored,
        "nan": counted.nan,
        "inf": counted.inf,
        "zeros": counted.zeros,
        "min": counted.min,
        "max": counted.max,
        "mean": counted.mean,
        "std": counted.std,
        "l2": counted.l2,
    }
