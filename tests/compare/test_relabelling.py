from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from matrix_capture.catalogue import BY_NAME
from matrix_capture.digest import snapshot
from matrix_compare.relabelling import (
    CENTROIDS,
    LABELLED,
    Numbering,
    Pair,
    numbering_of,
    relabelled,
    same_lists,
)
from matrix_compare.schema import Place

Array = npt.NDArray[Any]
Index = dict[str, Array]

SCOPES = {
    **dict.fromkeys(("prenorm_centroids", "postnorm_centroids", "centroids"), "sample"),
    "heldout_codes": "heldout",
    "codes": "chunk.0",
}
FILES = {
    "index_centroids": "centroids.pt#0",
    "index_codes": "0.codes.pt#0",
    "index_ivf": "ivf.pid.pt#0",
    "index_ivf_lengths": "ivf.pid.pt#1",
}
PASSAGE_LENGTH = 3


def place_of(artifact: str) -> Place:
    if artifact in FILES:
        return (artifact, FILES[artifact], "disk")
    return (artifact, "", SCOPES.get(artifact, "index"))


def index_of(prenorm: Array, codes: Array) -> Index:
    """All that carries numbers of centroids, made as colbert-ai makes it (but always padded)."""
    length = np.linalg.norm(prenorm, axis=1, keepdims=True)
    unit = (prenorm / np.maximum(length, np.float32(1e-9))).astype(np.float32)
    order = np.argsort(codes, kind="stable")
    lists = [
        np.unique(np.flatnonzero(codes == n) // PASSAGE_LENGTH).astype(np.int32)
        for n in range(len(prenorm))
    ]
    lengths = np.array([len(pids) for pids in lists])
    ivf = np.concatenate([*lists, np.zeros(lengths.max(), np.int32)])
    return {
        "prenorm_centroids": prenorm,
        "postnorm_centroids": unit,
        "centroids": unit,
        "index_centroids": unit.astype(np.float16),
        "heldout_codes": codes[::2],
        "codes": codes,
        "index_codes": codes.astype(np.int32),
        "codes_before_sort": codes,
        "codes_sorted_values": codes[order],
        "codes_sorted_indices": order,
        "ivf_lengths": lengths,
        "ivf": ivf,
        "index_ivf_lengths": lengths,
        "index_ivf": ivf,
    }


def renumbered(prenorm: Array, codes: Array, numbering: Numbering) -> Index:
    moved = np.empty_like(prenorm)
    moved[numbering] = prenorm
    return index_of(moved, numbering[codes])


class Captured:
    """Two indexes as compare sees them; it counts the values that are asked for."""

    def __init__(self, a: Index, b: Index) -> None:
        self.pairs = {place_of(name): [(snapshot(a[name]), snapshot(b[name]))] for name in a}
        self.asked: list[Place] = []

    def values(self, place: Place) -> Sequence[Pair] | None:
        self.asked.append(place)
        return self.pairs.get(place)

    def relabelled(self) -> set[str]:
        same = {
            place
            for place, pairs in self.pairs.items()
            if all((a.shape, bytes(a.raw)) == (b.shape, bytes(b.raw)) for a, b in pairs)
        }
        differing = self.pairs.keys() - same
        found = relabelled(self.values, differing=differing, identical=same)
        assert found <= differing
        return {artifact for artifact, _, _ in found}


def sample() -> tuple[Array, Array]:
    """Eight centroids, sixty embeddings; the last centroid has the longest list."""
    random = np.random.default_rng(5)
    codes = random.integers(0, 8, 60)
    codes[::PASSAGE_LENGTH] = 3
    return random.normal(size=(8, 4)).astype(np.float32), codes


SWAPPED = np.array([1, 0, 2, 5, 4, 3, 6, 7])


def pair_of_indexes() -> tuple[Index, Index]:
    prenorm, codes = sample()
    return index_of(prenorm, codes), renumbered(prenorm, codes, SWAPPED)


def test_an_index_with_other_numbers_is_the_same_index() -> None:
    assert Captured(*pair_of_indexes()).relabelled() == LABELLED


def test_every_labelled_artifact_is_in_the_catalogue() -> None:
    assert set(index_of(*sample())) == LABELLED <= BY_NAME.keys()


@given(data=st.data(), count=st.integers(2, 12))
def test_any_numbering_is_found(data: st.DataObject, count: int) -> None:
    values = st.floats(0.5, 4, width=32)
    prenorm = data.draw(hnp.arrays(np.float32, (count, 3), elements=values, unique=True))
    codes = data.draw(hnp.arrays(np.int64, 24, elements=st.integers(0, count - 1)))
    numbering = np.array(data.draw(st.permutations(range(count))))
    a, b = index_of(prenorm, codes), renumbered(prenorm, codes, numbering)
    expected = {name for name in a if not np.array_equal(a[name], b[name])}
    assert Captured(a, b).relabelled() == expected


def edited(index: Index, artifact: str, edit: Callable[[Array], None]) -> Index:
    array = index[artifact].copy()
    edit(array)
    return index | {artifact: array}


def one_ulp(array: Array) -> None:
    array[2, 1] = np.nextafter(array[2, 1], np.inf, dtype=array.dtype)


def negative_zero(array: Array) -> None:
    array[2, 1] = -array[2, 1]


def another(array: Array) -> None:
    array[7] = (array[7] + 1) % 8


def longer(array: Array) -> None:
    array[[2, 6]] += [1, -1]


def move(array: Array) -> None:
    array[0] += 1000


def pad(array: Array) -> None:
    array[-1] = 1


@pytest.mark.parametrize(
    ("artifact", "edit"),
    [
        ("prenorm_centroids", one_ulp),
        ("postnorm_centroids", one_ulp),
        ("centroids", one_ulp),
        ("index_centroids", one_ulp),
        ("index_centroids", negative_zero),
        ("heldout_codes", another),
        ("codes", another),
        ("index_codes", another),
        ("codes_before_sort", another),
        ("codes_sorted_values", another),
        ("codes_sorted_indices", move),
        ("ivf_lengths", longer),
        ("index_ivf_lengths", longer),
        ("ivf", move),
        ("index_ivf", move),
        ("ivf", pad),
        ("index_ivf", pad),
    ],
)
def test_a_near_miss_does_not_pass(artifact: str, edit: Callable[[Array], None]) -> None:
    a, b = pair_of_indexes()
    # Elements that were filed under these keys are filed under others now.
    filed = {name for name in LABELLED if BY_NAME[name].order_key == artifact}
    assert Captured(a, edited(b, artifact, edit)).relabelled() == LABELLED - {artifact} - filed


def test_a_centroid_that_is_off_everywhere_leaves_no_numbering() -> None:
    prenorm, codes = sample()
    moved = prenorm.copy()
    one_ulp(moved)
    b = renumbered(moved, codes, SWAPPED)
    for name in CENTROIDS:
        b = edited(b, name, one_ulp)
    captured = Captured(index_of(prenorm, codes), b)
    assert captured.relabelled() == set()
    assert {artifact for artifact, _, _ in captured.asked} == CENTROIDS


def test_lists_swapped_without_their_centroids_are_other_lists() -> None:
    a, b = pair_of_indexes()
    lengths = b["ivf_lengths"]
    ends = np.cumsum(lengths)[:-1]
    lists = np.split(b["ivf"][: lengths.sum()], ends)
    lists[6], lists[7] = lists[7], lists[6]
    rest = b["ivf"][lengths.sum() :]
    b["ivf"] = np.concatenate([*lists, rest])
    b["ivf_lengths"] = np.array([len(pids) for pids in lists])
    assert Captured(a, b).relabelled() == LABELLED - {"ivf", "ivf_lengths"}


def test_lists_with_and_without_padding_do_not_count_as_the_same() -> None:
    a, b = pair_of_indexes()
    end = int(b["ivf_lengths"].sum())
    assert Captured(a, b | {"ivf": b["ivf"][:end]}).relabelled() == LABELLED - {"ivf"}


def test_the_order_within_a_list_is_free_but_not_its_end() -> None:
    a, b = pair_of_indexes()
    lengths = b["index_ivf_lengths"]
    first = slice(0, int(lengths[0]))
    b["index_ivf"] = b["index_ivf"].copy()
    b["index_ivf"][first] = b["index_ivf"][first][::-1]
    assert Captured(a, b).relabelled() == LABELLED
    # From the end of one list into the next: the lengths stay, the lists do not.
    place = int(lengths[0])
    b["index_ivf"][[place - 1, place]] = b["index_ivf"][[place, place - 1]]
    assert Captured(a, b).relabelled() == LABELLED - {"index_ivf"}


def test_embeddings_sorted_under_one_code_may_swap_but_not_change_it() -> None:
    a, b = pair_of_indexes()
    sorted_codes = b["codes_sorted_values"]
    twins = int(np.flatnonzero(sorted_codes[1:] == sorted_codes[:-1])[0])
    border = int(np.flatnonzero(sorted_codes[1:] != sorted_codes[:-1])[0])
    indices = b["codes_sorted_indices"].copy()
    indices[[twins, twins + 1]] = indices[[twins + 1, twins]]
    assert Captured(a, b | {"codes_sorted_indices": indices}).relabelled() == LABELLED
    indices[[border, border + 1]] = indices[[border + 1, border]]
    found = Captured(a, b | {"codes_sorted_indices": indices}).relabelled()
    assert found == LABELLED - {"codes_sorted_indices"}


@pytest.mark.parametrize("name", ["codes", "index_codes", "ivf", "index_centroids"])
def test_what_stayed_although_the_numbers_moved_means_something_else(name: str) -> None:
    a, b = pair_of_indexes()
    assert Captured(a, b | {name: a[name]}).relabelled() == set()


def test_sets_of_centroids_in_two_orders_share_no_numbering() -> None:
    a, b = pair_of_indexes()
    other = b["index_centroids"][::-1].copy()
    assert Captured(a, b | {"index_centroids": other}).relabelled() == set()


def test_equal_numbers_are_no_relabelling() -> None:
    prenorm, codes = sample()
    a = index_of(prenorm, codes)
    captured = Captured(a, edited(a, "prenorm_centroids", one_ulp))
    assert captured.relabelled() == set()
    # A list in another order is what the order rule is for.
    in_order = a | {"ivf": a["ivf"].copy()}
    in_order["ivf"][:2] = a["ivf"][1::-1]
    assert Captured(a, edited(in_order, "prenorm_centroids", one_ulp)).relabelled() == set()
    unread = Captured(a, edited(a, "codes", another))
    assert unread.relabelled() == set()
    assert unread.asked == []


def test_twins_keep_their_order() -> None:
    rows = np.array([[1, 2], [3, 4], [1, 2], [5, 6]], dtype=np.float32)
    found = numbering_of([(snapshot(rows), snapshot(rows[[3, 0, 2, 1]]))])
    assert found is not None
    assert found.tolist() == [1, 3, 2, 0]
    many_a, many_b = (np.arange(100).reshape(-1, 1) % n // (n // 2) for n in (2, 50))
    found = numbering_of([(snapshot(many_a), snapshot(many_b))])
    assert found is not None
    for value in (0, 1):
        places_a, places_b = (np.flatnonzero(many == value) for many in (many_a, many_b))
        assert found[places_a].tolist() == places_b.tolist()
    # Another set may tell them apart.
    finer = np.array([7, 8, 9, 10], dtype=np.float16).reshape(-1, 1)
    order = [3, 2, 0, 1]
    pairs = [(snapshot(rows), snapshot(rows[order])), (snapshot(finer), snapshot(finer[order]))]
    found = numbering_of(pairs)
    assert found is not None
    assert found.tolist() == [2, 3, 1, 0]


@pytest.mark.parametrize(
    "pairs",
    [
        [],
        [(np.zeros((2, 3)), np.zeros((3, 2)))],
        [(np.zeros((2, 3)), np.zeros((2, 3), np.float32))],
        [(np.zeros(3), np.zeros(3))],
        [(np.zeros((0, 3)), np.zeros((0, 3)))],
        [(np.zeros((2, 3)), np.zeros((2, 3))), (np.zeros((3, 3)), np.zeros((3, 3)))],
    ],
)
def test_sets_without_a_numbering(pairs: list[tuple[Array, Array]]) -> None:
    assert numbering_of([(snapshot(a), snapshot(b)) for a, b in pairs]) is None


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([2, 1], True),
        ([1, 2], False),
        ([2, 2], False),
        ([4, -1], False),
        ([2, 3], False),
        ([2, 1, 0], False),
    ],
)
def test_lists_are_as_long_as_said(lengths: list[int], expected: bool) -> None:
    lists, numbering = snapshot([0, 1, 2, 0]), np.array([0, 1])
    said = (snapshot([2, 1]), snapshot(lengths))
    assert same_lists((lists, lists), said, numbering) is expected
    assert same_lists((lists, lists), said[::-1], numbering) is expected


def test_lists_that_do_not_fit_their_elements_are_no_lists() -> None:
    lists, lengths = snapshot([0, 1, 2, 0]), snapshot([2, 3])
    assert not same_lists((lists, lists), (lengths, lengths), np.array([0, 1]))


def test_keys_are_those_of_the_same_pass() -> None:
    a, b = pair_of_indexes()
    captured = Captured(a, b)
    captured.pairs["ivf_lengths", "", "elsewhere"] = [(snapshot([1]), snapshot([2]))]
    assert captured.relabelled() == LABELLED
    captured.pairs["ivf_lengths", "again", "index"] = [(snapshot([1]), snapshot([2]))]
    assert captured.relabelled() == LABELLED - {"ivf"}


def test_what_is_not_kept_is_not_known_to_be_equal() -> None:
    captured = Captured(*pair_of_indexes())
    place = place_of("codes")
    found = relabelled(
        lambda asked: None if asked == place else captured.pairs[asked],
        differing=captured.pairs.keys(),
        identical=(),
    )
    assert found == captured.pairs.keys() - {place}


def test_each_occurrence_and_each_chunk_counts() -> None:
    a, b = pair_of_indexes()
    captured = Captured(a, b)
    good = captured.pairs[place_of("codes")][0]
    bad = (good[0], snapshot(edited(b, "codes", another)["codes"]))
    first, second = ("codes", "", "chunk.0"), ("codes", "", "chunk.1")
    captured.pairs |= {first: [good, good], second: [good, bad]}
    found = relabelled(captured.values, differing=captured.pairs.keys(), identical=())
    assert captured.pairs.keys() - found == {second}


@pytest.mark.parametrize("label", [-1, 8, 1000])
def test_a_number_of_no_centroid_is_compared_as_it_is(label: int) -> None:
    a, b = pair_of_indexes()

    def strange(array: Array) -> None:
        array[0] = label

    a = edited(a, "codes", strange)
    assert "codes" in Captured(a, edited(b, "codes", strange)).relabelled()
    assert "codes" not in Captured(a, b).relabelled()
