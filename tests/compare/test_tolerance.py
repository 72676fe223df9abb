from typing import Any

import numpy as np
import pytest

from matrix_capture.errors import MatrixError
from matrix_capture.settings import Settings, Tolerance
from matrix_compare.tolerance import Profile, read_profiles


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


@pytest.mark.parametrize(
    ("dtype", "atol", "rtol"),
    [
        ("float64", 0.1, 0.1),
        ("float32", np.float32(0.1), np.float32(0.1)),
        ("float16", np.float16(0.1), np.float32(0.1)),
        ("bfloat16", 0.10009765625, np.float32(0.1)),
    ],
)
def test_limits_are_rounded_as_in_torch(dtype: str, atol: float, rtol: float) -> None:
    profile = Profile(name="p", tolerances={"other": Tolerance(atol=0.1, rtol=0.1)})
    assert profile.limits(dtype) == (atol, rtol)


def test_an_atol_below_the_smallest_float_is_none() -> None:
    profile = Profile(name="p", tolerances={"other": Tolerance(atol=1e-8, rtol=0.0)})
    assert profile.limits("float16") == (0.0, 0.0)
    assert profile.limits("bfloat16")[0] > 0
