"""Lanes that pin nothing: what a page says of releases that run, fail, or cannot be read."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import html5lib
import msgspec
import pytest

from matrix_capture.schema import STAGES, Record, StageStatus, digest_path
from matrix_capture.settings import Settings
from matrix_compare.known import Known, read_known
from matrix_site.outcomes import Outcomes, outcomes
from matrix_site.publish import publish
from matrix_site.snapshot import LaneData, read_snapshot

LANE = "cpu-latest"
KNOWN = read_known()
UPGRADE = "'HF_ColBERT' object has no attribute 'all_tied_weights_keys'"
_NOT_RUN = 3 * ("\N{EN DASH}",)
VERSIONS = {"transformers": "5.23.0", "numpy": "2.4.6", "faiss-cpu": "1.15.1"}


@pytest.fixture(scope="module")
def open_settings(settings: Settings) -> Settings:
    """The baseline lane and one that pins nothing."""
    lane = msgspec.structs.replace(
        settings.lanes["cpu-pinned"], constraints=None, passages=96, title="What one gets today"
    )
    return Settings(
        releases=settings.releases,
        lanes={**settings.lanes, LANE: lane},
        profiles=settings.profiles,
    )


def whole() -> dict[str, Any]:
    """What a record says of a run to the end."""
    return {"status": {stage: StageStatus(state="ok") for stage in STAGES}, "packages": VERSIONS}


def stopped(at: str, error: str, message: str, **packages: str) -> dict[str, Any]:
    """What a record says of a run that failed."""
    place = STAGES.index(at)
    status = {
        **{stage: StageStatus(state="ok") for stage in STAGES[:place]},
        at: StageStatus(state="failed", error=error, message=message),
        **{stage: StageStatus(state="not_run") for stage in STAGES[place + 1 :]},
    }
    return {"status": status, "packages": {**VERSIONS, **packages}}


RUNS = {
    "2.4.1": stopped("import", "ModuleNotFoundError", "No module named 'x'", setuptools="84.2.1"),
    "2.5.0": stopped("load", "AttributeError", UPGRADE),
    "2.5.1": stopped("load", "AttributeError", UPGRADE),
    "2.7.1": whole(),
    "2.8.0": stopped("load", "AttributeError", UPGRADE),
}


@pytest.fixture(scope="module")
def lane(
    open_settings: Settings,
    tmp_path_factory: pytest.TempPathFactory,
    write_lane: Any,
    record: Any,
) -> LaneData:
    data = tmp_path_factory.mktemp("open")
    records = [record(LANE, release, **changes) for release, changes in RUNS.items()]
    write_lane(data, lane=LANE, releases=tuple(RUNS), failed=(), records=records)
    (found,) = read_snapshot(data, open_settings, [LANE]).lanes
    return found


@pytest.fixture(scope="module")
def view(lane: LaneData, open_settings: Settings) -> Outcomes:
    return outcomes(lane, KNOWN)


# The view.


def test_releases_come_newest_first_with_a_state_for_each_stage(view: Outcomes) -> None:
    assert [one.release for one in view.outcomes] == ["2.8.0", "2.7.1", "2.5.1", "2.5.0", "2.4.1"]
    assert view.stages == STAGES
    for one in view.outcomes:
        assert tuple(step.stage for step in one.steps) == STAGES
    newest, runs = view.outcomes[:2]
    assert [step.glyph for step in newest.steps] == ["✓", "✓", "!", *_NOT_RUN]
    assert [step.word for step in newest.steps][1:4] == ["ok", "failed", "not run"]
    assert {step.state for step in runs.steps} == {"ok"}


def test_a_known_failure_has_its_cure_and_who_says_so(view: Outcomes) -> None:
    newest = view.outcomes[0]
    assert newest.told == f"failed at load: AttributeError: {UPGRADE}"
    assert newest.cause is not None
    assert newest.cause.cure == "transformers older than 5"
    assert newest.cause.sources == (
        ("ColBERT PR 412", "https://github.com/stanford-futuredata/ColBERT/pull/412"),
        ("measured in lane cpu-latest", ""),
    )


def test_a_failure_that_no_row_explains_is_new(view: Outcomes) -> None:
    oldest = view.outcomes[-1]
    assert (oldest.failed, oldest.cause) == (True, None)
    assert oldest.told == "failed at import: ModuleNotFoundError: No module named 'x'"


def test_without_the_row_the_same_failure_is_new(lane: LaneData, open_settings: Settings) -> None:
    others: list[Known] = [row for row in KNOWN if row.id != "transformers-5"]
    seen = outcomes(lane, others)
    assert all(one.cause is None for one in seen.outcomes)
    assert "4 of the failures are new" in seen.sentence


def test_neighbours_of_one_story_tell_it_once(view: Outcomes) -> None:
    # 2.8.0 has the same story as 2.5.1, but 2.7.1 lies between them.
    assert [one.rows for one in view.outcomes] == [1, 1, 2, 0, 1]


def test_the_versions_are_those_that_were_installed(view: Outcomes) -> None:
    assert view.packages == ("transformers", "numpy", "faiss-cpu", "setuptools")
    assert view.outcomes[-1].versions == ("5.23.0", "2.4.6", "1.15.1", "84.2.1")
    assert view.outcomes[0].versions[-1] == ""


def test_the_sentence_counts_every_release(view: Outcomes) -> None:
    assert view.share == "1 of 5 torch releases runs to the end"
    assert view.sentence == (
        "Captured on 15 November 2025: 1 of 5 torch releases runs to the end; "
        "4 fail: 1 at import and 3 at load; 1 of the failures is new."
    )
    assert "96 passages" in view.facts


def only(lane: LaneData, record: Record) -> LaneData:
    """The lane with nothing but one record."""
    (captured,) = (held for name, held in lane.captures.items() if name == "2.7.1")
    return replace(lane, captures={"2.7.1": replace(captured, record=record)})


def test_a_run_without_a_failure_is_no_run_to_the_end(lane: LaneData, record: Any) -> None:
    status = {**whole()["status"], "train": StageStatus(state="not_run")}
    seen = outcomes(only(lane, record(LANE, "2.7.1", status=status)), KNOWN)
    assert seen.outcomes[0].told == "nothing failed; not run: train"
    assert seen.sentence.endswith("0 of 1 torch release run to the end; of 1 nobody knows the end.")


def test_all_that_fail_may_be_known(lane: LaneData, record: Any) -> None:
    changes = {**RUNS["2.8.0"], "started": "no time"}
    seen = outcomes(only(lane, record(LANE, "2.7.1", **changes)), KNOWN)
    assert seen.sentence == (
        "0 of 1 torch release run to the end; 1 fails: 1 at load; no failure is new."
    )


def test_captures_of_several_days(lane: LaneData, open_settings: Settings, record: Any) -> None:
    days = {
        name: replace(
            held, record=msgspec.structs.replace(held.record, started=f"2026-0{month}-05T00:00:00Z")
        )
        for month, (name, held) in enumerate(lane.captures.items(), 3)
    }
    seen = outcomes(replace(lane, captures=days), KNOWN)
    assert seen.sentence.startswith("Captured from 5 March 2026 to 5 July 2026: 1 of 5")


def test_a_file_that_cannot_be_read_is_no_failure_of_the_release(
    tmp_path: Path, open_settings: Settings, write_lane: Any
) -> None:
    write_lane(tmp_path, lane=LANE, releases=("2.7.1", "2.8.0"), failed=())
    digest_path(tmp_path, LANE, "2.8.0").write_bytes(b"PAR1")
    (found,) = read_snapshot(tmp_path, open_settings, [LANE]).lanes
    seen = outcomes(found, KNOWN)
    newest = seen.outcomes[0]
    assert (newest.failed, newest.told) == (
        False,
        "its digest file cannot be read; capture the release again",
    )
    assert "of 2 nobody knows the end" in seen.sentence


# The page.


def site(data: Path, settings: Settings, out: Path, *lanes: str) -> str:
    publish(read_snapshot(data, settings, lanes), out)
    for page in out.rglob("*.html"):
        html5lib.HTMLParser(strict=True).parse(page.read_text("utf-8"))
    return (out / "index.html").read_text("utf-8")


def test_a_lane_that_pins_nothing_stands_below_the_others_and_has_no_pairs(
    tmp_path: Path, open_settings: Settings, write_lane: Any, record: Any
) -> None:
    data = tmp_path / "data"
    write_lane(data, releases=("2.7.1", "2.8.0"), failed=())
    records = [record(LANE, release, **changes) for release, changes in RUNS.items()]
    write_lane(data, lane=LANE, releases=tuple(RUNS), failed=(), records=records)
    index = site(data, open_settings, tmp_path / "out")
    assert index.index("Matrix of cpu-pinned") < index.index('id="outcomes-1"')
    assert "2 of 29 torch releases are captured; of 1 consecutive pair" in index
    assert f'<a href="{LANE}/index.html">1 of 5 torch releases runs to the end</a>' in index
    page = (tmp_path / "out" / LANE / "index.html").read_text("utf-8")
    assert page.count("object has no attribute &#39;all_tied_weights_keys&#39;") == 2
    assert '<td class="story" rowspan="2">' in page
    assert "<b>New:</b>" in page
    assert '<a href="https://github.com/stanford-futuredata/ColBERT/pull/412">' in page
    assert [path.name for path in (tmp_path / "out" / LANE).iterdir()] == ["index.html"]


def test_such_a_lane_alone_makes_a_page(
    tmp_path: Path, open_settings: Settings, write_lane: Any, record: Any
) -> None:
    data = tmp_path / "data"
    write_lane(data, lane=LANE, releases=("2.8.0",), failed=())
    index = site(data, open_settings, tmp_path / "out").partition("<body>")[2]
    assert index.count("0 of 1 torch release run to the end") == 2  # the lead, and its section
    assert "No captures yet in <code>cpu-pinned</code>" in index


def test_hostile_words_of_a_record_stay_words(
    tmp_path: Path, open_settings: Settings, write_lane: Any, record: Any
) -> None:
    hostile = "<script>alert(1)</script> {{ 7 * 7 }} \u202e" + "x" * 5000
    changes = {**stopped("load", hostile, hostile, numpy=hostile), "started": hostile}
    one = record(LANE, "2.8.0", **changes)
    write_lane(tmp_path / "data", lane=LANE, releases=("2.8.0",), failed=(), records=[one])
    site(tmp_path / "data", open_settings, tmp_path / "out")
    for path in (tmp_path / "out").rglob("*.html"):
        html = path.read_text("utf-8")
        assert html.count("<script") == html.count('static/site.js" defer ') == 1
        assert "\u202e" not in html
        assert not re.search(r"x{700}", html)
    assert "{{ 7 * 7 }}" in (tmp_path / "out" / LANE / "index.html").read_text("utf-8")


def test_a_quick_run_says_that_it_is_one(
    tmp_path: Path, open_settings: Settings, write_lane: Any, record: Any
) -> None:
    quick = f"{LANE}+0a1b2c3d"
    one = record(quick, "2.8.0", options={"passages": 16})
    write_lane(tmp_path / "data", lane=quick, releases=("2.8.0",), failed=(), records=[one])
    index = site(tmp_path / "data", open_settings, tmp_path / "out", quick)
    assert "A quick run, not a baseline." in index
    assert "passages = 16" in index
    assert "96 passages" not in index
