"""`matrix.toml`: the releases, lanes, tolerance profiles and policy the matrix is made of."""

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from matrix_capture.catalogue import Device
from matrix_capture.errors import MatrixError
from matrix_capture.names import unknown_release, version_numbers

Release = Annotated[str, msgspec.Meta(pattern=r"^\d+\.\d+\.\d+$")]
Architecture = Annotated[str, msgspec.Meta(pattern=r"^sm_[0-9]{2,3}$")]
SITE_URL = r"^https?://[A-Za-z0-9.:_~/-]+/$"
"""What the address of the published site looks like."""
Bound = Annotated[float, msgspec.Meta(ge=0)]


class Lane(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The factors one lane holds fixed.

    Without `constraints` the installer decides on every package but torch; `passages` are how many
    of the inputs' passages a run takes unless told otherwise, None for the inputs' own number.
    """

    title: str
    device: Device
    python: str
    colbert: str
    threads: Annotated[int, msgspec.Meta(ge=1)]
    constraints: str | None = None
    passages: Annotated[int, msgspec.Meta(ge=1)] | None = None
    inputs: Literal["embedded", "conditionalqa"] = "embedded"
    kmeans: Device = "cpu"


class Tolerance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`|a - b| <= atol + rtol * |b|`."""

    atol: Bound
    rtol: Bound


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What verdicts mean where one of the patterns `artifacts` matches an artifact's name.

    `failure` and `alert` name verdicts, which compare knows and checks; the others are a pass.
    """

    artifacts: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    failure: tuple[str, ...] = ()
    alert: tuple[str, ...] = ()


class Site(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the site is published, and how many days old a lane may be before it says so."""

    url: Annotated[str, msgspec.Meta(pattern=SITE_URL)] = "https://colbert-matrix.example/"
    stale_after_days: Annotated[int, msgspec.Meta(ge=1)] = 14


class Gpu(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The releases with code for a GPU architecture: those up to `last`, or else all since."""

    first: Release
    last: Release | None = None

    def runs(self, torch: str) -> bool:
        """Whether a build of torch has code for it; a nightly build goes by its release."""
        found = version_numbers(torch)[:3]
        newest = version_numbers(self.last) if self.last else found
        return version_numbers(self.first) <= found <= newest


class Nightly(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a night captures: the `newest` releases always, `backlog` of the others that are due."""

    newest: Annotated[int, msgspec.Meta(ge=1)] = 2
    backlog: Annotated[int, msgspec.Meta(ge=0)] = 6


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file; `profiles` maps a profile's name to a tolerance per dtype or `other`.

    `policy` are rules in order: the first that matches an artifact decides.
    """

    releases: Annotated[tuple[Release, ...], msgspec.Meta(min_length=1)]
    lanes: dict[str, Lane]
    profiles: dict[str, dict[str, Tolerance]]
    policy: tuple[Rule, ...] = ()
    site: Site = Site()
    gpus: dict[Architecture, Gpu] = {}
    nightly: Nightly = Nightly()

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
        raise MatrixError(unknown_release(name, self.releases))


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
        if version_numbers(earlier) >= version_numbers(later):
            raise MatrixError(f"{path}: releases must ascend, but {later} follows {earlier}")
    return settings
