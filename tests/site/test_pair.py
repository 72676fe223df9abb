"""The page of one pair: its sentence, its tables, and what else moved."""

from pathlib import Path
from typing import Any

import pytest

from matrix_capture.schema import Observer
from matrix_capture.settings import Settings
from matrix_compare.schema import Verdict
from matrix_site.pair import NONE, PairView, pair_view
from matrix_site.snapshot import read_snapshot

LANE = "cpu-pinned"
PAIR = ("2.7.0", "2.7.1")


def _view(data: Path, settings: Settings, pair: tuple[str, str]) -> PairView:
    (lane,) = read_snapshot(data, settings).lanes
    return pair_view(lane, pair, tuple(settings.profiles))


@pytest.mark.parametrize(
    ("pair", "headline"),
    [
        (
            ("2.7.1", "2.8.0"),
            "Not identical: it starts at `postnorm_centroids` (stage kmeans), by at most "
            "`6.0e-08`. Final artifacts: 5 differ, 1 close, 4 identical, by at most `3.9e-03` in "
            "`index_avg_residual`.",
        ),
        (
            ("2.8.0", "2.9.1"),
            "Not identical: it starts at `codes_sorted_indices` (stage ivf). "
            "Final artifacts: all 10 identical.",
        ),
        (("2.1.0", "2.7.1"), "Identical: all 83 comparisons agree bit for bit."),
        (("2.8.0", "2.9.0"), "Nothing to compare: torch 2.9.0 failed at install."),
    ],
)
def test_the_first_sentence_answers(
    pair: tuple[str, str], headline: str, data: Path, settings: Settings
) -> None:
    assert _view(data, settings, pair).headline == headline


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"verdict": "not_comparable", "reason": "collection differs"}, "collection differs"),
        ({"verdict": "not_run", "reason": ""}, "the verdicts give no reason"),
    ],
)
def test_a_pair_without_an_answer_says_why(
    *,
    changes: dict[str, str],
    expected: str,
    tmp_path: Path,
    settings: Settings,
    write_lane: Any,
    comparison: Any,
) -> None:
    row = comparison(LANE, PAIR, ("ivf", "", "disk", "int64", 1), **changes)
    write_lane(tmp_path, releases=PAIR, failed=(), extra=[row], drop=lambda row: True)
    assert expected in _view(tmp_path, settings, PAIR).headline


def test_what_nobody_knows_is_counted_and_no_change_is_claimed(
    tmp_path: Path, settings: Settings, write_lane: Any, comparison: Any
) -> None:
    place = ("sample", "", "more", "float16", 1)
    rows = [comparison(LANE, PAIR, place, verdict=word) for word in ("missing", "unstable")]
    write_lane(tmp_path, releases=PAIR, failed=(), extra=rows)
    view = _view(tmp_path, settings, PAIR)
    assert view.headline.startswith("Nothing changes where both sides can be compared.")
    assert view.headline.endswith("No answer for 2 comparisons.")
    assert view.controls[-1].startswith("1 comparison unstable")


def test_a_line_tells_equality_profiles_and_distance(data: Path, settings: Settings) -> None:
    final = _view(data, settings, ("2.0.1", "2.1.0")).tables[0]
    (line,) = (line for line in final.lines if line.artifact == "index_avg_residual")
    assert (line.dtype, line.equal, line.passes) == ("float16", "no", ("no", "yes"))
    assert (line.largest, line.verdict, line.role) == ("3.1e-05", Verdict.CLOSE, "propagated")
    assert line.details[0] == "79.8% equal"
    assert "needs rtol 3.1e-05" in line.details


def test_where_values_were_not_kept_no_profile_has_failed(
    tmp_path: Path, settings: Settings, write_lane: Any, comparison: Any
) -> None:
    row = comparison(
        LANE,
        PAIR,
        ("ivf", "", "more", "int64", 1),
        verdict="differs",
        identical=0,
        reason="values not kept",
    )
    write_lane(tmp_path, releases=PAIR, failed=(), extra=[row])
    intermediate = _view(tmp_path, settings, PAIR).tables[1]
    (line,) = (line for line in intermediate.lines if line.verdict is Verdict.DIFFERS)
    assert (line.equal, line.passes, line.largest) == ("no", (NONE, NONE), NONE)


def test_many_equal_parts_share_a_line(data: Path, settings: Settings) -> None:
    intermediate = _view(data, settings, ("2.0.1", "2.1.0")).tables[1]
    by_artifact = {line.artifact: line for line in intermediate.lines}
    assert len(by_artifact["weights"].places) == 24
    assert by_artifact["doclens"].places == ("sample", "chunk.0")
    assert sum(line.artifact == "batches" for line in intermediate.lines) == 2


def test_what_moved_with_torch_is_said(data: Path, settings: Settings) -> None:
    view = _view(data, settings, ("2.7.1", "2.8.0"))
    assert "`cublas`" in view.moved
    packages = view.environment[0]
    assert [fact.name for fact in packages.differing] == ["nvidia-cublas-cu12", "torch", "triton"]
    assert len(packages.same) == 42
    assert _view(data, settings, ("2.9.1", "2.10.0")).moved == ""


def test_captures_show_build_time_and_seconds(data: Path, settings: Settings) -> None:
    facts = {fact.name: fact for fact in _view(data, settings, ("2.7.1", "2.8.0")).captures}
    assert facts["torch build"].b == "2.8.0+cu128"
    assert facts["captured"].a == "15 November 2025, 08:30 UTC"
    assert facts["load"].a == "ok, 41 s"
    assert facts["train"].a == "not run"


def test_controls_missing_artifacts_and_failures_are_shown(
    tmp_path: Path, settings: Settings, write_lane: Any, record: Any
) -> None:
    records = [
        record(LANE, "2.7.0", repeats=1, observer=None, missing={"D": "docFromText was renamed"}),
        record(LANE, "2.7.1", observer=Observer(identical=False, tensors=9, differing=("ivf",))),
    ]
    write_lane(tmp_path, releases=PAIR, failed=(), records=records)
    view = _view(tmp_path, settings, PAIR)
    assert "no A/A control" in view.controls[0]
    assert "no observer certificate" in view.controls[0]
    assert "taps change `ivf`" in view.controls[1]
    assert [(fact.name, fact.a) for fact in view.missing] == [("D", "docFromText was renamed")]
    assert view.command == "nox -s matrix -- 2.7.0 2.7.1 --lane cpu-pinned"


def test_a_pair_without_readable_captures_still_has_its_verdicts(
    tmp_path: Path, settings: Settings, write_lane: Any
) -> None:
    write_lane(tmp_path, releases=PAIR, failed=())
    for file in (tmp_path / "digests" / LANE).iterdir():
        file.write_bytes(b"")
    view = _view(tmp_path, settings, PAIR)
    assert view.counts.total == 83
    assert view.failures == tuple(
        f"torch {release} has a digest file that cannot be read" for release in PAIR
    )
