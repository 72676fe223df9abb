from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matrix_capture.digest import Snapshot, content_hash
from matrix_capture.errors import MatrixError
from matrix_capture.schema import Capture
from matrix_capture.values import ValueStore
from matrix_compare.attribution import FIRST, attribute
from matrix_compare.change import Attribution
from tests.compare.conftest import Put, as_snapshot, capture_of

Ranked = Sequence[tuple[int, float]]

MANY = range(1, 31)


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """What a search came to for one query; all is scored that is ranked, and 30 more."""

    ranked: Ranked
    candidates: Sequence[int] = MANY
    pruned: Sequence[int] = MANY


def falling(*pids: int) -> Ranked:
    return [(pid, 100.0 - place) for place, pid in enumerate(pids)]


def values_of(queries: Sequence[Query]) -> dict[str, Any]:
    """The artifacts of a search as it is captured."""
    lists: dict[str, list[list[Any]]] = {
        "candidate_pids": [list(query.candidates) for query in queries],
        "pruned_pids": [list(query.pruned) for query in queries],
        "ranked_pids": [[pid for pid, _ in query.ranked] for query in queries],
        "ranked_scores": [[score for _, score in query.ranked] for query in queries],
    }
    values: dict[str, Any] = {
        name: np.array(list(chain(*parts)), np.float32 if name == "ranked_scores" else np.int32)
        for name, parts in lists.items()
    }
    for name in ("candidate", "pruned", "ranked"):
        lengths = [len(part) for part in lists[f"{name}_pids"]]
        values[f"{name}_lengths"] = np.array(lengths, np.int64)
    return values


def puts_of(values: Mapping[str, Any], **changes: Any) -> list[Put]:
    # The order of a list is no concern of these tests, so it needs no true key.
    return [
        Put(
            artifact=name,
            value=value,
            key=np.zeros(len(value)) if name == "ranked_pids" else [len(value)],
            **{"scope": "query", **changes},
        )
        for name, value in values.items()
    ]


def kept(store: ValueStore, torch: str, puts: Sequence[Put]) -> Capture:
    for put in puts:
        if put.keep:
            snap = as_snapshot(put.value)
            store.put(snap, content_hash(snap))
    return capture_of(torch, puts)


def captured(store: ValueStore, torch: str, queries: Sequence[Query]) -> Capture:
    return kept(store, torch, puts_of(values_of(queries)))


def blame(store: ValueStore, a: Sequence[Query] | Query, b: Sequence[Query] | Query) -> Attribution:
    both = [[side] if isinstance(side, Query) else side for side in (a, b)]
    found = [
        attribute(captured(store, "2.7.1", both[n]), captured(store, "2.8.0", both[not n]), store)
        for n in range(2)
    ]
    assert found[0] is not None
    assert found[0] == found[1], "it matters which one is a"
    return found[0]


def all_down_to(stage: str, results: int) -> Attribution:
    return Attribution(**dict.fromkeys(Attribution.__struct_fields__, 0) | {stage: results})


NOTHING = all_down_to("unknown", 0)


def test_the_same_results_have_not_changed(store: ValueStore) -> None:
    same = [Query(ranked=falling(1, 2, 3)), Query(ranked=[])]
    assert blame(store, same, same) == NOTHING


def test_other_scores_in_the_same_order_change_no_result(store: ValueStore) -> None:
    a, b = Query(ranked=[(1, 9.0), (2, 8.0)]), Query(ranked=[(1, 7.0), (2, 6.5)])
    assert blame(store, a, b) == NOTHING


@pytest.mark.parametrize("stage", ["candidates", "pruning"])
def test_a_passage_that_enters_moves_those_below(store: ValueStore, stage: str) -> None:
    fewer = {"pruned": range(1, 9), "candidates": range(1, 9 if stage == "candidates" else 10)}
    a = Query(ranked=falling(1, 2, 3), **fewer)
    b = Query(ranked=falling(1, 9, 2, 3))
    # Of a the second and third result, of b these and the new one.
    assert blame(store, a, b) == all_down_to(stage, 5)


@pytest.mark.parametrize("stage", ["candidates", "pruning"])
def test_a_passage_that_takes_the_place_of_another(store: ValueStore, stage: str) -> None:
    def having(*pids: int) -> dict[str, Sequence[int]]:
        return {"pruned": pids, "candidates": pids if stage == "candidates" else MANY}

    a = Query(ranked=falling(1, 2, 3), **having(1, 2, 3))
    b = Query(ranked=falling(1, 9, 3), **having(1, 9, 3))
    # The third passes one and is passed by the other, and stays where it was.
    assert blame(store, a, b) == all_down_to(stage, 2)


def test_passages_that_change_places_by_their_scores(store: ValueStore) -> None:
    a, b = Query(ranked=falling(1, 2, 3, 4)), Query(ranked=falling(1, 3, 2, 4))
    assert blame(store, a, b) == all_down_to("scores", 4)


@pytest.mark.parametrize(("one", "other"), [(7.0, 7.0), (7.0, 6.5)])
def test_passages_of_one_score_may_change_places(
    store: ValueStore, one: float, other: float
) -> None:
    a = Query(ranked=[(1, 9.0), (2, one), (3, one), (4, 1.0)])
    b = Query(ranked=[(1, 9.0), (3, other), (2, other), (4, 1.0)])
    assert blame(store, a, b) == all_down_to("ties", 4)


def test_a_tie_on_one_side_only_is_a_change_of_scores(store: ValueStore) -> None:
    a = Query(ranked=[(1, 7.0), (2, 7.0)])
    b = Query(ranked=[(2, 7.5), (1, 7.0)])
    assert blame(store, a, b) == all_down_to("scores", 4)
    almost = float(np.nextafter(np.float32(7), np.float32(8)))
    b = Query(ranked=[(2, almost), (1, 7.0)])
    assert blame(store, a, b) == all_down_to("scores", 4)


def test_a_passage_that_both_score_and_one_does_not_return(store: ValueStore) -> None:
    a, b = Query(ranked=falling(1, 2, 3)), Query(ranked=falling(1, 2, 4))
    assert blame(store, a, b) == all_down_to("scores", 2)


def test_the_first_of_several_reasons_counts(store: ValueStore) -> None:
    top: Ranked = [(1, 9.0), (2, 7.0), (3, 7.0)]
    swapped: Ranked = [(1, 9.0), (3, 7.0), (2, 7.0)]
    a = Query(ranked=[*top, (5, 4.0), (6, 3.0), (7, 2.0)], pruned=range(1, 20))
    b = Query(ranked=[*swapped, (7, 5.0), (5, 4.0), (6, 3.0)])
    assert blame(store, a, b) == msgspec.structs.replace(NOTHING, ties=4, scores=6)
    # One that a does not score comes before the last three.
    b = Query(ranked=[*swapped, (25, 6.0), (7, 5.0), (5, 4.0), (6, 3.0)])
    assert blame(store, a, b) == msgspec.structs.replace(NOTHING, ties=4, pruning=7)
    a = replace(a, candidates=range(1, 20))
    assert blame(store, a, b) == msgspec.structs.replace(NOTHING, ties=4, candidates=7)


def test_a_passage_passed_by_a_tie_and_by_a_score(store: ValueStore) -> None:
    a = Query(ranked=[(1, 7.0), (2, 7.0), (3, 6.0)])
    b = Query(ranked=[(3, 8.0), (2, 7.0), (1, 7.0)])
    # The second stays, the others change places with it and with each other.
    assert blame(store, a, b) == all_down_to("scores", 4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"pruned": range(1, 9)},
        {"candidates": range(1, 9)},
        {"pruned": range(1, 9), "candidates": range(1, 9)},
    ],
)
def test_what_does_not_fit_explains_nothing(store: ValueStore, wrong: Any) -> None:
    # Passage 9 is returned, though it was not scored or no candidate.
    a, b = Query(ranked=falling(1, 2)), Query(ranked=falling(9, 1, 2), **wrong)
    assert blame(store, a, b) == all_down_to("unknown", 5)


def test_a_passage_twice_explains_nothing(store: ValueStore) -> None:
    a, b = Query(ranked=falling(1, 1, 2)), Query(ranked=falling(1, 2, 3))
    assert blame(store, a, b).unknown > 0


def test_the_first_ten_results_count(store: ValueStore) -> None:
    order = list(range(1, 13))
    beyond, across = order.copy(), order.copy()
    beyond[10:12] = 12, 11
    across[9:11] = 11, 10
    a = Query(ranked=falling(*order))
    assert blame(store, a, Query(ranked=falling(*beyond))) == NOTHING
    assert blame(store, a, Query(ranked=falling(*across))) == all_down_to("scores", 2)


def test_queries_add_up(store: ValueStore) -> None:
    a = [Query(ranked=falling(1, 2)), Query(ranked=[(1, 5.0), (2, 5.0)]), Query(ranked=falling(7))]
    b = [
        Query(ranked=falling(2, 1)),
        Query(ranked=[(2, 5.0), (1, 5.0)]),
        Query(ranked=falling(7)),
    ]
    assert blame(store, a, b) == msgspec.structs.replace(NOTHING, scores=4, ties=4)


OLD = values_of([Query(ranked=falling(1, 2)), Query(ranked=falling(3))])
NEW = values_of([Query(ranked=falling(2, 1)), Query(ranked=falling(4), pruned=range(1, 9))])


def test_only_the_first_repeat_and_pass_count(store: ValueStore) -> None:
    others: tuple[dict[str, Any], ...] = ({"repeat": 1}, {"scope": "disk"}, {"occurrence": 1})
    noise = [put for changes in others for put in puts_of(NEW, **changes)]
    a, b = kept(store, "2.7.1", [*puts_of(OLD), *noise]), kept(store, "2.8.0", puts_of(OLD))
    assert attribute(a, b, store) == NOTHING
    assert attribute(a, kept(store, "2.8.0", puts_of(NEW)), store) != NOTHING


@pytest.mark.parametrize("name", OLD)
def test_a_capture_without_its_search(store: ValueStore, name: str) -> None:
    a = kept(store, "2.7.1", puts_of(OLD))
    part = kept(store, "2.8.0", [put for put in puts_of(NEW) if put.artifact != name])
    assert attribute(a, part, store) is None
    assert attribute(part, a, store) is None


def test_values_that_were_not_kept(store: ValueStore) -> None:
    a, b = (capture_of(torch, puts_of(OLD, keep=False)) for torch in ("2.7.1", "2.8.0"))
    assert attribute(a, b, store) == NOTHING
    other = kept(store, "2.8.0", puts_of(NEW))
    assert attribute(a, other, store) is None
    assert attribute(other, a, store) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("candidate_lengths", [30, 29]),
        ("pruned_lengths", [38]),
        ("pruned_lengths", []),
        ("ranked_lengths", [3, -1]),
        ("ranked_lengths", np.array([1.5, 1.5])),
        ("ranked_scores", np.array([1.0], np.float32)),
        ("ranked_pids", [2, 1, 4, 5]),
    ],
)
def test_lists_that_do_not_fit(store: ValueStore, name: str, value: Any) -> None:
    a = kept(store, "2.7.1", puts_of(OLD))
    b = kept(store, "2.8.0", puts_of({**NEW, name: value}))
    with pytest.raises(MatrixError) as caught:
        attribute(a, b, store)
    assert str(caught.value) == (
        "lists of the search under torch 2.8.0 do not fit their lengths; capture it again"
    )


def test_other_queries(store: ValueStore) -> None:
    a = captured(store, "2.7.1", [Query(ranked=falling(1))])
    b = captured(store, "2.8.0", [Query(ranked=falling(1)), Query(ranked=falling(2))])
    with pytest.raises(MatrixError, match=r"^1 queries in torch 2\.7\.1 and 2 in 2\.8\.0; capture"):
        attribute(a, b, store)


def test_a_damaged_value_is_told_without_its_path(store: ValueStore, tmp_path: Path) -> None:
    a, b = kept(store, "2.7.1", puts_of(OLD)), kept(store, "2.8.0", puts_of(NEW))
    for file in tmp_path.rglob("*.parquet"):
        file.write_bytes(b"no Parquet")
    with pytest.raises(MatrixError, match=r"^value [0-9a-f]{12} is unreadable or damaged; ") as at:
        attribute(a, b, store)
    assert str(tmp_path) not in str(at.value)


class Memory(ValueStore):
    """A store for many small examples, without files."""

    def __init__(self) -> None:
        self._values: dict[bytes, Snapshot] = {}

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._values

    def put(self, snap: Snapshot, digest: bytes) -> None:
        self._values[digest] = snap

    def get(self, digest: bytes) -> Snapshot:
        return self._values[digest]


@st.composite
def searches(draw: st.DrawFn) -> Query:
    """A search as PLAID does it: fewer passages by each stage, few scores, so that many tie."""
    candidates = draw(st.sets(st.integers(1, 16)))
    pruned = {pid for pid in candidates if draw(st.integers(0, 5))}
    scored = [
        (pid, float(draw(st.integers(0, 3)))) for pid in draw(st.permutations(sorted(pruned)))
    ]
    ranked = sorted(scored, key=lambda result: -result[1])
    return Query(candidates=sorted(candidates), pruned=sorted(pruned), ranked=ranked[:12])


def changed_results(a: Query, b: Query) -> int:
    heads = [{*enumerate(pid for pid, _ in side.ranked[:FIRST])} for side in (a, b)]
    return len(heads[0] ^ heads[1])


@settings(deadline=None)
@given(st.lists(st.tuples(searches(), searches()), min_size=1, max_size=3))
def test_the_stages_add_up_to_the_changed_results(pairs: list[tuple[Query, Query]]) -> None:
    found = blame(Memory(), *map(list, zip(*pairs, strict=True)))
    assert sum(msgspec.structs.astuple(found)) == sum(changed_results(a, b) for a, b in pairs)
    assert found.unknown == 0


@settings(deadline=None)
@given(searches(), st.randoms(use_true_random=False))
def test_another_order_of_ties_is_all_ties(a: Query, random: Any) -> None:
    shuffled = random.sample(a.ranked, len(a.ranked))
    b = replace(a, ranked=sorted(shuffled, key=lambda result: -result[1]))
    assert blame(Memory(), a, b) == all_down_to("ties", changed_results(a, b))
