"""Which artifact stands in for an origin, and what a swap leaves."""

from typing import Any

import numpy as np
import pytest

from matrix_capture.catalogue import BY_NAME, CATALOGUE
from matrix_capture.inject import INJECTABLE
from matrix_capture.schema import Capture, read_capture
from matrix_capture.values import ValueStore
from matrix_compare.swaps import ancestors, descendants, origins, remains, stand_in
from tests.compare.conftest import Maker, Put


def row(artifact: str, verdict: str = "differs", **changes: Any) -> dict[str, Any]:
    kind = BY_NAME[artifact].kind
    given = {"scope": "sample", "role": "", "differing_occurrences": []}
    return {"artifact": artifact, "verdict": verdict, "kind": kind, **given, **changes}


def batches(*numbers: int, keep: bool = True, name: str = "batches") -> list[Put]:
    return [
        Put(artifact=name, scope=scope, occurrence=n, value=np.ones(n + 1), keep=keep)
        for scope in ("sample", "chunk.0")
        for n in numbers
    ]


@pytest.fixture
def source(make: Maker) -> Any:
    def made(*puts: Put) -> Capture:
        return read_capture(make("2.7.1", puts))

    return made


def test_origins_are_by_pass_and_in_the_order_of_the_pipeline() -> None:
    rows = [
        row("codes", role="origin", scope="chunk.0", differing_occurrences=[0]),
        row("layers", role="origin", differing_occurrences=[2, 1]),
        row("layers", role="origin", differing_occurrences=[5], part="other"),
        row("layers", role="origin", scope="chunk.0", differing_occurrences=[3]),
        row("D", role="propagated", differing_occurrences=[0]),
        row("probe_sort_indices", role="origin", differing_occurrences=[0]),
    ]
    found = origins(rows)
    assert list(found) == ["layers", "codes"]
    assert found["layers"] == {"sample": (1, 2, 5), "chunk.0": (3,)}


def test_an_origin_that_can_be_swapped_stands_for_itself(source: Any, store: ValueStore) -> None:
    found = stand_in(
        "batches", {"sample": (0, 1), "chunk.0": (0, 1)}, source(*batches(0, 1)), store
    )
    assert found == ("batches",)


def test_what_is_made_from_an_origin_stands_for_one_that_cannot(
    source: Any, store: ValueStore
) -> None:
    found = stand_in("layers", {"sample": (0,), "chunk.0": (0,)}, source(*batches(0)), store)
    assert found == ("batches",)


def test_only_the_occurrences_that_differ_are_swapped(source: Any, store: ValueStore) -> None:
    capture = source(*batches(0, 1, 2))
    assert stand_in("layers", {"sample": (2,), "chunk.0": (2,)}, capture, store) == ("batches:2",)


def test_a_value_that_is_not_kept_cannot_be_swapped_in(source: Any, store: ValueStore) -> None:
    later = Put(artifact="D", scope="sample", value=np.ones(5))
    capture = source(*batches(0, keep=False), later)
    assert stand_in("layers", {"sample": (0,)}, capture, store) == ("D",)


def test_nothing_stands_in_for_what_is_behind_everything(source: Any, store: ValueStore) -> None:
    assert stand_in("ivf", {"index": (0,)}, source(*batches(0)), store) == ()


def test_what_comes_before_a_swap_may_differ() -> None:
    rows = [row("normalized"), row("layers"), row("batches", "identical"), row("D", "identical")]
    assert remains(rows, ["batches"]) == {}


def test_what_comes_behind_a_swap_must_not() -> None:
    rows = [row("batches", "identical"), row("D", "close"), row("D"), row("ivf", "missing")]
    assert remains(rows, ["batches"]) == {"D": "differs", "ivf": "missing"}


def test_what_lies_beside_a_swap_must_not() -> None:
    # No residual is made of centroids alone: a swap of them leaves the embeddings as they were.
    assert remains([row("embs")], ["postnorm_centroids"]) == {"embs": "differs"}


def test_what_lies_between_two_swaps_must_not() -> None:
    rows = [row("normalized"), row("sample", "close")]
    assert remains(rows, ["batches", "postnorm_centroids"]) == {"sample": "close"}


@pytest.mark.parametrize(("verdict", "artifact"), [("unstable", "D"), ("differs", "probe_matmul")])
def test_what_proves_nothing_does_not_remain(verdict: str, artifact: str) -> None:
    assert remains([row(artifact, verdict)], ["batches"]) == {}


@pytest.mark.parametrize("name", [artifact.name for artifact in CATALOGUE])
def test_ancestors_and_descendants_are_two_sides_of_one(name: str) -> None:
    assert all(name in descendants([other]) for other in ancestors([name]))
    assert all(name in ancestors([other]) for other in descendants([name]))


@pytest.mark.parametrize("name", INJECTABLE)
def test_what_can_be_swapped_is_in_the_catalogue_and_no_file(name: str) -> None:
    assert BY_NAME[name].kind == "intermediate"
