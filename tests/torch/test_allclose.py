"""Profiles against `torch.allclose` and `torch.equal` themselves."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from matrix_capture.digest import snapshot
from matrix_capture.settings import Tolerance, read_settings

pytest.importorskip("numba")
from matrix_compare.metrics import Distances, measure
from matrix_compare.tolerance import Profile, read_profiles

OURS = read_profiles(read_settings(Path(__file__).parents[2] / "matrix.toml"))
FLOATS = {
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
    torch.float32: torch.int32,
    torch.float64: torch.int64,
}
SPECIAL = (0.0, -0.0, float("inf"), -float("inf"), float("nan"), 1.0, 65504.0, 6e-8, 1e-45, 3.4e38)


def of(a: Any, b: Any, profiles: Sequence[Profile]) -> Distances:
    x, y = snapshot(a), snapshot(b)
    return measure(x.layout, [(0, x.data, y.data)], profiles)


def profile_of(atol: float, rtol: float) -> Profile:
    return Profile(name="p", tolerances={"other": Tolerance(atol=atol, rtol=rtol)})


def outside(a: Any, b: Any, tolerance: Tolerance) -> int:
    return int((~torch.isclose(a, b, atol=tolerance.atol, rtol=tolerance.rtol)).sum())


@st.composite
def tensors(draw: st.DrawFn, dtype: Any) -> Any:
    """A float tensor of any bits, specials among them."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    shape = draw(st.sampled_from([(), (0,), (0, 3), (1,), (7,), (3, 5), (67,), (2, 1100)]))
    word = FLOATS[dtype]
    info = torch.iinfo(word)
    bits = torch.randint(info.min, info.max, shape, generator=generator, dtype=word)
    values = bits.view(dtype)
    if draw(st.booleans()):
        values = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    chosen = torch.randint(0, 4 * len(SPECIAL), shape, generator=generator)
    special = torch.tensor([*SPECIAL, *[0.0] * 3 * len(SPECIAL)], dtype=torch.float64).to(dtype)
    return torch.where(chosen < len(SPECIAL), special[chosen], values)


@st.composite
def pairs(draw: st.DrawFn, tolerance: Tolerance) -> tuple[Any, Any]:
    """Two tensors, equal here, unrelated there, and elsewhere on the border of close."""
    dtype = draw(st.sampled_from(list(FLOATS)))
    b = draw(tensors(dtype))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    kinds = torch.randint(0, 8, b.shape, generator=generator)
    steps = torch.randint(-2, 3, b.shape, generator=generator)
    sign = torch.randint(0, 2, b.shape, generator=generator) * 2 - 1
    wide = b.double()
    border = (wide + sign * (tolerance.atol + tolerance.rtol * wide.abs())).to(dtype)
    near = (border.view(FLOATS[dtype]) + steps.to(FLOATS[dtype])).view(dtype)
    other = b.flatten()[torch.randperm(b.numel(), generator=generator)].view(b.shape)
    a = torch.where(kinds < 2, b, torch.where(kinds < 3, other, near))
    return (a, b) if draw(st.booleans()) else (b, a)


TOLERANCES = st.builds(
    Tolerance,
    atol=st.sampled_from([0.0, 1e-8, 1e-6, 1e-4, 1e-3, 0.1]) | st.floats(0, 100),
    rtol=st.sampled_from([0.0, 1e-5, 1e-3, 1e-2, 0.1, 1.0]) | st.floats(0, 100),
)


@settings(max_examples=1000, deadline=None)
@given(tolerance=TOLERANCES, data=st.data())
def test_floats_are_close_where_torch_says_so(tolerance: Tolerance, data: st.DataObject) -> None:
    a, b = data.draw(pairs(tolerance))
    found = of(a, b, [profile_of(tolerance.atol, tolerance.rtol)])
    assert found.violations == (outside(a, b, tolerance),)
    assert bool(found.profiles) == torch.allclose(a, b, atol=tolerance.atol, rtol=tolerance.rtol)
    assert (found.equal_fraction == 1.0) == torch.equal(a, b)


@settings(max_examples=500, deadline=None)
@given(data=st.data())
def test_our_own_profiles_are_those_of_torch(data: st.DataObject) -> None:
    profile = data.draw(st.sampled_from(OURS))
    dtype = data.draw(st.sampled_from(["float16", "bfloat16", "float32", "float64"]))
    a, b = data.draw(pairs(profile.tolerance(dtype)))
    expected = []
    for ours in OURS:
        bounds = ours.tolerance(str(a.dtype).removeprefix("torch."))
        if torch.allclose(a, b, atol=bounds.atol, rtol=bounds.rtol):
            expected.append(ours.name)
    assert of(a, b, OURS).profiles == tuple(expected)


@settings(max_examples=500, deadline=None)
@given(tolerance=TOLERANCES, data=st.data())
def test_rtol_needed_is_the_smallest_that_torch_lets_pass(
    tolerance: Tolerance, data: st.DataObject
) -> None:
    a, b = data.draw(pairs(tolerance))
    needed = of(a, b, [profile_of(tolerance.atol, 0.0)]).rtol_needed
    wide = torch.float64 if a.dtype == torch.float64 else torch.float32
    if needed is None:
        assert not torch.allclose(a, b, atol=tolerance.atol, rtol=torch.finfo(wide).max)
        return
    assert torch.allclose(a, b, atol=tolerance.atol, rtol=needed)
    if needed:
        rtol = torch.tensor(needed, dtype=wide)
        below = float(torch.nextafter(rtol, torch.zeros_like(rtol)))
        assert not torch.allclose(a, b, atol=tolerance.atol, rtol=below)


@given(
    dtype=st.sampled_from(
        [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
    ),
    shape=st.sampled_from([(), (0, 3), (5,), (4, 6)]),
    seed=st.integers(0, 2**32),
    change=st.booleans(),
)
def test_integers_pass_where_torch_calls_them_equal(
    dtype: Any, shape: tuple[int, ...], seed: int, change: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    a = torch.randint(0, 100, shape, generator=generator).to(dtype)
    b = a.clone()
    if change and b.numel():
        b.view(-1)[seed % b.numel()].bitwise_not_()
    found = of(a, b, [profile_of(10.0, 10.0)])
    assert bool(found.profiles) == torch.equal(a, b)
    assert found.violations == (int((a != b).sum()),)
