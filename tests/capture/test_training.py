"""What a training run is fed; the run itself is tested where torch is."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_capture import training
from matrix_capture.collection import Query
from matrix_capture.errors import MatrixError
from matrix_capture.training import STEPS, triples


def queries_of(relevant: list[list[int]]) -> tuple[Query, ...]:
    return tuple(
        Query(text=f"query {number}", relevant=tuple(pids)) for number, pids in enumerate(relevant)
    )


@st.composite
def inputs(draw: st.DrawFn) -> tuple[tuple[Query, ...], int]:
    """Queries of a collection, at least one of which has a relevant and another passage."""
    passages = draw(st.integers(2, 40))
    pids = st.lists(st.integers(0, passages - 1), unique=True, max_size=passages)
    relevant = draw(st.lists(pids, max_size=12))
    usable = draw(pids.filter(lambda found: 0 < len(found) < passages))
    relevant.insert(draw(st.integers(0, len(relevant))), usable)
    return queries_of(relevant), passages


def faults(found: tuple[tuple[int, int, int], ...], queries: tuple[Query, ...], size: int) -> int:
    """How many triples are none."""
    return sum(
        positive not in queries[query].relevant
        or negative in queries[query].relevant
        or negative not in range(size)
        for query, positive, negative in found
    )


@given(inputs())
def test_a_triple_is_a_query_a_relevant_passage_and_another(
    given: tuple[tuple[Query, ...], int],
) -> None:
    queries, passages = given
    found = triples(queries, passages)
    assert len(found) == STEPS * training._BATCH
    assert all(type(number) is int for triple in found for number in triple)
    assert faults(found, queries, passages) == 0
    assert triples(queries, passages) == found


@given(inputs())
def test_every_query_has_its_turn(given: tuple[tuple[Query, ...], int]) -> None:
    queries, passages = given
    usable = {n for n, query in enumerate(queries) if 0 < len(query.relevant) < passages}
    turns = [query for query, _, _ in triples(queries, passages)]
    assert set(turns) == usable
    counts = [turns.count(query) for query in usable]
    assert max(counts) - min(counts) <= 1


@given(inputs())
def test_faulty_triples_are_seen(given: tuple[tuple[Query, ...], int]) -> None:
    queries, passages = given
    (query, positive, negative), *rest = triples(queries, passages)
    for planted in (
        (query, negative, negative),
        (query, positive, positive),
        (query, positive, -1),
    ):
        assert faults((planted, *rest), queries, passages) == 1


def test_other_queries_make_other_triples() -> None:
    queries = queries_of([[number] for number in range(30)])
    found = triples(queries, 30)
    assert found != triples(queries[:-1], 30)
    assert found == triples([replace(query, text="") for query in queries], 30)
    assert len({query for query, _, _ in found}) == 30
    assert len({negative for _, _, negative in found}) > 15


def test_the_triples_are_those_of_every_machine() -> None:
    queries = queries_of([[0], [1, 2], [3], [4, 5, 6]])
    assert triples(queries, 8)[:4] == ((1, 1, 4), (3, 4, 1), (0, 0, 5), (2, 3, 2))


@pytest.mark.parametrize(
    ("relevant", "passages"), [([], 8), ([[]], 8), ([[0]], 1), ([[], [0, 1, 2]], 3)]
)
def test_queries_that_make_no_triple(relevant: list[list[int]], passages: int) -> None:
    message = f"none of {len(relevant)} queries has a relevant and another passage among {passages}"
    with pytest.raises(MatrixError, match=message):
        triples(queries_of(relevant), passages)
