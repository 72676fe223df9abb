"""Distances between two values of one dtype and shape, in a single pass of bounded memory."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from matrix_capture.digest import Snapshot
from matrix_capture.errors import MatrixError
from matrix_compare.tolerance import Profile, close

_CHUNK = 2**20
"""Elements looked at together: temporaries stay below some 100 MiB however large a value is."""

_INT64_MAX = 2**63 - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Distances:
    """How far value a lies from value b, the reference.

    An element counts as equal as in `torch.eq`: -0 equals 0, and NaN equals nothing, not even the
    same NaN. `unordered` counts the elements that are not equal and not finite on both sides; they
    have no distance, so the other figures leave them out and `rtol_needed` is None.

    `max_rel` is the largest |a-b|/|b| where b is not 0, None where only zeros of b differ. ULPs
    count the representable floats from a to b, 0 and -0 being one (None for integers); `max_ulp`
    saturates at 2**63-1; `p99_ulp` is a nearest-rank percentile over all elements, exact below
    8192 and within 1 in 4096 above. `rtol_needed` is the smallest rtol that passes at the first
    profile's atol, up to float64 rounding; None for integers or where no rtol passes.
    `first_index` is the first element whose bits differ, None if there is none.
    """

    elements: int
    unordered: int
    max_abs: float | None
    mean_abs: float | None
    max_rel: float | None
    equal_fraction: float
    max_ulp: int | None
    p99_ulp: float | None
    rtol_needed: float | None
    first_index: tuple[int, ...] | None
    profiles: tuple[str, ...]


def measure(a: Snapshot, b: Snapshot, profiles: Sequence[Profile]) -> Distances:
    """Measure how far `a` lies from `b`, and which profiles it passes.

    Raises:
        MatrixError: dtype or shape differ, do not fit the data, or cannot be measured.
    """
    _check(a, b)
    size = a.data.size
    floating = replace(a, data=a.data[:1]).numbers().dtype.kind == "f"
    tally = _Tally(atol=profiles[0].tolerance(a.dtype).atol)
    passing = list(profiles)
    with np.errstate(invalid="ignore", over="ignore"):
        for start in range(0, size, _CHUNK):
            part_a = replace(a, data=a.data[start : start + _CHUNK])
            part_b = replace(b, data=b.data[start : start + _CHUNK])
            tally.look_for_first(part_a, part_b, start)
            x, y = part_a.numbers(), part_b.numbers()
            unequal = x != y
            x, y = x[unequal], y[unequal]
            if floating:
                x, y = x.astype(np.float64), y.astype(np.float64)
                tally.add_floats(x, y, _ulps(part_a.data[unequal], part_b.data[unequal]))
            else:
                tally.add_integers(x, y)
            passing = [p for p in passing if close(x, y, p.tolerance(a.dtype)).all()]
    return tally.distances(a, floating=floating, passing=tuple(p.name for p in passing))


def worst(parts: Sequence[Distances], equal_elements: int) -> Distances:
    """One figure for several occurrences: the largest of each, means weighted by elements.

    `equal_elements` is the size of the occurrences that are identical and were not measured;
    `p99_ulp` is the largest of the occurrences', `first_index` lies in the first that was measured.
    """
    elements = sum(part.elements for part in parts) + equal_elements
    measured = [(p.mean_abs, p.elements - p.unordered) for p in parts if p.mean_abs is not None]
    counted = sum(count for _, count in measured) + equal_elements
    equal = sum(part.equal_fraction * part.elements for part in parts) + equal_elements
    needed = [part.rtol_needed for part in parts]
    return Distances(
        elements=elements,
        unordered=sum(part.unordered for part in parts),
        max_abs=max((p.max_abs for p in parts if p.max_abs is not None), default=None),
        mean_abs=sum(mean * count for mean, count in measured) / counted if measured else None,
        max_rel=max((p.max_rel for p in parts if p.max_rel is not None), default=None),
        equal_fraction=equal / elements if elements else 1.0,
        max_ulp=max((p.max_ulp for p in parts if p.max_ulp is not None), default=None),
        p99_ulp=max((p.p99_ulp for p in parts if p.p99_ulp is not None), default=None),
        rtol_needed=None if None in needed else max(r for r in needed if r is not None),
        first_index=parts[0].first_index,
        profiles=tuple(
            name for name in parts[0].profiles if all(name in part.profiles for part in parts)
        ),
    )


class _Tally:
    """What is known after some chunks; only elements that are not equal are ever added."""

    def __init__(self, atol: float) -> None:
        self.atol = atol
        self.different = self.unordered = 0
        self.max_abs = self.sum_abs = self.rtol_needed = 0.0
        self.max_rel: float | None = None
        self.max_ulp = 0
        self.ulp_counts = np.zeros(0, dtype=np.int64)
        self.first: int | None = None

    def look_for_first(self, a: Snapshot, b: Snapshot, start: int) -> None:
        if self.first is None:
            bits = f"u{a.data.itemsize}"
            differs = a.data.view(bits) != b.data.view(bits)
            if differs.any():
                self.first = start + int(differs.argmax())

    def add_integers(self, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> None:
        # The difference of two int64 may not fit int64; as unsigned words it wraps to the truth.
        words = f"u{x.dtype.itemsize}"
        gap = np.maximum(x, y).view(words) - np.minimum(x, y).view(words)
        self._add(gap.astype(np.float64), np.abs(y.astype(np.float64)))

    def add_floats(
        self,
        x: npt.NDArray[np.float64],
        y: npt.NDArray[np.float64],
        ulps: npt.NDArray[np.uint64],
    ) -> None:
        finite = np.isfinite(x) & np.isfinite(y)
        unordered = int(finite.size - np.count_nonzero(finite))
        self.unordered += unordered
        self.different += unordered
        x, y, ulps = x[finite], y[finite], ulps[finite]
        gap, reference = np.abs(x - y), np.abs(y)
        self._add(gap, reference)
        excess = gap > self.atol
        if excess.any():
            # Where b is 0 this is infinite: no rtol helps.
            with np.errstate(divide="ignore"):
                needed = (gap[excess] - self.atol) / reference[excess]
            self.rtol_needed = max(self.rtol_needed, float(needed.max()))
        if ulps.size:
            self.max_ulp = max(self.max_ulp, int(ulps.max()))
            self.ulp_counts = _summed(self.ulp_counts, np.bincount(_bins(ulps)))

    def _add(self, gap: npt.NDArray[np.float64], reference: npt.NDArray[np.float64]) -> None:
        if not gap.size:
            return
        self.different += int(gap.size)
        self.max_abs = max(self.max_abs, float(gap.max()))
        self.sum_abs += float(gap.sum())
        relative = gap[reference > 0] / reference[reference > 0]
        if relative.size:
            self.max_rel = max(self.max_rel or 0.0, float(relative.max()))

    def distances(self, a: Snapshot, *, floating: bool, passing: tuple[str, ...]) -> Distances:
        size = int(a.data.size)
        measured = size - self.unordered
        bounded = floating and not self.unordered and math.isfinite(self.rtol_needed)
        first = None if self.first is None else np.unravel_index(self.first, a.shape)
        return Distances(
            elements=size,
            unordered=self.unordered,
            max_abs=self.max_abs if measured else None,
            mean_abs=self.sum_abs / measured if measured else None,
            max_rel=self.max_rel if self.different else (0.0 if measured else None),
            equal_fraction=(size - self.different) / size if size else 1.0,
            max_ulp=min(self.max_ulp, _INT64_MAX) if floating and measured else None,
            p99_ulp=self._p99(measured) if floating and measured else None,
            rtol_needed=self.rtol_needed if bounded else None,
            first_index=None if first is None else tuple(int(place) for place in first),
            profiles=passing,
        )

    def _p99(self, measured: int) -> float:
        rank = -(-99 * measured // 100)
        zeros = measured - int(self.ulp_counts.sum())
        if rank <= zeros:
            return 0.0
        found = np.searchsorted(np.cumsum(self.ulp_counts), rank - zeros)
        return _bin_value(int(found))


def _check(a: Snapshot, b: Snapshot) -> None:
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        raise MatrixError(f"cannot measure {a.dtype} {a.shape} against {b.dtype} {b.shape}")
    if not a.data.size == b.data.size == prod(a.shape):
        raise MatrixError(f"shape {a.shape} does not fit {a.data.size} and {b.data.size} elements")
    if a.data.dtype.kind not in "biuf":
        raise MatrixError(f"no distance is defined for {a.dtype}")


def _ulps(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """ULPs between floats, through the integers that order their bits."""
    x, y = _ordered(a), _ordered(b)
    gap: npt.NDArray[np.uint64] = np.maximum(x, y) - np.minimum(x, y)
    return gap


def _ordered(floats: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """The rank of each float in the order of its format; both zeros share one rank."""
    bits = floats.view(f"u{floats.itemsize}").astype(np.uint64)
    sign = np.uint64(1 << (8 * floats.itemsize - 1))
    magnitude = bits & (sign - np.uint64(1))
    return np.where(bits & sign, sign - magnitude, sign + magnitude)


# ULPs are counted in bins: a float32 cut to 13 significant bits, numbered from 1.0 up.
_CUT = 11
_ONE = int(np.float32(1).view(np.uint32)) >> _CUT


def _bins(ulps: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    return (ulps.astype(np.float32).view(np.uint32) >> _CUT).astype(np.int64) - _ONE


def _bin_value(number: int) -> float:
    return float(np.uint32((number + _ONE) << _CUT).view(np.float32))


def _summed(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    longer, shorter = (a, b) if a.size > b.size else (b, a)
    total = longer.copy()
    total[: shorter.size] += shorter
    return total
