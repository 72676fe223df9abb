from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from matrix_capture.errors import MatrixError
from matrix_capture.settings import Settings, Tolerance
from matrix_compare.tolerance import close, read_profiles

FLOATS = hnp.arrays(np.float64, 8, elements=st.floats(width=64))
BOUNDS = st.floats(0, 1e3)


def test_profiles_keep_the_order_and_the_numbers_of_the_settings(settings: Settings) -> None:
    default, loose = read_profiles(settings)
    assert (default.name, loose.name) == ("default", "bitsandbytes")
    assert default.tolerance("float32") == Tolerance(atol=1e-8, rtol=1e-5)
    assert loose.tolerance("float32") == Tolerance(atol=1e-6, rtol=1e-5)
    assert loose.tolerance("bfloat16") == Tolerance(atol=1e-3, rtol=1e-2)
    assert (
        loose.tolerance("float16") == loose.tolerance("float64") == Tolerance(atol=1e-4, rtol=1e-3)
    )


@pytest.mark.parametrize(
    ("profiles", "message"),
    [
        ({}, "no tolerance profile"),
        ({"p": {"float32": Tolerance(atol=0.0, rtol=0.0)}}, "no line 'other'"),
        ({"p": {"other": Tolerance(atol=float("inf"), rtol=0.0)}}, "must be finite"),
    ],
)
def test_profiles_that_cannot_work_are_refused(profiles: Any, message: str) -> None:
    broken = Settings(releases=("2.0.0",), lanes={}, profiles=profiles)
    with pytest.raises(MatrixError, match=message):
        read_profiles(broken)


@given(a=FLOATS, b=FLOATS, atol=BOUNDS, rtol=BOUNDS)
def test_close_is_what_numpy_calls_close(a: Any, b: Any, atol: float, rtol: float) -> None:
    with np.errstate(all="ignore"):
        expected = np.isclose(a, b, atol=atol, rtol=rtol)
        # numpy lets a difference that overflowed pass where the allowance overflowed too; torch
        # does not: an error that is not finite is never within bounds.
        expected &= np.isfinite(a - b) | (a == b)
    assert (close(a, b, Tolerance(atol=atol, rtol=rtol)) == expected).all()


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
        (np.nextafter(1.5, 2), 1.0, False),
    ],
)
def test_close_at_the_edges(a: float, b: float, expected: bool) -> None:
    tolerance = Tolerance(atol=0.25, rtol=0.25)
    assert close(np.array([a]), np.array([b]), tolerance).tolist() == [expected]


def test_the_reference_is_the_second_value() -> None:
    tolerance = Tolerance(atol=0.0, rtol=0.1)
    assert close(np.array([9.0]), np.array([10.0]), tolerance).all()
    assert not close(np.array([10.0]), np.array([9.0]), tolerance).any()


def test_integers_ignore_tolerances() -> None:
    wide = Tolerance(atol=10.0, rtol=10.0)
    near = np.array([2**63 - 1]), np.array([2**63 - 2])
    assert not close(*near, wide).any()
    assert close(near[0], near[0], wide).all()
