"""Bands, boundaries and the fold of many comparisons into one mark."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from matrix_capture.settings import Settings
from matrix_compare.schema import Verdict
from matrix_site.overview import Band, Boundary, Overview, overview
from matrix_site.snapshot import read_snapshot
from matrix_site.summary import SEVERITY


def _view(data: Path, settings: Settings) -> Overview:
    (lane,) = read_snapshot(data, settings).lanes
    return overview(lane, settings.releases, dict.fromkeys(lane.pairs, "x.html"))


def test_bands_end_where_a_consecutive_pair_is_not_identical(
    data: Path, settings: Settings
) -> None:
    ladder = _view(data, settings).ladder
    assert [(step.first, step.last) for step in ladder if isinstance(step, Band)] == [
        ("2.9.1", "2.10.0"),
        ("2.8.0", "2.8.0"),
        ("2.1.0", "2.7.1"),
        ("2.0.1", "2.0.1"),
    ]
    assert [
        (step.name, step.verdict, step.start) for step in ladder if isinstance(step, Boundary)
    ] == [
        ("2.8.0...2.9.1", Verdict.REORDERED, "starts at `codes_sorted_indices`"),
        ("2.7.1...2.8.0", Verdict.DIFFERS, "starts at `postnorm_centroids`"),
        ("2.0.1...2.1.0", Verdict.DIFFERS, "starts at `batches`"),
    ]


def test_a_failed_release_is_a_row_between_its_neighbours_which_are_compared(
    data: Path, settings: Settings
) -> None:
    rows = [(row.name, row.remark) for row in _view(data, settings).rows]
    assert rows[:3] == [
        ("2.9.1...2.10.0", ""),
        ("2.8.0...2.9.1", "starts at `codes_sorted_indices`"),
        ("2.9.0", "failed at install: OSError: no space left on device"),
    ]


def test_the_first_mark_from_the_left_is_an_origin(data: Path, settings: Settings) -> None:
    for row in _view(data, settings).rows:
        marks = [cell for cell in row.cells if cell.verdict is not Verdict.IDENTICAL]
        assert not marks or marks[0].origin


def test_a_cell_shows_the_worst_verdict_and_tells_all_counts(
    tmp_path: Path, settings: Settings, write_lane: Any, comparison: Any
) -> None:
    pair = ("2.7.0", "2.7.1")
    extra = [
        comparison("cpu-pinned", pair, ("ivf", str(n), "more", "int64", 1), verdict=verdict.value)
        for n, verdict in enumerate(SEVERITY)
    ]
    write_lane(tmp_path, releases=pair, failed=(), extra=extra)
    row = _view(tmp_path, settings).rows[0]
    (cell,) = (cell for cell in row.cells if cell.label.startswith("ivf:"))
    assert cell.verdict is Verdict.FAILED
    assert cell.label == (
        "ivf: 1 failed, 1 differs, 1 missing, 1 not run, 1 not comparable, 1 unstable, 1 close, "
        "1 reordered, 2 identical"
    )


@pytest.mark.parametrize(("worse", "better"), list(pairwise(SEVERITY)))
def test_severity_decides_what_a_mark_shows(
    *,
    worse: Verdict,
    better: Verdict,
    tmp_path: Path,
    settings: Settings,
    write_lane: Any,
    comparison: Any,
) -> None:
    pair = ("2.7.0", "2.7.1")
    extra = [
        comparison("cpu-pinned", pair, ("stranger", word, "", "int64", 1), verdict=word)
        for word in (better.value, worse.value)
    ]
    write_lane(tmp_path, releases=pair, failed=(), extra=extra)
    view = _view(tmp_path, settings)
    assert view.columns[-1].name == "other"
    assert view.rows[0].cells[-1].verdict is worse


def test_a_pair_without_verdicts_is_not_compared_rather_than_identical(
    tmp_path: Path, settings: Settings, write_lane: Any
) -> None:
    write_lane(
        tmp_path,
        releases=("2.7.0", "2.7.1", "2.8.0"),
        failed=(),
        drop=lambda row: (row["a"], row["b"]) == ("2.7.0", "2.7.1"),
    )
    view = _view(tmp_path, settings)
    assert (view.identical, view.changed, view.uncompared) == (0, 1, 1)
    assert [row.verdict for row in view.rows] == [Verdict.DIFFERS, Verdict.NOT_RUN]
    boundary = view.ladder[-2]
    assert isinstance(boundary, Boundary)
    assert (boundary.verdict, boundary.start) == (Verdict.NOT_RUN, "not compared yet")
    assert not boundary.href


def test_verdicts_stay_in_the_matrix_when_a_capture_cannot_be_read(
    tmp_path: Path, settings: Settings, write_lane: Any
) -> None:
    write_lane(tmp_path, releases=("2.7.1", "2.8.0"), failed=())
    for file in tmp_path.rglob("torch-*.parquet"):
        file.write_bytes(b"")
    view = _view(tmp_path, settings)
    assert (view.captured, view.failed, view.changed) == (0, 2, 1)
    assert [(row.name, bool(row.cells)) for row in view.rows] == [
        ("2.8.0", False),
        ("2.7.1...2.8.0", True),
        ("2.7.1", False),
    ]


def test_the_choice_offers_every_compared_pair(data: Path, settings: Settings) -> None:
    (lane,) = read_snapshot(data, settings).lanes
    view = _view(data, settings)
    offered = {
        (choice.release, target)
        for choice in view.choices
        for target, cell in zip(view.targets, choice.cells, strict=True)
        if cell
    }
    assert offered == set(lane.pairs)
