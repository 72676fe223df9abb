"""Collects digest rows while the pipeline runs."""

from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from typing import Any

import numpy.typing as npt
import pyarrow as pa

from matrix_capture.catalogue import BY_NAME, Artifact, Depth, Device, expected
from matrix_capture.device import Copies, fits
from matrix_capture.digest import (
    Digest,
    Figures,
    Snapshot,
    block_hashes,
    content_hash,
    figures,
    multiset_hash,
    snapshot,
)
from matrix_capture.errors import MatrixError
from matrix_capture.gpu_digest import GpuDigests, Pending, takes
from matrix_capture.inject import Injector
from matrix_capture.optrace import Tracer
from matrix_capture.schema import COLUMNS, run_stage
from matrix_capture.values import ValueStore

_BATCH = 1024  # rows that wait as Python objects, which take ten times the memory of columns

_SHARED = 2**20  # bytes from which a second thread is worth its waking
_BESIDE = ThreadPoolExecutor(1, thread_name_prefix="count")

_Row = dict[str, Any]


class Recorder:
    """Turns values into digest rows, in the order in which they arise.

    Values go to `store` where the catalogue keeps them; without a store nothing is kept. `depth` is
    how closely to look, `scope` the pass that values recorded now belong to. `on_gpu` digests
    tensors where they are, on a GPU; what it does not take is copied and digested beside the run.
    `injector` has the values that are to go on in place of those that arise, `tracer` waits for a
    call to look into. `missing` collects the artifacts that could not be observed, with the reason.
    """

    def __init__(
        self,
        store: ValueStore | None = None,
        repeat: int = 0,
        *,
        depth: Depth = "default",
        device: Device = "cpu",
        on_gpu: GpuDigests | None = None,
        injector: Injector | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self.missing: dict[str, str] = {}
        self.depth = depth
        self.scope = "setup"
        self._store = store
        self._repeat = repeat
        self._expected = {artifact.name: artifact for artifact in expected(device, depth)}
        self._copies = Copies() if device == "cuda" else None
        self.on_gpu = on_gpu
        self._injector = injector
        self.tracer = tracer
        self._rows: list[tuple[_Row, Digest | Future[Digest] | Pending]] = []
        self._batches: list[pa.RecordBatch] = []
        self._count = 0
        self._gathered: defaultdict[str, list[npt.NDArray[Any]]] = defaultdict(list)
        self._occurrences: defaultdict[tuple[str, str, str], int] = defaultdict(int)

    @contextmanager
    def within(self, scope: str) -> Iterator[None]:
        """Values recorded inside belong to `scope`."""
        outer, self.scope = self.scope, scope
        try:
            yield
        finally:
            self.scope = outer

    def record(self, artifact: str, value: Any, part: str = "", key: Any = None) -> Any:
        """Digest a value as it is now; returns the value to go on with.

        That is the value itself, or what is injected in its place and digested then. `key` is the
        value of the artifact that the order rule of this one refers to.
        """
        entry = BY_NAME[artifact]
        place = (artifact, part, self.scope)
        if self._injector:
            value = self._injector((*place, self._occurrences[place]), value)
        store = self._store if entry.keep == "always" else None
        digest: Digest | Future[Digest] | Pending
        if self.on_gpu and entry.order == "none" and store is None and takes(value):
            digest = self.on_gpu.submit(value)
        elif self._copies and entry.order == "none" and fits(value):
            digest = self._copies.submit(value, partial(_digest, entry, store))
        else:
            key = None if key is None else snapshot(key)
            snap = snapshot(value)
            digest = _digest(entry, store, snap, key, alone=snap.nbytes < _SHARED)
        row = {
            "seq": self._count,
            "repeat": self._repeat,
            "stage": entry.stage,
            "artifact": artifact,
            "part": part,
            "scope": self.scope,
            "occurrence": self._occurrences[place],
            "stored": store is not None,
        }
        self._rows.append((row, digest))
        self._occurrences[place] += 1
        self._count += 1
        if len(self._rows) >= _BATCH:
            self._settle()
        return value

    def gather(self, artifact: str, value: Any) -> None:
        """Keep a copy of a value, which is to be recorded with others as one."""
        self._gathered[artifact].append(snapshot(value).numbers().copy())

    def gathered(self, artifact: str) -> list[npt.NDArray[Any]]:
        """What was gathered of an artifact, each as a flat array; it is forgotten here."""
        return self._gathered.pop(artifact, [])

    def has(self, artifact: str, part: str = "") -> bool:
        """Whether the scope has a value of that artifact already."""
        return (artifact, part, self.scope) in self._occurrences

    def note(self, artifact: str, reason: str) -> None:
        """Note why an artifact is missing that a whole run shows here; the first reason stands."""
        if artifact in self._expected:
            self.missing.setdefault(artifact, reason)

    def note_unseen(self, stage: str) -> None:
        """Note every artifact that a whole stage of a run did not show although it should."""
        seen = {artifact for artifact, _, _ in self._occurrences}
        for artifact in self._expected.values():
            if run_stage(artifact.stage) == stage and artifact.name not in seen:
                self.note(artifact.name, f"never seen in {artifact.source}")

    def table(self) -> pa.Table:
        """The rows so far, with the columns of the digest file; what they keep is stored by then.

        Raises:
            MatrixError: a value could not be stored.
        """
        self._settle()
        if self._store:
            self._store.flush()
        return pa.Table.from_batches(self._batches, schema=COLUMNS)

    def close(self) -> None:
        """End the threads that digest what lives on a device."""
        if self._copies:
            self._copies.close()

    def _settle(self) -> None:
        """Wait for the digests of the rows so far and lay those rows out in columns."""
        waiting, self._rows = self._rows, []
        rows = []
        for row, digest in waiting:
            try:
                rows.append(
                    row | _columns(digest if isinstance(digest, Digest) else digest.result())
                )
            except MatrixError:
                raise
            except Exception as error:
                self.note(str(row["artifact"]), f"{type(error).__name__}: {error}")
        self._batches.append(pa.RecordBatch.from_pylist(rows, schema=COLUMNS))


def _digest(
    entry: Artifact,
    store: ValueStore | None,
    snap: Snapshot,
    key: Snapshot | None = None,
    *,
    alone: bool = True,
) -> Digest:
    """The digest of a value, by this thread alone or by two; the value goes to the store."""
    beside = None if alone else _BESIDE.submit(_counted, entry, snap)
    content = content_hash(snap)
    blocks, counted = beside.result() if beside else _counted(entry, snap)
    multiset = None if entry.order == "none" else multiset_hash(snap, entry.order, key)
    if store:
        store.put(snap, content)
    return Digest(
        layout=snap.layout, content=content, blocks=blocks, figures=counted, multiset=multiset
    )


def _counted(entry: Artifact, snap: Snapshot) -> tuple[list[bytes], Figures]:
    return block_hashes(snap), figures(snap, statistics=entry.keep == "always")


def _columns(digest: Digest) -> _Row:
    layout, figures = digest.layout, digest.figures
    return {
        "dtype": layout.dtype,
        "shape": list(layout.shape),
        "device": layout.device,
        "numel": layout.numel,
        "nbytes": layout.nbytes,
        "digest": digest.content,
        "multiset": digest.multiset,
        "blocks": digest.blocks,
        "block_rows": layout.block_rows,
        **{field.name: getattr(figures, field.name) for field in fields(Figures)},
    }
