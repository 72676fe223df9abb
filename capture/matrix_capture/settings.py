"""`matrix.toml`: the releases, lanes and tolerance profiles the matrix is made of."""

import difflib
from pathlib import Path
from typing import Literal

import msgspec

from matrix_capture.errors import MatrixError


class Lane(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The factors one lane holds fixed."""

    title: str
    device: Literal["cpu", "cuda"]
    python: str
    colbert: str
    threads: int
    constraints: str


class Tolerance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`|a - b| <= atol + rtol * |b|`."""

    atol: float
    rtol: float


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file; `profiles` maps a profile's name to a tolerance per dtype or `other`."""

    releases: tuple[str, ...]
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
        if name not in self.releases:
            nearest = difflib.get_close_matches(name, self.releases, n=1, cutoff=0)
            raise MatrixError(
                f"no torch release {name!r} in matrix.toml; the nearest is {nearest[0]}"
            )
        return name


def read_settings(path: Path = Path("matrix.toml")) -> Settings:
    """Read and check `matrix.toml`.

    Raises:
        MatrixError: it is absent or does not hold what it should.
    """
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Settings)
    except FileNotFoundError:
        raise MatrixError(f"{path} not found; run from the repository's root") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MatrixError(f"{path}: {error}") from None
