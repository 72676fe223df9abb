"""Which stage of a search changed a result, for one pair of captures.

PLAID goes from candidates (the passages in the lists of the nearest centroids) through pruning to
scores; passages of one score come in any order.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from matrix_capture.errors import MatrixError
from matrix_capture.schema import Capture
from matrix_capture.values import ValueStore
from matrix_compare.change import Attribution
from matrix_compare.gauge import unreadable

FIRST = 10
"""How many results of each query are looked at."""

_Stage = Literal["unknown", "candidates", "pruning", "scores", "ties"]
_ORDER: tuple[_Stage, ...] = ("unknown", "candidates", "pruning", "scores", "ties")
"""Of several reasons the first counts: what does not fit explains nothing."""

_RANKED = ("ranked_lengths", "ranked_pids")
_ARTIFACTS = (
    *("candidate_lengths", "candidate_pids", "pruned_lengths", "pruned_pids"),
    *(*_RANKED, "ranked_scores"),
)


def attribute(a: Capture, b: Capture, store: ValueStore) -> Attribution | None:
    """Put every changed result down to a stage, by the first repeats.

    None where a capture has no search, or its values were not kept and the results differ.

    Raises:
        MatrixError: values are damaged, do not fit each other, or are of other queries.
    """
    sides = [_digests(capture) for capture in (a, b)]
    if any(set(side) != set(_ARTIFACTS) for side in sides):
        return None
    counts: Counter[_Stage] = Counter()
    if any(sides[0][name] != sides[1][name] for name in _RANKED):
        if any(digest not in store for digest in chain(*(side.values() for side in sides))):
            return None
        old, new = (
            _search(side, store, capture.record.torch)
            for side, capture in zip(sides, (a, b), strict=True)
        )
        if len(old) != len(new):
            raise MatrixError(
                f"{len(old)} queries in torch {a.record.torch} and {len(new)} in "
                f"{b.record.torch}; capture both with the same inputs"
            )
        counts.update(chain.from_iterable(map(_stages, old, new)))
    return Attribution(**{stage: counts[stage] for stage in _ORDER})


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """What a search came to for one query: passages by stage, those returned in order."""

    candidates: frozenset[int]
    pruned: frozenset[int]
    ranked: tuple[int, ...]
    scores: Mapping[int, float]

    def before(self, pid: int) -> frozenset[int]:
        """The passages ahead of one that was returned."""
        return frozenset(self.ranked[: self.ranked.index(pid)])

    def fits(self, pid: int) -> bool:
        """Whether a passage was in every stage before the last that has it."""
        stages = [pid in self.candidates, pid in self.pruned, pid in self.scores]
        return stages == sorted(stages, reverse=True)


def _stages(a: _Found, b: _Found) -> Iterator[_Stage]:
    """The stage of each result of a query that changed."""
    changed = [
        pid
        for one, other in ((a, b), (b, a))
        for place, pid in enumerate(one.ranked[:FIRST])
        if other.ranked[place : place + 1] != (pid,)
    ]
    if not changed:
        return
    entered = {pid: _entered(pid, a, b) for pid in {*a.ranked, *b.ranked}}
    for pid in changed:
        yield entered[pid] or _moved(pid, entered, a, b)


def _entered(pid: int, a: _Found, b: _Found) -> _Stage | None:
    """The first stage that only one side has a passage in, None if both return it."""
    if not (a.fits(pid) and b.fits(pid)):
        return "unknown"
    if (pid in a.candidates) != (pid in b.candidates):
        return "candidates"
    if (pid in a.pruned) != (pid in b.pruned):
        return "pruning"
    return "scores" if (pid in a.scores) != (pid in b.scores) else None


def _moved(pid: int, entered: Mapping[int, _Stage | None], a: _Found, b: _Found) -> _Stage:
    """The stage that moved a passage which both return."""
    reasons: set[_Stage] = set()
    score_a, score_b = a.scores[pid], b.scores[pid]
    for other in a.before(pid) ^ b.before(pid):
        tied = a.scores.get(other) == score_a and b.scores.get(other) == score_b
        reasons.add(entered[other] or ("ties" if tied else "scores"))
    # Without anything that it passed it is in one ranking twice.
    return min(reasons, key=_ORDER.index, default="unknown")


def _digests(capture: Capture) -> dict[str, bytes]:
    """The digest of each artifact that the first repeat of a capture has."""
    rows = capture.rows
    here = pc.and_(pc.equal(rows["scope"], "query"), pc.equal(rows["repeat"], 0))
    first = rows.filter(pc.and_(here, pc.equal(rows["occurrence"], 0)))
    found = zip(first["artifact"].to_pylist(), first["digest"].to_pylist(), strict=True)
    return {name: digest for name, digest in found if name in _ARTIFACTS}


def _search(digests: Mapping[str, bytes], store: ValueStore, torch: str) -> list[_Found]:
    """What the search of a release came to, query by query."""
    values = {name: _read(digest, store) for name, digest in digests.items()}
    try:
        lists = [
            _split(values[f"{name}_pids"], values[f"{name}_lengths"])
            for name in ("candidate", "pruned", "ranked")
        ]
        scores = _split(values["ranked_scores"], values["ranked_lengths"])
        found = list(zip(*lists, scores, strict=True))
    except (TypeError, ValueError):
        raise MatrixError(
            f"lists of the search under torch {torch} do not fit their lengths; capture it again"
        ) from None
    return [
        _Found(
            candidates=frozenset(candidates),
            pruned=frozenset(pruned),
            ranked=tuple(ranked),
            scores=dict(zip(ranked, scored, strict=True)),
        )
        for candidates, pruned, ranked, scored in found
    ]


def _read(digest: bytes, store: ValueStore) -> npt.NDArray[Any]:
    try:
        return store.get(digest).numbers()
    except MatrixError:
        # The store's own message holds a path, and an attribution is published.
        raise MatrixError(f"{unreadable(digest)}; capture again") from None


def _split(values: npt.NDArray[Any], lengths: npt.NDArray[Any]) -> list[list[Any]]:
    """The lists, one for each length, that lie one behind the other."""
    ends = list(accumulate(lengths.tolist()))
    if (lengths < 0).any() or ends[-1:] != [len(values)]:
        raise ValueError
    return [part.tolist() for part in np.split(values, ends[:-1])]
