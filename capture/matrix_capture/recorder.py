"""Collects digest rows while the pipeline runs."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from matrix_capture.catalogue import BY_NAME, CATALOGUE
from matrix_capture.digest import (
    Snapshot,
    block_hashes,
    content_hash,
    figures,
    multiset_hash,
    snapshot,
)
from matrix_capture.schema import COLUMNS
from matrix_capture.values import ValueStore

_ORDER_KEYS = {artifact.order_key for artifact in CATALOGUE} - {None}


class Recorder:
    """Turns values into digest rows, in the order in which they arise.

    Values go to `store` where the catalogue keeps them; without a store nothing is kept. `scope` is
    the pass that values recorded now belong to. `missing` collects the artifacts that could not be
    observed, with the reason.
    """

    def __init__(self, store: ValueStore | None = None, repeat: int = 0) -> None:
        self.missing: dict[str, str] = {}
        self._store = store
        self._repeat = repeat
        self._rows: list[dict[str, Any]] = []
        self._occurrences: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        self._keys: dict[str, Snapshot] = {}
        self.scope = "setup"

    @contextmanager
    def within(self, scope: str) -> Iterator[None]:
        """Values recorded inside belong to `scope`."""
        outer, self.scope = self.scope, scope
        try:
            yield
        finally:
            self.scope = outer

    def record(self, artifact: str, value: Any, part: str = "") -> None:
        """Digest a value as it is now."""
        entry = BY_NAME[artifact]
        snap = snapshot(value)
        digest = content_hash(snap)
        place = (artifact, part, self.scope)
        key = self._keys.get(entry.order_key) if entry.order_key else None
        if artifact in _ORDER_KEYS:
            # Kept for the next artifact, so it must not change with a later in-place write.
            self._keys[artifact] = Snapshot(
                dtype=snap.dtype, shape=snap.shape, device=snap.device, data=snap.data.copy()
            )
        stored = entry.keep == "always" and self._store is not None
        if stored and self._store is not None:
            self._store.put(snap, digest)
        row: dict[str, Any] = {
            "seq": len(self._rows),
            "repeat": self._repeat,
            "stage": entry.stage,
            "artifact": artifact,
            "part": part,
            "scope": self.scope,
            "occurrence": self._occurrences[place],
            "dtype": snap.dtype,
            "shape": list(snap.shape),
            "device": snap.device,
            "numel": snap.data.size,
            "nbytes": snap.data.nbytes,
            "digest": digest,
            "multiset": None if entry.order == "none" else multiset_hash(snap, entry.order, key),
            "blocks": block_hashes(snap),
            "block_rows": snap.block_rows,
            "stored": stored,
        }
        counted = figures(snap)
        row |= {"nan": counted.nan, "inf": counted.inf, "zeros": counted.zeros}
        if entry.keep == "always":
            for name in ("min", "max", "mean", "std", "l2"):
                row[name] = getattr(counted, name)
        self._rows.append(row)
        self._occurrences[place] += 1

    def note_unseen(self) -> None:
        """Note every artifact of the catalogue that a whole run did not show."""
        seen = {artifact for artifact, _, _ in self._occurrences}
        for artifact in CATALOGUE:
            if artifact.name not in seen:
                self.missing.setdefault(artifact.name, f"never seen in {artifact.source}")

    def table(self) -> pa.Table:
        """The rows so far, with the columns of the digest file."""
        return pa.Table.from_pylist(self._rows, schema=COLUMNS)
