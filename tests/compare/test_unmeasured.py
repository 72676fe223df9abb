"""What an advice says that it does not say, where that is so and where it is not."""

from dataclasses import replace
from typing import Any

import pytest

from matrix_capture.schema import Control, Observer
from matrix_compare.advising import advise
from matrix_compare.change import Attribution
from matrix_compare.facts import Facts, Mapped, Size
from matrix_compare.requirement import Run
from matrix_compare.unmeasured import UNMEASURED
from tests.compare.advices import FACTS, changed, option, ran, recorded, rows, same
from tests.compare.test_explained import explanation


def facts(**changes: Any) -> Facts:
    return replace(FACTS, **changes)


BARE = (Mapped(torch="2.7.1", offsets=(704,)), Mapped(torch="2.8.0", offsets=(704,), error="E"))
ELSEWHERE = facts(obstacles=("inputs differ",))
AT_LOAD = facts(b=recorded("2.8.0", status=ran(load="failed", index="not_run")))
ALIKE = rows("identical")
STAGES = Attribution(candidates=1, pruning=0, scores=0, ties=0, unknown=0)
UNSURE = recorded(
    "2.8.0",
    control=Control(identical=False, tensors=9, unstable=("D",), unstable_tensors=1),
    observer=Observer(identical=False, tensors=9, differing=("index_ivf",)),
)

# Each with facts of which it is true, its words there, and facts of which it is not.
CASES: dict[str, tuple[Facts, str, tuple[Facts, ...]]] = {
    "hosts": (FACTS, "any GPU, and any CPU but X: this lane runs on that alone", ()),
    "collection": (
        facts(size=Size(passages=69_199, embeddings=1_146_937, chunks=3)),
        "larger collections: this one has 69,199 passages, 1,146,937 embeddings, 3 chunks",
        (facts(size=None),),
    ),
    "queries": (
        FACTS,
        "other queries than the 428 of this lane, and what lies beyond rank 100",
        (facts(queries=0),),
    ),
    "stale-searches": (
        facts(stale=True),
        "searches: those on record are of other inputs than the captures; nox -s matrix -- 2.7.1 "
        "2.8.0 --fresh makes others",
        (FACTS,),
    ),
    "stopped": (
        AT_LOAD,
        "all that comes later: 2.8.0 stops at load",
        (FACTS,),
    ),
    "own-search": (
        facts(own=option("2.7.1", search="2.7.1")),
        "the ranking as it is now: 2.7.1 did not search its own index",
        (
            FACTS,
            facts(own=option("2.7.1"), stale=True),
            replace(ELSEWHERE, own=option("2.7.1")),
            replace(AT_LOAD, own=option("2.7.1")),
        ),
    ),
    "cross-search": (
        facts(keep=option("2.7.1", changed(), state="inferred")),
        "whether the files of an index of 2.7.1 load with 2.8.0, and what is found in it; nox -s "
        "search -- 2.7.1 2.8.0 tells",
        (
            FACTS,
            facts(keep=option("2.7.1", state="failed")),
            replace(ELSEWHERE, keep=option("a")),
            replace(AT_LOAD, keep=option("a")),
        ),
    ),
    "re-index-search": (
        facts(reindex=option("2.8.0", state="failed")),
        "the ranking after re-indexing: 2.8.0 did not search its own index",
        (FACTS, *(replace(one, reindex=option("2.8.0")) for one in (ELSEWHERE, AT_LOAD))),
    ),
    "effectiveness": (
        facts(keep=option("2.7.1", changed(effectiveness=()))),
        "whether more or less is found that is relevant: nobody knows what is, in this lane",
        (FACTS, facts(keep=option("2.7.1"), reindex=option("2.8.0"))),
    ),
    "stages": (
        FACTS,
        "which stage of the search changed the results: what it passes on is not on record",
        (
            facts(reindex=option("2.8.0", same())),
            facts(reindex=option("2.8.0", changed(), stages=STAGES)),
        ),
    ),
    "mmap": (
        facts(mapped=BARE),
        "what is found in a mapped index of 2.7.1; nox -s search -- 2.7.1 2.8.0 tells",
        (FACTS, *(replace(one, mapped=BARE) for one in (ELSEWHERE, AT_LOAD))),
    ),
    "training": (
        facts(rows=rows(training="unstable")),
        "training: the weights after it are not on record on both sides, or not stable",
        (
            FACTS,
            facts(rows=rows(training="close")),
            *(replace(one, rows=()) for one in (ELSEWHERE, AT_LOAD)),
        ),
    ),
    "long-training": (
        FACTS,
        "training of more than 2 steps",
        (facts(losses=None), facts(rows=rows(training="unstable"))),
    ),
    "controls-failed": (
        facts(b=UNSURE),
        "what a capture that did not pass its own controls can tell: torch 2.8.0: 1 of 9 tensors "
        "differ between two runs of one environment (D); torch 2.8.0: watching changes the index "
        "(index_ivf)",
        (FACTS,),
    ),
    "controls-absent": (
        facts(a=recorded("2.7.1", control=None), b=recorded("2.8.0", observer=None)),
        "whether the capture of 2.7.1 and 2.8.0 equals itself, and whether watching changed it",
        (FACTS, facts(b=recorded("2.8.0", control=None, status=ran(index="failed")))),
    ),
    "index-unclear": (
        facts(rows=rows("unstable", index_ivf="not_run")),
        "3 tensors of the finished index (index_centroids, index_residuals and index_ivf: "
        "unstable, not run)",
        (
            FACTS,
            replace(ELSEWHERE, rows=rows("not_comparable")),
            replace(AT_LOAD, rows=rows("failed")),
        ),
    ),
    "cause": (
        FACTS,
        "why they differ; nox -s explain -- 2.7.1 2.8.0 finds out",
        (facts(explanation=explanation()), facts(rows=ALIKE)),
    ),
    "companions": (
        FACTS,
        "whether torch itself did it: one other thing moved with it (triton)",
        (facts(rows=ALIKE), facts(environment=FACTS.environment[:1])),
    ),
    "requirement-gaps": (
        facts(run=Run(releases=("2.5.0", "2.8.0"), gaps=("2.5.1", "2.6.0"))),
        "2 releases that torch>=2.5.0,<=2.8.0 allows and that have no capture (2.5.1 and 2.6.0)",
        (FACTS, facts(run=None)),
    ),
    "requirement-unknown": (
        facts(run=None),
        "what colbert-ai could require: 2.8.0 did not search",
        (FACTS, facts(run=None, b=recorded("2.8.0", status=ran(load="failed")))),
    ),
}


def test_every_gap_is_tested_both_ways() -> None:
    assert list(CASES) == list(UNMEASURED)
    # Numbers of one host are that host's, always.
    assert [claim for claim, (_, _, false) in CASES.items() if not false] == ["hosts"]


@pytest.mark.parametrize("claim", CASES)
def test_what_was_not_measured_is_told_in_these_words(claim: str) -> None:
    true, text, _ = CASES[claim]
    told = {sentence.claim: sentence.text for sentence in advise(true).not_measured}
    assert told[claim] == text


@pytest.mark.parametrize(
    ("claim", "given"), [(claim, one) for claim, (_, _, false) in CASES.items() for one in false]
)
def test_what_was_measured_is_not_told(claim: str, given: Facts) -> None:
    assert claim not in [sentence.claim for sentence in advise(given).not_measured]


def test_a_run_that_stops_at_training_can_be_searched() -> None:
    late = recorded("2.8.0", status=ran(train="failed"))
    told = [one.claim for one in advise(facts(b=late, keep=option("2.7.1"))).not_measured]
    assert {"stopped", "cross-search"} <= set(told)


def test_what_is_to_be_searched_must_be_captured_first() -> None:
    bare = facts(keep=option("2.7.1"), reindex=option("2.8.0"), mapped=BARE)
    told = {sentence.claim: sentence.text for sentence in advise(bare).not_measured}
    assert told["cross-search"].endswith("; nox -s matrix -- 2.7.1 2.8.0 tells")
    assert told["mmap"].endswith("; nox -s matrix -- 2.7.1 2.8.0 tells")


def test_a_gpu_says_nothing_about_a_cpu() -> None:
    on_gpu = facts(device="cuda", b=recorded("2.8.0", host={"cpu_model": "X", "gpu": "NVIDIA Y"}))
    told = {sentence.claim: sentence.text for sentence in advise(on_gpu).not_measured}
    assert told["hosts"] == "any CPU, and any GPU but NVIDIA Y: this lane runs on that alone"
    assert told["mmap"].endswith(": colbert-ai refuses to map one on a GPU")
