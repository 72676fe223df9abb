"""The effect on search: what a table tells of both ways on."""

from typing import Any

import msgspec

from matrix_compare.advice import Option
from matrix_compare.change import Effectiveness, Flips, Interval, RankingChange
from matrix_site.effect import NOT_MEASURED, effect
from matrix_site.statement import Sources
from tests.site.test_advice import advice

SOURCES = Sources(environments={}, known={}, rankings="", anchors=())

CHANGE = RankingChange(
    queries=428,
    identical=300,
    same_order=400,
    changed_top={"1": 2, "10": 11, "100": 28},
    overlap={"1": 0.99, "10": 0.9987, "100": 1.0},
    rbo=0.99996,
    rbo_least=0.71,
    tau=None,
    tau_least=None,
    largest_score_change=0.0029,
    flips=Flips(pairs=6, queries=5, largest_gap=-0.00035),
    effectiveness=(
        Effectiveness(
            measure="nDCG@10",
            a=0.3238,
            b=0.3248,
            difference=Interval(mean=0.001, low=-0.002, high=0.004),
        ),
    ),
)


def figures(**changes: Any) -> dict[str, tuple[str, str]]:
    """The table of an advice whose index was re-indexed with these changes, by name."""
    made = Option(index="b", search="b", change=msgspec.structs.replace(CHANGE, **changes))
    found = effect(advice(reindex=made), SOURCES)
    assert found is not None
    assert found.queries == 428
    return {one.name: (one.kept, one.made) for one in found.figures}


def test_queries_that_change_are_counted_once() -> None:
    table = figures()
    counts = [
        int(table[name][1])
        for name in (
            "Queries with the same results, same order",
            "Others among the first 10",
            "Others below the first 10 only",
        )
    ]
    assert counts == [400, 11, 17]
    assert sum(counts) == CHANGE.queries


def test_nothing_that_changed_looks_whole() -> None:
    table = figures()
    assert table["Rank-biased overlap (least)"][1] == "0.9999 (0.7100)"
    assert table["Of the first 10 stay, whatever their order"][1] == "99.87%"
    assert table["nDCG@10"][1] == "0.3238 → 0.3248, +0.001 (95%: -0.002 to +0.004)"
    assert table["Neighbours that swap"][1] == "6 pairs in 5 queries, at most 3.5e-04 apart"
    assert "Kendall's tau (least)" not in table


def test_what_was_not_searched_is_not_measured() -> None:
    assert {kept for kept, _ in figures().values()} == {NOT_MEASURED}
    assert effect(advice(), SOURCES) is None


def test_a_file_may_lack_a_depth() -> None:
    table = figures(changed_top={}, overlap={})
    assert "Others among the first 10" not in table
