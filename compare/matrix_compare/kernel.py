"""The compiled loops of `metrics`: one pass over two float values of one dtype.

A piece is looked at tile by tile: several short loops, each of a shape that LLVM turns into vector
instructions, find the tile in the first-level cache. No `fastmath`: results are those of IEEE 754.
"""

# ruff: noqa: PLR0917 - compiled functions take plain positions, and arrays to leave results in

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]
Float = np.floating[Any]
Function = TypeVar("Function", bound=Callable[..., Any])

EXACT, HALF, BRAIN = range(3)
"""What each step of a tolerance is rounded to: the elements' own dtype, float16 or bfloat16."""

DIFFERENT, UNORDERED, FIRST, LARGEST, MAX_ULP = range(5)
"""Places in `counts`; FIRST and LARGEST are -1 until there is one."""

SUM_ABS, MAX_ABS, MAX_REL = range(3)
"""Places in `sizes`; MAX_REL is -1 until an element differs where b is not 0."""

MOST = 2**63 - 1
"""ULP distances end here."""

EXACT_BINS = 8192
COPIES = 8
"""Rows of `bins`, which neighbours take in turn: to add to one bin again and again is slow."""

_TILE = 1024


def _compiled(function: Function) -> Function:
    """Compile when first called; what was compiled is kept on disk for the next process."""
    options = {"nogil": True, "error_model": "numpy"}
    try:
        compiled: Function = njit(cache=True, **options)(function)
    except RuntimeError:  # neither beside this file nor in the user's cache folder can be written
        compiled = njit(**options)(function)
    return compiled


@_compiled
def scan(
    start: int,
    a: Array,
    b: Array,
    bits_a: Array,
    bits_b: Array,
    grid: int,
    bounds: Array,
    outside: Array,
    counts: Array,
    sizes: Array,
    bins: Array,
) -> None:
    """Add a piece of two values as float32 or float64, whose first element is number `start`.

    `bits_…` are the same elements as signed integers. Each row of `bounds` is an atol and an rtol;
    `outside` counts the elements that are not close under them, for all rows but the last, whose
    rtol grows to the smallest that passes: infinity if none does. `bins` counts ULP distances
    (`bin_of`), but not all that are 0.
    """
    sums, gaps = np.zeros(_TILE), np.empty(_TILE, np.int64)
    floats, words = np.empty((2, _TILE), a.dtype), np.empty((2, _TILE), bits_a.dtype)
    for at in range(0, a.size, _TILE):
        size = min(_TILE, a.size - at)
        x, y = a[at : at + size], b[at : at + size]
        p, q = bits_a[at : at + size], bits_b[at : at + size]
        different, wild = _unequal(start + at, x, y, p, q, counts)
        if wild:
            _copy(x, y, p, q, floats, words)
            x, y, p, q = floats[0, :size], floats[1, :size], words[0, :size], words[1, :size]
            _tame(x, y, p, q, bounds, outside, counts)
        if different:
            _distances(start + at, x, y, counts, sizes, sums)
            _ulps(p, q, grid, counts, bins, gaps)
            _profiles(x, y, p, grid, bounds, outside)
    for n in range(_TILE):
        sizes[SUM_ABS] += sums[n]


@_compiled
def widen(bits: Array, grid: int, floats: Array, words: Array) -> None:
    """Write 16-bit floats, given by their bits, as float32 and the bits as upper half of words."""
    for n in range(bits.size):
        words[n] = np.int32(bits[n]) << 16
    exact = floats.view(np.int32)
    if grid == BRAIN:
        for n in range(bits.size):
            exact[n] = words[n]
        return
    for n in range(bits.size):
        magnitude = np.int32(np.int32(bits[n] & 0x7FFF) << 13)
        # The exponent's bias grows from 15 to 127; that of infinity and NaN by as much again.
        special = np.int32(112 << 23) if magnitude >= 0x0F800000 else np.int32(0)
        normal = np.int32(magnitude + np.int32(112 << 23) + special)
        # A subnormal lacks the leading 1 that its new exponent implies: take it off again.
        borrowed = np.int32(magnitude + np.int32(113 << 23)).view(np.float32)
        small = np.float32(borrowed - np.float32(2.0**-14)).view(np.int32)
        sign = np.int32(words[n] & np.int32(-(2**31)))
        exact[n] = np.int32((small if magnitude < 0x00800000 else normal) | sign)


@_compiled
def bin_of(ulps: int) -> int:
    """The bin of an ULP distance: its own below 8192, then 4096 for every power of two."""
    if ulps < EXACT_BINS:
        return ulps
    # A float64 would round up what has more bits than its own.
    kept = ulps & -2048 if ulps >= 2**53 else ulps
    return int((np.float64(kept).view(np.int64) >> 40) - (1036 << 12) + EXACT_BINS)


def ulps_of(place: int) -> float:
    """The smallest ULP distance of a bin."""
    if place < EXACT_BINS:
        return place
    return float(np.int64((place - EXACT_BINS + (1036 << 12)) << 40).view(np.float64))


@_compiled
def _unequal(start: int, x: Array, y: Array, p: Array, q: Array, counts: Array) -> tuple[int, int]:
    """How many elements are not equal, and in how many either is not finite."""
    if counts[FIRST] < 0:
        for n in range(p.size):
            if p[n] != q[n]:
                counts[FIRST] = start + n
                break
    different = wild = np.int32(0)  # as narrow as the elements: more of them fit into a register
    for n in range(x.size):
        different = np.int32(different + (x[n] != y[n]))
        wild = np.int32(wild + (not ((abs(x[n]) < np.inf) & (abs(y[n]) < np.inf))))
    counts[DIFFERENT] += different
    return int(different), int(wild)


@_compiled
def _copy(x: Array, y: Array, p: Array, q: Array, floats: Array, words: Array) -> None:
    for n in range(x.size):
        floats[0, n], floats[1, n], words[0, n], words[1, n] = x[n], y[n], p[n], q[n]


@_compiled
def _tame(
    x: Array, y: Array, p: Array, q: Array, bounds: Array, outside: Array, counts: Array
) -> None:
    """Settle the elements that are not finite, and put zeros in their place."""
    for n in range(x.size):
        if not (abs(x[n]) < np.inf and abs(y[n]) < np.inf):
            if x[n] != y[n]:
                counts[UNORDERED] += 1
                for row in range(outside.size):
                    outside[row] += 1
                bounds[-1, 1] = np.inf
            x[n] = y[n] = 0
            p[n] = q[n] = 0


@_compiled
def _distances(start: int, x: Array, y: Array, counts: Array, sizes: Array, sums: Array) -> None:
    # Floats that are not negative order as their bits do, and the largest of several integers LLVM
    # takes at once, as it takes sums if there is one for each place in a tile.
    max_abs = np.float64(0).view(np.int64)
    max_rel = np.float64(-1).view(np.int64)
    for n in range(x.size):
        u, v = np.float64(x[n]), np.float64(y[n])
        gap = abs(u - v)
        sums[n] += gap
        max_abs = max(max_abs, np.float64(gap).view(np.int64))
        ratio = gap / abs(v) if (u != v) & (v != 0) else -1.0
        max_rel = max(max_rel, np.float64(ratio).view(np.int64))
    sizes[MAX_REL] = max(sizes[MAX_REL], np.int64(max_rel).view(np.float64))
    largest = np.int64(max_abs).view(np.float64)
    if largest > sizes[MAX_ABS]:
        sizes[MAX_ABS] = largest
        for n in range(x.size):
            if abs(np.float64(x[n]) - np.float64(y[n])) == largest:
                counts[LARGEST] = start + n
                break


@_compiled
def _ulps(p: Array, q: Array, grid: int, counts: Array, bins: Array, gaps: Array) -> None:
    lowest = np.int64(-1) << np.int64(8 * p.itemsize - 1)
    shift = 0 if grid == EXACT else 16
    largest = np.int64(0)
    for n in range(p.size):
        # Of two signs one counts from 0 up and the other, as a float, from the lowest integer.
        u, v = np.int64(p[n]), np.int64(q[n])
        gap = abs(u - v) if (u ^ v) >= 0 else u + v - lowest
        gaps[n] = (gap if gap >= 0 else MOST) >> shift
        largest = max(largest, gaps[n])
    counts[MAX_ULP] = max(counts[MAX_ULP], largest)
    if largest < EXACT_BINS:
        for n in range(p.size):
            bins[n % COPIES, gaps[n]] += 1
    else:
        for n in range(p.size):
            bins[n % COPIES, bin_of(gaps[n])] += 1


@_compiled
def _profiles(x: Array, y: Array, p: Array, grid: int, bounds: Array, outside: Array) -> None:
    for row in range(outside.size):
        outside[row] += _outside(x, y, bounds[row, 0], bounds[row, 1], grid)
    while bounds[-1, 1] < np.inf and _outside(x, y, bounds[-1, 0], bounds[-1, 1], grid):
        _raise(x, y, p.dtype, bounds[-1], grid)


@_compiled
def _outside(x: Array, y: Array, atol: Float, rtol: Float, grid: int) -> int:
    count = np.int32(0)
    # A loop for each grid: a question inside one would keep it from vector instructions.
    if grid == EXACT:
        for n in range(x.size):
            count = np.int32(count + (not _is_close(x[n], y[n], atol, rtol, EXACT)))
    elif grid == HALF:
        for n in range(x.size):
            count = np.int32(count + (not _is_close(x[n], y[n], atol, rtol, HALF)))
    else:
        for n in range(x.size):
            count = np.int32(count + (not _is_close(x[n], y[n], atol, rtol, BRAIN)))
    return int(count)


@_compiled
def _raise(x: Array, y: Array, integer: Any, bound: Array, grid: int) -> None:
    """Raise the rtol of a bound to the smallest that the element passes that seems farthest off."""
    atol, farthest, most = bound[0], 0, -np.inf
    for n in range(x.size):
        if not _is_close(x[n], y[n], atol, bound[1], grid):
            ratio = (abs(np.float64(x[n]) - np.float64(y[n])) - atol) / abs(np.float64(y[n]))
            if ratio > most:
                farthest, most = n, ratio
    # Floats that are not negative order as their bits do: halve those between two.
    rtol = np.empty(1, x.dtype)
    bits = rtol.view(integer)
    rtol[0] = np.inf
    above = bits[0]
    rtol[0] = bound[1]
    below = bits[0]
    while above - below > 1:
        bits[0] = below + (above - below) // 2
        if _is_close(x[farthest], y[farthest], atol, rtol[0], grid):
            above = bits[0]
        else:
            below = bits[0]
    bits[0] = above
    bound[1] = rtol[0]


@_compiled
def _is_close(x: Float, y: Float, atol: Float, rtol: Float, grid: int) -> bool:
    error = _rounded(abs(x - y), grid)
    allowed = _rounded(atol + _rounded(abs(rtol * y), grid), grid)
    return bool((x == y) | ((error < np.inf) & (error <= allowed)))


@_compiled
def _rounded(value: Float, grid: int) -> Float:
    """A number that is not negative, to the nearest of the grid and to even between two."""
    if grid == EXACT:
        return value
    word = np.float32(value).view(np.int32)
    if grid == BRAIN:
        return np.int32((word + 0x7FFF + ((word >> 16) & 1)) & -0x10000).view(np.float32)
    # Beside a power of two 13 above its own, a float32 has just as many bits left as a float16 has;
    # beside 0.5, those of a subnormal one. From 2**16 on any power will do.
    power = int(np.int32((word & 0x7F800000) + (13 << 23)))
    beside = np.int32(min(max(power, 0x3F000000), 0x4E000000)).view(np.float32)
    rounded = np.float32(value) + beside - beside
    return np.float32(np.inf) if rounded >= 2**16 else rounded
