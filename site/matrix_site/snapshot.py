"""What a data folder holds about the lanes to show; no other module reads the data."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matrix_capture.catalogue import POSITION
from matrix_capture.errors import MatrixError
from matrix_capture.schema import Record, digest_path, read_capture
from matrix_capture.settings import Lane, Settings
from matrix_compare.advice import SCHEMA_VERSION, Advice, Advices, advice_path, read_advices
from matrix_compare.change import Crossing
from matrix_compare.explanation import Explanation, explanation_path, read_explanation
from matrix_compare.layout import data_offsets
from matrix_compare.schema import NO_VALUES, Place, Verdict, layer_of, read_verdicts, verdict_path

Pair = tuple[str, str]

_LANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(\+[0-9a-f]{8})?")
_LARGEST = 2**20  # bytes of an explanation; real ones have some ten thousand
_MOST_ADVICE = 2**25  # bytes of the advice of a lane, of which each pair takes some ten thousand


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One row of a verdict file, its nulls put into words where there are words for them."""

    artifact: str
    part: str
    scope: str
    kind: str
    stage: str
    occurrences: int
    identical: int
    verdict: Verdict
    reason: str
    profiles: tuple[str, ...]
    role: str
    max_abs: float | None
    mean_abs: float | None
    max_rel: float | None
    equal_fraction: float | None
    max_ulp: int | None
    rtol_needed: float | None
    largest_at: str
    differing_occurrences: tuple[int, ...]

    @property
    def place(self) -> Place:
        """What is compared."""
        return self.artifact, self.part, self.scope

    @property
    def layer(self) -> int | None:
        """The layer of the encoder that it lies in, if any."""
        return layer_of(self.artifact, self.part)

    @property
    def unsized(self) -> bool:
        """Does it differ without anybody knowing how far? Only digests were kept of it."""
        return self.verdict is Verdict.DIFFERS and self.reason == NO_VALUES


@dataclass(frozen=True, kw_only=True, slots=True)
class Captured:
    """A capture as far as the site needs it: its record and the dtype of every tensor.

    `offsets` are the bytes at which the data of the mapped files of its index begin.
    """

    record: Record
    dtypes: Mapping[Place, str]
    offsets: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class LaneData:
    """One lane: captures by release, comparisons and explanations by pair, unreadable files.

    `broken` are the releases with an unreadable digest file; `verdicts_broken` is about the verdict
    file.
    """

    name: str
    settings: Lane
    captures: Mapping[str, Captured]
    broken: tuple[str, ...]
    pairs: Mapping[Pair, tuple[Comparison, ...]]
    verdicts_broken: bool
    explanations: Mapping[Pair, Explanation]
    advices: Mapping[Pair, Advice]
    crossings: tuple[Crossing, ...]

    @property
    def quick(self) -> bool:
        """Is this a run with options of its own instead of a baseline?"""
        return "+" in self.name

    @property
    def empty(self) -> bool:
        """Is there nothing at all?"""
        return not (self.captures or self.broken or self.pairs or self.verdicts_broken)


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """All lanes to show, in the order they are shown, and one line for every unreadable file."""

    settings: Settings
    lanes: tuple[LaneData, ...]
    problems: tuple[str, ...]


def read_snapshot(data: Path, settings: Settings, lanes: Sequence[str] = ()) -> Snapshot:
    """Read the lanes asked for, else every lane of the settings; quick lanes must be asked for.

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
    return Snapshot(settings=settings, lanes=read, problems=tuple(problems))


def _read_lane(data: Path, settings: Settings, name: str, problems: list[str]) -> LaneData:
    lane = settings.lane(name)
    if not _LANE.fullmatch(name):
        # The name becomes a folder of the site.
        raise MatrixError(f"lane {name!r} is neither a plain name nor one followed by + and 8 hex")
    captures: dict[str, Captured] = {}
    broken: list[str] = []
    for release in settings.releases:
        path = digest_path(data, name, release)
        if not path.exists():
            continue
        try:
            captures[release] = _read_captured(path, name, release)
        except MatrixError as error:
            broken.append(release)
            problems.append(str(error))
    pairs: dict[Pair, tuple[Comparison, ...]] = {}
    verdicts_broken = False
    if verdict_path(data, name).exists():
        try:
            pairs = _by_pair(read_verdicts(data, name), settings.releases)
        except MatrixError as error:
            verdicts_broken = True
            problems.append(str(error))
    advices = _read_advices(data, name, settings.releases, problems)
    return LaneData(
        name=name,
        settings=lane,
        captures=captures,
        broken=tuple(broken),
        pairs=pairs,
        verdicts_broken=verdicts_broken,
        explanations=_read_explanations(data, name, pairs, problems),
        advices={(advice.a, advice.b): advice for advice in advices.advices},
        crossings=advices.crossings,
    )


def _read_captured(path: Path, lane: str, release: str) -> Captured:
    capture = read_capture(path)
    record = capture.record
    if (record.lane, record.torch) != (lane, release):
        raise MatrixError(
            f"{path}: holds torch {record.torch!r} of lane {record.lane!r}; "
            "move it to where it belongs"
        )
    columns = (capture.rows.column(name).to_pylist() for name in _DTYPE_COLUMNS)
    dtypes = {(a or "", p or "", s or ""): d or "" for a, p, s, d in zip(*columns, strict=True)}
    return Captured(record=record, dtypes=dtypes, offsets=data_offsets(capture.rows))


_DTYPE_COLUMNS = ("artifact", "part", "scope", "dtype")


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


def _by_pair(
    rows: list[dict[str, Any]], releases: Sequence[str]
) -> dict[Pair, tuple[Comparison, ...]]:
    """Comparisons in pipeline order, without those of releases that the matrix does not know."""
    known = set(releases)
    found: dict[Pair, list[Comparison]] = {}
    for row in rows:
        if row["a"] in known and row["b"] in known:
            found.setdefault((row["a"], row["b"]), []).append(_comparison(row))
    return {pair: tuple(sorted(found[pair], key=_position)) for pair in sorted(found)}


def _comparison(row: dict[str, Any]) -> Comparison:
    return Comparison(
        artifact=row["artifact"] or "",
        part=row["part"] or "",
        scope=row["scope"] or "",
        kind=row["kind"] or "",
        stage=row["stage"] or "",
        occurrences=row["occurrences"] or 0,
        identical=row["identical"] or 0,
        verdict=Verdict(row["verdict"]),
        reason=row["reason"] or "",
        profiles=tuple(row["profiles"] or ()),
        role=row["role"] or "",
        max_abs=row["max_abs"],
        mean_abs=row["mean_abs"],
        max_rel=row["max_rel"],
        equal_fraction=row["equal_fraction"],
        max_ulp=row["max_ulp"],
        rtol_needed=row["rtol_needed"],
        largest_at=row["largest_at"] or "",
        differing_occurrences=tuple(row["differing_occurrences"] or ()),
    )


def _position(comparison: Comparison) -> tuple[int, str]:
    """Artifacts in pipeline order, unknown ones last; parts and scopes stay in order of capture."""
    return POSITION.get(comparison.artifact, len(POSITION)), comparison.artifact
