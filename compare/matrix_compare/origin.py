"""Where a divergence starts: the role of every artifact of a pair."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matrix_capture.catalogue import BY_NAME, CATALOGUE, Artifact
from matrix_compare.schema import Verdict, layer_of

_DIFFERING = {Verdict.REORDERED.value, Verdict.CLOSE.value, Verdict.DIFFERS.value}


def roles(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The role of each verdict row of one pair: `origin`, `propagated`, `absorbed` or empty.

    A parent is looked up in the same scope, or in all scopes where this one does not have it; an
    artifact of many parts counts with all of them. In a layer of the encoder a parent counts with
    the parts of the same layer; what went into the first layer reaches the others through the layer
    before. A difference whose parents are neither all identical nor known to differ (one is
    unstable or missing) is blamed on nobody: its role is empty. A parent that neither capture has
    is passed over.
    """
    differing = {row["artifact"] for row in rows if row["verdict"] in _DIFFERING}
    if not differing:
        return [""] * len(rows)
    concerned = differing.union(*(_CHILDREN.get(name, set()) for name in differing))
    family = concerned.union(*(_made_from(BY_NAME[n]) for n in concerned if n in BY_NAME))
    verdicts = _verdicts(row for row in rows if row["artifact"] in family)
    return [_role(row, verdicts) if row["artifact"] in concerned else "" for row in rows]


def _made_from(artifact: Artifact) -> tuple[str, ...]:
    return (*artifact.parents, *filter(None, [artifact.follows]))


_CHILDREN: dict[str, set[str]] = {}
for _artifact in CATALOGUE:
    for _parent in _made_from(_artifact):
        _CHILDREN.setdefault(_parent, set()).add(_artifact.name)

_Layers = dict[int | None, set[str]]
"""Verdicts by layer; under None those of parts that lie in no layer."""

_Verdicts = dict[tuple[str, str | None], _Layers]
"""The verdicts of an artifact in a scope, and under scope None those in any scope."""


def _verdicts(rows: Iterable[Mapping[str, Any]]) -> _Verdicts:
    found: _Verdicts = {}
    for row in rows:
        layer = layer_of(row["artifact"], row["part"])
        for scope in (row["scope"], None):
            layers = found.setdefault((row["artifact"], scope), {})
            layers.setdefault(layer, set()).add(row["verdict"])
    return found


def _role(row: Mapping[str, Any], verdicts: _Verdicts) -> str:
    artifact = BY_NAME.get(row["artifact"])
    differs = row["verdict"] in _DIFFERING
    if artifact is None or not (differs or row["verdict"] == Verdict.IDENTICAL):
        return ""
    parents = _parents(artifact, row["scope"], layer_of(artifact.name, row["part"]), verdicts)
    if parents & _DIFFERING:
        return "propagated" if differs else "absorbed"
    return "origin" if differs and parents <= {Verdict.IDENTICAL.value} else ""


def _parents(artifact: Artifact, scope: str, layer: int | None, verdicts: _Verdicts) -> set[str]:
    """The verdicts of all that a part of an artifact is made from."""

    def found(name: str) -> _Layers:
        return verdicts.get((name, scope), verdicts.get((name, None), {}))

    if layer is None:
        return set().union(*(v for name in artifact.parents for v in found(name).values()))
    before: set[str] = set()
    through: tuple[str, ...] = ()
    if artifact.follows:
        before = found(artifact.follows).get(layer - 1, set())
        # What has no layer comes in with the first one; from there on the layer before stands for
        # what it was made from itself.
        through = BY_NAME[artifact.follows].parents if before else ()
    here = (found(name).get(layer, set()) for name in artifact.parents)
    around = (found(name).get(None, set()) for name in artifact.parents if name not in through)
    return before.union(*here, *around)
