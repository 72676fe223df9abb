"""The feed: valid Atom with ids that stay."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from matrix_capture.schema import StageStatus
from matrix_capture.settings import Settings
from matrix_compare.advice import record_advices
from matrix_site.assets import assets
from matrix_site.feed import MOST, feed
from matrix_site.page import Page
from matrix_site.render import Frame
from matrix_site.snapshot import read_snapshot
from tests.site.test_advice import advice
from tests.site.test_render import HOSTILE

ATOM = "{http://www.w3.org/2005/Atom}"
LANE = "cpu-pinned"
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


PAGE = Page(path="index.html", template="", title="t", description="d")
FRAME = Frame(date="", day="", stale_after_days=14, url="https://example.org/m/", places=())


def written(data: Path, settings: Settings) -> str:
    files = assets(read_snapshot(data, settings), [PAGE], FRAME)
    return next(file.content for file in files if file.path == "feed.xml").decode("utf-8")


def parsed(data: Path, settings: Settings) -> ET.Element:
    return ET.fromstring(written(data, settings))  # noqa: S314


def faults(root: ET.Element) -> list[str]:
    """Where a feed is not as RFC 4287 has it, as far as a feed of ours could go wrong."""
    found = [] if root.tag == f"{ATOM}feed" else ["no feed"]
    ids = [element.text or "" for element in root.iter(f"{ATOM}id")]
    found += [] if len(ids) == len(set(ids)) else ["an id twice"]
    found += [f"id {i}" for i in ids if not re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", i)]
    for element in (root, *root.iter(f"{ATOM}entry")):
        for name in ("id", "title", "updated"):
            if len(element.findall(ATOM + name)) != 1:
                found.append(f"not one {name}")
        updated = element.findtext(f"{ATOM}updated") or ""
        found += [] if RFC_3339.fullmatch(updated) else [f"updated {updated}"]
        if not any(link.get("rel") == "alternate" for link in element.findall(f"{ATOM}link")):
            found.append("no alternate link")
    links = [link.get("href", "") for link in root.iter(f"{ATOM}link")]
    found += [f"link {href}" for href in links if not href.startswith("https://example.org/m/")]
    return found if root.find(f"{ATOM}author/{ATOM}name") is not None else [*found, "no author"]


def test_it_tells_what_changed_and_what_stopped_newest_first(
    tmp_path: Path, settings: Settings, write_lane: Any
) -> None:
    write_lane(tmp_path)
    record_advices(tmp_path, LANE, [advice()])
    root = parsed(tmp_path, settings)
    assert faults(root) == []
    entries = root.findall(f"{ATOM}entry")
    assert [entry.findtext(f"{ATOM}title") for entry in entries] == [
        "cpu-pinned: torch 2.8.0...2.9.1 reordered",
        "cpu-pinned: torch 2.9.0 failed",
        "cpu-pinned: torch 2.7.1...2.8.0 differs",
        "cpu-pinned: torch 2.0.1...2.1.0 differs",
    ]
    assert root.findtext(f"{ATOM}updated") == "2025-11-16T08:30:00+00:00"
    summary = entries[2].findtext(f"{ATOM}summary") or ""
    assert summary.startswith("Not identical: it starts at postnorm_centroids (stage kmeans)")
    assert ". Advice: keep the index; the first 10 results change" in summary
    links = [entry.find(f"{ATOM}link") for entry in entries]
    assert links[2] is not None
    assert links[2].get("href") == "https://example.org/m/pair/2.7.1...2.8.0/index.html"


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("urn:uuid:", "urn:x", "id urn:x"),
        ("2025-11-", "16 November ", "updated 16"),
        ("<title>", "<subtitle>", "not one title"),
        ('rel="alternate"', 'rel="related"', "no alternate"),
        ("https://example.org/m/pair", "pair", "link pair"),
        ("<author>", "<contributor>", "no author"),
    ],
)
def test_a_broken_feed_would_be_seen(
    *, before: str, after: str, fault: str, tmp_path: Path, settings: Settings, write_lane: Any
) -> None:
    write_lane(tmp_path, releases=("2.7.1", "2.8.0"))
    text = written(tmp_path, settings).replace(before, after)
    text = text.replace(before.replace("<", "</"), after.replace("<", "</"))
    assert any(found.startswith(fault) for found in faults(ET.fromstring(text)))  # noqa: S314


def test_ids_stay_when_a_release_is_captured_again(
    tmp_path: Path, settings: Settings, write_lane: Any, record: Any
) -> None:
    write_lane(tmp_path)
    before = {item.title: item for item in feed(read_snapshot(tmp_path, settings)).items}
    again = record(LANE, "2.8.0", started="2026-01-02T03:04:05Z")
    write_lane(tmp_path, records=[again])
    after = {item.title: item for item in feed(read_snapshot(tmp_path, settings)).items}
    title = "cpu-pinned: torch 2.7.1...2.8.0 differs"
    assert after.keys() == before.keys()
    assert {name: item.id for name, item in after.items()} == {
        name: item.id for name, item in before.items()
    }
    assert after[title].updated == "2026-01-02T03:04:05+00:00" != before[title].updated
    # Who has seen an entry would see it again if this ever changed.
    assert after[title].id == "urn:uuid:fdcea07e-8326-5ba3-9657-6596e4a1609a"


def test_lanes_do_not_share_ids(tmp_path: Path, settings: Settings, write_lane: Any) -> None:
    lanes = {LANE: settings.lanes[LANE], "other": settings.lanes[LANE]}
    both = Settings(releases=settings.releases, lanes=lanes, profiles=settings.profiles)
    for lane in lanes:
        write_lane(tmp_path, lane=lane, releases=("2.7.1", "2.8.0"), failed=())
    found = feed(read_snapshot(tmp_path, both)).items
    assert len({item.id for item in found}) == len(found) == 2


def test_quick_runs_and_what_has_no_time_are_no_news(
    tmp_path: Path, settings: Settings, write_lane: Any, record: Any
) -> None:
    quick = f"{LANE}+0123abcd"
    write_lane(tmp_path, lane=quick, releases=("2.7.1", "2.8.0"), failed=())
    assert feed(read_snapshot(tmp_path, settings, [quick])).items == ()
    records = [record(LANE, release, started="") for release in ("2.7.1", "2.8.0")]
    write_lane(tmp_path, releases=("2.7.1", "2.8.0"), failed=(), records=records)
    assert feed(read_snapshot(tmp_path, settings)).items == ()


def test_it_has_so_many_entries_and_no_more(
    tmp_path: Path, settings: Settings, write_lane: Any
) -> None:
    lanes = {f"lane-{number}": settings.lanes[LANE] for number in range(3)}
    many = Settings(releases=settings.releases, lanes=lanes, profiles=settings.profiles)
    for lane in lanes:
        write_lane(tmp_path, lane=lane, releases=settings.releases, failed=settings.releases[:20])
    assert len(feed(read_snapshot(tmp_path, many)).items) == MOST


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_strings_stay_text(
    text: str, tmp_path: Path, settings: Settings, write_lane: Any, record: Any
) -> None:
    status = {"install": StageStatus(state="failed", error=text, message=text)}
    write_lane(tmp_path, releases=("2.8.0",), records=[record(LANE, "2.8.0", status=status)])
    root = parsed(tmp_path, settings)
    assert faults(root) == []
    assert {element.tag.removeprefix(ATOM) for element in root.iter()} == {
        *("feed", "id", "title", "updated", "author", "name", "link"),
        *("entry", "category", "summary"),
    }
    assert not any(mark in "".join(root.itertext()) for mark in "\u202e\u2066\x1b\ufdd0")


def test_an_empty_site_has_an_empty_feed(tmp_path: Path, settings: Settings) -> None:
    root = parsed(tmp_path, settings)
    assert faults(root) == []
    assert root.findall(f"{ATOM}entry") == []
