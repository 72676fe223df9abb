"""Every page as a browser, a crawler and a screen reader meet it."""

import gzip
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import html5lib
import pytest

from matrix_capture.errors import MatrixError
from matrix_capture.schema import Control, StageStatus
from matrix_capture.settings import Settings
from matrix_compare.known import read_known, source_url
from matrix_compare.schema import Verdict
from matrix_site.pages import pages
from matrix_site.publish import publish
from matrix_site.snapshot import Snapshot, read_snapshot


class _Links(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.ids: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # Only the address of a page itself is absolute.
        if ("rel", "canonical") not in attrs:
            self.urls += [value for name, value in attrs if name in {"href", "src"} and value]
        self.ids += [value for name, value in attrs if name == "id" and value]


@pytest.fixture(scope="session")
def snapshot(data: Path, settings: Settings) -> Snapshot:
    return read_snapshot(data, settings)


@pytest.fixture(scope="session")
def site(snapshot: Snapshot, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "site"
    publish(snapshot, out)
    return out


def test_a_strict_parser_accepts_every_page(site: Path) -> None:
    for path in site.rglob("*.html"):
        html5lib.HTMLParser(strict=True).parse(path.read_text("utf-8"))


def test_every_link_is_relative_and_leads_to_a_file_and_an_id_of_the_site(site: Path) -> None:
    found = {path: _Links(path.read_text("utf-8")) for path in site.rglob("*.html")}
    sources = {source_url(source) for row in read_known() for source in row.sources}
    for path, links in found.items():
        assert len(links.ids) == len(set(links.ids)), path
        for url in links.urls:
            if url in sources:
                continue
            assert not re.match(r"[a-z]+:|/", url), url
            where, _, anchor = url.partition("#")
            target = (path.parent / unquote(where)).resolve() if where else path
            assert target.is_file(), (path, url)
            assert target.is_relative_to(site)
            if anchor:
                assert anchor in found[target].ids, (path, url)


def test_every_pair_of_the_verdicts_has_a_page_that_both_its_releases_link(
    site: Path, snapshot: Snapshot
) -> None:
    (lane,) = snapshot.lanes
    assert len(lane.pairs) == 21
    for pair in lane.pairs:
        for release in pair:
            page = _Links((site / f"torch/{release}/index.html").read_text("utf-8"))
            assert f"../../pair/{pair[0]}...{pair[1]}/index.html" in map(unquote, page.urls)


def test_the_sentence_counts_releases_and_consecutive_pairs(snapshot: Snapshot) -> None:
    sentence = next(iter(pages(snapshot))).view["sentence"]
    assert sentence == (
        "As of 16 November 2025, 6 of 29 torch releases are captured and 1 failed; "
        "of 5 consecutive pairs, 2 are identical throughout, 1 in the finished index only, "
        "and 2 change the index."
    )


def test_the_sentence_tells_what_cannot_run_from_what_failed(
    tmp_path: Path, settings: Settings, write_lane: Any, record: Any
) -> None:
    status = {"load": StageStatus(state="not_run", message="unsupported GPU")}
    idle = record("cpu-pinned", "2.9.0", status=status)
    write_lane(tmp_path, records=[idle])
    sentence = next(iter(pages(read_snapshot(tmp_path, settings)))).view["sentence"]
    assert "6 of 29 torch releases are captured and 1 cannot run on the GPU; of 5" in sentence


def test_a_difference_of_unknown_size_looks_like_one(
    tmp_path: Path, settings: Settings, write_lane: Any, record: Any, comparison: Any
) -> None:
    pair = ("2.7.0", "2.7.1")
    control = Control(identical=False, tensors=9, unstable=("D sample 7",), unstable_tensors=2)
    place = ("layers", "encoder.layer.3", "more", "float32", 1)
    vague = {"verdict": "differs", "reason": "values not kept", "role": "origin"}
    write_lane(
        tmp_path / "data",
        releases=pair,
        failed=(),
        records=[record("cpu-pinned", "2.7.1", control=control)],
        extra=[comparison("cpu-pinned", pair, place, **vague)],
    )
    publish(read_snapshot(tmp_path / "data", settings), tmp_path / "out")
    index = (tmp_path / "out/index.html").read_text("utf-8")
    assert '<td class="differs unsized origin"><i role="img" title="layers: 1 differs' in index
    page = (tmp_path / "out/pair/2.7.0...2.7.1/index.html").read_text("utf-8")
    assert '<b>1</b> <span class="soft">(by an unknown amount)</span>' in page
    assert "Tensors of torch 2.7.1 that do not equal themselves: 1 of 2</summary>" in page
    assert "<li><code>D sample 7</code></li>" in page


def test_a_pair_page_tells_the_reason_of_a_stop_once(
    tmp_path: Path, settings: Settings, write_lane: Any
) -> None:
    write_lane(tmp_path / "data", releases=("2.8.0", "2.9.0"))
    publish(read_snapshot(tmp_path / "data", settings), tmp_path / "out")
    page = (tmp_path / "out/pair/2.8.0...2.9.0/index.html").read_text("utf-8")
    assert page.count('<p class="notice">torch 2.9.0 failed at install: OSError: no space') == 1
    assert "the capture stopped at install" not in page
    assert page.count("for the reason above") > 50


def test_one_capture_makes_no_pair(tmp_path: Path, settings: Settings, write_lane: Any) -> None:
    write_lane(tmp_path, releases=("2.7.1",), failed=())
    view = next(iter(pages(read_snapshot(tmp_path, settings)))).view
    assert view["sentence"].endswith(
        "1 of 29 torch releases is captured; the first pair takes two."
    )


def test_counts_of_every_table_add_up_to_its_comparisons(snapshot: Snapshot) -> None:
    (lane,) = snapshot.lanes
    for page in pages(snapshot):
        if "pair" not in page.view:
            continue
        pair = page.view["pair"]
        assert pair.counts.total == len(lane.pairs[pair.a, pair.b])
        assert sum(table.counts.total for table in pair.tables) == pair.counts.total
        for table in pair.tables:
            assert sum(n for _, n in table.counts.counts) == table.counts.total
            assert sum(max(1, len(line.places)) for line in table.lines) == table.counts.total


def test_every_verdict_is_on_the_page_as_glyph_and_word(site: Path) -> None:
    index = (site / "index.html").read_text("utf-8")
    for verdict in Verdict:
        word = verdict.value.replace("_", " ")
        assert f'<span aria-hidden="true">{verdict.glyph}</span> {word}</span>' in index


def test_the_index_is_small(site: Path) -> None:
    assert len(gzip.compress((site / "index.html").read_bytes())) < 20_000


def test_tables_have_captions_scopes_and_a_region_that_the_keyboard_reaches(site: Path) -> None:
    for path in site.rglob("*.html"):
        html = path.read_text("utf-8")
        tables = html.count("<table")
        assert tables == html.count("<caption>")
        assert tables == html.count('class="scroll" role="region" tabindex="0" aria-label="')
        assert re.search(r"<th(?! scope=)", html.replace("<thead", "")) is None


def test_an_empty_folder_says_how_to_make_the_first_capture(
    tmp_path: Path, settings: Settings
) -> None:
    number = publish(read_snapshot(tmp_path / "data", settings), tmp_path / "out")
    html = (tmp_path / "out" / "index.html").read_text("utf-8")
    assert number == 1
    assert "No captures yet" in html
    assert "nox -s matrix -- 2.14.1 2.15.0" in html


def test_quick_lanes_are_shown_only_on_request_and_as_what_they_are(
    tmp_path: Path, settings: Settings, write_lane: Any, record: Any
) -> None:
    quick = "cpu-pinned+1a2b3c4d"
    options = {"passages": 64, "depth": "index; rm -rf $HOME"}
    records = [record(quick, release, options=options) for release in ("2.7.1", "2.8.0")]
    write_lane(tmp_path / "data", lane=quick, releases=("2.7.1", "2.8.0"), records=records)
    with pytest.raises(MatrixError, match=r"nothing of cpu-pinned, only of cpu-pinned\+1a2b3c4d"):
        read_snapshot(tmp_path / "data", settings)

    publish(read_snapshot(tmp_path / "data", settings, [quick]), tmp_path / "out")
    index = (tmp_path / "out/index.html").read_text("utf-8")
    page = tmp_path / "out" / quick / "pair/2.7.1...2.8.0/index.html"
    assert "A quick run, not a baseline." in index
    assert "passages = 64" in index
    assert "A quick run, not a baseline." in page.read_text("utf-8")
    assert "--depth &#39;index; rm -rf $HOME&#39; --passages 64" in page.read_text("utf-8")


def test_a_second_lane_has_a_folder_of_its_own(
    tmp_path: Path, settings: Settings, write_lane: Any
) -> None:
    lanes = {**settings.lanes, "cpu-latest": settings.lanes["cpu-pinned"]}
    two = Settings(releases=settings.releases, lanes=lanes, profiles=settings.profiles)
    for lane in lanes:
        write_lane(tmp_path, lane=lane, releases=("2.7.1", "2.8.0"), failed=())
    paths = [page.path for page in pages(read_snapshot(tmp_path, two))]
    assert [path for path in paths if "pair/" in path] == [
        "pair/2.7.1...2.8.0/index.html",
        "cpu-latest/pair/2.7.1...2.8.0/index.html",
    ]
