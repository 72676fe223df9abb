"""The answers on top of a pair's page: those of an advice, else what verdicts alone allow."""

from pathlib import Path
from typing import Any

import pytest

from matrix_capture.settings import Settings
from matrix_compare.advice import Option, Sentence
from matrix_compare.change import Crossing
from matrix_compare.schema import Verdict
from matrix_site.answers import TOLD, Answer, Answers, advised, judged
from matrix_site.snapshot import read_snapshot
from matrix_site.statement import Sources
from tests.site.test_advice import advice

LANE = "cpu-pinned"
PAIR = ("2.7.0", "2.7.1")
SOURCES = Sources(environments={}, known={}, rankings="", anchors=())


def said(answer: Answer) -> list[str]:
    return [str(one.text) for one in answer.said]


def test_an_advice_answers_each_question_in_a_word_and_a_sentence() -> None:
    sentences = (
        Sentence(claim="keep", text="Keep the index: it loads."),
        Sentence(claim="keep-ranking-same", text="If kept, the ranking is the same; figures."),
        Sentence(claim="re-index-ranking-changes", text="After re-indexing, 3 change; figures."),
        Sentence(claim="training-changes", text="Training changes: the loss differs."),
        Sentence(claim="runs", text="It runs."),
    )
    reindex = Option(index="2.8.0", search="2.8.0", ranking="changes")
    found = advised(advice(sentences=sentences, reindex=reindex, training="changes"), SOURCES)
    assert (found.index.word, found.index.style, found.index.glyph) == ("keep", "proof", "✓")
    assert said(found.index) == ["Keep the index: it loads.", "If kept, the ranking is the same."]
    assert (found.ranking.word, found.ranking.style) == ("changes", "close")
    assert said(found.ranking) == ["After re-indexing, 3 change."]
    assert (found.runs.question, found.runs.word) == ("Does torch 2.8.0 run?", "yes")
    assert said(found.training) == ["Training changes: the loss differs."]


def test_the_ranking_after_re_indexing_is_not_that_of_the_kept_index() -> None:
    """`Advice.ranking` is that of what the advice says to do, which here is to keep."""
    reindex = Option(index="2.8.0", search="2.8.0", ranking="same")
    found = advised(advice(index="keep", ranking="changes", reindex=reindex), SOURCES)
    assert (found.ranking.word, found.ranking.style) == ("same", "proof")


def test_what_was_not_searched_is_unknown_and_says_so() -> None:
    untold = Sentence(claim="re-index-search", text="the ranking after: nox -s x -- 2.7.1 2.8.0")
    found = advised(advice(index="unknown", not_measured=(untold,), sentences=()), SOURCES)
    assert (found.index.word, found.ranking.word) == ("unknown", "unknown")
    assert said(found.ranking) == [
        "Not measured: the ranking after: <code>nox -s x -- 2.7.1 2.8.0</code>."
    ]


def answers(
    tmp_path: Path,
    write_lane: Any,
    settings: Settings,
    *rows: Any,
    searched: Crossing | None = None,
    **kw: Any,
) -> Answers:
    """What the verdicts of a pair say, whose rows these replace."""
    names = {row["artifact"] for row in rows}
    write_lane(
        tmp_path,
        **{"releases": PAIR, "failed": ()} | kw,
        extra=rows,
        drop=lambda row: row["artifact"] in names,
    )
    (lane,) = read_snapshot(tmp_path, settings).lanes
    return judged(lane, PAIR, "nox -s matrix -- 2.7.0 2.7.1", searched)


def test_verdicts_alone_never_say_that_an_index_may_be_kept(
    tmp_path: Path, write_lane: Any, settings: Settings
) -> None:
    found = answers(tmp_path, write_lane, settings)
    assert (found.index.word, found.ranking.word) == ("unknown", "same index")
    assert said(found.index) == [
        "To re-index would make the same one. Not measured; <code>nox -s matrix -- 2.7.0 2.7.1"
        "</code> has the index of 2.7.0 searched with 2.7.1."
    ]
    assert said(found.ranking) == [
        "All 10 tensors of the finished index are the same, bit by bit. Whether a search finds the "
        "same in it was not measured."
    ]
    assert (found.runs.word, found.training.word) == ("yes", "same")


@pytest.mark.parametrize(
    ("outcome", "word", "told"),
    [
        ("identical", "keep", "gives the same results and scores for all 428 queries."),
        ("same order", "keep", "gives the same results with other scores for all 428 queries."),
        ("same top 10", "unknown", "other results below rank 10 only, for 9 of 428 queries."),
        ("changed", "unknown", "gives other first 10 results for 3 of 428 queries."),
        ("failed", "re-index", "gives ProcessDied: killed."),
    ],
)
def test_a_search_without_advice_is_told_as_far_as_it_goes(
    *, outcome: Any, word: str, told: str, tmp_path: Path, write_lane: Any, settings: Settings
) -> None:
    searched = Crossing(
        index=PAIR[0],
        search=PAIR[1],
        mmap=False,
        outcome=outcome,
        queries=428,
        changed=9,
        changed_top=3,
        error="ProcessDied: killed",
    )
    found = answers(tmp_path, write_lane, settings, searched=searched)
    assert found.index.word == word
    (sentence,) = said(found.index)
    assert told in sentence
    assert "says more" in sentence


@pytest.mark.parametrize("verdict", [Verdict.DIFFERS, Verdict.REORDERED, Verdict.MISSING])
def test_one_other_tensor_makes_another_index(
    verdict: Verdict, tmp_path: Path, write_lane: Any, settings: Settings, comparison: Any
) -> None:
    place = ("index_codes", "", "disk", "int32", 1)
    row = comparison(LANE, PAIR, place, verdict=verdict.value)
    found = answers(tmp_path, write_lane, settings, row)
    assert (found.index.word, found.ranking.word) == ("unknown", "unknown")
    assert said(found.ranking)[0].startswith("Not measured; <code>nox -s matrix")


def test_trained_weights_that_differ_are_another_training(
    tmp_path: Path, write_lane: Any, settings: Settings, comparison: Any
) -> None:
    place = ("trained_projection", "", "step", "float32", 1)
    row = comparison(LANE, PAIR, place, verdict="close")
    assert answers(tmp_path, write_lane, settings, row).training.word == "changes"
    row = comparison(LANE, PAIR, place, verdict="missing")
    assert answers(tmp_path, write_lane, settings, row).training.word == "unknown"


def test_a_release_that_failed_does_not_run(
    tmp_path: Path, write_lane: Any, settings: Settings
) -> None:
    found = answers(tmp_path, write_lane, settings, failed=("2.7.1",))
    assert (found.runs.word, found.runs.style) == ("no", "differs")
    assert said(found.runs) == ["torch 2.7.1 failed at install: OSError: no space left on device."]
    assert said(found.index) == ["Nothing to compare: torch 2.7.1 failed at install."]


def test_every_claim_that_answers_is_one_that_advice_makes() -> None:
    claims = Path(__file__).parents[2] / "compare/matrix_compare/claims.py"
    text = claims.read_text("utf-8")
    assert all(f'"{claim}":' in text for claim in TOLD)
