"""One word for each question, and all of it in one line."""

from dataclasses import replace
from typing import Any

import pytest

from matrix_compare.advising import advise
from matrix_compare.facts import Facts
from tests.compare.advices import FACTS, changed, measured, option, ran, recorded, rows, same

WORSE = changed(effectiveness=(measured(-0.02, -0.01),))
UNKNOWN = option("2.7.1")
FAILED = option("2.7.1", state="failed", error="E: torn")


def facts(**changes: Any) -> Facts:
    return replace(FACTS, **changes)


def stopped(torch: str, **states: str) -> Any:
    return recorded(torch, status=ran(**states))


@pytest.mark.parametrize(
    ("given", "index", "ranking"),
    [
        (FACTS, "keep", "changes"),
        (facts(keep=option("2.7.1", same())), "keep", "same"),
        (facts(keep=option("2.7.1", WORSE)), "re-index", "changes"),
        (facts(keep=option("2.7.1", WORSE), reindex=option("2.8.0", same())), "re-index", "same"),
        (facts(keep=option("2.7.1", WORSE), rows=rows("identical")), "keep", "changes"),
        (facts(keep=FAILED), "re-index", "changes"),
        (facts(keep=FAILED, reindex=UNKNOWN), "re-index", "unknown"),
        (facts(keep=FAILED, reindex=option("2.8.0", state="failed")), "unknown", "unknown"),
        (facts(keep=UNKNOWN), "unknown", "unknown"),
        (facts(keep=option("2.7.1", same(), state="inferred")), "keep", "same"),
    ],
)
def test_index_and_ranking(given: Facts, index: str, ranking: str) -> None:
    advice = advise(given)
    assert (advice.index, advice.ranking) == (index, ranking)


@pytest.mark.parametrize(
    ("low", "high", "index"),
    [(-0.02, -0.001, "re-index"), (-0.02, 0.0, "keep"), (-0.02, 0.01, "keep")],
)
def test_worse_is_an_interval_wholly_below_nought(low: float, high: float, index: str) -> None:
    kept = option("2.7.1", changed(effectiveness=(measured(), measured(low, high))))
    assert advise(facts(keep=kept)).index == index


@pytest.mark.parametrize(
    ("verdict", "training"),
    [
        ("identical", "same"),
        ("close", "changes"),
        ("differs", "changes"),
        ("unstable", "unknown"),
        ("missing", "unknown"),
        ("not_comparable", "unknown"),
    ],
)
def test_training(verdict: str, training: str) -> None:
    assert advise(facts(rows=rows(training=verdict))).training == training


@pytest.mark.parametrize(
    ("status", "runs"),
    [
        (ran(), "yes"),
        (ran(search="not_run", train="not_run"), "yes"),
        (ran(train="failed"), "no"),
        (ran(load="not_run", index="not_run"), "no"),
        ({}, "no"),
    ],
)
def test_runs(status: Any, runs: str) -> None:
    assert advise(facts(b=recorded("2.8.0", status=status))).runs == runs


LOST = {"keep": UNKNOWN, "reindex": option("2.8.0"), "rows": ()}


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            FACTS,
            "keep the index; the first 10 results change for 3 of 428 queries; "
            "training stays the same",
        ),
        (
            facts(keep=option("2.7.1", same()), rows=rows(training="close")),
            "keep the index; the ranking is the same for all 428 queries; training changes",
        ),
        (
            facts(keep=FAILED, reindex=UNKNOWN, rows=()),
            "re-index; whether the ranking changes was not measured",
        ),
        (facts(**LOST), "whether the index can be kept was not measured"),
        (
            facts(keep=UNKNOWN, rows=rows("identical", "missing")),
            "whether the index can be kept was not measured; "
            "the finished index is the same bit by bit",
        ),
        (
            facts(b=stopped("2.8.0", load="failed", index="not_run"), **LOST),
            "2.8.0 stops at load: ImportError: no module",
        ),
        (
            facts(b=stopped("2.8.0", train="failed"), rows=()),
            "2.8.0 stops at train: ImportError: no module; keep the index; "
            "the first 10 results change for 3 of 428 queries",
        ),
        (
            facts(a=stopped("2.7.1", load="failed"), **LOST),
            "2.7.1 stops at load, so there is nothing to hold it against",
        ),
        (
            facts(obstacles=("inputs differ",), **LOST),
            "it runs, but the two captures are not comparable",
        ),
    ],
)
def test_headline(given: Facts, text: str) -> None:
    assert advise(given).headline == f"2.7.1 → 2.8.0: {text}"


def test_a_downgrade_stays_one() -> None:
    back = facts(a=FACTS.b, b=FACTS.a)
    advice = advise(back)
    assert advice.headline.startswith("2.8.0 → 2.7.1: ")
    assert advice.command == "nox -s advise -- 2.8.0 2.7.1"
