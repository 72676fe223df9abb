import math
import struct
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from matrix_capture.digest import Snapshot, snapshot
from matrix_capture.errors import MatrixError
from matrix_capture.settings import Tolerance
from matrix_compare import metrics
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


def of(a: npt.NDArray[Any], b: npt.NDArray[Any], dtype: str | None = None) -> Distances:
    return measure(snap_of(a, dtype), snap_of(b, dtype), PROFILES)


@st.composite
def float_pairs(draw: st.DrawFn) -> tuple[Snapshot, Snapshot]:
    """Two values of one float dtype and shape, of any bits, with many equal elements."""
    dtype, word = draw(
        st.sampled_from(
            [("float16", "u2"), ("bfloat16", "u2"), ("float32", "u4"), ("float64", "u8")]
        )
    )
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
    return {
        "elements": len(pairs),
        "unordered": len(pairs) - len(known),
        "max_abs": max(gaps, default=None),
        "mean_abs": math.fsum(gaps) / len(gaps) if gaps and max(gaps) < 1e300 else None,
        "max_rel": max(relative, default=None),
        "equal_fraction": sum(x == y for x, y in pairs) / len(pairs) if pairs else 1.0,
        "max_ulp": min(ulps[-1], 2**63 - 1) if ulps else None,
        "p99_ulp": ulps[math.ceil(99 * len(ulps) / 100) - 1] if ulps else None,
        "first_index": np.argwhere(np.arange(len(pairs)).reshape(a.shape) == places[0])[0].tolist()
        if places
        else None,
    }


@settings(max_examples=300)
@given(pair=float_pairs())
def test_floats_agree_with_a_slow_reference(pair: tuple[Snapshot, Snapshot]) -> None:
    found, expected = measure(*pair, PROFILES), reference(*pair)
    for name in ("elements", "unordered", "max_abs", "equal_fraction", "max_ulp"):
        assert getattr(found, name) == expected[name], name
    if expected["mean_abs"] is not None:
        assert found.mean_abs == pytest.approx(expected["mean_abs"], rel=1e-12)
    if expected["p99_ulp"] is not None:
        assert found.p99_ulp == pytest.approx(expected["p99_ulp"], rel=2**-12)
    if expected["max_rel"] is not None:
        assert found.max_rel == expected["max_rel"]
    assert (None if found.first_index is None else list(found.first_index)) == expected[
        "first_index"
    ]


@given(pair=float_pairs())
def test_profiles_are_those_of_allclose(pair: tuple[Snapshot, Snapshot]) -> None:
    a, b = pair
    with np.errstate(all="ignore"):
        x, y = a.numbers().astype(np.float64), b.numbers().astype(np.float64)
        gap = x - y
        assume(bool((np.isfinite(gap) | ~np.isfinite(x) | ~np.isfinite(y)).all()))
        expected = tuple(
            profile.name
            for profile in PROFILES
            if np.allclose(
                x, y, atol=profile.tolerance(a.dtype).atol, rtol=profile.tolerance(a.dtype).rtol
            )
        )
    assert measure(a, b, PROFILES).profiles == expected


@given(pair=float_pairs())
def test_ulps_are_symmetric_and_zero_only_between_equals(pair: tuple[Snapshot, Snapshot]) -> None:
    a, b = pair
    there, back = measure(a, b, PROFILES), measure(b, a, PROFILES)
    assert (there.max_ulp, there.p99_ulp) == (back.max_ulp, back.p99_ulp)
    assert (there.max_ulp == 0 and not there.unordered) == (
        there.equal_fraction == 1.0 and there.elements > 0
    )


@given(pair=float_pairs())
def test_a_value_lies_at_no_distance_from_itself(pair: tuple[Snapshot, Snapshot]) -> None:
    found = measure(pair[0], pair[0], PROFILES)
    assert found.first_index is None
    assert found.max_abs in (0.0, None)
    assert found.unordered == int(np.isnan(pair[0].numbers()).sum())


@given(pair=float_pairs())
def test_rtol_needed_is_the_smallest_that_passes(pair: tuple[Snapshot, Snapshot]) -> None:
    a, b = pair
    needed = measure(a, b, PROFILES).rtol_needed
    atol = PROFILES[0].tolerance(a.dtype).atol

    def passes(rtol: float) -> bool:
        profile = Profile(name="p", tolerances={"other": Tolerance(atol=atol, rtol=rtol)})
        return bool(measure(a, b, [profile]).profiles)

    if needed is None:
        assert not passes(1e300)
    else:
        assume(needed < 1e300)
        assert passes(needed * (1 + 1e-9))
        assert needed == 0 or not passes(needed * (1 - 1e-9))


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


def test_scalars_have_an_empty_index() -> None:
    assert of(np.array(1.0), np.array(2.0)).first_index == ()


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    a = random.normal(size=(50, 7)).astype(np.float32)
    b = np.where(random.random((50, 7)) < 0.3, a * np.float32(1.001), a).astype(np.float32)
    b[49, 6] = np.nan
    whole = of(a, b)
    monkeypatch.setattr(metrics, "_CHUNK", 8)
    pieces = of(a, b)
    assert pieces.mean_abs == pytest.approx(whole.mean_abs)
    same = [name for name in Distances.__dataclass_fields__ if name != "mean_abs"]
    assert [getattr(pieces, name) for name in same] == [getattr(whole, name) for name in same]


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (snapshot([1]), snapshot([1, 2]), "cannot measure"),
        (snapshot(1), snapshot(1.0), "cannot measure"),
        (snapshot(np.array([1j])), snapshot(np.array([2j])), "no distance"),
        (
            Snapshot(dtype="int64", shape=(9,), device="", data=np.array([1])),
            Snapshot(dtype="int64", shape=(9,), device="", data=np.array([2])),
            "does not fit",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused(a: Snapshot, b: Snapshot, message: str) -> None:
    with pytest.raises(MatrixError, match=message):
        measure(a, b, PROFILES)


def test_worst_takes_the_largest_and_weighs_the_means() -> None:
    first = of(np.array([1.0, 2.0]), np.array([1.5, 2.0]))
    second = of(np.array([1.0] * 4), np.array([1.001] * 4))
    both = worst([first, second], equal_elements=4)
    assert (both.elements, both.max_abs, both.first_index) == (10, 0.5, (0,))
    assert both.mean_abs == pytest.approx((0.5 + 4 * 0.001) / 10)
    assert both.equal_fraction == pytest.approx(0.5)
    assert both.profiles == ()
    assert second.profiles == ("wide",)
    assert both.rtol_needed == first.rtol_needed


def test_worst_of_what_no_rtol_passes_needs_none() -> None:
    bad = of(np.array([np.nan]), np.array([1.0]))
    good = of(np.array([1.0]), np.array([1.1]))
    assert worst([good, bad], 0).rtol_needed is None
