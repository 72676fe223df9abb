"""The page of a release: how far it ran, and from there to every other."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from msgspec.structs import replace

from matrix_capture.schema import COLUMNS, Capture, StageStatus, write_capture
from matrix_capture.settings import Settings
from matrix_compare.advice import record_advices
from matrix_compare.schema import Verdict
from matrix_site.page import Page
from matrix_site.release import Section, release_pages
from matrix_site.render import write_site
from matrix_site.snapshot import read_snapshot
from tests.site.conftest import RELEASES
from tests.site.test_advice import advice
from tests.site.test_render import FRAME


def _pages(data: Path, settings: Settings, lanes: tuple[str, ...] = ()) -> Mapping[str, Page]:
    found = release_pages(read_snapshot(data, settings, lanes))
    return {page.view["release"]: page for page in found}


def _section(data: Path, settings: Settings, release: str) -> Section:
    (section,) = _pages(data, settings)[release].view["sections"]
    assert isinstance(section, Section)
    return section


def _html(pages: Mapping[str, Page], release: str, out: Path) -> str:
    write_site(FRAME, pages.values(), (), out)
    return (out / f"torch/{release}/index.html").read_text("utf-8")


def test_every_release_has_a_page_with_its_neighbours(data: Path, settings: Settings) -> None:
    pages = _pages(data, settings)
    assert tuple(pages) == settings.releases
    middle = pages["2.8.0"].view
    assert middle["older"] == ("2.7.1", "torch/2.7.1/index.html")
    assert middle["newer"] == ("2.9.0", "torch/2.9.0/index.html")
    assert pages[settings.releases[0]].view["older"] == ()
    assert pages[settings.releases[-1]].view["newer"] == ()


def test_every_pair_is_one_step_from_both_of_its_releases(
    data: Path, settings: Settings, tmp_path: Path
) -> None:
    (lane,) = read_snapshot(data, settings).lanes
    pages = _pages(data, settings)
    linked = {
        release: {way.href for way in page.view["sections"][0].ways}
        for release, page in pages.items()
    }
    for a, b in lane.pairs:
        assert f"pair/{a}...{b}/index.html" in linked[a] & linked[b]
    assert sum(map(len, linked.values())) == 2 * len(lane.pairs)
    html = _html(pages, "2.8.0", tmp_path / "out")
    assert 'href="../../pair/2.7.1...2.8.0/index.html"' in html
    assert 'href="../../pair/2.8.0...2.10.0/index.html"' in html


def test_ways_and_those_without_a_comparison_are_all_other_releases(
    data: Path, settings: Settings
) -> None:
    for release in ("2.8.0", "2.9.0", "2.6.0"):
        section = _section(data, settings, release)
        named = [*(way.release for way in section.ways), *(name for name, _ in section.alone)]
        assert sorted(named) == sorted(set(settings.releases) - {release})


def test_a_way_says_where_a_change_starts_or_why_nobody_knows(
    data: Path, settings: Settings
) -> None:
    told = {way.release: way.what for way in _section(data, settings, "2.8.0").ways}
    assert told["2.7.1"] == "starts at `postnorm_centroids`"
    assert told["2.9.0"] == "the capture stopped at install"
    ways = _section(data, settings, "2.9.1").ways
    assert [way.what for way in ways if way.release == "2.10.0"] == [""]


def test_a_release_without_a_capture_says_how_to_make_one(
    data: Path, settings: Settings, tmp_path: Path
) -> None:
    section = _section(data, settings, "2.6.0")
    assert not section.captured
    assert not section.ways
    assert section.command == "nox -s capture-2.6.0 -- --lane cpu-pinned"
    html = _html(_pages(data, settings), "2.6.0", tmp_path / "out")
    assert f'<span aria-hidden="true">{Verdict.NOT_RUN.glyph}</span> not run' in html


def test_stages_seconds_and_the_band_of_a_capture(data: Path, settings: Settings) -> None:
    section = _section(data, settings, "2.7.1")
    stages = [(one.step.stage, one.step.word, one.seconds, one.share) for one in section.stages]
    assert stages[0] == ("install", "ok", "3 min 25 s", 100)
    assert stages[3] == ("index", "ok", "1 min 1 s", 30)
    assert stages[5] == ("train", "not run", "", 0)
    assert section.told == "did not fail; not run: train"
    assert section.band is not None
    assert (section.band.first, section.band.last) == ("2.1.0", "2.7.1")
    failed = _section(data, settings, "2.9.0")
    assert failed.failed
    assert failed.told == "failed at install: OSError: no space left on device"
    assert (failed.band, failed.cure) == (None, None)


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 1e300])
def test_a_bar_is_never_longer_than_its_field(
    seconds: float, tmp_path: Path, settings: Settings, write_lane: Any, record: Any
) -> None:
    odd = record("cpu-pinned", "2.8.0", seconds={"install": seconds, "index": 2.0})
    write_lane(tmp_path, releases=("2.8.0",), failed=(), records=[odd])
    assert all(0 <= one.share <= 100 for one in _section(tmp_path, settings, "2.8.0").stages)


def test_a_known_failure_has_its_cure_and_a_new_one_is_told_as_such(
    tmp_path: Path, settings: Settings, write_lane: Any, record: Any
) -> None:
    error = StageStatus(
        state="failed", error="ModuleNotFoundError", message="No module named 'pkg_resources'"
    )
    packages = {"setuptools": "84.2.1", "torch": "2.1.0"}
    old = record("cpu-pinned", "2.1.0", status={"import": error}, packages=packages)
    new = record("cpu-pinned", "2.7.1", status={"import": replace(error, message="other")})
    write_lane(tmp_path / "data", releases=("2.1.0", "2.7.1"), failed=(), records=[old, new])
    pages = _pages(tmp_path / "data", settings)
    html = _html(pages, "2.1.0", tmp_path / "out")
    assert 'href="../../known/index.html#setuptools-pkg-resources"' in html
    assert "<b>New:</b>" not in html
    assert "<b>New:</b>" in (tmp_path / "out/torch/2.7.1/index.html").read_text("utf-8")


def test_advice_is_told_in_the_direction_it_was_given(
    tmp_path: Path, settings: Settings, write_lane: Any
) -> None:
    write_lane(tmp_path, releases=("2.7.1", "2.8.0"), failed=())
    there = advice(headline="2.7.1 → 2.8.0: keep the index")
    record_advices(tmp_path, "cpu-pinned", [there])
    (older,) = _section(tmp_path, settings, "2.7.1").ways
    (newer,) = _section(tmp_path, settings, "2.8.0").ways
    assert (older.there, older.back, older.newer) == ("keep the index", "", True)
    assert (newer.there, newer.back, newer.newer) == ("", "keep the index", False)


@pytest.mark.parametrize(
    ("device", "offset", "shifted", "words"),
    [
        ("cpu", 704, True, "begin at byte 704, but"),
        ("cpu", 320, False, "begin at byte 320, where"),
        ("cuda", 704, False, "on a GPU colbert-ai refuses to map it"),
    ],
)
def test_an_index_that_is_read_shifted_must_not_be_mapped(
    *,
    device: Any,
    offset: int,
    shifted: bool,
    words: str,
    tmp_path: Path,
    settings: Settings,
    record: Any,
) -> None:
    row = {
        "seq": 0,
        "repeat": 0,
        "stage": "probe",
        "artifact": "file_layout",
        "part": "0.codes.pt",
        "scope": "disk",
        "occurrence": 0,
        "dtype": "int64",
        "shape": [],
        "digest": bytes(32),
        "min": float(offset),
    }
    rows = pa.Table.from_pylist([row], schema=COLUMNS)
    write_capture(Capture(record=record("cpu-pinned", "2.8.0"), rows=rows), tmp_path)
    lane = replace(settings.lanes["cpu-pinned"], device=device)
    section = _section(tmp_path, replace(settings, lanes={"cpu-pinned": lane}), "2.8.0")
    assert section.shifted == shifted
    assert words in section.layout


def test_libraries_are_told_as_loaded_else_as_the_wheel_requires_them(
    tmp_path: Path, settings: Settings, write_lane: Any, record: Any
) -> None:
    one = record(
        "cpu-pinned",
        "2.8.0",
        host={"cuda": "12.8", "cublas": "12.8.4", "compiler": "GCC 13.3"},
        packages={"nvidia-cublas-cu12": "1", "nvidia-cudnn-cu12": "9.10.2.21"},
    )
    write_lane(tmp_path, releases=("2.8.0",), failed=(), records=[one])
    other = record("cpu-pinned", "2.9.1", host={}, packages={"nvidia-cublas": "13.1"})
    write_lane(tmp_path, releases=("2.9.1",), failed=(), records=[other])
    assert ("cuBLAS", "13.1") in _section(tmp_path, settings, "2.9.1").brought
    assert _section(tmp_path, settings, "2.8.0").brought == (
        ("torch build", "2.8.0+cu128"),
        ("CUDA", "12.8"),
        ("cuBLAS", "12.8.4"),
        ("cuDNN", "9.10.2.21"),
        ("compiler", "GCC 13.3"),
    )


def test_a_lane_that_pins_nothing_shows_outcomes_and_no_pairs(
    tmp_path: Path, settings: Settings, write_lane: Any
) -> None:
    free = replace(settings.lanes["cpu-pinned"], constraints=None)
    lanes = {**settings.lanes, "cpu-latest": free}
    for lane in lanes:
        write_lane(tmp_path, lane=lane, releases=("2.7.1", "2.8.0"), failed=())
    both = _pages(tmp_path, replace(settings, lanes=lanes))["2.8.0"].view["sections"]
    assert [(one.name, len(one.ways), bool(one.stages)) for one in both] == [
        ("cpu-pinned", 1, True),
        ("cpu-latest", 0, True),
    ]
    assert not both[1].alone
    assert [one.outcomes for one in both] == ["", "cpu-latest/index.html"]


def test_a_quick_run_is_repeated_with_its_options_and_is_not_for_search_engines(
    tmp_path: Path, settings: Settings, write_lane: Any, record: Any
) -> None:
    quick = "cpu-pinned+0123abcd"
    options = {"depth": "x; rm -rf $HOME", "passages": 64}
    one = record(quick, "2.8.0", options=options)
    write_lane(tmp_path, lane=quick, releases=("2.8.0",), failed=(), records=[one])
    page = _pages(tmp_path, settings, (quick,))["2.8.0"]
    (section,) = page.view["sections"]
    assert section.command == (
        "nox -s capture-2.8.0 -- --lane cpu-pinned --depth 'x; rm -rf $HOME' --passages 64"
    )
    assert not page.listed


def test_a_capture_that_cannot_be_read_is_a_failure(
    tmp_path: Path, settings: Settings, write_lane: Any
) -> None:
    write_lane(tmp_path, releases=RELEASES[:2], failed=())
    (tmp_path / f"digests/cpu-pinned/torch-{RELEASES[0]}.parquet").write_bytes(b"")
    section = _section(tmp_path, settings, RELEASES[0])
    assert (section.captured, section.failed, section.environment) == (True, True, "")
    assert section.told.startswith("its digest file cannot be read")
