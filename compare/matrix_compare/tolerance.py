"""Tolerance profiles: how close two values must be, per dtype, as `matrix.toml` says."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from matrix_capture.errors import MatrixError
from matrix_capture.settings import Settings, Tolerance

_FALLBACK = "other"


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """A named tolerance per dtype; `other` serves every dtype without a line of its own."""

    name: str
    tolerances: Mapping[str, Tolerance]

    def tolerance(self, dtype: str) -> Tolerance:
        """What this profile allows for a torch dtype."""
        return self.tolerances.get(dtype, self.tolerances[_FALLBACK])


def read_profiles(settings: Settings) -> tuple[Profile, ...]:
    """The profiles of `matrix.toml` in its order, which is that of strictness.

    Raises:
        MatrixError: there is none, one lacks `other`, or a bound is not finite.
    """
    if not settings.profiles:
        raise MatrixError("matrix.toml has no tolerance profile; add [profiles.default]")
    for name, tolerances in settings.profiles.items():
        if _FALLBACK not in tolerances:
            raise MatrixError(f"matrix.toml: profile {name} has no line {_FALLBACK!r}; add one")
        for dtype, bounds in tolerances.items():
            if not (math.isfinite(bounds.atol) and math.isfinite(bounds.rtol)):
                raise MatrixError(
                    f"matrix.toml: profile {name}, {dtype}: atol and rtol must be finite, "
                    f"found {bounds.atol} and {bounds.rtol}"
                )
    return tuple(
        Profile(name=name, tolerances=tolerances) for name, tolerances in settings.profiles.items()
    )


def close(a: npt.NDArray[Any], b: npt.NDArray[Any], tolerance: Tolerance) -> npt.NDArray[np.bool_]:
    """Which elements are close in the sense of `torch.allclose(a, b)`: |a-b| <= atol + rtol*|b|.

    NaN is close to nothing, infinities only to themselves; integers and bools must be equal. Pass
    floats as float64: torch rounds each step to the input's dtype, so a float16 value that lies on
    the border may fall on its other side there.
    """
    equal: npt.NDArray[np.bool_] = a == b
    if a.dtype.kind != "f":
        return equal
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(a - b)
        allowed = tolerance.atol + tolerance.rtol * np.abs(b)
        within: npt.NDArray[np.bool_] = np.isfinite(error) & (error <= allowed)
        return equal | within
