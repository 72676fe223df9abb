"""Where consecutive releases of a lane part, and whether a second capture says so too."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from matrix_capture.schema import Capture, recorded
from matrix_capture.settings import Settings
from matrix_capture.values import ValueStore
from matrix_compare.captures import load_captures
from matrix_compare.comparable import obstacles
from matrix_compare.gauge import Gauge
from matrix_compare.pairs import compare
from matrix_compare.policy import Level
from matrix_compare.report import Report, build
from matrix_compare.schema import Verdict, read_verdict_table, verdict_path
from matrix_compare.tolerance import read_profiles
from matrix_operate.history import earlier


@dataclass(frozen=True, kw_only=True, slots=True)
class Boundary:
    """Two consecutive releases of a lane that are not a pass by the policy.

    `starts` are the artifacts in which the difference starts or, where none does, the stage at
    which a run stopped or the first artifact that is no pass. `confirmed` says that an earlier
    capture of the newer release, by another run, starts to differ in the same.
    """

    lane: str
    a: str
    b: str
    starts: tuple[str, ...]
    report: Report
    confirmed: bool

    @property
    def level(self) -> Level:
        """What the policy makes of it."""
        return self.report.level

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits that stay while lane, releases and where it starts stay."""
        payload = json.dumps([self.lane, self.a, self.b, self.starts]).encode()
        return hashlib.blake2b(payload, digest_size=16).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Sighting:
    """What is known of two consecutive releases: a boundary, none, or why nobody knows.

    Nightly builds that are too old to be compared any longer are `outdated`.
    """

    lane: str
    a: str
    b: str
    boundary: Boundary | None = None
    unknown: str = ""
    outdated: bool = False


def survey(data: Path, lane: str, settings: Settings) -> tuple[Sighting, ...]:
    """What is known of every two consecutive releases that a lane has on record.

    A capture without a tensor is held against the one before, but is no link of the chain: its
    neighbours are compared with each other. Where a capture cannot be read, nobody knows what lies
    on either side of it.

    Raises:
        MatrixError: `matrix.toml` does not hold what it should, or has no such lane.
    """
    settings.lane(lane)
    held = recorded(data, lane)
    if not held:
        return ()
    return tuple(_Lane(data, lane, settings).sightings(held))


def awaiting(data: Path, lane: str, settings: Settings) -> tuple[str, ...]:
    """The releases of a lane that must be captured once more before a boundary is believed.

    Raises:
        MatrixError: as `survey`.
    """
    seen = (sighting.boundary for sighting in survey(data, lane, settings))
    return tuple(found.b for found in seen if found and not found.confirmed)


class _Lane:
    """The captures of a lane, of now and of before."""

    def __init__(self, data: Path, lane: str, settings: Settings) -> None:
        self._data, self._lane, self._settings = data, lane, settings
        self._store = ValueStore(data / "values")
        # Values are not on record, but how far apart they are is.
        self._gauge = Gauge(self._store, read_profiles(settings), data / "distances.parquet")
        self._verdicts = _verdicts(data, lane)
        readable = load_captures(data, lane, settings).captures
        self._captures = {capture.record.torch: capture for capture in readable}

    def sightings(self, held: Sequence[str]) -> Iterator[Sighting]:
        shown = self._settings.of_lane(self._lane, held)
        link: str | None = None
        for before, name in zip((None, *held), held, strict=False):
            if before and not {before, name} <= set(shown):
                yield Sighting(lane=self._lane, a=before, b=name, outdated=True)
                link = None
            elif link:
                yield self._sighting(link, name)
            capture = self._captures.get(name)
            if capture is None or len(capture.rows):
                link = name

    def _sighting(self, a: str, b: str) -> Sighting:
        sighting = Sighting(lane=self._lane, a=a, b=b)
        left, right = (self._captures.get(name) for name in (a, b))
        if left is None or right is None:
            gap = f"the capture of torch {b if left else a} cannot be read"
            return replace(sighting, unknown=gap)
        on_record = self._recorded(left, right)
        report = on_record or self._report(left, right)
        bad = [line for line in report.lines if line.level is not Level.PASS]
        if not any(line.verdict not in _GAPS for line in bad):
            nothing = "" if report.lines else "nothing was compared"
            return replace(sighting, unknown=bad[0].reason if bad else nothing)
        # As an earlier capture is compared, of which no values are at hand either.
        starts = _starts(self._report(left, right) if on_record else report, left, right)
        boundary = Boundary(
            lane=self._lane,
            a=a,
            b=b,
            starts=starts,
            report=report,
            confirmed=self._confirmed(left, right, starts),
        )
        return replace(sighting, boundary=boundary)

    def _report(self, a: Capture, b: Capture) -> Report:
        rows = compare((a, b), self._gauge, self._store).of(a.record.torch, b.record.torch)
        return build(a, b, rows, self._settings)

    def _recorded(self, a: Capture, b: Capture) -> Report | None:
        """What was said of a pair when its values were at hand; None if nothing was."""
        if self._verdicts is None:
            return None
        of_pair = pc.and_(
            pc.equal(self._verdicts["a"], a.record.torch),
            pc.equal(self._verdicts["b"], b.record.torch),
        )
        rows = self._verdicts.filter(of_pair).to_pylist()
        return build(a, b, rows, self._settings) if rows else None

    def _confirmed(self, a: Capture, b: Capture, starts: tuple[str, ...]) -> bool:
        """Whether an earlier capture of b, held against one of a, starts to differ in the same."""
        for again in self._earlier(b):
            bases = chain([a], self._earlier(a))
            base = next((one for one in bases if not obstacles(one.record, again.record)), a)
            if _starts(self._report(base, again), base, again) == starts:
                return True
        return False

    def _earlier(self, capture: Capture) -> Iterator[Capture]:
        """Captures by other runs that this one has replaced; what cannot be read is passed over."""
        record = capture.record
        for found in earlier(self._data, self._lane, record.torch):
            same = (found.record.lane, found.record.torch) == (record.lane, record.torch)
            if same and found.record.started != record.started:
                yield found


def _verdicts(data: Path, lane: str) -> Any:
    """The verdicts of a lane on record, None without any."""
    return read_verdict_table(data, lane) if verdict_path(data, lane).exists() else None


_GAPS = (Verdict.NOT_RUN, Verdict.NOT_COMPARABLE)
"""The verdicts that say that nobody looked: such an artifact neither makes a boundary nor is one
that has gone."""


def _starts(report: Report, a: Capture, b: Capture) -> tuple[str, ...]:
    if report.summary.starts:
        return tuple(start.artifact for start in report.summary.starts)
    for record in (b.record, a.record):
        if stage := record.failed_stage():
            return (f"torch {record.torch} stopped at {stage}",)
    bad = (line for line in report.lines if line.level is not Level.PASS)
    return tuple(line.artifact for line in bad if line.verdict not in _GAPS)[:1]
