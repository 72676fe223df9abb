"""Where a divergence starts: the role of every artifact of a pair."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matrix_capture.catalogue import BY_NAME, CATALOGUE
from matrix_compare.schema import Verdict

_DIFFERING = {Verdict.REORDERED.value, Verdict.CLOSE.value, Verdict.DIFFERS.value}

_CHILDREN: dict[str, set[str]] = {}
for _artifact in CATALOGUE:
    for _parent in _artifact.parents:
        _CHILDREN.setdefault(_parent, set()).add(_artifact.name)


def roles(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The role of each verdict row of one pair: `origin`, `propagated`, `absorbed` or empty.

    A parent is looked up in the same scope, or in all scopes where this one does not have it; an
    artifact of many parts counts with all of them. A difference whose parents are neither all
    identical nor known to differ (one is unstable or missing) is blamed on nobody: its role is
    empty. A parent that neither capture has is passed over.
    """
    differing = {row["artifact"] for row in rows if row["verdict"] in _DIFFERING}
    if not differing:
        return [""] * len(rows)
    concerned = differing.union(*(_CHILDREN.get(name, set()) for name in differing))
    family = concerned.union(*(BY_NAME[name].parents for name in concerned if name in BY_NAME))
    verdicts = _verdicts(row for row in rows if row["artifact"] in family)
    return [_role(row, verdicts) if row["artifact"] in concerned else "" for row in rows]


_Verdicts = dict[tuple[str, str | None], set[str]]


def _verdicts(rows: Iterable[Mapping[str, Any]]) -> _Verdicts:
    """All verdicts of an artifact in a scope, and under scope None those in any scope."""
    found: _Verdicts = {}
    for row in rows:
        for scope in (row["scope"], None):
            found.setdefault((row["artifact"], scope), set()).add(row["verdict"])
    return found


def _role(row: Mapping[str, Any], verdicts: _Verdicts) -> str:
    artifact = BY_NAME.get(row["artifact"])
    differs = row["verdict"] in _DIFFERING
    if artifact is None or not (differs or row["verdict"] == Verdict.IDENTICAL):
        return ""
    parents: set[str] = set()
    for parent in artifact.parents:
        parents |= verdicts.get((parent, row["scope"]), verdicts.get((parent, None), set()))
    if parents & _DIFFERING:
        return "propagated" if differs else "absorbed"
    return "origin" if differs and parents <= {Verdict.IDENTICAL.value} else ""
