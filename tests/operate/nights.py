"""Nights of a lane: captures that are recorded one after the other, and what a command says."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from matrix_operate.history import record_capture
from tests.compare.conftest import LANE, Put, capture_of

SAME = np.linspace(-1, 1, 12).astype(np.float32).reshape(3, 4)
MOVED = SAME * 2
CODES = np.arange(6, dtype=np.int32)


def puts(embs: Any = SAME, codes: Any = CODES) -> list[Put]:
    """Embeddings, what is made from them, and what becomes of that in the index."""
    return [
        Put(artifact="embs", value=embs),
        Put(artifact="codes", value=codes),
        Put(artifact="index_codes", scope="disk", value=codes),
    ]


class Nights:
    """Records captures in a data folder; each by a run of its own, an hour after the one before."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self._runs = 0

    def capture(
        self, torch: str, values: Sequence[Put] | None = None, *, lane: str = LANE, **record: Any
    ) -> None:
        """Record a capture; the one that it replaces goes to history."""
        self._runs += 1
        started = f"2026-01-{1 + self._runs // 24:02}T{self._runs % 24:02}:00:00+00:00"
        found = puts() if values is None else values
        record_capture(
            self.data, capture_of(torch, found, lane=lane, **{"started": started, **record})
        )
