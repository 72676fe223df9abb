"""Tolerance profiles: how close two values must be, per dtype, as `matrix.toml` says."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

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

    def limits(self, dtype: str) -> tuple[float, float]:
        """Atol and rtol for a float dtype as `torch.allclose` rounds them on a CPU.

        Both become float32 and atol then the dtype itself, which is what it is added up in; for
        float64 they stay what they are.
        """
        bounds = self.tolerance(dtype)
        if dtype == "float64":
            return bounds.atol, bounds.rtol
        with np.errstate(over="ignore"):
            atol, rtol = np.float32(bounds.atol), np.float32(bounds.rtol)
            if dtype == "float16":
                atol = np.float32(np.float16(atol))
        if dtype == "bfloat16":
            word = int(atol.view(np.uint32))
            atol = np.uint32((word + 0x7FFF + (word >> 16 & 1)) & 0xFFFF0000).view(np.float32)
        return float(atol), float(rtol)


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
