import math
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from matrix_capture.digest import Layout, Snapshot, snapshot, storage_dtype
from matrix_capture.errors import MatrixError
from matrix_capture.settings import Tolerance
from matrix_compare.metrics import Distances, measure, worst
from matrix_compare.tolerance import Profile

PROFILES = (
    Profile(name="tight", tolerances={"other": Tolerance(atol=1e-8, rtol=1e-5)}),
    Profile(name="wide", tolerances={"other": Tolerance(atol=1e-2, rtol=1e-1)}),
)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)


def snap_of(array: npt.NDArray[Any], dtype: str | None = None) -> Snapshot:
    """A snapshot of an array; with `dtype`, the array holds that dtype's bits."""
    if dtype is None:
        return snapshot(array)
    return Snapshot(dtype=dtype, shape=array.shape, device="cpu", data=array.reshape(-1))


def between(
    a: Snapshot, b: Snapshot, profiles: Sequence[Profile] = PROFILES, size: int | None = None
) -> Distances:
    """Their distances; `size` elements at a time, and then none of the equal ones."""
    if size is None:
        return measure(a.layout, [(0, a.data, b.data)], profiles)
    nan = np.isnan(a.numbers())
    parts = [
        (at, a.data[at : at + size], b.data[at : at + size])
        for at in range(0, a.numel, size)
        # As a hash of the block and the count of NaN tell.
        if bytes(a.data[at : at + size]) != bytes(b.data[at : at + size])
        or nan[at : at + size].any()
    ]
    return measure(a.layout, parts, profiles)


def of(a: npt.NDArray[Any], b: npt.NDArray[Any], dtype: str | None = None) -> Distances:
    return between(snap_of(a, dtype), snap_of(b, dtype))


@st.composite
def float_pairs(
    draw: st.DrawFn, dtypes: Sequence[str] = ("float16", "bfloat16", "float32", "float64")
) -> tuple[Snapshot, Snapshot]:
    """Two values of one float dtype and shape, of any bits, with many equal elements."""
    dtype = draw(st.sampled_from(dtypes))
    word = f"u{storage_dtype(dtype).itemsize}"
    shape = draw(SHAPES)
    size = math.prod(shape)
    bits = hnp.arrays(np.dtype(word), size)
    a = draw(bits)
    b = np.where(draw(hnp.arrays(np.bool_, size)), a, draw(bits)).astype(word)
    storage = word if dtype == "bfloat16" else dtype
    return (
        Snapshot(dtype=dtype, shape=shape, device="cpu", data=a.view(storage)),
        Snapshot(dtype=dtype, shape=shape, device="cpu", data=b.view(storage)),
    )


def rank(value: float, dtype: str) -> int:
    """The place of a float among all floats of its dtype, by counting up from zero."""
    code, word = {"float16": ("<e", "<H"), "float32": ("<f", "<I"), "float64": ("<d", "<Q")}.get(
        dtype, ("<f", "<I")
    )
    (bits,) = struct.unpack(word, struct.pack(code, abs(value)))
    if dtype == "bfloat16":
        bits >>= 16
    return -bits if value < 0 else int(bits)


def reference(a: Snapshot, b: Snapshot) -> dict[str, Any]:
    """The same figures, one element at a time in Python's own numbers."""
    with np.errstate(invalid="ignore"):
        pairs = list(
            zip(
                a.numbers().astype(np.float64).tolist(),
                b.numbers().astype(np.float64).tolist(),
                strict=True,
            )
        )
    known = [(x, y) for x, y in pairs if x == y or (math.isfinite(x) and math.isfinite(y))]
    gaps = [0.0 if x == y else abs(x - y) for x, y in known]
    ulps = sorted(0 if x == y else abs(rank(x, a.dtype) - rank(y, a.dtype)) for x, y in known)
    raw_a, raw_b, width = bytes(a.raw), bytes(b.raw), a.data.itemsize
    places = [
        n for n in range(len(pairs)) if raw_a[n * width :][:width] != raw_b[n * width :][:width]
    ]
    relative = [abs(x - y) / abs(y) for x, y in known if x != y and y]
    histogram = [0] * (1 + max((ulp.bit_length() for ulp in ulps), default=-1))
    for ulp in ulps:
        histogram[ulp.bit_length()] += 1
    farthest = [
        n
        for n, (x, y) in enumerate(pairs)
        if x != y and (x, y) in known and abs(x - y) == max(gaps, default=None)
    ]

    def index(numbers: list[int]) -> tuple[int, ...] | None:
        if not numbers:
            return None
        return tuple(np.argwhere(np.arange(len(pairs)).reshape(a.shape) == numbers[0])[0].tolist())

    return {
        "elements": len(pairs),
        "unordered": len(pairs) - len(known),
        "max_abs": max(gaps, default=None),
        "mean_abs": math.fsum(gaps) / len(gaps) if gaps and max(gaps) < 1e300 else None,
        "max_rel": max(relative, default=None),
        "equal_fraction": sum(x == y for x, y in pairs) / len(pairs) if pairs else 1.0,
        "max_ulp": min(ulps[-1], 2**63 - 1) if ulps else None,
        "p50_ulp": ulps[math.ceil(len(ulps) / 2) - 1] if ulps else None,
        "p99_ulp": ulps[math.ceil(99 * len(ulps) / 100) - 1] if ulps else None,
        "ulp_histogram": tuple(histogram),
        "first_index": index(places),
        "largest_index": index(farthest),
    }


def outside(a: Snapshot, b: Snapshot, tolerance: Tolerance) -> int:
    """How many elements are not close, each step rounded to the dtype by numpy."""
    x, y = a.numbers(), b.numbers()
    kind = x.dtype.type
    rtol = tolerance.rtol if kind is np.float64 else np.float32(tolerance.rtol)
    with np.errstate(all="ignore"):
        error = np.abs(x - y)
        scaled = np.abs(y.astype(type(rtol)) * rtol).astype(kind)
        allowed = scaled + kind(tolerance.atol)
        close = (x == y) | (np.isfinite(error) & (error <= allowed))
    return int(close.size - close.sum())


@settings(max_examples=300, deadline=None)
@given(pair=float_pairs(), size=st.none() | st.integers(1, 9))
def test_floats_agree_with_a_slow_reference(
    pair: tuple[Snapshot, Snapshot], size: int | None
) -> None:
    found, expected = between(*pair, size=size), reference(*pair)
    for name in (
        *("elements", "unordered", "max_abs", "equal_fraction", "max_ulp", "ulp_histogram"),
        *("first_index", "largest_index"),
    ):
        assert getattr(found, name) == expected[name], name
    if expected["mean_abs"] is not None:
        assert found.mean_abs == pytest.approx(expected["mean_abs"], rel=1e-12)
    for name in ("p50_ulp", "p99_ulp"):
        assert getattr(found, name) == (
            None if expected[name] is None else pytest.approx(expected[name], rel=2**-12)
        )
    if expected["max_rel"] is not None:
        assert found.max_rel == expected["max_rel"]


@st.composite
def tolerances(draw: st.DrawFn) -> Tolerance:
    sizes = st.just(0.0) | st.sampled_from([1e-8, 1e-5, 1e-3, 0.5]) | st.floats(0, 10)
    return Tolerance(atol=draw(sizes), rtol=draw(sizes))


def bordering(b: Snapshot, tolerance: Tolerance, steps: npt.NDArray[Any]) -> Snapshot:
    """A value each of whose elements lies some steps of its dtype from what is allowed of `b`."""
    y = b.numbers().astype(np.float64)
    with np.errstate(all="ignore"):
        border = (y + tolerance.atol + tolerance.rtol * np.abs(y)).astype(b.numbers().dtype)
    bits = border.view(f"i{border.itemsize}")
    return replace(b, data=(bits + steps.astype(bits.dtype)).view(border.dtype))


@settings(max_examples=300, deadline=None)
@given(pair=float_pairs(["float16", "float32", "float64"]), tolerance=tolerances(), data=st.data())
def test_profiles_are_those_of_allclose(
    pair: tuple[Snapshot, Snapshot], tolerance: Tolerance, data: st.DataObject
) -> None:
    a, b = pair
    profile = Profile(name="p", tolerances={"other": tolerance})
    steps = data.draw(hnp.arrays(np.int16, b.numel, elements=st.integers(-2, 2)))
    for left in (a, bordering(b, tolerance, steps)):
        found = between(left, b, [profile])
        assert found.violations == (outside(left, b, tolerance),)
        assert found.profiles == (() if found.violations[0] else ("p",))


@given(pair=float_pairs(["float64"]), tolerance=tolerances())
def test_float64_is_close_where_numpy_says_so(
    pair: tuple[Snapshot, Snapshot], tolerance: Tolerance
) -> None:
    x, y = (side.numbers() for side in pair)
    with np.errstate(all="ignore"):
        close = np.isclose(x, y, atol=tolerance.atol, rtol=tolerance.rtol, equal_nan=False)
        # numpy lets a difference that overflowed pass where the allowance overflowed too; torch
        # does not: an error that is not finite is never within bounds.
        close &= np.isfinite(x - y) | (x == y)
    profile = Profile(name="p", tolerances={"other": tolerance})
    assert between(*pair, [profile]).violations == (int(close.size - close.sum()),)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (np.nan, np.nan, False),
        (np.inf, np.inf, True),
        (np.inf, -np.inf, False),
        (np.inf, 1.0, False),
        (1.0, np.inf, False),
        (0.0, -0.0, True),
        (1.5, 1.0, True),
        ("above 1.5", 1.0, False),
        (1.0, 2.0, False),
        (2.0, 1.0, False),
    ],
)
def test_close_at_the_edges(dtype: str, a: Any, b: float, expected: bool) -> None:
    if a == "above 1.5":
        a = np.nextafter(np.array(1.5, dtype), np.array(2, dtype))
    quarter = Profile(name="p", tolerances={"other": Tolerance(atol=0.25, rtol=0.25)})
    left, right = (snapshot(np.array([number], dtype)) for number in (a, b))
    assert bool(between(left, right, [quarter]).profiles) == expected


def test_the_reference_is_the_second_value() -> None:
    tenth = Profile(name="p", tolerances={"other": Tolerance(atol=0.0, rtol=0.1)})
    nine, ten = (snapshot(np.array([number])) for number in (9.0, 10.0))
    assert between(nine, ten, [tenth]).profiles
    assert not between(ten, nine, [tenth]).profiles


@given(pair=float_pairs())
def test_ulps_are_symmetric_and_zero_only_between_equals(pair: tuple[Snapshot, Snapshot]) -> None:
    there, back = between(*pair), between(*pair[::-1])
    assert (there.max_ulp, there.ulp_histogram) == (back.max_ulp, back.ulp_histogram)
    assert (there.max_ulp == 0 and not there.unordered) == (
        there.equal_fraction == 1.0 and there.elements > 0
    )


@given(pair=float_pairs())
def test_a_value_lies_at_no_distance_from_itself(pair: tuple[Snapshot, Snapshot]) -> None:
    found = between(pair[0], pair[0])
    assert (found.first_index, found.largest_index) == (None, None)
    assert found.max_abs in (0.0, None)
    assert found.unordered == int(np.isnan(pair[0].numbers()).sum())
    assert found.violations == (found.unordered,) * len(PROFILES)


@settings(max_examples=300, deadline=None)
@given(pair=float_pairs(), atol=st.sampled_from([0.0, 1e-8, 1e-3, 1.0]))
def test_rtol_needed_is_the_smallest_that_passes(
    pair: tuple[Snapshot, Snapshot], atol: float
) -> None:
    wide = np.float64 if pair[0].dtype == "float64" else np.float32

    def passes(rtol: float) -> bool:
        profile = Profile(name="p", tolerances={"other": Tolerance(atol=atol, rtol=rtol)})
        return bool(between(*pair, [profile]).profiles)

    profile = Profile(name="p", tolerances={"other": Tolerance(atol=atol, rtol=0.0)})
    needed = between(*pair, [profile]).rtol_needed
    if needed is None:
        assert not passes(float(np.finfo(wide).max))
    else:
        assert passes(needed)
        assert needed == 0 or not passes(float(np.nextafter(wide(needed), wide(0))))


@given(dtype=st.sampled_from(["int8", "uint8", "int32", "int64"]), data=st.data(), shape=SHAPES)
def test_integers_agree_with_python(dtype: str, data: st.DataObject, shape: Any) -> None:
    a, b = (data.draw(hnp.arrays(np.dtype(dtype), shape)) for _ in range(2))
    found = of(a, b)
    x, y = a.reshape(-1).tolist(), b.reshape(-1).tolist()
    gaps = [abs(p - q) for p, q in zip(x, y, strict=True)]
    assert found.max_abs == (float(max(gaps)) if gaps else None)
    assert found.equal_fraction == (gaps.count(0) / len(gaps) if gaps else 1.0)
    assert found.profiles == (() if any(gaps) else ("tight", "wide"))
    assert (found.max_ulp, found.p99_ulp, found.rtol_needed) == (None, None, None)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_one_ulp_is_one_ulp(dtype: str) -> None:
    a = np.linspace(-1, 1, 12).astype(dtype).reshape(3, 4)
    b = a.copy()
    b[1, 2] = np.nextafter(b[1, 2], np.asarray(9, dtype=dtype))
    found = of(a, b)
    assert (found.max_ulp, found.p99_ulp, found.first_index) == (1, 1.0, (1, 2))
    assert found.equal_fraction == 11 / 12


def test_one_ulp_of_bfloat16() -> None:
    found = of(np.array([0x3F80], np.uint16), np.array([0x3F81], np.uint16), "bfloat16")
    assert (found.max_ulp, found.max_abs) == (1, 2**-7)


def test_across_zero_subnormals_count_and_signed_zeros_do_not() -> None:
    tiny, zero = (np.array([value], dtype=np.float32) for value in (1e-45, 0.0))
    assert of(tiny, -tiny).max_ulp == 2
    zeros = of(zero, -zero)
    assert (zeros.max_ulp, zeros.equal_fraction, zeros.first_index) == (0, 1.0, (0,))
    assert zeros.profiles == ("tight", "wide")


def test_sign_flip_of_the_largest_float64_saturates() -> None:
    top = np.finfo(np.float64).max
    assert of(np.array([top]), np.array([-top])).max_ulp == 2**63 - 1


@pytest.mark.parametrize(
    ("a", "b"), [(np.nan, 1.0), (1.0, np.nan), (np.inf, 1.0), (np.inf, -np.inf), (np.nan, np.nan)]
)
def test_what_is_not_finite_is_counted_and_never_passes(a: float, b: float) -> None:
    found = of(np.array([a, 2.0]), np.array([b, 2.0]))
    assert (found.unordered, found.max_abs, found.rtol_needed) == (1, 0.0, None)
    assert found.equal_fraction == 0.5
    assert found.profiles == ()


def test_equal_infinities_are_equal() -> None:
    found = of(np.array([np.inf, 1.0]), np.array([np.inf, 1.0]))
    assert (found.equal_fraction, found.unordered, found.rtol_needed) == (1.0, 0, 0.0)


def test_against_zero_there_is_no_relative_difference() -> None:
    found = of(np.array([1.0, 0.0]), np.array([0.0, 0.0]))
    assert (found.max_abs, found.max_rel, found.rtol_needed) == (1.0, None, None)
    assert of(np.array([1.0, 3.0]), np.array([0.0, 2.0])).max_rel == 0.5


def test_integers_near_the_end_of_their_range() -> None:
    a, b = np.array([2**63 - 1, -(2**63)]), np.array([2**63 - 2, 2**63 - 1])
    found = of(a, b)
    assert (found.max_abs, found.equal_fraction) == (float(2**64 - 1), 0.0)
    assert of(a[:1], b[:1]).profiles == ()


@pytest.mark.parametrize("value", [np.zeros((0, 3), np.float32), np.zeros(0, np.int64)])
def test_empty_values(value: npt.NDArray[Any]) -> None:
    found = of(value, value)
    assert (found.elements, found.equal_fraction, found.max_abs) == (0, 1.0, None)
    assert found.profiles == ("tight", "wide")


@pytest.mark.parametrize("value", [1.0, 1])
def test_scalars_have_an_empty_index(value: float) -> None:
    found = of(np.array(value), np.array(value + 1))
    assert found.first_index == found.largest_index == ()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32"])
def test_pieces_do_not_show(dtype: str) -> None:
    random = np.random.default_rng(0)
    a = (100 * random.normal(size=(500, 7))).astype(dtype)
    b = np.where(random.random((500, 7)) < 0.3, a * 1.5, a).astype(dtype)
    if dtype != "int32":
        b[499, 6] = np.nan
    whole = of(a, b)
    for size in (1, 100, 1024, 3333):
        pieces = between(snapshot(a), snapshot(b), size=size)
        assert pieces.mean_abs == pytest.approx(whole.mean_abs)
        assert replace(pieces, mean_abs=whole.mean_abs) == whole


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "int64", "bool"])
@pytest.mark.parametrize("place", [0, 1023, 1024, 300_000, 2**18 - 1, 299_999 + 2**18])
def test_one_element_is_found_wherever_it_lies(dtype: str, place: int) -> None:
    storage = storage_dtype(dtype)
    data = np.ones(600_000, storage).view(f"u{storage.itemsize}")
    other = data.copy()
    other[place] ^= 1
    a, b = (
        Snapshot(dtype=dtype, shape=(6, 100_000), device="", data=bits.view(storage))
        for bits in (data, other)
    )
    found = between(a, b)
    assert found.first_index == found.largest_index == divmod(place, 100_000)
    assert found.equal_fraction == 1 - 1 / 600_000
    if storage.kind == "f" or dtype == "bfloat16":
        assert (found.max_ulp, found.p99_ulp, found.ulp_histogram) == (1, 0.0, (599_999, 1))


@pytest.mark.parametrize("dtype", ["complex64", "complex128", "float8_e4m3fn", "nonsense"])
def test_what_cannot_be_measured_is_refused(dtype: str) -> None:
    with pytest.raises(MatrixError, match=f"no distance is defined for {dtype}"):
        measure(Layout(dtype=dtype, shape=(0,), device=""), [], PROFILES)


@pytest.mark.parametrize(("start", "sizes"), [(0, (2, 3)), (3, (2, 2)), (0, (5, 5))])
def test_pieces_that_do_not_fit_are_refused(start: int, sizes: tuple[int, int]) -> None:
    a, b = (np.zeros(size) for size in sizes)
    with pytest.raises(MatrixError, match="elements at"):
        measure(Layout(dtype="float64", shape=(2, 2), device=""), [(start, a, b)], PROFILES)


def test_worst_takes_the_largest_and_weighs_the_means() -> None:
    first = of(np.array([1.0, 2.0]), np.array([1.0, 2.5]))
    second = of(np.array([1.0] * 4), np.array([1.001] * 4))
    both = worst([second, first], [3, 8], equal_elements=4)
    assert (both.elements, both.max_abs) == (10, 0.5)
    assert (both.first_index, both.first_occurrence) == ((0,), 3)
    assert (both.largest_index, both.largest_occurrence) == ((1,), 8)
    assert both.mean_abs == pytest.approx((0.5 + 4 * 0.001) / 10)
    assert both.equal_fraction == pytest.approx(0.5)
    assert (both.profiles, both.violations) == ((), (5, 1))
    assert second.profiles == ("wide",)
    assert both.rtol_needed == first.rtol_needed
    assert both.p50_ulp == second.p50_ulp
    assert both.ulp_histogram is not None
    assert both.ulp_histogram[0] == 4 + 1
    assert sum(both.ulp_histogram) == 10


def test_worst_of_integers_and_of_zeros() -> None:
    one = of(np.array([1]), np.array([2]))
    assert worst([one], [0], 3).ulp_histogram is None
    zeros = of(np.array([0.0]), np.array([-0.0]))
    both = worst([zeros, zeros], [1, 2], 0)
    assert (both.first_index, both.first_occurrence, both.largest_index) == ((0,), 1, None)


def test_worst_of_what_no_rtol_passes_needs_none() -> None:
    bad = of(np.array([np.nan]), np.array([1.0]))
    good = of(np.array([1.0]), np.array([1.1]))
    both = worst([good, bad], [0, 1], 0)
    assert (both.rtol_needed, both.unordered) == (None, 1)
    assert both.ulp_histogram == good.ulp_histogram
    assert (bad.ulp_histogram, worst([bad], [0], 0).ulp_histogram) == ((), ())


def test_only_who_measures_floats_loads_the_compiler() -> None:
    code = """
import sys
import numpy as np
import matrix_compare.pairs
from matrix_capture.digest import snapshot
from matrix_compare.metrics import measure
a = snapshot(np.arange(3))
measure(a.layout, [(0, a.data, a.data)], [])
assert not {"numba", "llvmlite"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
