"""Distances between two values of one dtype and shape, in a single pass of bounded memory."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt

from matrix_capture.digest import Layout, storage_dtype
from matrix_capture.errors import MatrixError
from matrix_compare.tolerance import Profile

Piece = tuple[int, npt.NDArray[Any], npt.NDArray[Any]]
"""Some elements of both values as in `Snapshot.data`, and the number of the first of them."""

_CHUNK = 2**16
"""Elements looked at together: they and what is made of them stay in a cache."""

_FLOATS = ("float16", "bfloat16", "float32", "float64")


@dataclass(frozen=True, kw_only=True, slots=True)
class Distances:
    """How far value a lies from value b, the reference.

    An element counts as equal as in `torch.eq`: -0 equals 0, and NaN equals nothing, not even the
    same NaN. `unordered` counts the elements that are not equal and not finite on both sides; they
    have no distance, so the other figures leave them out and `rtol_needed` is None.

    `max_rel` is the largest |a-b|/|b| where b is not 0, None where only zeros of b differ. ULPs
    count the representable floats from a to b, 0 and -0 being one (None for integers); `max_ulp`
    saturates at 2**63-1. `p50_ulp` and `p99_ulp` are nearest-rank percentiles over all elements
    that have a distance, exact below 8192 and within 1 in 4096 above. `ulp_histogram` counts those
    elements: first the ones at 0 ULP, then those at 1, at 2 to 3, at 4 to 7, and so on.

    `profiles` names the profiles that all elements pass as in `torch.allclose(a, b)`, each step
    rounded to the dtype (integers must be equal), and `violations` counts for every profile the
    elements that do not. `rtol_needed` is the smallest rtol that passes at the first profile's
    atol, as torch rounds it; None for integers or where no rtol passes. `first_index` is the first
    element whose bits differ, `largest_index` the first at `max_abs`; None if there is none. They
    lie in the occurrences `first_occurrence` and `largest_occurrence`.
    """

    elements: int
    unordered: int
    max_abs: float | None
    mean_abs: float | None
    max_rel: float | None
    equal_fraction: float
    max_ulp: int | None
    p50_ulp: float | None
    p99_ulp: float | None
    ulp_histogram: tuple[int, ...] | None
    rtol_needed: float | None
    first_index: tuple[int, ...] | None
    first_occurrence: int
    largest_index: tuple[int, ...] | None
    largest_occurrence: int
    profiles: tuple[str, ...]
    violations: tuple[int, ...]


def measure(layout: Layout, pieces: Iterable[Piece], profiles: Sequence[Profile]) -> Distances:
    """Measure how far value a lies from value b, and which profiles it passes.

    `pieces` come in order; the elements that they leave out are equal, so none of them is NaN.

    Raises:
        MatrixError: no distance is defined for the dtype, or two pieces do not fit each other.
    """
    _check(layout)
    tally = _Floats(layout, profiles) if layout.dtype in _FLOATS else _Integers(layout, profiles)
    for start, a, b in pieces:
        if a.shape != b.shape or start + a.size > layout.numel:
            raise MatrixError(f"{a.size} and {b.size} elements at {start} of {layout.numel}")
        for at in range(0, a.size, _CHUNK):
            tally.add(start + at, a[at : at + _CHUNK], b[at : at + _CHUNK])
    return tally.distances()


def worst(parts: Sequence[Distances], occurrences: Sequence[int], equal_elements: int) -> Distances:
    """One figure for several occurrences: the largest of each, sums of counts, means by elements.

    `occurrences` numbers the parts. `equal_elements` is the size of the occurrences that are
    identical and were not measured. `p50_ulp` and `p99_ulp` are the largest of the parts'.
    """
    elements = sum(part.elements for part in parts) + equal_elements
    measured = [(p.mean_abs, p.elements - p.unordered) for p in parts if p.mean_abs is not None]
    counted = sum(count for _, count in measured) + equal_elements
    equal = sum(part.equal_fraction * part.elements for part in parts) + equal_elements
    needed = [part.rtol_needed for part in parts]
    farthest = max(range(len(parts)), key=lambda n: (parts[n].max_abs or 0.0, -n))
    violations = tuple(map(sum, zip(*(part.violations for part in parts), strict=True)))
    return Distances(
        elements=elements,
        unordered=sum(part.unordered for part in parts),
        max_abs=max((p.max_abs for p in parts if p.max_abs is not None), default=None),
        mean_abs=sum(mean * count for mean, count in measured) / counted if measured else None,
        max_rel=max((p.max_rel for p in parts if p.max_rel is not None), default=None),
        equal_fraction=equal / elements if elements else 1.0,
        max_ulp=max((p.max_ulp for p in parts if p.max_ulp is not None), default=None),
        p50_ulp=max((p.p50_ulp for p in parts if p.p50_ulp is not None), default=None),
        p99_ulp=max((p.p99_ulp for p in parts if p.p99_ulp is not None), default=None),
        ulp_histogram=_added([p.ulp_histogram for p in parts], equal_elements),
        rtol_needed=None if None in needed else max(r for r in needed if r is not None),
        first_index=parts[0].first_index,
        first_occurrence=occurrences[0],
        largest_index=parts[farthest].largest_index,
        largest_occurrence=occurrences[farthest],
        profiles=tuple(
            name for name in parts[0].profiles if all(name in part.profiles for part in parts)
        ),
        violations=violations,
    )


def _check(layout: Layout) -> None:
    try:
        measurable = storage_dtype(layout.dtype).kind in "iuf"
    except TypeError:
        measurable = False
    if not measurable:
        raise MatrixError(f"no distance is defined for {layout.dtype}")


class _Integers:
    """What is known of two integer values after some pieces."""

    def __init__(self, layout: Layout, profiles: Sequence[Profile]) -> None:
        self._layout, self._profiles = layout, profiles
        self._different, self._first, self._largest = 0, -1, -1
        self._sum_abs, self._max_abs, self._max_rel = 0.0, 0.0, -1.0

    def add(self, start: int, a: npt.NDArray[Any], b: npt.NDArray[Any]) -> None:
        places = np.flatnonzero(a != b)
        if not places.size:
            return
        x, y = a[places], b[places]
        # The difference of two int64 may not fit int64; as unsigned words it wraps to the truth.
        words = f"u{x.dtype.itemsize}"
        gap = (np.maximum(x, y).view(words) - np.minimum(x, y).view(words)).astype(np.float64)
        if self._first < 0:
            self._first = start + int(places[0])
        if gap.max() > self._max_abs:
            self._max_abs = float(gap.max())
            self._largest = start + int(places[gap.argmax()])
        self._different += places.size
        self._sum_abs += float(gap.sum())
        relative = gap[y != 0] / np.abs(y[y != 0].astype(np.float64))
        self._max_rel = max(self._max_rel, float(relative.max(initial=-1)))

    def distances(self) -> Distances:
        size, shape = self._layout.numel, self._layout.shape
        return Distances(
            elements=size,
            unordered=0,
            max_abs=self._max_abs if size else None,
            mean_abs=self._sum_abs / size if size else None,
            max_rel=_relative(self._max_rel, self._different, size),
            equal_fraction=(size - self._different) / size if size else 1.0,
            max_ulp=None,
            p50_ulp=None,
            p99_ulp=None,
            ulp_histogram=None,
            rtol_needed=None,
            first_index=_index(self._first, shape),
            first_occurrence=0,
            largest_index=_index(self._largest, shape),
            largest_occurrence=0,
            profiles=() if self._different else tuple(p.name for p in self._profiles),
            violations=(self._different,) * len(self._profiles),
        )


class _Floats:
    """What is known of two float values after some pieces."""

    def __init__(self, layout: Layout, profiles: Sequence[Profile]) -> None:
        # What compiles takes a second to load: only who measures floats waits for it.
        from matrix_compare import kernel  # noqa: PLC0415

        self._kernel, self._layout, self._profiles = kernel, layout, profiles
        limits = [profile.limits(layout.dtype) for profile in profiles]
        wide = np.float64 if layout.dtype == "float64" else np.float32
        self._bounds = np.array([*limits, (limits[0][0], 0.0)], dtype=wide)
        self._outside = np.zeros(len(profiles), np.int64)
        self._counts = np.array([0, 0, -1, -1, 0])
        self._sizes = np.array([0.0, 0.0, -1.0])
        self._grid = {"float16": kernel.HALF, "bfloat16": kernel.BRAIN}.get(
            layout.dtype, kernel.EXACT
        )
        most = kernel.bin_of(min(kernel.MOST, 2 ** (8 * layout.itemsize)))
        self._bins = np.zeros((kernel.COPIES, most + 1), np.int64)

    def add(self, start: int, a: npt.NDArray[Any], b: npt.NDArray[Any]) -> None:
        (x, p), (y, q) = self._wide(a), self._wide(b)
        self._kernel.scan(
            start,
            x,
            y,
            p,
            q,
            self._grid,
            self._bounds,
            self._outside,
            self._counts,
            self._sizes,
            self._bins,
        )

    def _wide(self, part: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """The elements as float32 or float64, and their bits as integers of that width."""
        bits = part.view(f"i{part.itemsize}")
        if self._grid == self._kernel.EXACT:
            wide = part.view(), bits
        else:
            wide = np.empty(part.size, np.float32), np.empty(part.size, np.int32)
            self._kernel.widen(_sealed(bits), self._grid, *wide)
        return _sealed(wide[0]), _sealed(wide[1])

    def distances(self) -> Distances:
        size, shape = self._layout.numel, self._layout.shape
        different, unordered, first, largest, max_ulp = self._counts.tolist()
        sum_abs, max_abs, max_rel = self._sizes.tolist()
        measured = size - unordered
        bins = self._bins[:, : self._kernel.bin_of(max_ulp) + 1].sum(axis=0)
        bins[0] = measured - bins[1:].sum()
        needed = float(self._bounds[-1, 1])
        outside = self._outside.tolist()
        return Distances(
            elements=size,
            unordered=unordered,
            max_abs=max_abs if measured else None,
            mean_abs=sum_abs / measured if measured else None,
            max_rel=_relative(max_rel, different, measured),
            equal_fraction=(size - different) / size if size else 1.0,
            max_ulp=max_ulp if measured else None,
            p50_ulp=self._percentile(bins, 50) if measured else None,
            p99_ulp=self._percentile(bins, 99) if measured else None,
            ulp_histogram=self._histogram(bins) if measured else (),
            rtol_needed=needed if math.isfinite(needed) else None,
            first_index=_index(first, shape),
            first_occurrence=0,
            largest_index=_index(largest, shape),
            largest_occurrence=0,
            profiles=tuple(p.name for p, n in zip(self._profiles, outside, strict=True) if not n),
            violations=tuple(outside),
        )

    def _percentile(self, bins: npt.NDArray[np.int64], percent: int) -> float:
        rank = -(-percent * int(bins.sum()) // 100)
        return float(self._kernel.ulps_of(int(np.searchsorted(np.cumsum(bins), rank))))

    def _histogram(self, bins: npt.NDArray[np.int64]) -> tuple[int, ...]:
        starts = [0, *(self._kernel.bin_of(2**n) for n in range(63))]
        counts = np.add.reduceat(bins, [start for start in starts if start < bins.size])
        return tuple(counts.tolist())


def _sealed(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """As what comes from a store, read-only: it is then of the type that is compiled already."""
    array.flags.writeable = False
    return array


def _relative(max_rel: float, different: int, measured: int) -> float | None:
    if max_rel >= 0:
        return max_rel
    return 0.0 if measured and not different else None


def _index(place: int, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    if place < 0:
        return None
    return tuple(int(position) for position in np.unravel_index(place, shape))


def _added(histograms: Sequence[tuple[int, ...] | None], zeros: int) -> tuple[int, ...] | None:
    if None in histograms:
        return None
    columns = zip_longest((zeros,) if zeros else (), *filter(None, histograms), fillvalue=0)
    return tuple(map(sum, columns))
