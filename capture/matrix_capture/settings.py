"""`matrix.toml`: the releases, lanes, tolerance profiles and policy the matrix is made of."""

from collections.abc import Collection, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from matrix_capture.catalogue import Device
from matrix_capture.errors import MatrixError
from matrix_capture.names import (
    RELEASE,
    is_build,
    release_order,
    unknown_release,
    version_numbers,
    without_builds,
)
from matrix_capture.schema import recorded

SHOWN_BUILDS = 14
"""So many nightly builds of a lane are compared and shown, the newest: a fortnight shows what came
and went, and the pairs of more would soon outnumber those of all releases."""

Release = Annotated[str, msgspec.Meta(pattern=rf"^{RELEASE}$")]
Index = Annotated[str, msgspec.Meta(pattern=r"^https://[A-Za-z0-9.:_~/-]*[A-Za-z0-9]$")]
"""The address of a package index of one wheel variant, which is its last part: `.../whl/cpu`."""
Architecture = Annotated[str, msgspec.Meta(pattern=r"^sm_[0-9]{2,3}$")]
SITE_URL = r"^https?://[A-Za-z0-9.:_~/-]+/$"
"""What the address of the published site looks like."""
Bound = Annotated[float, msgspec.Meta(ge=0)]


class Lane(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The factors one lane holds fixed.

    Without `constraints` the installer decides on every package but torch; `passages` are how many
    of the inputs' passages a run takes unless told otherwise, None for the inputs' own number.
    `index` is where torch comes from instead of the installer's own index, `nightly` where its
    nightly builds come from; a lane without it takes releases only.
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
    index: Index | None = None
    nightly: Index | None = None


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

    def release(self, name: str, lane: str) -> str:
        """The release or nightly build itself, when the lane takes it.

        Raises:
            MatrixError: the matrix does not know the release, and the message names the nearest; or
                the lane has no nightly builds.
        """
        if is_build(name):
            if self.lane(lane).nightly:
                return name
            others = [other for other, settings in self.lanes.items() if settings.nightly]
            raise MatrixError(without_builds(name, lane, others))
        if name in self.releases:
            return name
        raise MatrixError(unknown_release(name, self.releases))

    def including(self, names: Iterable[str]) -> "Settings":
        """With the releases among the names in their places, if they are not there yet."""
        found = {*self.releases, *(name for name in names if not is_build(name))}
        return msgspec.structs.replace(self, releases=tuple(sorted(found, key=release_order)))

    def of_lane(self, lane: str, names: Collection[str]) -> tuple[str, ...]:
        """The releases that are compared and shown in a lane, `names` being those on record in it.

        All of the matrix; in a lane with nightly builds those on record, and the newest builds.
        """
        if not self.lane(lane).nightly:
            return self.releases
        held = sorted(names, key=release_order)
        older = set(list(filter(is_build, held))[:-SHOWN_BUILDS])
        return tuple(name for name in held if name not in older)


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
    for name, lane in settings.lanes.items():
        if lane.nightly and _variant(lane.nightly) != _variant(lane.index):
            raise MatrixError(
                f"{path}: in lane {name}, index and nightly must end in the same wheel variant, "
                "or a release would not be compared with builds like it"
            )
    return settings


def settings_of(data: Path) -> Settings:
    """`matrix.toml`, with the releases that a data folder has on record in any of its lanes.

    Whoever found them may not have added them yet. What was captured with options of its own is no
    part of the matrix.

    Raises:
        MatrixError: as `read_settings`.
    """
    settings = read_settings()
    return settings.including(name for lane in settings.lanes for name in recorded(data, lane))


def _variant(index: str | None) -> str | None:
    return index and index.rpartition("/")[2]
