"""What the site has besides pages: what is listed, copied, and told elsewhere."""

import io
import re
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import Image

from matrix_capture.schema import STAGES, StageStatus, digest_path
from matrix_capture.settings import Settings, read_settings
from matrix_compare.schema import verdict_path
from matrix_site import copies
from matrix_site.assets import assets
from matrix_site.banner import badges
from matrix_site.copies import data_path
from matrix_site.page import Page
from matrix_site.render import Frame
from matrix_site.snapshot import Snapshot, read_snapshot

ROOT = Path(__file__).parents[2]
LANE, OPEN = "cpu-pinned", "cpu-latest"
FRAME = Frame(
    date="", day="2025-11-16", stale_after_days=14, url="https://example.org/m/", places=()
)
SITEMAP = "{http://www.sitemaps.org/schemas/sitemap/0.9}"


def made(path: str, *, listed: bool = True) -> Page:
    return Page(path=path, template="", title="t", description="d", listed=listed)


def files(snapshot: Snapshot, *pages: Page) -> dict[str, bytes]:
    found = list(assets(snapshot, pages or [made("index.html")], FRAME))
    assert len({asset.path for asset in found}) == len(found)
    return {asset.path: asset.content for asset in found}


def badge(snapshot: Snapshot, lane: str = LANE) -> tuple[str, str]:
    found = {asset.path: asset.content for asset in badges(snapshot)}
    words = msgspec.json.decode(found[f"badge/{lane}.json"])
    picture = found[f"badge/{lane}.svg"].decode("utf-8")
    assert f'<title id="title">{words["label"]}: {words["message"]}</title>' in picture
    return words["label"], words["message"]


# What is listed.


def test_the_sitemap_has_the_listed_pages_as_they_name_themselves(
    tmp_path: Path, settings: Settings
) -> None:
    shown = [made("index.html"), made("a+b/index.html"), made("pr/index.html", listed=False)]
    content = files(read_snapshot(tmp_path, settings), *shown)["sitemap.xml"]
    root = ET.fromstring(content)  # noqa: S314
    assert [url.findtext(f"{SITEMAP}loc") for url in root] == [
        "https://example.org/m/",
        "https://example.org/m/a%2Bb/",
    ]
    assert {url.findtext(f"{SITEMAP}lastmod") for url in root} == {"2025-11-16"}


# What is copied.


def test_files_that_were_read_are_copied_byte_for_byte(data: Path, settings: Settings) -> None:
    snapshot = read_snapshot(data, settings)
    (lane,) = snapshot.lanes
    found = files(snapshot)
    assert found[data_path(lane)] == verdict_path(data, LANE).read_bytes()
    for release in lane.captures:
        assert data_path(lane, release) == f"data/digests/{LANE}/torch-{release}.parquet"
        content = digest_path(data, LANE, release).read_bytes()
        assert found[data_path(lane, release)] == content
    copied = [path for path in found if path.startswith("data/")]
    assert len(copied) == len(lane.captures) + 1


def test_what_cannot_be_read_is_not_copied(
    tmp_path: Path, settings: Settings, write_lane: Any
) -> None:
    write_lane(tmp_path, releases=("2.7.1", "2.8.0"), failed=())
    digest_path(tmp_path, LANE, "2.8.0").write_bytes(b"PAR1")
    verdict_path(tmp_path, LANE).write_bytes(b"PAR1")
    snapshot = read_snapshot(tmp_path, settings)
    (lane,) = snapshot.lanes
    assert [data_path(lane, name) for name in ("", "2.8.0", "2.9.0")] == ["", "", ""]
    copied = [path for path in files(snapshot) if path.startswith("data/")]
    assert copied == [f"data/digests/{LANE}/torch-2.7.1.parquet"]


def test_what_no_host_takes_is_not_copied(
    data: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "_MOST", 100)
    snapshot = read_snapshot(data, settings)
    assert data_path(snapshot.lanes[0]) == ""
    assert not [path for path in files(snapshot) if path.startswith("data/")]


def test_no_path_leaves_its_folder(tmp_path: Path, settings: Settings, write_lane: Any) -> None:
    quick = f"{LANE}+0123abcd"
    row = {"artifact": "../../../etc/passwd", "kind": "", "stage": ""}
    extra = [{"lane": quick, "a": "2.7.1", "b": "2.8.0", "verdict": "differs", **row}]
    write_lane(tmp_path, lane=quick, releases=("2.7.1", "2.8.0"), extra=extra)
    for path in files(read_snapshot(tmp_path, settings, [quick])):
        assert re.fullmatch(r"[a-z0-9][A-Za-z0-9._+-]*(/[A-Za-z0-9][A-Za-z0-9._+-]*)*", path)


# What is told elsewhere.


def test_a_badge_counts_changes_of_the_finished_index(data: Path, settings: Settings) -> None:
    label, message = badge(read_snapshot(data, settings))
    assert label == "ColBERT × torch"  # noqa: RUF001
    assert message == "2 index changes in 6 releases"


def test_a_badge_does_not_count_what_nobody_knows_as_the_same(
    tmp_path: Path, settings: Settings, write_lane: Any
) -> None:
    write_lane(
        tmp_path,
        releases=("2.7.0", "2.7.1", "2.8.0"),
        failed=(),
        drop=lambda row: row["a"] == "2.7.0",
    )
    assert badge(read_snapshot(tmp_path, settings))[1] == "1 index change in 3 releases, 1 unknown"


def test_a_badge_of_a_lane_that_pins_nothing_counts_what_runs(
    tmp_path: Path, write_lane: Any, record: Any
) -> None:
    whole = dict.fromkeys(STAGES, StageStatus(state="ok"))
    records = [record(OPEN, "2.7.1", status=whole)]
    write_lane(tmp_path, lane=OPEN, releases=("2.7.1", "2.8.0", "2.9.0"), records=records)
    snapshot = read_snapshot(tmp_path, read_settings(ROOT / "matrix.toml"))
    assert badge(snapshot, OPEN)[1] == "1 of 3 releases run"
    assert badge(snapshot) == ("ColBERT × torch", "not captured")  # noqa: RUF001


def test_a_badge_names_every_lane_but_the_first(tmp_path: Path) -> None:
    snapshot = read_snapshot(tmp_path, read_settings(ROOT / "matrix.toml"))
    labels = {lane.name: badge(snapshot, lane.name)[0] for lane in snapshot.lanes}
    assert len(set(labels.values())) == len(labels)
    assert all(name in label for name, label in labels.items() if name != LANE)


def test_the_colour_is_that_of_the_worst_step(
    tmp_path: Path, settings: Settings, write_lane: Any
) -> None:
    colours = []
    for releases in (("2.1.0", "2.7.1"), ("2.7.1", "2.8.0")):
        write_lane(tmp_path, releases=releases, failed=())
        endpoint, _ = badges(read_snapshot(tmp_path, settings))
        colours.append(msgspec.json.decode(endpoint.content)["color"])
        shutil.rmtree(tmp_path / "digests")
    assert colours[0] != colours[1]


def test_the_card_is_a_picture_of_the_size_that_previews_take(
    data: Path, settings: Settings
) -> None:
    snapshot = read_snapshot(data, settings)
    card = files(snapshot)["card.png"]
    assert Image.open(io.BytesIO(card)).size == (1200, 630)
    assert card == files(snapshot)["card.png"]


def test_an_empty_folder_has_what_pages_link_to(tmp_path: Path, settings: Settings) -> None:
    found = files(read_snapshot(tmp_path, settings))
    assert {"feed.xml", "sitemap.xml", "card.png", "api/v1/index.json"} <= found.keys()
    assert msgspec.json.decode(found["api/v1/index.json"])["sentence"] == "d"
