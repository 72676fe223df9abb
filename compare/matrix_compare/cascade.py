"""What small differences of floats do to the integers of an index, for one pair of captures.

A centroid's number, a bucket and a place in a list are decided by which of two floats is larger.
Each is decided here again in float64 from the floats that each capture stored: a change that this
predicts follows from them, one that it does not has another cause.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from matrix_capture.digest import Snapshot
from matrix_capture.errors import MatrixError
from matrix_capture.schema import Capture
from matrix_capture.values import ValueStore
from matrix_compare.gauge import unreadable
from matrix_compare.schema import NO_VALUES, NOT_FINITE

_BLOCK = 2**20
"""Scores or residuals looked at together; there are some ten temporaries of 8 MiB each."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """The smallest, the median and the largest of some figures."""

    min: float
    median: float
    max: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """How many changes the captures show, how many their floats predict, how many are both."""

    observed: int
    predicted: int
    explained: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Flips:
    """Which of `elements` decisions fell otherwise in b.

    A margin is how far from the edge a decision was in a, a movement how far b moved it against
    that edge; `margins` and `movements` are those of the observed changes, None if there are none.
    `largest_movement` is that of all elements and `borderline` counts the elements of a whose
    margin is no larger: no others can have flipped for the sake of these floats.

    `inherited` counts observed changes whose input was another one altogether, because its
    embedding changed centroid: margins, movements and `borderline` leave such elements out.
    `unlike` counts the decisions of a and of b that come out otherwise in float64 than stored.
    """

    elements: int
    changes: Changes
    inherited: int
    margins: Spread | None
    movements: Spread | None
    largest_movement: float
    borderline: int
    unlike: tuple[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Memberships:
    """Which passages are in the list of which centroid; `elements` are so many in a and in b.

    The prediction is made from the stored codes and the lengths of the passages. `unlike` counts
    the memberships of a and of b that are only stored or only predicted.
    """

    elements: tuple[int, int]
    gained: Changes
    lost: Changes
    unlike: tuple[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cascade:
    """What became of the integers from capture a to b; a string says why a part is not known.

    Centroids are told apart by their numbers.
    """

    a: str
    b: str
    codes: Flips | str
    buckets: Flips | str
    memberships: Memberships | str


DISCRETE = frozenset({"codes", "residuals", "index_codes", "index_residuals", "index_ivf"})
"""The integers of an index that floats decide."""


def cascade(a: Capture, b: Capture, store: ValueStore) -> Cascade:
    """Follow the differences of two captures from floats to codes, residuals and lists.

    Floats are in memory for one chunk at a time, and of all chunks no more than the codes and a few
    figures for each embedding and each flip.
    """
    both = _Both(a, b, store)
    parts: dict[str, Any] = {}
    for name, measure in (
        ("codes", _code_flips),
        ("buckets", _bucket_flips),
        ("memberships", _memberships),
    ):
        try:
            parts[name] = measure(both)
        except MatrixError as error:
            parts[name] = str(error)
    return Cascade(a=a.record.torch, b=b.record.torch, **parts)


def buckets_of(packed: npt.NDArray[np.uint8], nbits: int) -> npt.NDArray[np.uint8]:
    """The bucket numbers in the rows of a packed residual.

    colbert-ai writes the bits of each number from the lowest to the highest and packs eight of
    these into a byte, the first one highest (`ResidualCodec.binarize`).
    """
    rows, octets = packed.shape
    bits = np.unpackbits(packed, axis=1).reshape(rows, octets * 8 // nbits, nbits)
    weights = np.left_shift(1, np.arange(nbits)).astype(np.uint8)
    numbers: npt.NDArray[np.uint8] = (bits * weights).sum(axis=2, dtype=np.uint8)
    return numbers


def _code_flips(both: "_Both") -> Flips:
    """Which embeddings changed centroid: the margin is the lead of the best over the second."""
    centroids_a, centroids_b = both.centroids()
    tally = _Tally()
    margins = []
    for chunk in both.chunks():
        old, new = both.codes(chunk)
        for place, embs_a, embs_b in both.blocks("embs", chunk, len(old), width=len(centroids_a)):
            scores_a, scores_b = embs_a @ centroids_a.T, embs_b @ centroids_b.T
            (best_a, margin), (best_b, _) = _lead(scores_a), _lead(scores_b)
            moved = np.subtract(scores_b, scores_a, out=scores_b)
            # By how much the lead over the centroid that gained most on the best has shrunk.
            shrunk = moved.max(axis=1) - moved[np.arange(len(moved)), best_a]
            observed = tally.count((old[place], new[place]), (best_a, best_b))
            tally.cross(margin[observed], shrunk[observed])
            tally.move(shrunk)
            margins.append(margin)
    tally.borderline = sum(int((margin <= tally.largest).sum()) for margin in margins)
    return tally.flips()


def _bucket_flips(both: "_Both") -> Flips:
    """Which residuals changed bucket: the margin is the distance to the cutoff between the two."""
    name = "index_bucket_cutoffs"
    cutoffs_a, cutoffs_b = (_finite(side, name) for side in both.flat(name, "disk"))
    _expect(
        cutoffs_a.size == cutoffs_b.size and cutoffs_a.size + 1 in (2, 4, 16, 256),
        f"{cutoffs_a.size} and {cutoffs_b.size} cutoffs are not those of 1, 2, 4 or 8 bits",
    )
    nbits = cutoffs_a.size.bit_length()
    drift = cutoffs_b - cutoffs_a
    tally = _Tally()
    for raw_a, raw_b, _, kept in _residuals(both, nbits):
        shift = (raw_b - raw_a)[kept]
        tally.move(np.maximum(shift - drift.min(), drift.max() - shift))
    edges = np.concatenate([[-np.inf], cutoffs_a, [np.inf]])
    for raw_a, raw_b, packed, kept in _residuals(both, nbits):
        old, new = (buckets_of(side, nbits) for side in packed)
        again_a, again_b = np.searchsorted(cutoffs_a, raw_a), np.searchsorted(cutoffs_b, raw_b)
        flipped = tally.count((old, new), (again_a, again_b))
        crossed = flipped & kept[:, None]
        tally.inherited += int(flipped.sum() - crossed.sum())
        # The first cutoff on the way: what is more than one bucket off has crossed others too.
        edge = np.where(new > old, old, old - 1)[crossed]
        margin, moved = raw_a[crossed] - cutoffs_a[edge], (raw_b - raw_a)[crossed] - drift[edge]
        tally.cross(np.abs(margin), np.abs(moved))
        nearest = np.minimum(raw_a - edges[again_a], edges[again_a + 1] - raw_a)[kept]
        tally.borderline += int((nearest <= tally.largest).sum())
    return tally.flips()


def _memberships(both: "_Both") -> Memberships:
    """Which passages entered or left the list of a centroid."""
    chunks = both.chunk_names()
    codes, doclens = both.flat("codes", *chunks), both.flat("doclens", *chunks)
    lists, lengths = both.flat("index_ivf", "disk"), both.flat("index_ivf_lengths", "disk")
    for what, (a, b) in (("passages", doclens), ("centroids", lengths)):
        _expect(len(a) == len(b), f"{len(a)} and {len(b)} {what}")
    stored, predicted = [], []
    for n in range(2):
        _expect(
            len(codes[n]) == doclens[n].sum() and len(lists[n]) >= lengths[n].sum(),
            f"codes, doclens and lists of {both.torch[n]} do not fit each other",
        )
        passages = len(doclens[n])
        centroid = np.repeat(np.arange(len(lengths[n])), lengths[n])
        passage = np.repeat(np.arange(passages), doclens[n])
        stored.append(np.unique(centroid * passages + lists[n][: len(centroid)]))
        predicted.append(np.unique(codes[n].astype(np.int64) * passages + passage))
    return Memberships(
        elements=(len(stored[0]), len(stored[1])),
        gained=_changes(_beyond(stored[1], stored[0]), _beyond(predicted[1], predicted[0])),
        lost=_changes(_beyond(stored[0], stored[1]), _beyond(predicted[0], predicted[1])),
        unlike=(
            len(np.setxor1d(stored[0], predicted[0], assume_unique=True)),
            len(np.setxor1d(stored[1], predicted[1], assume_unique=True)),
        ),
    )


def _residuals(
    both: "_Both", nbits: int
) -> Iterator[tuple[Floats, Floats, list[npt.NDArray[np.uint8]], npt.NDArray[np.bool_]]]:
    """Blocks of raw residuals of a and b, the packed ones, and which rows kept their centroid."""
    for chunk in both.chunks():
        old, new = both.codes(chunk)
        packed = _matrices(next(both.pairs("residuals", chunk)))
        for place, raw_a, raw_b in both.blocks("raw_residuals", chunk, len(old)):
            _expect(
                packed[0].shape == (len(old), raw_a.shape[1] * nbits // 8),
                f"residuals of {chunk} do not hold {nbits} bits for each of {raw_a.shape[1]}",
            )
            yield raw_a, raw_b, [side[place] for side in packed], old[place] == new[place]


def _lead(scores: Floats) -> tuple[npt.NDArray[np.int64], Floats]:
    """The best of each row, the first of equal ones, and by how much it leads."""
    rows = np.arange(len(scores))
    best = scores.argmax(axis=1)
    top = scores[rows, best]
    scores[rows, best] = -np.inf
    lead = top - scores.max(axis=1)
    scores[rows, best] = top
    return best, lead


_Keys = npt.NDArray[np.int64]


def _beyond(keys: _Keys, others: _Keys) -> _Keys:
    """What the first has beyond the second; neither has anything twice."""
    return np.setdiff1d(keys, others, assume_unique=True)


def _changes(observed: _Keys, predicted: _Keys) -> Changes:
    return Changes(
        observed=len(observed),
        predicted=len(predicted),
        explained=len(np.intersect1d(observed, predicted, assume_unique=True)),
    )


class _Tally:
    """What is known of the flips after some blocks."""

    def __init__(self) -> None:
        self.elements = self.observed = self.predicted = self.explained = self.inherited = 0
        self.unlike_a = self.unlike_b = self.borderline = 0
        self.largest = 0.0
        self._margins: list[Floats] = []
        self._movements: list[Floats] = []

    def count(
        self, stored: Sequence[npt.NDArray[Any]], again: Sequence[npt.NDArray[Any]]
    ) -> npt.NDArray[np.bool_]:
        """Add decisions of a and b, stored and made again; returns which changed as stored."""
        observed: npt.NDArray[np.bool_] = stored[0] != stored[1]
        predicted = again[0] != again[1]
        self.elements += observed.size
        self.observed += int(observed.sum())
        self.predicted += int(predicted.sum())
        self.explained += int((observed & predicted).sum())
        self.unlike_a += int((stored[0] != again[0]).sum())
        self.unlike_b += int((stored[1] != again[1]).sum())
        return observed

    def cross(self, margins: Floats, movements: Floats) -> None:
        """Add what observed changes have crossed."""
        self._margins.append(margins)
        self._movements.append(movements)

    def move(self, movements: Floats) -> None:
        """Add how far elements moved."""
        self.largest = max(self.largest, float(movements.max(initial=0)))

    def flips(self) -> Flips:
        return Flips(
            elements=self.elements,
            changes=Changes(
                observed=self.observed, predicted=self.predicted, explained=self.explained
            ),
            inherited=self.inherited,
            margins=_spread(self._margins),
            movements=_spread(self._movements),
            largest_movement=self.largest,
            # Ties are on the edge, but where nothing moves they stay there.
            borderline=self.borderline if self.largest else 0,
            unlike=(self.unlike_a, self.unlike_b),
        )


def _spread(parts: Sequence[Floats]) -> Spread | None:
    figures = np.concatenate(parts) if parts else np.zeros(0)
    if not figures.size:
        return None
    return Spread(
        min=float(figures.min()), median=float(np.median(figures)), max=float(figures.max())
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Value:
    """One value of a capture, to be read when it is needed."""

    digest: bytes
    shape: tuple[int, ...]


class _Both:
    """The values of two captures side by side. Whatever is not there or does not fit raises."""

    def __init__(self, a: Capture, b: Capture, store: ValueStore) -> None:
        self.torch = (a.record.torch, b.record.torch)
        self._values = (_values(a), _values(b))
        self._store = store

    def chunk_names(self) -> list[str]:
        """The chunks of the collection, in order."""
        names = [
            sorted(
                (scope for artifact, scope in side if artifact == "codes"),
                key=lambda scope: (len(scope), scope),
            )
            for side in self._values
        ]
        for torch, found in zip(self.torch, names, strict=True):
            _expect(bool(found), f"no codes in {torch}")
        _expect(names[0] == names[1], "other chunks in {} than in {}".format(*self.torch))
        return names[0]

    def chunks(self) -> list[str]:
        """The same, where both captures have the same embeddings in each."""
        for chunk in (names := self.chunk_names()):
            a, b = self._listed("doclens", chunk)
            _expect(
                [value.digest for value in a] == [value.digest for value in b],
                f"doclens of {chunk} differ, so embeddings have no counterpart",
            )
        return names

    def codes(self, chunk: str) -> list[npt.NDArray[Any]]:
        """The codes of a chunk in a and b."""
        old, new = self.flat("codes", chunk)
        _expect(len(old) == len(new), f"{len(old)} and {len(new)} codes in {chunk}")
        return [old, new]

    def centroids(self) -> list[Floats]:
        """The centroids of the index in a and b."""
        name = "index_centroids"
        return [_finite(matrix, name) for matrix in _matrices(next(self.pairs(name, "disk")))]

    def flat(self, artifact: str, *scopes: str) -> list[npt.NDArray[Any]]:
        """All elements of an artifact in a and b, which may be of different number."""
        listed = [self._listed(artifact, scope) for scope in scopes]
        return [
            np.concatenate([self._read(value, artifact).numbers() for value in chain(*side)])
            for side in zip(*listed, strict=True)
        ]

    def pairs(self, artifact: str, scope: str) -> Iterator[tuple[Snapshot, Snapshot]]:
        """The occurrences of an artifact in a and b, of the same shapes."""
        a, b = self._listed(artifact, scope)
        shapes = [" ".join(str(value.shape) for value in side) for side in (a, b)]
        _expect(shapes[0] == shapes[1], f"{artifact} of {scope}: shape {shapes[0]} and {shapes[1]}")
        for x, y in zip(a, b, strict=True):
            snap = self._read(x, artifact)
            yield snap, snap if x.digest == y.digest else self._read(y, artifact)

    def blocks(
        self, artifact: str, scope: str, rows: int, *, width: int = 1
    ) -> Iterator[tuple[slice, Floats, Floats]]:
        """So many rows of a matrix of a and b, block by block, in float64, with their place.

        `width` is how many figures will be made of each row, if more than it has.
        """
        listed, _ = self._listed(artifact, scope)
        found = sum(value.shape[0] for value in listed)
        _expect(found == rows, f"{artifact} of {scope}: {found} rows for {rows} codes")
        first = 0
        for matrix_a, matrix_b in map(_matrices, self.pairs(artifact, scope)):
            step = max(1, _BLOCK // max(width, *matrix_a.shape[1:]))
            for start in range(0, len(matrix_a), step):
                x, y = (_finite(m[start : start + step], artifact) for m in (matrix_a, matrix_b))
                yield slice(first + start, first + start + len(x)), x, y
            first += len(matrix_a)

    def _listed(self, artifact: str, scope: str) -> list[list[_Value]]:
        for torch, side in zip(self.torch, self._values, strict=True):
            _expect((artifact, scope) in side, f"no {artifact} in {scope} of {torch}")
        return [side[artifact, scope] for side in self._values]

    def _read(self, value: _Value, artifact: str) -> Snapshot:
        _expect(value.digest in self._store, f"{artifact}: {NO_VALUES}")
        try:
            return self._store.get(value.digest)
        except MatrixError:
            # The store's own message holds a path of this machine, and a cascade is published.
            raise MatrixError(f"{artifact}: {unreadable(value.digest)}") from None


def _values(capture: Capture) -> dict[tuple[str, str], list[_Value]]:
    """What repeat 0 of a capture has by artifact and scope, in order of occurrence."""
    names = ["repeat", "artifact", "scope", "occurrence", "digest", "shape"]
    found: dict[tuple[str, str], list[_Value]] = {}
    for row in sorted(capture.rows.select(names).to_pylist(), key=lambda row: row["occurrence"]):
        if row["repeat"] == 0:
            value = _Value(digest=row["digest"], shape=tuple(row["shape"]))
            found.setdefault((row["artifact"], row["scope"]), []).append(value)
    return found


def _matrices(pair: tuple[Snapshot, Snapshot]) -> list[npt.NDArray[Any]]:
    return [side.numbers().reshape(side.shape) for side in pair]


def _finite(numbers: npt.NDArray[Any], artifact: str) -> Floats:
    wide = numbers.astype(np.float64)
    _expect(bool(np.isfinite(wide).all()), f"{NOT_FINITE} in {artifact}")
    return wide


def _expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise MatrixError(otherwise)
