"""Bands, boundaries and the fold of many comparisons into one mark."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from matrix_capture.schema import STAGES, StageStatus
from matrix_capture.settings import Settings
from matrix_compare.schema import NO_VALUES, Verdict
from matrix_site.overview import Band, Boundary, Overview, overview
from matrix_site.snapshot import read_snapshot
from matrix_site.summary import SEVERITY

LANE = "cpu-pinned"


def _view(data: Path, settings: Settings) -> Overview:
    (lane,) = read_snapshot(data, settings).lanes
    return overview(lane, dict.fromkeys(lane.pairs, "x.html"), base="", stale="")


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
        (step.name, step.counts.worst, step.start) for step in ladder if isinstance(step, Boundary)
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
        marks = [cell for cell in row.cells if cell.counts.worst is not Verdict.IDENTICAL]
        assert not marks or marks[0].origin


def test_a_cell_shows_the_worst_verdict_and_tells_all_counts(
    tmp_path: Path, settings: Settings, write_lane: Any, comparison: Any
) -> None:
    pair = ("2.7.0", "2.7.1")
    extra = [
        comparison(LANE, pair, ("ivf", str(n), "more", "int64", 1), verdict=verdict.value)
        for n, verdict in enumerate(SEVERITY)
    ]
    write_lane(tmp_path, releases=pair, failed=(), extra=extra)
    row = _view(tmp_path, settings).rows[0]
    (cell,) = (cell for cell in row.cells if cell.label.startswith("ivf:"))
    assert cell.counts.worst is Verdict.FAILED
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
        comparison(LANE, pair, ("stranger", word, "", "int64", 1), verdict=word)
        for word in (better.value, worse.value)
    ]
    write_lane(tmp_path, releases=pair, failed=(), extra=extra)
    view = _view(tmp_path, settings)
    assert view.columns[-1].name == "other"
    assert view.rows[0].cells[-1].counts.worst is worse


def test_what_differs_by_an_unknown_amount_does_not_pass_for_a_known_failure(
    tmp_path: Path, settings: Settings, write_lane: Any, comparison: Any
) -> None:
    pair = ("2.7.0", "2.7.1")
    layers = ("layers", "encoder.layer.3", "more", "float32", 1)
    vague = {"verdict": "differs", "reason": NO_VALUES, "role": "origin"}
    extra = [comparison(LANE, pair, layers, **vague)]
    write_lane(tmp_path, releases=pair, failed=(), extra=extra)
    view = _view(tmp_path, settings)
    cell = next(cell for cell in view.rows[0].cells if cell.label.startswith("layers:"))
    assert cell.label == "layers: 1 differs (1 by an unknown amount), 24 identical, origin"
    assert (cell.counts.worst, cell.counts.vague, cell.origin) == (Verdict.DIFFERS, True, True)
    boundary = view.ladder[1]
    assert isinstance(boundary, Boundary)
    assert (boundary.counts.vague, boundary.start) == (True, "starts at `layers` in layer 3")
    # One distance that is known to be too large, and the mark says so.
    known = comparison(LANE, pair, ("layers", "x", "more", "float32", 1), verdict="differs")
    write_lane(tmp_path, releases=pair, failed=(), extra=[*extra, known])
    assert not any(cell.counts.vague for cell in _view(tmp_path, settings).rows[0].cells)


@pytest.mark.parametrize(
    ("options", "shown", "hidden"),
    [
        ({}, {"layers", "bert"}, {"embeddings", "intermediate", "half"}),
        ({"depth": "sublayers"}, {"layers", "embeddings", "intermediate"}, {"half"}),
        ({"depth": "<b>"}, {"layers"}, {"intermediate"}),
    ],
)
def test_columns_are_what_the_captures_looked_at(
    *,
    options: dict[str, str],
    shown: set[str],
    hidden: set[str],
    tmp_path: Path,
    settings: Settings,
    write_lane: Any,
    record: Any,
) -> None:
    pair = ("2.7.0", "2.7.1")
    records = [record(LANE, release, options=options) for release in pair]
    write_lane(tmp_path, releases=pair, failed=(), records=records)
    view = _view(tmp_path, settings)
    names = {column.name for column in view.columns}
    assert shown <= names
    assert not hidden & names
    assert view.layered == ("intermediate" in names)


def test_a_release_that_cannot_run_is_told_apart_from_one_that_failed(
    tmp_path: Path, settings: Settings, write_lane: Any, record: Any
) -> None:
    why = "unsupported GPU: NVIDIA H200 is sm_90, this build of torch has code for sm_37"
    status = {"load": StageStatus(state="not_run", message=why)}
    idle = record(LANE, "2.9.0", status=status, observer=None, control=None)
    write_lane(tmp_path, records=[idle])
    view = _view(tmp_path, settings)
    assert (view.captured, view.failed, view.unable) == (6, 0, 1)
    (row,) = (row for row in view.rows if not row.cells)
    assert (row.name, row.verdict) == ("2.9.0", Verdict.NOT_RUN)
    assert row.remark == f"did not run: {why}"
    assert "2.8.0...2.9.1" in [row.name for row in view.rows]


def test_facts_are_those_of_the_captures(
    tmp_path: Path, settings: Settings, write_lane: Any, record: Any
) -> None:
    pair = ("2.7.0", "2.7.1")
    factors = {"colbert-ai": "0.2.22 tree:0123", "kmeans": "faiss on the CPU"}
    records = [
        record(LANE, release, factors=factors, host={"gpu": "NVIDIA H200"}, note="by hand")
        for release in pair
    ]
    write_lane(tmp_path, releases=pair, failed=(), records=records)
    told = ("Python 3.11", "colbert-ai 0.2.22 tree:0123", "2 threads")
    assert _view(tmp_path, settings).facts == (*told, "CPU", "note: by hand")
    lane = replace(settings.lanes[LANE], device="cuda")
    on_gpu = Settings(releases=settings.releases, lanes={LANE: lane}, profiles=settings.profiles)
    gpu = ("NVIDIA H200", "k-means by faiss on the CPU", "note: by hand")
    assert _view(tmp_path, on_gpu).facts == (*told, *gpu)


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
    assert (boundary.counts.worst, boundary.start) == (Verdict.NOT_RUN, "not compared yet")
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


def test_every_pair_of_the_releases_was_compared_or_is_said_to_lack(
    tmp_path: Path, settings: Settings, write_lane: Any
) -> None:
    write_lane(
        tmp_path,
        releases=("2.7.0", "2.7.1", "2.8.0"),
        failed=(),
        drop=lambda row: (row["a"], row["b"]) == ("2.7.0", "2.8.0"),
    )
    view = _view(tmp_path, settings)
    assert view.releases == ("2.7.0", "2.7.1", "2.8.0")
    assert view.lacking == ("2.7.0...2.8.0",)
    assert list(view.pairs) == [("2.7.0", "2.7.1"), ("2.7.1", "2.8.0")]


def test_what_runs_to_the_end_is_told_in_runs_of_what_was_tried(
    tmp_path: Path, settings: Settings, write_lane: Any, record: Any
) -> None:
    ok = {stage: StageStatus(state="ok") for stage in STAGES}
    broken = ok | {"train": StageStatus(state="failed", error="E", message="m")}
    outcomes = {"2.0.1": ok, "2.1.0": ok, "2.7.1": broken, "2.8.0": ok, "2.9.0": ok}
    records = [record(LANE, release, status=status) for release, status in outcomes.items()]
    write_lane(tmp_path, releases=tuple(outcomes), failed=(), records=records)
    assert _view(tmp_path, settings).runs == (
        "2.0.1 to 2.1.0 (2 releases) and 2.8.0 to 2.9.0 (2 releases)"
    )
