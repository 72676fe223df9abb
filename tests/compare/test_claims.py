"""Every sentence of an advice, where it is true and where it is false."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace as remade

from matrix_compare.advice import MMAP_REPRODUCTION
from matrix_compare.advising import advise
from matrix_compare.change import Attribution
from matrix_compare.claims import RULES
from matrix_compare.facts import Facts, Losses, Mapped
from matrix_compare.known import Known
from matrix_compare.requirement import Run
from tests.compare.advices import (
    FACTS,
    INDEX,
    changed,
    measured,
    option,
    ran,
    recorded,
    rows,
    same,
)
from tests.compare.reports import BRIEF
from tests.compare.test_explained import explanation

KNOWN = Known(
    id="old-wheel",
    when="torch 2.8 on Mondays",
    symptom="ImportError: no module",
    stages=("import",),
    error="no module",
    cure="wait for Tuesday",
    sources=("ColBERT issue 1",),
)
STAGES = Attribution(candidates=2, pruning=0, scores=6, ties=1, unknown=0)
WORSE = changed(effectiveness=(measured(-0.02, -0.01), measured(name="MRR@10")))
BETTER = changed(effectiveness=(measured(0.01, 0.02), measured(name="MRR@10")))
MIXED = changed(
    effectiveness=(
        measured(-0.02, -0.01, name="MRR@10"),
        measured(-0.02, -0.01),
        measured(0.01, 0.02, name="Recall@10"),
    )
)
FAILED: dict[str, Any] = {"state": "failed", "error": "RuntimeError: torn"}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A claim's text where the facts are `true`, and facts under which it is not made."""

    true: Facts
    text: str
    evidence: tuple[str, ...]
    false: tuple[Facts, ...]


def facts(**changes: Any) -> Facts:
    return replace(FACTS, **changes)


def stopped(torch: str, **states: str) -> Any:
    return recorded(torch, status=ran(**states))


def mapped(*offsets: int, error: str = "", change: Any = None) -> tuple[Mapped, ...]:
    return tuple(
        Mapped(torch=torch, offsets=(offset,) if offset else (), error=error, change=change)
        for torch, offset in zip(("2.7.1", "2.8.0"), offsets, strict=True)
    )


AT_IMPORT = stopped(
    "2.8.0", **{"import": "failed"}, load="not_run", index="not_run", search="not_run"
)
KEPT_OWN = ("rankings:2.7.1/2.7.1", "rankings:2.7.1/2.8.0")
MADE_OWN = ("rankings:2.7.1/2.7.1", "rankings:2.8.0/2.8.0")
CAPTURES = ("capture:2.7.1", "capture:2.8.0")
IDENTICAL = rows("identical")
VERDICTS = tuple(f"verdicts:{name}" for name in INDEX)
INFERRED = option("2.7.1", changed(), state="inferred")
UNKNOWN = option("2.7.1")

CASES = {
    "does-not-run": Case(
        true=facts(b=AT_IMPORT),
        text="torch 2.8.0 stops at import: ImportError: no module.",
        evidence=("capture:2.8.0",),
        false=(FACTS, facts(a=stopped("2.7.1", search="failed"))),
    ),
    "cure": Case(
        true=facts(b=AT_IMPORT, known=KNOWN),
        text="That is known: torch 2.8 on Mondays; the cure is wait for Tuesday; behind it another "
        "error may show.",
        evidence=("known:old-wheel",),
        false=(FACTS, facts(b=AT_IMPORT)),
    ),
    "cure-unknown": Case(
        true=facts(b=AT_IMPORT),
        text="No cure is known yet: none of the known incompatibilities looks like this.",
        evidence=("capture:2.8.0",),
        false=(FACTS, facts(b=AT_IMPORT, known=KNOWN), facts(b=stopped("2.8.0", load="not_run"))),
    ),
    "a-does-not-run": Case(
        true=facts(a=stopped("2.7.1", search="failed")),
        text="torch 2.7.1, where this starts from, stops at search: ImportError: no module.",
        evidence=("capture:2.7.1",),
        false=(FACTS, facts(b=AT_IMPORT)),
    ),
    "not-comparable": Case(
        true=facts(obstacles=("inputs differ: collection", "factors differ: threads")),
        text="The two captures cannot be held against each other: inputs differ: collection; "
        "factors differ: threads.",
        evidence=CAPTURES,
        false=(FACTS,),
    ),
    "keep": Case(
        true=FACTS,
        text="Keep the index: searched with 2.8.0, that of 2.7.1 loads, and no measure of "
        "effectiveness is worse by more than chance.",
        evidence=KEPT_OWN,
        false=(
            facts(keep=option("2.7.1", WORSE)),
            facts(keep=INFERRED),
            facts(keep=UNKNOWN),
            facts(keep=option("2.7.1", **FAILED)),
        ),
    ),
    "keep-follows": Case(
        true=facts(keep=INFERRED, rows=IDENTICAL),
        text="Keep the index: that of 2.8.0 is the same bit by bit, so what it finds in its own it "
        "would find in that of 2.7.1, which was not searched; no measure of effectiveness is worse "
        "by more than chance.",
        evidence=(*MADE_OWN, *VERDICTS),
        false=(FACTS, facts(keep=UNKNOWN), facts(keep=option("2.7.1", WORSE, state="inferred"))),
    ),
    "keep-in-vain": Case(
        true=facts(keep=option("2.7.1", WORSE), rows=IDENTICAL),
        text="Keep the index, for to re-index would make the same one; with 2.8.0 it does worse "
        "than now: nDCG@10 0.5000 → 0.4850 (-0.015, 95% -0.02 to -0.01).",
        evidence=(*KEPT_OWN, *VERDICTS),
        false=(facts(keep=option("2.7.1", WORSE)), facts(rows=IDENTICAL)),
    ),
    "does-not-load": Case(
        true=facts(keep=option("2.7.1", **FAILED)),
        text="Re-index: searching the index of 2.7.1 with 2.8.0 fails: RuntimeError: torn.",
        evidence=("rankings:2.7.1/2.8.0",),
        false=(
            FACTS,
            facts(keep=option("2.7.1", **FAILED), reindex=option("2.8.0", **FAILED)),
        ),
    ),
    "kept-is-worse": Case(
        true=facts(keep=option("2.7.1", WORSE)),
        text="Re-index: with 2.8.0 the index of 2.7.1 does worse than now: nDCG@10 0.5000 → 0.4850 "
        "(-0.015, 95% -0.02 to -0.01).",
        evidence=KEPT_OWN,
        false=(
            FACTS,
            facts(keep=option("2.7.1", BETTER)),
            facts(keep=option("2.7.1", WORSE), rows=IDENTICAL),
            facts(reindex=option("2.8.0", WORSE)),
        ),
    ),
    "no-search": Case(
        true=facts(keep=option("2.7.1", **FAILED), reindex=option("2.8.0", **FAILED)),
        text="To re-index is no way out: with 2.8.0 neither the index of 2.7.1 nor its own can be "
        "searched: RuntimeError: torn.",
        evidence=("rankings:2.7.1/2.8.0", "rankings:2.8.0/2.8.0"),
        false=(FACTS, facts(keep=option("2.7.1", **FAILED)), facts(reindex=option("2.8.0"))),
    ),
    "index-unknown": Case(
        true=facts(keep=UNKNOWN, options=" --passages 96"),
        text="Whether the index can be kept is not known: nobody searched the index of 2.7.1 with "
        "2.8.0; nox -s search -- 2.7.1 2.8.0 --passages 96 does so.",
        evidence=CAPTURES,
        false=(FACTS, facts(keep=option("2.7.1", **FAILED), reindex=option("2.8.0", **FAILED))),
    ),
    "index-identical": Case(
        true=facts(rows=IDENTICAL),
        text="The finished index is the same bit by bit in all its 4 tensors: to re-index would "
        "make the one that is there.",
        evidence=VERDICTS,
        false=(
            FACTS,
            facts(rows=rows("identical", index_ivf="reordered")),
            facts(rows=rows("identical", index_ivf="missing")),
            facts(rows=()),
        ),
    ),
    "index-reordered": Case(
        true=facts(rows=rows("identical", index_ivf="reordered")),
        text="The finished index means the same: 1 of its 4 tensors (index_ivf) in another order, "
        "the others bit by bit.",
        evidence=("verdicts:index_ivf",),
        false=(
            FACTS,
            facts(rows=IDENTICAL),
            facts(rows=rows("close", index_ivf="reordered")),
            facts(rows=rows("identical", index_ivf="reordered", index_codes="unstable")),
        ),
    ),
    "index-differs": Case(
        true=facts(rows=rows("close", index_residuals="differs")),
        text="To re-index makes another index: 3 of 4 tensors are not the same (close: "
        "index_centroids and index_ivf; differs: index_residuals).",
        evidence=("verdicts:index_centroids", "verdicts:index_residuals", "verdicts:index_ivf"),
        false=(
            facts(rows=IDENTICAL),
            facts(rows=rows("identical", index_ivf="reordered")),
            facts(rows=rows("missing")),
        ),
    ),
    "keep-ranking-same": Case(
        true=facts(keep=option("2.7.1", same(identical=400, largest_score_change=0.0000312))),
        text="If the index is kept, the ranking is the same for all 428 queries, though scores move"
        " in 28 by at most 3.1e-05.",
        evidence=KEPT_OWN,
        false=(FACTS, facts(reindex=option("2.8.0", same())), facts(keep=UNKNOWN)),
    ),
    "keep-ranking-changes": Case(
        true=FACTS,
        text="If the index is kept, the first 10 results change for 3 of 428 queries; the first "
        "100 in 5; on average 99.95% of the first 10 stay; rank-biased overlap 0.9999, 0.9300 at "
        "least; scores move by 1.2e-05 at most; 4 pairs of neighbours swap, in 3 "
        "queries, 2.1e-06 apart at most.",
        evidence=KEPT_OWN,
        false=(facts(keep=option("2.7.1", same())), facts(keep=UNKNOWN)),
    ),
    "keep-effectiveness": Case(
        true=FACTS,
        text="If the index is kept, no measure moves by more than chance: nDCG@10 0.5000 → 0.5005 "
        "(+0.0005, 95% -0.001 to +0.002).",
        evidence=KEPT_OWN,
        false=(facts(keep=option("2.7.1", changed(effectiveness=()))), facts(keep=UNKNOWN)),
    ),
    "re-index-ranking-same": Case(
        true=facts(reindex=option("2.8.0", same())),
        text="After re-indexing, the ranking is the same for all 428 queries, scores included.",
        evidence=MADE_OWN,
        false=(FACTS, facts(keep=option("2.7.1", same())), facts(reindex=option("2.8.0"))),
    ),
    "re-index-ranking-changes": Case(
        true=facts(
            reindex=option("2.8.0", changed(changed_top={"1": 0, "10": 0, "100": 5})),
        ),
        text="After re-indexing, only results below the first 10 change, for 5 of 428 queries; the "
        "first 100 in 5; on average 99.95% of the first 10 stay; rank-biased overlap 0.9999, "
        "0.9300 at least; scores move by 1.2e-05 at most; 4 pairs of neighbours swap, in 3 "
        "queries, 2.1e-06 apart at most.",
        evidence=MADE_OWN,
        false=(facts(reindex=option("2.8.0", same())), facts(reindex=option("2.8.0"))),
    ),
    "re-index-effectiveness": Case(
        true=facts(reindex=option("2.8.0", WORSE)),
        text="After re-indexing, nDCG@10 is worse by more than chance: nDCG@10 0.5000 → 0.4850 "
        "(-0.015, 95% -0.02 to -0.01), MRR@10 0.5000 → 0.5005 (+0.0005, 95% -0.001 to +0.002).",
        evidence=MADE_OWN,
        false=(
            facts(reindex=option("2.8.0", changed(effectiveness=()))),
            facts(reindex=option("2.8.0")),
        ),
    ),
    "re-index-stages": Case(
        true=facts(reindex=option("2.8.0", changed(), stages=STAGES)),
        text="Of 9 results that change among the first 10 of either side, changed by: candidates "
        "2, scores 6, ties 1.",
        evidence=(
            "verdicts:candidate_pids",
            "verdicts:pruned_pids",
            "verdicts:ranked_scores",
            "verdicts:ranked_pids",
        ),
        false=(FACTS, facts(reindex=option("2.8.0", same(), stages=STAGES))),
    ),
    "mmap-shifted": Case(
        true=facts(mapped=mapped(320, 704)),
        text="Do not map an index of 2.8.0 (load_index_with_mmap=True): colbert-ai skips 320 bytes "
        "of a file, but the data begin at byte 704 in an index of 2.8.0, so all is read shifted, "
        "which loading does not notice; an index of 2.7.1 is read right.",
        evidence=(*CAPTURES, "reproduction"),
        false=(facts(mapped=mapped(320, 320)), facts(mapped=mapped(0, 0))),
    ),
    "mmap-breaks": Case(
        true=facts(mapped=mapped(320, 448)),
        text="Who maps the index must keep it: that of 2.7.1 is read right, one that 2.8.0 makes "
        "is not.",
        evidence=CAPTURES,
        false=(FACTS, facts(mapped=mapped(448, 320)), facts(mapped=mapped(0, 448))),
    ),
    "mmap-mends": Case(
        true=facts(mapped=mapped(448, 320)),
        text="Who maps the index should re-index: one that 2.8.0 makes is read right, that of "
        "2.7.1 is not.",
        evidence=CAPTURES,
        false=(FACTS, facts(mapped=mapped(320, 448)), facts(mapped=mapped(448, 0))),
    ),
    "mmap-measured": Case(
        true=facts(
            mapped=(
                Mapped(torch="2.7.1", offsets=(320,), change=changed(same_order=0)),
                Mapped(torch="2.8.0", offsets=(704,), error="RuntimeError: torn"),
            )
        ),
        text="Mapped instead of loaded, and searched with 2.8.0, an index: that of 2.7.1 gives "
        "other results for 428 of 428 queries, for 3 among the first 10; that of 2.8.0 fails: "
        "RuntimeError: torn.",
        evidence=("rankings:2.7.1/2.8.0/mmap", "rankings:2.8.0/2.8.0/mmap"),
        false=(facts(mapped=mapped(704, 704)),),
    ),
    "training-same": Case(
        true=FACTS,
        text="Training is the same: after 2 steps of fine-tuning the weights are equal bit by bit.",
        evidence=("verdicts:train_loss", "verdicts:trained_weights"),
        false=(
            facts(rows=rows(training="close")),
            facts(rows=rows(training="unstable")),
            facts(rows=()),
        ),
    ),
    "training-changes": Case(
        true=facts(
            rows=rows(training="close"), losses=Losses(a=(0.7, 0.61), b=(0.7, 0.6), first=2)
        ),
        text="Training changes: the loss first differs in step 2 of 2 and ends at 0.61 and 0.6, "
        "0.01 apart; not the same at the end: trained_weights.",
        evidence=("verdicts:train_loss", "verdicts:trained_weights"),
        false=(FACTS, facts(rows=rows(training="unstable")), facts(rows=rows(training="failed"))),
    ),
    "explained": Case(
        true=facts(explanation=explanation()),
        text="Why: torch 2.8.0 parts from 2.7.1 at layers (aten.addmm.default): with batches of "
        "2.7.1 everything downstream is identical.",
        evidence=("explanation",),
        false=(FACTS,),
    ),
    "runs": Case(
        true=facts(b=stopped("2.8.0", train="not_run")),
        text="torch 2.8.0 runs with the packages of this lane: install, import, load, index, "
        "search pass.",
        evidence=("capture:2.8.0",),
        false=(facts(b=AT_IMPORT), facts(b=stopped("2.8.0", load="not_run"))),
    ),
    "requirement": Case(
        true=facts(run=Run(releases=("2.5.0", "2.7.1", "2.8.0"), gaps=("2.6.0",))),
        text="To keep the finished index as it is, colbert-ai could require torch>=2.5.0,<=2.8.0: "
        "all 3 captured releases from 2.5.0 to 2.8.0 make the same, but for its order, and search "
        "it.",
        evidence=("capture:2.5.0", "capture:2.7.1", "capture:2.8.0"),
        false=(facts(run=None),),
    ),
}


def test_every_claim_is_tested_both_ways() -> None:
    assert list(CASES) == list(RULES)
    assert all(case.false for case in CASES.values())


@pytest.mark.parametrize("claim", CASES)
def test_what_is_true_is_said_in_these_words(claim: str) -> None:
    case = CASES[claim]
    said = {sentence.claim: sentence for sentence in advise(case.true).sentences}
    assert said[claim].text == case.text
    assert said[claim].evidence == case.evidence


@pytest.mark.parametrize(
    ("claim", "number"),
    [(claim, n) for claim, case in CASES.items() for n in range(len(case.false))],
)
def test_what_is_false_is_not_said(claim: str, number: int) -> None:
    said = [sentence.claim for sentence in advise(CASES[claim].false[number]).sentences]
    assert claim not in said


# Sentences that have more than one wording.


@pytest.mark.parametrize(
    ("given_facts", "claim", "text"),
    [
        (
            facts(keep=option("2.7.1", changed(effectiveness=()))),
            "keep",
            "nobody measured its effectiveness.",
        ),
        (
            facts(keep=option("2.7.1", changed(effectiveness=()), state="inferred")),
            "keep-follows",
            "which was not searched; nobody measured its effectiveness.",
        ),
        (
            facts(keep=option("2.7.1", BETTER)),
            "keep-effectiveness",
            "If the index is kept, nDCG@10 is better by more than chance: nDCG@10 0.5000 → ",
        ),
        (
            facts(keep=option("2.7.1", MIXED)),
            "keep-effectiveness",
            "MRR@10 and nDCG@10 are worse and Recall@10 is better by more than chance: MRR@10 ",
        ),
        (
            facts(keep=option("2.7.1", changed(overlap={"1": 1.0, "10": 1.0, "100": 0.99}))),
            "keep-ranking-changes",
            "; all of the first 10 stay; ",
        ),
        (facts(keep=UNKNOWN, b=AT_IMPORT), "index-unknown", "torch 2.8.0 stops at import."),
        (
            facts(keep=UNKNOWN, a=stopped("2.7.1", index="failed")),
            "index-unknown",
            "torch 2.7.1 stops at index.",
        ),
        (
            facts(keep=UNKNOWN, obstacles=("inputs differ",)),
            "index-unknown",
            "the captures are not comparable.",
        ),
        (
            facts(keep=UNKNOWN, own=option("2.7.1", search="2.7.1")),
            "index-unknown",
            "2.7.1 has not searched its own index; nox -s matrix -- 2.7.1 2.8.0 has it do so.",
        ),
        (
            facts(keep=UNKNOWN, own=option("2.7.1", search="2.7.1"), stale=True),
            "index-unknown",
            "nox -s matrix -- 2.7.1 2.8.0 --fresh has it do so.",
        ),
        (facts(keep=UNKNOWN, b=stopped("2.8.0", train="failed")), "index-unknown", "does so."),
        (
            facts(b=stopped("2.8.0", load="not_run")),
            "does-not-run",
            "torch 2.8.0 stops at load.",
        ),
        (FACTS, "mmap-shifted", "at byte 704 in an index of 2.7.1 or 2.8.0, so"),
        (
            facts(mapped=mapped(448, 704)),
            "mmap-shifted",
            "at byte 448 in an index of 2.7.1 and 704 in an index of 2.8.0, so",
        ),
        (FACTS, "requirement", "no captured release next to 2.8.0 makes the same and searches it"),
        (
            facts(mapped=mapped(320, 320, change=same())),
            "mmap-measured",
            "that of 2.8.0 gives the same for all 428 queries.",
        ),
        (
            facts(rows=rows(training="close"), losses=None),
            "training-changes",
            "the loss was not compared; ",
        ),
        (facts(rows=rows(training="close")), "training-changes", "of all 2 steps is the same; "),
        (facts(losses=None), "training-same", "after fine-tuning the weights"),
    ],
)
def test_other_wordings(given_facts: Facts, claim: str, text: str) -> None:
    said = {sentence.claim: sentence.text for sentence in advise(given_facts).sentences}
    assert text in said[claim]


# What holds for any facts.

ANSWERS = {
    "keep": "keep",
    "keep-follows": "keep",
    "keep-in-vain": "keep",
    "does-not-load": "re-index",
    "kept-is-worse": "re-index",
    "no-search": "unknown",
    "index-unknown": "unknown",
}
CHANGES = st.sampled_from([same(), changed(), WORSE, BETTER, changed(effectiveness=())])


def options(index: str) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.just(option(index)),
        st.just(option(index, **FAILED)),
        CHANGES.map(lambda change: option(index, change)),
    )


@st.composite
def any_facts(draw: st.DrawFn) -> Facts:
    states = st.sampled_from(["ok", "failed", "not_run"])
    keep, reindex = draw(options("2.7.1")), draw(options("2.8.0"))
    found = rows(draw(st.sampled_from(["identical", "reordered", "close", "missing"])))
    identical = all(one["verdict"] == "identical" for one in found if "index" in one["artifact"])
    if identical and keep.state == "unknown" and reindex.state == "ok":
        keep = remade(reindex, index="2.7.1", state="inferred")
    return facts(
        a=stopped("2.7.1", search=draw(states)),
        b=stopped("2.8.0", load=draw(states), train=draw(states)),
        rows=found,
        keep=keep,
        reindex=reindex,
        mapped=mapped(draw(st.sampled_from([0, 320, 704])), draw(st.sampled_from([0, 320, 704]))),
    )


@BRIEF
@given(any_facts())
def test_one_sentence_answers_about_the_index(found: Facts) -> None:
    advice = advise(found)
    (claim,) = [one.claim for one in advice.sentences if one.claim in ANSWERS]
    assert ANSWERS[claim] == advice.index


@BRIEF
@given(any_facts())
def test_no_two_sentences_contradict_each_other(found: Facts) -> None:
    said = {one.claim for one in advise(found).sentences}
    for one, other in [
        ("runs", "does-not-run"),
        ("cure", "cure-unknown"),
        ("index-identical", "index-differs"),
        ("index-identical", "index-reordered"),
        ("keep-ranking-same", "keep-ranking-changes"),
        ("re-index-ranking-same", "re-index-ranking-changes"),
        ("training-same", "training-changes"),
        ("mmap-breaks", "mmap-mends"),
    ]:
        assert not {one, other} <= said


@BRIEF
@given(any_facts())
def test_the_script_comes_with_the_warning(found: Facts) -> None:
    advice = advise(found)
    warned = "mmap-shifted" in [one.claim for one in advice.sentences]
    assert advice.reproduction == (MMAP_REPRODUCTION if warned else "")


def test_hostile_strings_are_shown_and_not_obeyed() -> None:
    kept = option("2.7.1", state="failed", error="Error: \x1b[31mred\u202e")
    advice = advise(facts(keep=kept, obstacles=("a\x07b",)))
    told = [advice.headline, advice.keep.error, *(one.text for one in advice.sentences)]
    assert all(text.isprintable() for text in told)
    assert any(r"\x1b[31mred\u202e" in text for text in told)
