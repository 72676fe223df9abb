"""Where a divergence starts: the role of every artifact of a pair."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from matrix_capture.catalogue import BY_NAME
from matrix_compare.schema import Place, Verdict, layer_of

ROLES = ("", "origin", "propagated", "absorbed")
"""What an artifact is in a divergence; empty where it has no part in one, or nobody can know."""

DIFFERING = frozenset({Verdict.REORDERED, Verdict.CLOSE, Verdict.DIFFERS})
"""The verdicts that say that something differs, and not merely that nobody knows."""


def roles(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The role of each verdict row of one pair."""
    family = Family([(row["artifact"], row["part"], row["scope"]) for row in rows])
    verdicts = [Verdict(row["verdict"]) for row in rows]
    found = family.roles(
        np.array([verdict in DIFFERING for verdict in verdicts], bool),
        np.array([verdict is Verdict.IDENTICAL for verdict in verdicts], bool),
    )
    return [ROLES[role] for role in found]


class Family:
    """What the artifacts of a pair are made from, each a place among them.

    A parent is looked up in the same scope, or in all scopes where this one does not have it; an
    artifact of many parts counts with all of them. In a layer of the encoder a parent counts with
    the parts of the same layer; what went into the first layer reaches the others through the layer
    before. A parent that neither capture has is passed over.
    """

    def __init__(self, places: Sequence[Place]) -> None:
        self._size = len(places)
        self._known = np.array([artifact in BY_NAME for artifact, _, _ in places], bool)
        layers = _layers(places)
        made_from = [list(_parents(place, layers)) for place in places]
        self._children = np.repeat(np.arange(self._size), [len(found) for found in made_from])
        self._parents = np.array([parent for found in made_from for parent in found], np.int64)

    def roles(
        self, differing: npt.NDArray[np.bool_], identical: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.int8]:
        """The number in `ROLES` of each place, from whether it differs and whether it is identical.

        A difference whose parents are neither all identical nor known to differ (one is unstable or
        missing) is blamed on nobody.
        """
        some_differs = self._any_parent(differing)
        all_identical = ~self._any_parent(~identical)
        found = np.zeros(self._size, np.int8)
        found[differing & all_identical & self._known] = ROLES.index("origin")
        found[differing & some_differs] = ROLES.index("propagated")
        found[identical & some_differs] = ROLES.index("absorbed")
        return found

    def _any_parent(self, holds: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        count = np.bincount(self._children[holds[self._parents]], minlength=self._size)
        return count > 0


_Layers = dict[int | None, list[int]]
"""Places by layer; under None those that lie in no layer."""


def _layers(places: Sequence[Place]) -> dict[tuple[str, str | None], _Layers]:
    """The places of an artifact in a scope, and under scope None those in any scope."""
    found: dict[tuple[str, str | None], _Layers] = {}
    for number, (artifact, part, scope) in enumerate(places):
        layer = layer_of(artifact, part)
        for where in (scope, None):
            found.setdefault((artifact, where), {}).setdefault(layer, []).append(number)
    return found


def _parents(place: Place, layers: Mapping[tuple[str, str | None], _Layers]) -> Iterator[int]:
    """All places that one is made from."""
    name, part, scope = place
    artifact = BY_NAME.get(name)
    if artifact is None:
        return

    def found(parent: str) -> _Layers:
        return layers.get((parent, scope), layers.get((parent, None), {}))

    layer = layer_of(name, part)
    if layer is None:
        for parent in artifact.parents:
            for numbers in found(parent).values():
                yield from numbers
        return
    before: list[int] = []
    through: tuple[str, ...] = ()
    if artifact.follows:
        before = found(artifact.follows).get(layer - 1, [])
        # What has no layer comes in with the first one; from there on the layer before stands for
        # what it was made from itself.
        through = BY_NAME[artifact.follows].parents if before else ()
    yield from before
    for parent in artifact.parents:
        yield from found(parent).get(layer, [])
        if parent not in through:
            yield from found(parent).get(None, [])
