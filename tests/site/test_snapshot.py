"""What is read from a data folder, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from matrix_capture.errors import MatrixError
from matrix_capture.schema import digest_path
from matrix_capture.settings import Settings
from matrix_compare.schema import verdict_path
from matrix_site.snapshot import read_snapshot

LANE = "cpu-pinned"


def test_an_unreadable_digest_file_is_one_problem_and_leaves_the_rest(
    tmp_path: Path, settings: Settings, write_lane: Any
) -> None:
    write_lane(tmp_path, releases=("2.7.1", "2.8.0"), failed=())
    digest_path(tmp_path, LANE, "2.8.0").write_bytes(b"PAR1 but not really")
    snapshot = read_snapshot(tmp_path, settings)
    (lane,) = snapshot.lanes
    assert lane.broken == ("2.8.0",)
    assert len(snapshot.problems) == 1
    assert "2.8.0.parquet" in snapshot.problems[0]
    assert "2.7.1" in lane.captures
    assert ("2.7.1", "2.8.0") in lane.pairs


def test_unreadable_verdicts_are_one_problem_and_leave_the_captures(
    tmp_path: Path, settings: Settings, write_lane: Any
) -> None:
    write_lane(tmp_path, releases=("2.7.1", "2.8.0"), failed=())
    verdict_path(tmp_path, LANE).write_bytes(b"")
    snapshot = read_snapshot(tmp_path, settings)
    (lane,) = snapshot.lanes
    assert lane.verdicts_broken
    assert len(snapshot.problems) == 1
    assert "2.8.0" in lane.captures


def test_a_capture_in_the_place_of_another_is_not_believed(
    tmp_path: Path, settings: Settings, write_lane: Any
) -> None:
    write_lane(tmp_path, releases=("2.7.1", "2.8.0"), failed=())
    digest_path(tmp_path, LANE, "2.7.1").replace(digest_path(tmp_path, LANE, "2.8.0"))
    (lane,) = read_snapshot(tmp_path, settings).lanes
    assert lane.broken == ("2.8.0",)


def test_releases_that_the_matrix_does_not_know_are_left_out(
    tmp_path: Path, settings: Settings, write_lane: Any, comparison: Any
) -> None:
    stray = [
        comparison(LANE, ("2.7.1", "../../etc"), ("ivf", "", "disk", "int64", 1)),
        comparison(LANE, ("<b>", "2.8.0"), ("ivf", "", "disk", "int64", 1)),
    ]
    write_lane(tmp_path, releases=("2.7.1", "2.8.0"), failed=(), extra=stray)
    (lane,) = read_snapshot(tmp_path, settings).lanes
    assert list(lane.pairs) == [("2.7.1", "2.8.0")]


@pytest.mark.parametrize(
    "name",
    [
        "cpu-unknown",
        "../cpu-pinned",
        "cpu-pinned+",
        "cpu-pinned+../../x",
        "cpu-pinned+1A2B3C4D",
        "cpu-pinned+1a2b3c4d5",
        "cpu-pinned+1a2b3c4d\n",
    ],
)
def test_a_lane_is_a_name_of_the_settings_and_at_most_eight_hex(
    name: str, tmp_path: Path, settings: Settings
) -> None:
    with pytest.raises(MatrixError, match="lane"):
        read_snapshot(tmp_path, settings, [name])
