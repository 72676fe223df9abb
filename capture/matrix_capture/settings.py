"""`matrix.toml`: the releases, lanes and tolerance profiles the matrix is made of."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from matrix_capture.errors import MatrixError

Release = Annotated[str, msgspec.Meta(pattern=r"^\d+\.\d+\.\d+$")]
Bound = Annotated[float, msgspec.Meta(ge=0)]


class Lane(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The factors one lane holds fixed."""

    title: str
    device: Literal["cpu", "cuda"]
    python: str
    colbert: str
    threads: Annotated[int, msgspec.Meta(ge=1)]
    constraints: str


class Tolerance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`|a - b| <= atol + rtol * |b|`."""

    atol: Bound
    rtol: Bound


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file; `profiles` maps a profile's name to a tolerance per dtype or `other`."""

    releases: Annotated[tuple[Release, ...], msgspec.Meta(min_length=1)]
    lanes: dict[str, Lane]
    profiles: dict[str, dict[str, Tolerance]]

    def lane(self, name: str) -> Lane:
        """The lane of that name; an option suffix `+xxxxxxxx` is not part of it.

        Raises:
            MatrixError: no such lane.
        """
        base = name.partition("+")[0]
        if base not in self.lanes:
            raise MatrixError(f"no lane {name!r} in matrix.toml; it has {', '.join(self.lanes)}")
        return self.lanes[base]

    def release(self, name: str) -> str:
        """The release itself, when the matrix knows it.

        Raises:
            MatrixError: it does not; the message names the nearest.
        """
        if name in self.releases:
            return name
        nearest = _nearest(name, self.releases)
        hint = f"the nearest is {nearest}" if nearest else f"it has {', '.join(self.releases)}"
        raise MatrixError(f"no torch release {name!r} in matrix.toml; {hint}")


def read_settings(path: Path = Path("matrix.toml")) -> Settings:
    """Read and check `matrix.toml`.

    Raises:
        MatrixError: it is absent or does not hold what it should.
    """
    try:
        settings = msgspec.toml.decode(path.read_bytes(), type=Settings)
    except FileNotFoundError:
        raise MatrixError(f"{path} not found; run from the repository's root") from None
    except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
        raise MatrixError(f"{path}: {error}") from None
    # Consecutive releases are the pairs of the matrix, so their order is a fact, not a layout.
    for earlier, later in pairwise(settings.releases):
        if _numbers(earlier) >= _numbers(later):
            raise MatrixError(f"{path}: releases must ascend, but {later} follows {earlier}")
    return settings


def _numbers(version: str) -> tuple[int, ...]:
    """The first numbers in a version: `v2.5.1+cu124` is (2, 5, 1)."""
    found = re.search(r"\d+(\.\d+)*", version, re.ASCII)
    return tuple(int(number) for number in found[0].split(".")) if found else ()


def _nearest(name: str, releases: tuple[str, ...]) -> str | None:
    """The release next below or above `name`, whichever is fewer steps away; below when even."""
    wanted = (*_numbers(name), 0, 0)[:3]
    if not _numbers(name):
        return None
    below = [release for release in releases if _numbers(release) <= wanted][-1:]
    above = [release for release in releases if _numbers(release) > wanted][:1]

    def steps(release: str) -> list[int]:
        return [abs(a - b) for a, b in zip(_numbers(release), wanted, strict=False)]

    return min([*below, *above], key=steps, default=None)
