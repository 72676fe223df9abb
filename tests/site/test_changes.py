"""What came when, and how it is told."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from matrix_capture.schema import STAGES, StageStatus
from matrix_capture.settings import Settings
from matrix_compare.advice import record_advices
from matrix_compare.schema import Verdict
from matrix_site.changes import Entry, changes_pages, recent
from matrix_site.render import Frame, environment
from matrix_site.snapshot import read_snapshot
from tests.site.test_advice import advice

LANE = "cpu-pinned"


def at(day: int) -> dict[str, str]:
    return {"started": f"2025-11-{day:02}T08:30:00+00:00"}


def told(data: Path, settings: Settings) -> dict[str, Entry]:
    return {entry.subject: entry for entry in recent(read_snapshot(data, settings))}


def test_each_capture_is_told_with_what_it_brought(
    tmp_path: Path, settings: Settings, write_lane: Any
) -> None:
    write_lane(tmp_path)
    record_advices(tmp_path, LANE, [advice()])
    found = told(tmp_path, settings)
    assert {subject: entry.kind for subject, entry in found.items()} == {
        "2.0.1": "ran",
        "2.0.1...2.1.0": "boundary",
        "2.1.0...2.7.1": "identical",
        "2.7.1...2.8.0": "boundary",
        "2.9.0": "stopped",
        "2.8.0...2.9.1": "boundary",
        "2.9.1...2.10.0": "identical",
    }
    boundary, stopped = found["2.7.1...2.8.0"], found["2.9.0"]
    assert boundary.title == "cpu-pinned: torch 2.7.1...2.8.0 differs"
    assert boundary.headline.startswith("Not identical: it starts at `postnorm_centroids`")
    assert boundary.meaning.startswith("keep the index; ")
    assert boundary.href == "pair/2.7.1...2.8.0/index.html"
    assert stopped.headline == "failed at install: OSError: no space left on device"
    assert (stopped.verdict, stopped.href) == (Verdict.FAILED, "torch/2.9.0/index.html")
    assert found["2.0.1"].verdict is None


def test_a_pair_is_known_when_the_later_of_both_was_captured(
    tmp_path: Path, settings: Settings, write_lane: Any, record: Any
) -> None:
    days = {"2.7.0": 3, "2.7.1": 9, "2.8.0": 5}
    records = [record(LANE, release, **at(day)) for release, day in days.items()]
    write_lane(tmp_path, releases=tuple(days), failed=(), records=records)
    entries = recent(read_snapshot(tmp_path, settings))
    assert [(entry.subject, entry.date) for entry in entries] == [
        ("2.7.1...2.8.0", datetime(2025, 11, 9, 8, 30, tzinfo=UTC)),
        ("2.7.0...2.7.1", datetime(2025, 11, 9, 8, 30, tzinfo=UTC)),
        ("2.7.0", datetime(2025, 11, 3, 8, 30, tzinfo=UTC)),
    ]
    assert recent(read_snapshot(tmp_path, settings), 1) == entries[:1]


def test_what_no_record_gives_a_time_comes_last(
    tmp_path: Path, settings: Settings, write_lane: Any, record: Any
) -> None:
    records = [record(LANE, "2.7.1", started="yesterday")]
    write_lane(tmp_path, releases=("2.7.1", "2.8.0"), failed=(), records=records)
    entries = recent(read_snapshot(tmp_path, settings))
    assert [(entry.subject, entry.date is None) for entry in entries] == [
        ("2.7.1...2.8.0", False),
        ("2.7.1", True),
    ]
    (page,) = changes_pages(read_snapshot(tmp_path, settings))
    assert page.view["days"][-1].name == "On an unknown day"


def test_a_pair_without_verdicts_is_no_boundary(
    tmp_path: Path, settings: Settings, write_lane: Any
) -> None:
    pair = ("2.7.1", "2.8.0")
    write_lane(tmp_path, releases=pair, failed=(), drop=lambda row: True)
    entry = told(tmp_path, settings)["2.7.1...2.8.0"]
    assert (entry.kind, entry.verdict) == ("uncompared", Verdict.NOT_RUN)
    assert entry.href == "torch/2.8.0/index.html"


def test_a_lane_that_pins_nothing_has_no_pairs(
    tmp_path: Path, settings: Settings, write_lane: Any
) -> None:
    free = msgspec.structs.replace(settings.lanes[LANE], constraints=None)
    lanes = Settings(releases=settings.releases, lanes={"free": free}, profiles=settings.profiles)
    write_lane(tmp_path, lane="free", releases=("2.7.1", "2.8.0", "2.9.0"))
    kinds = {entry.subject: entry.kind for entry in recent(read_snapshot(tmp_path, lanes))}
    assert kinds == {"2.7.1": "ran", "2.8.0": "ran", "2.9.0": "stopped"}


def test_a_capture_that_stops_late_is_told_twice(
    tmp_path: Path, settings: Settings, write_lane: Any, record: Any
) -> None:
    status = {stage: StageStatus(state="ok") for stage in STAGES}
    status["train"] = StageStatus(state="failed", error="ValueError", message="no")
    late = record(LANE, "2.8.0", status=status)
    write_lane(tmp_path, releases=("2.7.1", "2.8.0"), failed=(), records=[late])
    kinds = [entry.kind for entry in recent(read_snapshot(tmp_path, settings))]
    assert kinds == ["stopped", "boundary", "ran"]


def test_a_release_that_the_machine_cannot_run_did_not_fail(
    tmp_path: Path, settings: Settings, write_lane: Any, record: Any
) -> None:
    idle = {"load": StageStatus(state="not_run", message="unsupported GPU: sm_90")}
    write_lane(tmp_path, releases=("2.9.0",), records=[record(LANE, "2.9.0", status=idle)])
    entry = told(tmp_path, settings)["2.9.0"]
    assert (entry.kind, entry.verdict) == ("stopped", Verdict.NOT_RUN)


def test_the_page_names_the_day_and_the_lane_and_folds_what_is_the_same(
    tmp_path: Path, settings: Settings, write_lane: Any
) -> None:
    write_lane(tmp_path)
    (page,) = changes_pages(read_snapshot(tmp_path, settings))
    frame = Frame(date="", day="", stale_after_days=14, url="https://example.org/", places=())
    template = environment().get_template(page.template)
    html = template.render(page=page, root=page.root, frame=frame, **page.view)
    assert '<h2 id="day-1">16 November 2025</h2>' in html
    assert "<code>cpu-pinned</code></h3>" in html
    assert html.count("with the release before, bit by bit") == 2
    for subject in ("2.1.0...2.7.1", "2.7.1...2.8.0"):
        assert f'href="../pair/{subject}/index.html"' in html


def test_without_a_capture_there_is_no_page(tmp_path: Path, settings: Settings) -> None:
    assert list(changes_pages(read_snapshot(tmp_path, settings))) == []
