"""Nightly builds, and releases that nobody added yet, as the site shows them."""

import gzip
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from matrix_capture.settings import SHOWN_BUILDS, Settings, read_settings
from matrix_site.publish import publish
from matrix_site.snapshot import Snapshot, read_snapshot
from tests.site.conftest import CHANGES, ROOT, WriteLane
from tests.site.test_links import faults

LANE, NIGHTLY = "cpu-pinned", "cpu-nightly"
BUILDS = [f"2.16.0.dev202611{night:02}" for night in range(1, SHOWN_BUILDS + 4)]
SHOWN = BUILDS[3:]
NEW = "2.15.1"
URL = "https://matrix.test/"


@pytest.fixture(scope="module")
def lanes() -> Settings:
    """Two lanes of the shipped settings, and a release that is on record beside theirs."""
    shipped = read_settings(ROOT / "matrix.toml")
    two = {name: shipped.lanes[name] for name in (LANE, NIGHTLY)}
    return msgspec.structs.replace(shipped, lanes=two).including([NEW])


@pytest.fixture(scope="module")
def snapshot(
    tmp_path_factory: pytest.TempPathFactory, write_lane: WriteLane, lanes: Settings
) -> Snapshot:
    data = tmp_path_factory.mktemp("nightly")
    with pytest.MonkeyPatch.context() as patch:
        assert isinstance(CHANGES, dict)
        patch.setitem(CHANGES, BUILDS[8], CHANGES["2.8.0"])
        write_lane(data, releases=("2.14.0", "2.15.0", NEW), failed=())
        write_lane(data, lane=NIGHTLY, releases=("2.15.0", *BUILDS), failed=(BUILDS[10],))
    return read_snapshot(data, lanes)


@pytest.fixture(scope="module")
def site(snapshot: Snapshot, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "site"
    publish(snapshot, out, URL)
    return out


def section(html: str, lane: str) -> str:
    """The part of the first page that is about a lane."""
    found = re.search(rf'<section [^>]*data-lane="{lane}".*?</section>', html, re.DOTALL)
    assert found
    return found[0]


def document(site: Path, path: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = msgspec.json.decode((site / "api/v1" / path).read_bytes())
    return found


def test_a_lane_has_the_matrix_or_what_is_on_record_in_it(
    snapshot: Snapshot, lanes: Settings
) -> None:
    pinned, nightly = snapshot.lanes
    assert pinned.releases == lanes.releases
    assert nightly.releases == ("2.15.0", *SHOWN)
    assert snapshot.releases == (*lanes.releases, *SHOWN)
    assert set(nightly.captures) == {"2.15.0", *SHOWN}
    assert {name for pair in nightly.pairs for name in pair} == {"2.15.0", *SHOWN}
    assert snapshot.problems == ()


def test_every_link_leads_somewhere_and_every_page_is_linked(site: Path) -> None:
    assert faults(site, URL) == []


def test_no_other_lane_speaks_of_a_build(site: Path) -> None:
    first = (site / "index.html").read_text()
    assert ".dev" in section(first, NIGHTLY)
    assert ".dev" not in section(first, LANE)
    assert [path.name for path in (site / "pair").iterdir() if ".dev" in path.name] == []
    for folder in ("torch", "pair"):
        assert [
            p.name for p in (site / f"api/v1/{LANE}/{folder}").iterdir() if ".dev" in p.name
        ] == []
    for path in (site / f"api/v1/{LANE}").rglob("*.json"):
        assert ".dev" not in path.read_text()
    for path in (site / "artifact").rglob("index.html"):
        for history in path.read_text().split("<h3")[1:]:
            assert ".dev" not in history or NIGHTLY in history.partition("</h3>")[0]


def test_the_first_page_counts_releases_and_leads_to_builds(site: Path, lanes: Settings) -> None:
    first = (site / "index.html").read_text()
    number = len(lanes.releases)
    assert f"3 of {number} torch releases are captured; of 2 consecutive pairs" in first
    assert first.index(f'data-lane="{LANE}"') < first.index(f'data-lane="{NIGHTLY}"')
    assert "torch from download.pytorch.org/whl/nightly/cpu" in section(first, NIGHTLY)
    builds = first.partition("Nightly builds:")[2].partition("</nav>")[0]
    assert re.findall(r">(2\.[^<]+)</a>", builds) == SHOWN[::-1]
    assert len(gzip.compress(first.encode())) < 20_000


def test_a_nightly_lane_without_captures_is_not_mentioned(
    tmp_path: Path, write_lane: WriteLane, lanes: Settings
) -> None:
    write_lane(tmp_path / "data", releases=("2.14.0", "2.15.0"), failed=())
    publish(read_snapshot(tmp_path / "data", lanes), tmp_path / "out", URL)
    first = (tmp_path / "out/index.html").read_text()
    assert "nightly" not in first.lower()


def test_a_build_has_a_page_with_the_lanes_that_have_it(site: Path) -> None:
    page = (site / f"torch/{SHOWN[0]}/index.html").read_text()
    assert re.findall(r"<small><code>([^<]+)</code></small></h2>", page) == [NIGHTLY]
    assert f"nox -s capture-nightly -- --build {SHOWN[0]} --lane {NIGHTLY} --fresh" in page
    failed = (site / f"torch/{BUILDS[10]}/index.html").read_text()
    assert "no space left on device" in failed
    of_release = (site / "torch/2.15.0/index.html").read_text()
    assert re.findall(r"<small><code>([^<]+)</code></small></h2>", of_release) == [LANE, NIGHTLY]
    assert f'torch/{NEW}/index.html">{NEW} →' in of_release


def test_builds_that_are_no_longer_shown_have_no_page_and_no_file(site: Path) -> None:
    for build in BUILDS[:3]:
        assert [path for path in site.rglob("*") if build in path.name] == []
        assert all(build not in path.read_text() for path in site.rglob("*.json"))


def test_what_a_build_changes_is_told_in_bands_of_its_lane(site: Path) -> None:
    entry = next(lane for lane in document(site, "index.json")["lanes"] if lane["name"] == NIGHTLY)
    newest, older = entry["bands"]
    assert newest["releases"] == [b for b in BUILDS[8:] if b != BUILDS[10]]
    assert newest["skipped"] == [BUILDS[10]]
    assert older["releases"] == ["2.15.0", *BUILDS[3:8]]
    (boundary,) = entry["boundaries"]
    assert (boundary["a"], boundary["b"]) == (BUILDS[7], BUILDS[8])
    assert entry["releases"] == ["2.15.0", *SHOWN]
    assert entry["settings"]["nightly"].endswith("/nightly/cpu")


def test_the_api_has_builds_where_there_are_some(site: Path, lanes: Settings) -> None:
    assert document(site, "index.json")["releases"] == list(lanes.releases)
    found = {one["torch"]: one["lanes"] for one in document(site, "releases.json")["releases"]}
    assert list(found) == [*lanes.releases, *SHOWN]
    assert [one["lane"] for one in found["2.15.0"]] == [LANE, NIGHTLY]
    assert [one["lane"] for one in found["2.7.1"]] == [LANE]
    assert [one["lane"] for one in found[SHOWN[0]]] == [NIGHTLY]
    pair = document(site, f"{NIGHTLY}/pair/{BUILDS[7]}...{BUILDS[8]}.json")
    assert pair["starts"]


def test_a_release_that_nobody_added_is_shown(site: Path) -> None:
    first = (site / "index.html").read_text()
    assert f'href="torch/{NEW}/index.html"' in first
    assert f"2.14.0 \N{EN DASH} {NEW}" in section(first, LANE)


def test_the_same_data_give_the_same_bytes(site: Path, snapshot: Snapshot, tmp_path: Path) -> None:
    publish(snapshot, tmp_path / "again", URL)
    made = [
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (site, tmp_path / "again")
    ]
    assert made[0] == made[1]
