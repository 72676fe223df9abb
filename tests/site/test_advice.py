"""Advice on the page of its pair, and which index may be searched with which release."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import html5lib
import msgspec
import pytest

from matrix_capture.settings import Settings
from matrix_compare.advice import (
    MMAP_REPRODUCTION,
    SCHEMA_VERSION,
    Advice,
    Option,
    Sentence,
    advice_path,
    record_advices,
    record_crossings,
)
from matrix_compare.change import Crossing, Flips, RankingChange
from matrix_site.advice import advice_view
from matrix_site.crossing import indexes
from matrix_site.page import INDEXES
from matrix_site.publish import publish
from matrix_site.snapshot import LaneData, read_snapshot
from matrix_site.statement import Sources

LANE = "cpu-pinned"
PAIR = ("2.7.1", "2.8.0")
SOURCES = Sources(environments={}, known={}, rankings="", anchors=())
CHANGE = RankingChange(
    queries=428,
    identical=300,
    same_order=400,
    changed_top={"10": 3},
    overlap={},
    rbo=1,
    rbo_least=1,
    tau=None,
    tau_least=None,
    largest_score_change=0,
    flips=Flips(pairs=0, queries=0, largest_gap=0),
    effectiveness=(),
)
HOSTILE = "<script>alert(1)</script>\u202e"


def advice(a: str = PAIR[0], b: str = PAIR[1], **changes: Any) -> Advice:
    found = Advice(
        schema_version=SCHEMA_VERSION,
        lane=LANE,
        a=a,
        b=b,
        headline=f"{a} → {b}: keep the index; the first 10 results change for 3 of 428 queries",
        index="keep",
        ranking="changes",
        runs="yes",
        training="unknown",
        keep=Option(index=a, search=b),
        reindex=Option(index=b, search=b),
        sentences=(
            Sentence(
                claim="keep",
                text="Keep the index: it loads.",
                evidence=("rankings:2.7.1/2.7.1", "rankings:2.7.1/2.8.0"),
            ),
            Sentence(
                claim="index-differs",
                text="To re-index makes another index.",
                evidence=("verdicts:index_codes", "verdicts:nowhere", "explanation"),
            ),
        ),
        not_measured=(Sentence(claim="hosts", text="any GPU"),),
        requirement="torch>=2.1.0,<=2.7.1",
        reproduction="",
        command=f"nox -s advise -- {a} {b}",
    )
    return msgspec.structs.replace(found, **changes)


@pytest.fixture
def page(tmp_path: Path, write_lane: Any, settings: Settings) -> Any:
    """Renders the page of the pair with some advice, or the first page."""

    def render(*given: Advice, path: str = "pair/2.7.1...2.8.0/index.html") -> str:
        write_lane(tmp_path / "data", releases=PAIR, failed=())
        record_advices(tmp_path / "data", LANE, given)
        publish(read_snapshot(tmp_path / "data", settings), tmp_path / "site")
        text = (tmp_path / "site" / path).read_text(encoding="utf-8")
        html5lib.HTMLParser(strict=True).parse(text)
        return text

    return render


def test_the_page_of_a_pair_gives_advice_on_both_ways(page: Any) -> None:
    text = page(advice(), advice(*PAIR[::-1], index="re-index"), advice("2.0.1", "2.1.0"))
    assert "2.7.1 → 2.8.0: keep the index; the first 10 results change for 3 of 428" in text
    assert "2.8.0 → 2.7.1: " in text
    assert "2.0.1 → 2.1.0: " not in text
    assert text.index("2.7.1 → 2.8.0: ") < text.index("2.8.0 → 2.7.1: ")
    for told in ("Keep the index: it loads.", "any GPU", "torch&gt;=2.1.0,&lt;=2.7.1"):
        assert told in text
    assert "nox -s advise -- 2.7.1 2.8.0" in text


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (None, "changes the index.</p>"),
        ("same order", "Of 1 index kept across these changes, the newer release finds the same"),
        ("same top 10", "the same results in 0 and others, below rank 10 only, in 1.</p>"),
        ("changed", "the same results in 0 and others among the first 10 in 1.</p>"),
        ("failed", "the same results in 0 and no answer in 1.</p>"),
    ],
)
def test_the_first_sentence_tells_what_becomes_of_kept_indexes(
    outcome: Any, told: str, tmp_path: Path, write_lane: Any, settings: Settings
) -> None:
    write_lane(tmp_path / "data", releases=PAIR, failed=())
    found = [crossing(outcome=outcome)] if outcome else []
    # What is mapped, or searched the other way, is not counted.
    found.append(crossing(mmap=True, outcome="failed"))
    found.append(crossing(index=PAIR[1], search=PAIR[0], outcome="failed"))
    record_crossings(tmp_path / "data", LANE, found)
    publish(read_snapshot(tmp_path / "data", settings), tmp_path / "site")
    assert told in (tmp_path / "site/index.html").read_text("utf-8")


@pytest.mark.parametrize("given", [PAIR, PAIR[::-1]])
def test_what_is_explained_meanwhile_is_not_said_to_be_unknown(given: tuple[str, str]) -> None:
    untold = (Sentence(claim="cause", text="why they differ"), Sentence(claim="hosts", text="x"))
    found = advice(*given, not_measured=untold)
    assert len(advice_view(found, SOURCES).not_measured) == 2
    assert advice_view(found, SOURCES, explained=True).not_measured == ("x",)


def test_without_advice_there_is_none(page: Any) -> None:
    text = page()
    assert 'aria-label="Advice"' not in text
    assert "Not measured; <code>nox -s matrix -- 2.7.1 2.8.0 --lane cpu-pinned</code> has" in text


def test_advice_on_the_way_back_alone_answers_nothing_on_this_way(page: Any) -> None:
    text = page(advice(*PAIR[::-1], headline="back: keep the index"))
    assert "<summary>The way back: back: keep the index</summary>" in text
    assert text.index("Not measured; <code>") < text.index("The way back")


def test_a_sentence_is_told_once() -> None:
    sentences = tuple(
        Sentence(claim=claim, text=f"{claim} is told.")
        for claim in ("keep", "runs", "keep-effectiveness", "requirement", "unheard-of")
    )
    searched = Option(index=PAIR[0], search=PAIR[1], ranking="changes", change=CHANGE)
    given = advice(sentences=sentences, keep=searched)
    found = advice_view(given, SOURCES)
    rest = [str(said.text) for said in found.statements]
    assert rest == ["requirement is told.", "unheard-of is told."]
    assert found.effect is not None
    assert [str(said.text) for said in found.effect.said] == ["keep-effectiveness is told."]
    # Without figures there is no table of them, and what is said of them stays.
    bare = advice_view(advice(sentences=sentences), SOURCES)
    assert bare.effect is None
    assert "keep-effectiveness is told." in [str(said.text) for said in bare.statements]


def test_hostile_strings_are_shown(page: Any) -> None:
    said = Sentence(claim=HOSTILE, text=HOSTILE, evidence=(f"capture:{HOSTILE}", HOSTILE))
    text = page(
        advice(
            headline=HOSTILE,
            sentences=(said,),
            not_measured=(said,),
            requirement=HOSTILE,
            reproduction=HOSTILE,
            command=HOSTILE,
        )
    )
    assert "<script>alert" not in text
    assert "\u202e" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&lt;U+202E&gt;" in text


@pytest.mark.parametrize("content", [b"", b"{}", b'{"schema_version": 99}', b"[" * 10**5])
def test_advice_that_cannot_be_read_is_a_problem_and_no_more(
    content: bytes, tmp_path: Path, write_lane: Any, settings: Settings
) -> None:
    write_lane(tmp_path, releases=PAIR, failed=())
    advice_path(tmp_path, LANE).parent.mkdir()
    advice_path(tmp_path, LANE).write_bytes(content)
    found = read_snapshot(tmp_path, settings)
    assert found.lanes[0].advices == {}
    assert len(found.problems) == 1


def test_releases_that_the_matrix_does_not_know_are_left_out(
    tmp_path: Path, write_lane: Any, settings: Settings
) -> None:
    write_lane(tmp_path, releases=PAIR, failed=())
    record_advices(tmp_path, LANE, [advice(), advice("9.9.9", "2.8.0")])
    record_crossings(tmp_path, LANE, [crossing(), crossing(search="../9")])
    (lane,) = read_snapshot(tmp_path, settings).lanes
    assert list(lane.advices) == [PAIR]
    assert [one.search for one in lane.crossings] == ["2.8.0"]


# Indexes.


def crossing(**changes: Any) -> Crossing:
    found = Crossing(index="2.7.1", search="2.8.0", mmap=False, outcome="identical", queries=428)
    return msgspec.structs.replace(found, **changes)


def lane(
    tmp_path: Path, write_lane: Any, settings: Settings, offsets: Any, *found: Crossing
) -> LaneData:
    releases = ("2.0.1", "2.1.0", "2.7.1", "2.8.0")
    write_lane(tmp_path, releases=releases, failed=())
    (read,) = read_snapshot(tmp_path, settings).lanes
    captures = {
        name: replace(captured, offsets=offsets.get(name, ()))
        for name, captured in read.captures.items()
    }
    return replace(read, captures=captures, crossings=found)


def test_where_data_begin_is_told_by_runs_of_releases(
    tmp_path: Path, write_lane: Any, settings: Settings
) -> None:
    offsets = {"2.0.1": (320,), "2.1.0": (448,), "2.7.1": (704,), "2.8.0": (704,)}
    view = indexes(lane(tmp_path, write_lane, settings, offsets))
    assert view.layouts == "320 in 2.0.1, 448 in 2.1.0 and 704 from 2.7.1 to 2.8.0"
    assert view.shifted
    assert (view.wrong, view.right) == ("2.1.0, 2.7.1 or 2.8.0", "2.0.1")
    assert view.rows == ()
    assert "torch.save" in view.reproduction


def test_data_that_begin_where_they_are_taken_from_are_no_alarm(
    tmp_path: Path, write_lane: Any, settings: Settings
) -> None:
    view = indexes(lane(tmp_path, write_lane, settings, {"2.0.1": (320,)}))
    assert (view.layouts, view.shifted) == ("320 in 2.0.1", False)


def test_captures_that_did_not_look_say_nothing(
    tmp_path: Path, write_lane: Any, settings: Settings
) -> None:
    view = indexes(lane(tmp_path, write_lane, settings, {}))
    assert (view.layouts, view.shifted, view.rows) == ("", False, ())


def test_each_search_has_its_cell(tmp_path: Path, write_lane: Any, settings: Settings) -> None:
    failed = crossing(index="2.8.0", search="2.7.1", outcome="failed", error=f"E: {HOSTILE}")
    found = (
        crossing(search="2.7.1"),
        crossing(mmap=True, outcome="changed", changed=428, changed_top=400),
        crossing(outcome="same top 10", changed=7),
        failed,
    )
    offsets = {"2.7.1": (704,)}
    view = indexes(lane(tmp_path, write_lane, settings, offsets, *found))
    assert (view.searchers, view.queries) == (("2.7.1", "2.8.0"), 428)
    newer, older = view.rows
    assert [(row.index, row.offset) for row in view.rows] == [("2.8.0", ""), ("2.7.1", "704")]
    assert (newer.cells[1].loaded, newer.cells[1].mapped) == (None, None)
    assert newer.cells[0].loaded is not None
    assert newer.cells[0].loaded.glyph == "!"
    assert "\u202e" not in newer.cells[0].loaded.words
    own, cross = older.cells
    assert own.loaded is not None
    assert (own.loaded.glyph, own.loaded.count, own.mapped) == ("=", "", None)
    assert cross.loaded is not None
    assert cross.mapped is not None
    assert (cross.loaded.glyph, cross.loaded.count) == ("≈", "")
    assert (cross.mapped.glyph, cross.mapped.count) == ("≠", "400")
    assert cross.mapped.words == (
        "index of 2.7.1, mapped, searched with 2.8.0: other first 10 results for 400 of 428 queries"
    )


def test_the_page_of_the_indexes_shows_both(
    tmp_path: Path, write_lane: Any, settings: Settings, page: Any
) -> None:
    record_crossings(tmp_path / "data", LANE, [crossing(), crossing(mmap=True, outcome="changed")])
    text = page(path=INDEXES)
    assert "Index of \\ Searched with" in text
    assert "index of 2.7.1, mapped, searched with 2.8.0" in text


def test_the_first_page_says_what_each_step_comes_to(page: Any) -> None:
    text = page(advice(), path="index.html")
    assert "keep the index; the first 10 results change for 3 of 428 queries" in text


def test_the_script_is_told_whole() -> None:
    assert advice_view(advice(reproduction=MMAP_REPRODUCTION), SOURCES).reproduction.unescape() == (
        MMAP_REPRODUCTION
    )
