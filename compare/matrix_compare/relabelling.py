"""Equality up to the numbering of the centroids.

k-means may find the same centroids in another order. Codes and inverted lists then hold other
numbers, and the index means the same.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from matrix_capture.catalogue import BY_NAME
from matrix_capture.digest import Snapshot
from matrix_compare.schema import Place

Pair = tuple[Snapshot, Snapshot]
"""The values of a and of b."""

Values = Callable[[Place], Sequence[Pair] | None]
"""What both captures have in a place, a pair per occurrence; None where a value is not kept."""

Numbering = npt.NDArray[np.int64]
"""Which centroid of b each centroid of a is."""

Rule = Callable[[Pair, Numbering], bool]
"""Whether a pair, of one dtype and shape, is equal under a numbering."""

KeyedRule = Callable[[Pair, Pair, Numbering], bool]
"""The same with the keys or lengths that the pair's order rule in the catalogue names."""


def relabelled(
    values: Values, *, differing: Collection[Place], identical: Collection[Place]
) -> set[Place]:
    """The differing places of two captures that are equal under one numbering of the centroids.

    The numbering is that of all sets of centroids whose rows are the same in some order. Nothing is
    equal where they share none, nor where something identical would have to have changed with the
    numbers: bits that stayed while the numbers moved mean something else. Values are asked for only
    where the numbering matters.
    """
    if not any(place[0] in CENTROIDS for place in differing):
        return set()
    places = sorted({*differing, *identical})
    numbering = _shared(values, [place for place in places if place[0] in CENTROIDS])
    if numbering is None or np.array_equal(numbering, np.arange(numbering.size)):
        return set()

    def equal(place: Place) -> bool:
        return _equal(place, _key_place(place, places), values, numbering)

    if not all(equal(place) for place in identical if place[0] in LABELLED):
        return set()
    return {place for place in differing if place[0] in LABELLED and equal(place)}


def numbering_of(sets: Sequence[Pair]) -> Numbering | None:
    """The one numbering under which every set of centroids of a is that of b, bit by bit.

    Centroids that are alike in all sets keep their order among themselves. None without a set, and
    where there is no such numbering.
    """
    if not sets or not all(_alike(a, b) and len(a.shape) == 2 and a.data.size for a, b in sets):
        return None
    if len({a.shape[0] for a, _ in sets}) > 1:
        return None
    rows_a = np.concatenate([_rows(a) for a, _ in sets], axis=1)
    rows_b = np.concatenate([_rows(b) for _, b in sets], axis=1)
    order_a, order_b = _order(rows_a), _order(rows_b)
    if not np.array_equal(rows_a[order_a], rows_b[order_b]):
        return None
    numbering = np.empty(len(rows_a), dtype=np.int64)
    numbering[order_a] = order_b
    return numbering


def same_rows(pair: Pair, numbering: Numbering) -> bool:
    """Whether each centroid has the same row under its new number, bit by bit."""
    a, b = map(_rows, pair)
    return len(a) == numbering.size and np.array_equal(a, b[numbering])


def same_labels(pair: Pair, numbering: Numbering) -> bool:
    """Whether each element names the same centroid by its new number."""
    a, b = pair
    return np.array_equal(_renumbered(a.data, numbering), b.data)


def same_sorted_labels(pair: Pair, numbering: Numbering) -> bool:
    """Whether the labels of a, renumbered and sorted again, are those of b."""
    a, b = pair
    return np.array_equal(np.sort(_renumbered(a.data, numbering)), b.data)


def same_lengths(pair: Pair, numbering: Numbering) -> bool:
    """Whether each centroid has the same number under its new number."""
    a, b = pair
    return a.data.size == numbering.size and np.array_equal(a.data, b.data[numbering])


def same_groups(pair: Pair, keys: Pair, numbering: Numbering) -> bool:
    """Whether each centroid has the same elements under its new number, in any order.

    `keys` say of each element which centroid it belongs to.
    """
    (a, b), (keys_a, keys_b) = pair, keys
    if not a.data.size == keys_a.data.size == keys_b.data.size:
        return False
    return _same_members(_renumbered(keys_a.data, numbering), a.data, keys_b.data, b.data)


def same_lists(pair: Pair, lengths: Pair, numbering: Numbering) -> bool:
    """Whether each centroid has the same list under its new number, in any order.

    `lengths` are those of the lists, one after another; what lies behind the last one must be the
    same. colbert-ai pads there by the longest list unless it is the last: a numbering that moves it
    to or from the end changes the shape, and the lists do not count as the same.
    """
    (a, b), (lengths_a, lengths_b) = pair, lengths
    if not _are_lengths(lengths_a, a, numbering) or not _are_lengths(lengths_b, b, numbering):
        return False
    lists_a = np.repeat(numbering, lengths_a.data)
    lists_b = np.repeat(np.arange(numbering.size), lengths_b.data)
    end = lists_a.size
    return (
        end == lists_b.size
        and np.array_equal(a.data[end:], b.data[end:])
        and _same_members(lists_a, a.data[:end], lists_b, b.data[:end])
    )


_RULES: dict[str, Rule] = {
    "prenorm_centroids": same_rows,
    "postnorm_centroids": same_rows,
    "centroids": same_rows,
    "index_centroids": same_rows,
    "heldout_codes": same_labels,
    "codes": same_labels,
    "index_codes": same_labels,
    "codes_before_sort": same_labels,
    "codes_sorted_values": same_sorted_labels,
    "ivf_lengths": same_lengths,
    "index_ivf_lengths": same_lengths,
}

_KEYED_RULES: dict[str, KeyedRule] = {
    "codes_sorted_indices": same_groups,
    "ivf": same_lists,
    "index_ivf": same_lists,
}

CENTROIDS = frozenset(name for name, rule in _RULES.items() if rule is same_rows)
"""The sets of centroids: what a numbering is found from."""

LABELLED = frozenset({*_RULES, *_KEYED_RULES})
"""All artifacts that the numbering of the centroids concerns, those sets among them."""


def _shared(values: Values, places: Sequence[Place]) -> Numbering | None:
    """The numbering of all sets of centroids that have the same rows in some order."""
    sets = [pair for place in places for pair in values(place) or ()]
    return numbering_of([pair for pair in sets if numbering_of([pair]) is not None])


def _key_place(place: Place, places: Collection[Place]) -> Place | None:
    """Where the keys or lengths lie that the artifact's order rule names, if in one place."""
    key = BY_NAME[place[0]].order_key
    found = [other for other in places if other[0] == key and other[2] == place[2]]
    return found[0] if len(found) == 1 else None


def _equal(place: Place, key: Place | None, values: Values, numbering: Numbering) -> bool:
    """Whether every occurrence is equal; what is not kept is not known to be."""
    pairs = values(place)
    if not pairs or not all(_alike(a, b) for a, b in pairs):
        return False
    if place[0] in _RULES:
        return all(_RULES[place[0]](pair, numbering) for pair in pairs)
    keys = values(key) if key else None
    if not keys or len(keys) != len(pairs):
        return False
    rule = _KEYED_RULES[place[0]]
    return all(rule(pair, k, numbering) for pair, k in zip(pairs, keys, strict=True))


def _alike(a: Snapshot, b: Snapshot) -> bool:
    return (a.dtype, a.shape) == (b.dtype, b.shape)


def _rows(centroids: Snapshot) -> npt.NDArray[np.uint8]:
    """The bytes of each centroid."""
    return centroids.data.view(np.uint8).reshape(centroids.shape[0], centroids.row_bytes)


def _order(rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """An order in which equal rows are neighbours and keep their order."""
    whole = np.ascontiguousarray(rows).view(f"V{rows.shape[1]}").reshape(-1)
    return np.argsort(whole, kind="stable")


def _renumbered(labels: npt.NDArray[Any], numbering: Numbering) -> npt.NDArray[np.int64]:
    """Each label's new number; one that names no centroid stays."""
    renumbered = labels.astype(np.int64)
    known = (renumbered >= 0) & (renumbered < numbering.size)
    renumbered[known] = numbering[renumbered[known]]
    return renumbered


def _are_lengths(lengths: Snapshot, lists: Snapshot, numbering: Numbering) -> bool:
    """Whether these are the lengths of a list per centroid among so many elements."""
    data = lengths.data
    return bool(data.size == numbering.size and (data >= 0).all() and data.sum() <= lists.data.size)


def _same_members(
    groups_a: npt.NDArray[Any],
    a: npt.NDArray[Any],
    groups_b: npt.NDArray[Any],
    b: npt.NDArray[Any],
) -> bool:
    """Whether the groups of a have the members of those of b, each as often."""
    order_a, order_b = np.lexsort((a, groups_a)), np.lexsort((b, groups_b))
    return np.array_equal(groups_a[order_a], groups_b[order_b]) and np.array_equal(
        a[order_a], b[order_b]
    )
