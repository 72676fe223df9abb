"""What a data folder holds about the lanes to show; no other module reads the data."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from matrix_capture.errors import MatrixError
from matrix_capture.names import release_order
from matrix_capture.schema import STAGES, Record, digest_path, read_capture, recorded
from matrix_capture.settings import Lane, Settings
from matrix_compare.advice import SCHEMA_VERSION, Advice, Advices, advice_path, read_advices
from matrix_compare.change import Crossing
from matrix_compare.check import Check, list_checks, read_recorded
from matrix_compare.explanation import Explanation, explanation_path, read_explanation
from matrix_compare.layout import HEADER_BYTES, data_offsets
from matrix_compare.schema import verdict_path
from matrix_site.comparison import Comparisons, Dtypes, Pair, read_comparisons
from matrix_site.text import moment

_LANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(\+[0-9a-f]{8})?")
_LARGEST = 2**20  # bytes of an explanation; real ones have some ten thousand
_MOST_CHECKS = 200  # of pull requests, the highest numbers
_MOST_ADVICE = 2**25  # bytes of the advice of a lane, of which each pair takes some ten thousand


@dataclass(frozen=True, kw_only=True, slots=True)
class Captured:
    """A capture as far as the site needs it: its record and the dtype of every tensor.

    `offsets` are the bytes at which the data of the mapped files of its index begin, `path` is
    where it was read from.
    """

    record: Record
    dtypes: Dtypes
    offsets: tuple[int, ...]
    path: Path

    @property
    def whole(self) -> bool:
        """Did every stage run?"""
        return all(self.record.state(stage) == "ok" for stage in STAGES)

    @property
    def shifted(self) -> bool:
        """Does colbert-ai read the index shifted once it is mapped?"""
        return bool(self.offsets) and max(self.offsets) != HEADER_BYTES


@dataclass(frozen=True, kw_only=True, slots=True)
class LaneData:
    """One lane: captures by release, comparisons and explanations by pair, unreadable files.

    `releases` are those that it shows, captured or not, oldest first, `broken` those with an
    unreadable digest file; `verdicts` is where the verdict file was read from, None if there is
    none or it cannot be read, which `verdicts_broken` tells apart.
    """

    name: str
    settings: Lane
    releases: tuple[str, ...]
    captures: Mapping[str, Captured]
    broken: tuple[str, ...]
    pairs: Mapping[Pair, Comparisons]
    verdicts: Path | None
    verdicts_broken: bool
    explanations: Mapping[Pair, Explanation]
    advices: Mapping[Pair, Advice]
    crossings: tuple[Crossing, ...]

    @property
    def quick(self) -> bool:
        """Is this a run with options of its own instead of a baseline?"""
        return "+" in self.name

    @property
    def newest(self) -> datetime | None:
        """When the newest capture was made, in UTC."""
        times = (moment(captured.record.started) for captured in self.captures.values())
        return max(filter(None, times), default=None)

    @property
    def empty(self) -> bool:
        """Is there nothing at all?"""
        return not (self.captures or self.broken or self.pairs or self.verdicts_broken)


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """All lanes to show, in the order they are shown, and one line for every unreadable file.

    `checks` are of pull requests and no part of any lane; `today` is when it is looked at, which
    tells how old it is.
    """

    settings: Settings
    lanes: tuple[LaneData, ...]
    checks: tuple[Check, ...]
    problems: tuple[str, ...]
    today: datetime | None

    @property
    def newest(self) -> datetime | None:
        """When the newest capture was made, in UTC."""
        return max(filter(None, (lane.newest for lane in self.lanes)), default=None)

    @property
    def releases(self) -> tuple[str, ...]:
        """Every release of the matrix, and what lanes show besides, oldest first."""
        shown = {release for lane in self.lanes for release in lane.releases}
        return tuple(sorted(shown.union(self.settings.releases), key=release_order))


def read_snapshot(
    data: Path, settings: Settings, lanes: Sequence[str] = (), today: datetime | None = None
) -> Snapshot:
    """Read the lanes asked for, else every lane of the settings; quick lanes must be asked for.

    Without `today` the data are as old as their newest capture is younger than others: the clock of
    the machine is never asked, so that the same data give the same site.

    Raises:
        MatrixError: a lane that was asked for does not exist, or only others have captures.
    """
    problems: list[str] = []
    names = dict.fromkeys(lanes or settings.lanes)
    read = tuple(_read_lane(data, settings, name, problems) for name in names)
    folders = (path.name for path in (data / "digests").glob("*") if path.is_dir())
    recorded = sorted(name for name in folders if _LANE.fullmatch(name))
    if recorded and all(lane.empty for lane in read):
        raise MatrixError(
            f"{data} holds nothing of {', '.join(names)}, only of {', '.join(recorded)}; "
            "ask for one of those with --lane"
        )
    found = Snapshot(
        settings=settings,
        lanes=read,
        checks=tuple(_read_checks(data, problems)),
        problems=tuple(problems),
        today=today,
    )
    return found if today else replace(found, today=found.newest)


def _read_checks(data: Path, problems: list[str]) -> Iterable[Check]:
    for path in list_checks(data)[-_MOST_CHECKS:]:
        try:
            yield read_recorded(path)
        except MatrixError as error:
            problems.append(str(error))


def _read_lane(data: Path, settings: Settings, name: str, problems: list[str]) -> LaneData:
    lane = settings.lane(name)
    if not _LANE.fullmatch(name):
        # The name becomes a folder of the site.
        raise MatrixError(f"lane {name!r} is neither a plain name nor one followed by + and 8 hex")
    releases = settings.of_lane(name, recorded(data, name))
    captures: dict[str, Captured] = {}
    broken: list[str] = []
    for release in releases:
        path = digest_path(data, name, release)
        if not path.exists():
            continue
        try:
            captures[release] = _read_captured(path, name, release)
        except MatrixError as error:
            broken.append(release)
            problems.append(str(error))
    pairs: dict[Pair, Comparisons] = {}
    verdicts = verdict_path(data, name)
    verdicts_broken = False
    if verdicts.exists():
        dtypes = {release: captured.dtypes for release, captured in captures.items()}
        try:
            pairs = read_comparisons(data, name, releases, dtypes)
        except MatrixError as error:
            verdicts_broken = True
            problems.append(str(error))
    advices = _read_advices(data, name, releases, problems)
    return LaneData(
        name=name,
        settings=lane,
        releases=releases,
        captures=captures,
        broken=tuple(broken),
        pairs=pairs,
        verdicts=verdicts if verdicts.exists() and not verdicts_broken else None,
        verdicts_broken=verdicts_broken,
        explanations=_read_explanations(data, name, pairs, problems),
        advices={(advice.a, advice.b): advice for advice in advices.advices},
        crossings=advices.crossings,
    )


def _read_captured(path: Path, lane: str, release: str) -> Captured:
    capture = read_capture(path, (*_PLACE, "dtype", "min"))
    record = capture.record
    if (record.lane, record.torch) != (lane, release):
        raise MatrixError(
            f"{path}: holds torch {record.torch!r} of lane {record.lane!r}; "
            "move it to where it belongs"
        )
    found = capture.rows.group_by([*_PLACE, "dtype"]).aggregate([])
    columns = (found[name].to_pylist() for name in (*_PLACE, "dtype"))
    dtypes = {(a, p, s): dtype for a, p, s, dtype in zip(*columns, strict=True)}
    return Captured(record=record, dtypes=dtypes, offsets=data_offsets(capture.rows), path=path)


_PLACE = ("artifact", "part", "scope")


def _read_explanations(
    data: Path, lane: str, pairs: Iterable[Pair], problems: list[str]
) -> dict[Pair, Explanation]:
    found: dict[Pair, Explanation] = {}
    for pair in pairs:
        path = explanation_path(data, lane, *pair)
        if path.exists():
            try:
                found[pair] = _read_explained(path, lane, pair)
            except MatrixError as error:
                problems.append(str(error))
    return found


def _read_explained(path: Path, lane: str, pair: Pair) -> Explanation:
    size = path.stat().st_size
    if size > _LARGEST or not path.is_file():
        raise MatrixError(f"{path}: no explanation, or one of more than {_LARGEST:,} bytes")
    found = read_explanation(path)
    if (found.lane, found.a, found.b) != (lane, *pair):
        raise MatrixError(
            f"{path}: explains {found.a!r}...{found.b!r} of lane {found.lane!r}; "
            "move it to where it belongs"
        )
    return found


def _read_advices(data: Path, lane: str, releases: Sequence[str], problems: list[str]) -> Advices:
    """The advice of a lane, without that on releases that the matrix does not know."""
    none = Advices(schema_version=SCHEMA_VERSION, lane=lane, advices=())
    path = advice_path(data, lane)
    if not path.exists():
        return none
    try:
        size = path.stat().st_size
        if size > _MOST_ADVICE or not path.is_file():
            raise MatrixError(f"{path}: no advice, or more than {_MOST_ADVICE:,} bytes of it")
        found = read_advices(path)
    except MatrixError as error:
        problems.append(str(error))
        return none
    known = set(releases)
    return Advices(
        schema_version=SCHEMA_VERSION,
        lane=lane,
        advices=tuple(advice for advice in found.advices if {advice.a, advice.b} <= known),
        crossings=tuple(one for one in found.crossings if {one.index, one.search} <= known),
    )
