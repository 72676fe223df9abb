"""The bench itself: what it measures, not how fast anything is."""

from pathlib import Path

import numpy as np
import pytest

from matrix_capture.settings import Settings
from matrix_compare import bench
from matrix_compare.schema import read_verdicts
from matrix_compare.tolerance import read_profiles
from tests.compare.conftest import ROOT


def test_pairs_are_compared_for_real(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(bench, "_CAPTURES", 3)
    monkeypatch.setattr(bench, "_ROWS", 200)
    found = bench.pairs(settings, tmp_path)
    assert found.name.startswith("3 pairs of 200 rows each")
    rows = read_verdicts(tmp_path, "cpu-pinned")
    assert len(rows) == 3 * 100
    # The second capture differs from the first in a third, and the third from neither further.
    assert sum(row["verdict"] == "differs" for row in rows) == 2 * 34


def test_distances_are_of_values_that_differ(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def watched(a: object, pieces: list[tuple[int, np.ndarray, np.ndarray]], _: object) -> None:
        ((_, x, y),) = pieces
        seen.append((x != y).mean())

    monkeypatch.setattr(bench, "_ELEMENTS", 4096)
    monkeypatch.setattr(bench, "measure", watched)
    found = bench.distances(read_profiles(settings))
    assert [measured.name.partition(",")[0] for measured in found] == [
        *["distances of float32"] * 4,
        *["distances of float16"] * 2,
    ]
    assert sorted({round(share, 1) for share in seen}) == [0.1, 1.0]
