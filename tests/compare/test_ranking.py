import math
import sys
from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytrec_eval import RelevanceEvaluator

from matrix_capture.errors import MatrixError
from matrix_capture.rankings import COLUMNS
from matrix_compare.change import Effectiveness, Flips, Interval, RankingChange
from matrix_compare.ranking import ranking_change

Ranked = Sequence[tuple[int, float]]
"""Passages and scores of one query, the best first."""


def table_of(*queries: Ranked, torch: str = "2.8.0") -> Any:
    rows = [
        ("2.7.1", torch, False, query, rank, pid, score)
        for query, results in enumerate(queries)
        for rank, (pid, score) in enumerate(results, start=1)
    ]
    columns = zip(*rows, strict=True) if rows else [[] for _ in COLUMNS]
    return pa.table(list(map(list, columns)), schema=COLUMNS)


def falling(*pids: int) -> Ranked:
    """Passages in this order, each with a score of one less."""
    return [(pid, 1000.0 - place) for place, pid in enumerate(pids)]


def change(
    a: Sequence[Ranked], b: Sequence[Ranked], relevant: Sequence[Sequence[int]] | None = None
) -> RankingChange:
    return ranking_change(table_of(*a), table_of(*b), relevant or [()] * len(a))


def of_orders(a: Sequence[int], b: Sequence[int]) -> RankingChange:
    return change([falling(*a)], [falling(*b)])


def measures(
    a: Sequence[Ranked], b: Sequence[Ranked], relevant: Sequence[Sequence[int]]
) -> dict[str, Effectiveness]:
    return {found.measure: found for found in change(a, b, relevant).effectiveness}


def test_the_same_rankings(monkeypatch: pytest.MonkeyPatch) -> None:
    # What needs seconds to load is for rankings that differ.
    monkeypatch.setitem(sys.modules, "scipy", None)
    results = [falling(*range(n, n + 20)) for n in range(3)]
    found = change(results, results, [(0,), (), (3, 90)])
    assert msgspec.structs.replace(found, effectiveness=()) == RankingChange(
        queries=3,
        identical=3,
        same_order=3,
        changed_top={"1": 0, "10": 0, "100": 0},
        overlap={"1": 1.0, "10": 1.0, "100": 1.0},
        rbo=1.0,
        rbo_least=1.0,
        tau=1.0,
        tau_least=1.0,
        largest_score_change=0.0,
        flips=Flips(pairs=0, queries=0, largest_gap=0.0),
        effectiveness=(),
    )
    # Of one query the relevant passage is first, of another one of two is second.
    gain = 1 / math.log2(3)
    expected = {"MRR@10": 0.75, "nDCG@10": (1 + gain / (1 + gain)) / 2, "Recall@10": 0.75}
    assert {one.measure: one.a for one in found.effectiveness} == pytest.approx(expected)
    for one in found.effectiveness:
        assert one.a == one.b
        assert one.difference == Interval(mean=0.0, low=0.0, high=0.0)


def test_the_result_is_json() -> None:
    found = change([falling(1, 2)], [falling(2, 1)], [[1]])
    assert msgspec.json.decode(msgspec.json.encode(found), type=RankingChange) == found


@pytest.mark.parametrize(
    ("before", "after"), [(1.0, float(np.nextafter(np.float32(1), np.float32(2)))), (0.0, -0.0)]
)
def test_a_bit_of_a_score(before: float, after: float) -> None:
    found = change([[(1, 2.0), (2, before)], falling(1)], [[(1, 2.0), (2, after)], falling(1)])
    assert (found.identical, found.same_order) == (1, 2)
    assert found.changed_top == {"1": 0, "10": 0, "100": 0}
    assert found.largest_score_change == after - before


def test_the_largest_score_change_is_of_a_passage_that_both_found() -> None:
    a = [[(1, 9.0), (2, 8.5), (3, 2.0)]]
    b = [[(4, 99.0), (2, 8.0), (1, 7.75), (3, 2.0)]]
    assert change(a, b).largest_score_change == 1.25
    assert change([[(1, 1.0)]], [[(2, 5.0)]]).largest_score_change == 0.0


@pytest.mark.parametrize(
    ("place", "changed"),
    [
        (0, {"1": 1, "10": 1, "100": 1}),
        (1, {"1": 0, "10": 1, "100": 1}),
        (9, {"1": 0, "10": 1, "100": 1}),
        (10, {"1": 0, "10": 0, "100": 1}),
        (99, {"1": 0, "10": 0, "100": 1}),
        (100, {"1": 0, "10": 0, "100": 0}),
    ],
)
def test_the_depth_of_a_swap(place: int, changed: dict[str, int]) -> None:
    order = list(range(110))
    swapped = [*order[:place], place + 1, place, *order[place + 2 :]]
    found = change([falling(*order)] * 2, [falling(*order), falling(*swapped)])
    assert found.changed_top == changed
    assert (found.identical, found.same_order) == (1, 1)


def test_fewer_results_are_other_results() -> None:
    found = of_orders([1, 2, 3], [1, 2])
    assert found.changed_top == {"1": 0, "10": 1, "100": 1}
    assert found.same_order == 0
    assert found.overlap == {"1": 1.0, "10": 2 / 3, "100": 2 / 3}
    assert of_orders([1, 2], [1, 2, 3]).overlap["10"] == 1.0


def test_overlap_is_that_of_sets() -> None:
    a, b = list(range(20)), [*range(9, -1, -1), *range(30, 40)]
    assert of_orders(a, b).overlap == {"1": 0.0, "10": 1.0, "100": 0.5}


def test_a_query_without_results() -> None:
    nothing: Ranked = []
    both = change([falling(1), nothing], [falling(1), nothing])
    assert (both.identical, both.rbo, both.overlap["10"], both.tau) == (2, 1.0, 1.0, None)
    for a, b in ((nothing, falling(1)), (falling(1), nothing)):
        one = change([falling(1), a], [falling(1), b])
        assert (one.same_order, one.rbo_least, one.overlap["10"]) == (1, 0.0, 0.5)
        assert one.changed_top == {"1": 1, "10": 1, "100": 1}
    none = change([nothing], [nothing])
    assert (none.identical, none.rbo) == (1, 1.0)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        # Of agreements 1, 1/2, 1, the last extrapolated: 0.1 (1 + 0.45 + 0.81) + 0.729.
        ([1, 2, 3], [1, 3, 2], 0.955),
        # 0.1 / 0.9 * 0.405 + 0.5 * 0.81.
        ([1], [2, 1], 0.45),
        # 0.1 / 0.9 * (0.9 + 0.405 + 0.243 + 0.1215) + 0.5 * 0.729: two of three depths are seen.
        ([1, 2], [1, 3, 4], 0.55),
        ([1, 2], [1, 2, 3], 1.0),
        ([1, 2], [3, 4], 0.0),
        ([1, 2], [2, 1], 0.9),
    ],
)
def test_rank_biased_overlap_by_hand(a: list[int], b: list[int], expected: float) -> None:
    assert of_orders(a, b).rbo == pytest.approx(expected, abs=1e-15)
    assert of_orders(b, a).rbo == pytest.approx(expected, abs=1e-15)


def test_mean_and_least() -> None:
    found = change([falling(1, 2, 3)] * 4, [falling(1, 2, 3)] * 3 + [falling(3, 2, 1)])
    assert (found.tau, found.tau_least) == (0.5, -1.0)
    assert found.rbo_least == pytest.approx(0.1 * (0 + 0.45 + 0.81) + 0.729)
    assert found.rbo == pytest.approx((3 + found.rbo_least) / 4)


def test_tau_needs_two_passages_that_both_found() -> None:
    assert of_orders([1, 2, 3], [3, 4, 5]).tau is None
    found = change([falling(1, 2), falling(1, 2, 3)], [falling(1, 5), falling(3, 9, 1)])
    assert (found.tau, found.tau_least) == (-1.0, -1.0)


def test_flipped_neighbours_and_their_gap() -> None:
    a = [(1, 9.0), (2, 8.5), (3, 8.25), (4, 6.0), (5, 5.0)]
    b = [(2, 9.0), (1, 8.5), (3, 8.25), (5, 7.0), (4, 5.0)]
    found = change([a, a], [a, b])
    assert found.flips == Flips(pairs=2, queries=1, largest_gap=1.0)


def test_only_neighbours_in_a_flip() -> None:
    # 1 and 3 come the other way round, but a has 2 between, which b lacks.
    assert of_orders([1, 2, 3], [3, 1]).flips.pairs == 0
    # The last of one query is no neighbour of the first of the next.
    found = change([falling(1, 2), falling(3)], [falling(1, 2), falling(3)])
    assert found.flips.pairs == 0
    both = change([falling(1, 5), falling(2, 3)], [falling(1, 5), falling(9, 8, 2, 3)])
    assert both.flips.pairs == 0


def test_trec_eval_takes_the_order_of_colbert() -> None:
    tied = [(20, 1.0), (3, 1.0)]
    # The planted fault: with the scores as they are it puts "3" before "20".
    raw = RelevanceEvaluator({"0": {"20": 1}}, {"recip_rank"})
    assert raw.evaluate({"0": {"20": 1.0, "3": 1.0}})["0"]["recip_rank"] == 0.5
    found = measures([tied], [list(reversed(tied))], [[20]])
    assert (found["MRR@10"].a, found["MRR@10"].b) == (1.0, 0.5)


@pytest.mark.parametrize(("rank", "reciprocal", "recall"), [(1, 1, 1), (10, 0.1, 1), (11, 0, 0)])
def test_ten_results_count(rank: int, reciprocal: float, recall: float) -> None:
    results = [falling(*range(100, 140))]
    found = measures(results, results, [[99 + rank]])
    assert found["MRR@10"].a == pytest.approx(reciprocal)
    assert found["nDCG@10"].a == pytest.approx(recall / math.log2(rank + 1))
    assert found["Recall@10"].a == recall


def test_a_change_below_the_first_result_is_measured() -> None:
    found = measures([falling(9, 1, 2)], [falling(9, 2, 1)], [[1]])
    assert [found["MRR@10"].a, found["MRR@10"].b] == pytest.approx([1 / 2, 1 / 3])


def test_queries_without_relevant_passages_are_left_out() -> None:
    a, b = [falling(1, 2), falling(1, 2)], [falling(1, 2), falling(2, 1)]
    assert change(a, b, [(), ()]).effectiveness == ()
    found = measures(a, b, [(), (1,)])["MRR@10"]
    assert (found.a, found.b) == (1.0, 0.5)
    assert found.difference == Interval(mean=-0.5, low=-0.5, high=-0.5)


def test_a_query_without_results_finds_nothing() -> None:
    found = measures([falling(1), falling(1)], [falling(1), []], [(1,), (1,)])
    assert [(one.a, one.b) for one in found.values()] == [(1.0, 0.5)] * 3


def test_the_interval_of_a_difference() -> None:
    better = [falling(1, 2)] * 100
    worse = [falling(2, 1)] * 40 + [falling(1, 2)] * 60
    down = measures(better, worse, [[1]] * 100)["MRR@10"].difference
    assert down.mean == pytest.approx(-0.2)
    # Normal approximation: 0.2 plus or minus 1.96 * 0.5 * sqrt(0.4 * 0.6 / 100).
    assert down.low == pytest.approx(-0.248, abs=0.006)
    assert down.high == pytest.approx(-0.152, abs=0.006)
    up = measures(worse, better, [[1]] * 100)["MRR@10"].difference
    assert [up.low, up.high] == pytest.approx([-down.high, -down.low])
    assert measures(better, worse, [[1]] * 100)["MRR@10"].difference == down


def test_ups_and_downs_are_drawn_together() -> None:
    hit, miss = falling(1), falling(2)
    a = [hit] * 50 + [miss] * 50
    b = [miss] + [hit] * 50 + [miss] * 49
    # Drawn apart, the interval would be 0.14 either way; two queries of 100 make it 0.03.
    found = measures(a, b, [[1]] * 100)["Recall@10"].difference
    assert found.mean == 0
    assert -0.05 < found.low < 0 < found.high < 0.05


def test_a_single_query_has_no_interval() -> None:
    found = measures([falling(1)], [falling(2)], [[1]])["Recall@10"].difference
    assert found == Interval(mean=-1.0, low=-1.0, high=-1.0)


def row(**changed: Any) -> dict[str, Any]:
    first = {"index_torch": "2.7.1", "search_torch": "2.8.0", "mmap": False}
    return {**first, "query": 0, "rank": 1, "pid": 5, "score": 1.0, **changed}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(rank=2)], "query 0 is not ranked from 1 on"),
        ([row(), row(rank=3, pid=6)], "query 0 is not ranked from 1 on"),
        ([row(rank=2), row(pid=6)], "query 0 is not ranked from 1 on"),
        ([row(query=1), row()], "query 1 is not ranked from 1 on"),
        ([row(query=1, rank=0), row(rank=2)], "query 0 is not ranked from 1 on"),
        ([row(), row(query=1), row(rank=2, pid=6)], "query 1 is not ranked from 1 on"),
        ([row(), row(pid=6)], "query 0 is not ranked from 1 on"),
        ([row(query=2)], "query 2 is not one of the 2 of the lane"),
        ([row(query=-1)], "query -1 is not one of the 2 of the lane"),
        ([row(), row(query=1), row(query=1, rank=2)], "query 1 has a passage twice"),
        ([row(pid=-1)], "query 0 has a passage below 0"),
        ([row(), row(query=1, score=math.nan)], "query 1 has a score of NaN or infinity"),
        ([row(score=-math.inf)], "query 0 has a score of NaN or infinity"),
    ],
)
def test_what_is_no_ranking(rows: list[dict[str, Any]], message: str) -> None:
    good, bad = table_of(falling(1)), pa.Table.from_pylist(rows, schema=COLUMNS)
    for tables in ((good, bad), (bad, good)):
        with pytest.raises(MatrixError) as caught:
            ranking_change(*tables, [(), ()])
        assert str(caught.value) == (
            f"rankings of torch 2.8.0 in the index of 2.7.1: {message}; search again"
        )


def test_no_queries_have_no_change() -> None:
    with pytest.raises(MatrixError, match=r"^rankings of no queries have nothing to compare; "):
        change([], [], [])


ORDERS = st.lists(st.integers(0, 30), unique=True, max_size=25)
PAIRS = st.lists(st.tuples(ORDERS, ORDERS), min_size=1, max_size=4)


def rbo_by_the_book(a: list[int], b: list[int], p: float = 0.9) -> float:
    """Equation 32 term by term, with sets."""
    short, long = sorted((a, b), key=len)
    if not short:
        return float(not long)
    s, n = len(short), len(long)
    x = [len(set(short[:d]) & set(long[:d])) for d in range(n + 1)]
    seen = sum(x[d] / d * p**d for d in range(1, n + 1))
    beyond = sum(x[s] * (d - s) / (s * d) * p**d for d in range(s + 1, n + 1))
    return (1 - p) / p * (seen + beyond) + ((x[n] - x[s]) / n + x[s] / s) * p**n


def tau_by_the_book(a: list[int], b: list[int]) -> float | None:
    common = [pid for pid in a if pid in b]
    pairs = list(combinations(common, 2))
    if not pairs:
        return None
    return sum(1 if b.index(x) < b.index(y) else -1 for x, y in pairs) / len(pairs)


def flips_by_the_book(a: list[int], b: list[int]) -> int:
    pairs = [(x, y) for x, y in pairwise(a) if x in b and y in b]
    return sum(b.index(x) > b.index(y) for x, y in pairs)


@settings(deadline=None)  # the first example loads scipy
@given(PAIRS)
def test_figures_by_their_definitions(pairs: list[tuple[list[int], list[int]]]) -> None:
    found = change([falling(*a) for a, _ in pairs], [falling(*b) for _, b in pairs])
    rbos = [rbo_by_the_book(a, b) for a, b in pairs]
    assert found.rbo == pytest.approx(np.mean(rbos))
    assert found.rbo_least == pytest.approx(min(rbos), abs=1e-12)
    taus = [tau for tau in (tau_by_the_book(a, b) for a, b in pairs) if tau is not None]
    assert found.tau == (pytest.approx(np.mean(taus), abs=1e-12) if taus else None)
    assert found.tau_least == (pytest.approx(min(taus), abs=1e-12) if taus else None)
    assert found.flips.pairs == sum(flips_by_the_book(a, b) for a, b in pairs)
    assert found.flips.queries == sum(flips_by_the_book(a, b) > 0 for a, b in pairs)
    assert found.same_order == sum(a == b for a, b in pairs)
    for k in (1, 10, 100):
        assert found.changed_top[str(k)] == sum(a[:k] != b[:k] for a, b in pairs)
        shares = [
            len(set(a[:k]) & set(b[:k])) / len(a[:k]) if a else float(not b) for a, b in pairs
        ]
        assert found.overlap[str(k)] == pytest.approx(np.mean(shares))


@settings(deadline=None)  # the first example loads scipy
@given(PAIRS)
def test_bounds_and_symmetry(pairs: list[tuple[list[int], list[int]]]) -> None:
    a, b = ([falling(*orders[n]) for orders in pairs] for n in range(2))
    there, back = change(a, b), change(b, a)
    assert 0 <= there.rbo_least <= there.rbo <= 1
    assert there.rbo == pytest.approx(back.rbo)
    assert (there.tau_least is None) == (there.tau is None)
    assert there.tau is None or -1 <= (there.tau_least or 0) <= there.tau + 1e-12 <= 1 + 1e-12
    for name in ("identical", "same_order", "changed_top", "largest_score_change"):
        assert getattr(there, name) == getattr(back, name)
    assert there.identical <= there.same_order <= there.queries
    assert there.changed_top["1"] <= there.changed_top["10"] <= there.changed_top["100"]


JUDGED = st.lists(st.tuples(ORDERS, st.sets(st.integers(0, 30), max_size=4)), max_size=4)


@settings(deadline=None)  # the first example loads scipy
@given(JUDGED)
def test_measures_by_their_definitions(judged: list[tuple[list[int], set[int]]]) -> None:
    judged = [*judged, ([7], {7})]
    # All scores are equal: only the order tells.
    results = [[(pid, 1.0) for pid in order] for order, _ in judged]
    found = measures(results, results, [sorted(relevant) for _, relevant in judged])
    expected: dict[str, list[float]] = {"MRR@10": [], "nDCG@10": [], "Recall@10": []}
    for order, relevant in judged:
        if not relevant:
            continue
        hits = [n for n, pid in enumerate(order[:10], start=1) if pid in relevant]
        ideal = sum(1 / math.log2(n + 1) for n in range(1, min(10, len(relevant)) + 1))
        expected["MRR@10"].append(1 / hits[0] if hits else 0)
        expected["nDCG@10"].append(sum(1 / math.log2(n + 1) for n in hits) / ideal)
        expected["Recall@10"].append(len(hits) / len(relevant))
    assert {name: one.a for name, one in found.items()} == {
        name: pytest.approx(np.mean(values)) for name, values in expected.items()
    }


def test_a_table_may_be_in_pieces() -> None:
    a, b = table_of(falling(1, 2, 3), falling(4, 5)), table_of(falling(3, 1, 2), falling(5, 6))
    pieces = pa.concat_tables([b.slice(0, 2), b.slice(2)])
    assert ranking_change(a, pieces, [[1], [5]]) == ranking_change(a, b, [[1], [5]])
