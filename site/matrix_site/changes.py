"""What came when: every capture with what it brought, and the page that tells it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby, pairwise
from typing import Literal

from matrix_capture.schema import STAGES
from matrix_compare.schema import Verdict
from matrix_site.comparison import Pair
from matrix_site.overview import advised, align
from matrix_site.page import CHANGES, Page, href, pair_page, release_page
from matrix_site.snapshot import LaneData, Snapshot
from matrix_site.summary import headline, stop, summarise, unable, word
from matrix_site.text import day, moment, plural

Kind = Literal["boundary", "identical", "uncompared", "stopped", "ran"]
"""What a capture brought: a pair that is not identical, one that is, one that nobody compared; an
end before the end; or only itself."""

_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What one capture brought.

    `subject` is a pair with the release before, `2.7.1...2.8.0`, or the release alone. `date` is
    when it became known, in UTC: of a pair, when both were captured; None where a record does not
    tell. `headline` says what happened, with names in backticks, and `meaning` what it comes to for
    an index, if that was asked. `verdict` is None where nothing was judged; `href` is seen from the
    root.
    """

    kind: Kind
    date: datetime | None
    lane: str
    quick: bool
    subject: str
    verdict: Verdict | None
    headline: str
    meaning: str
    href: str

    @property
    def title(self) -> str:
        """The entry in a few words, its lane included."""
        how = word(self.verdict) if self.verdict else "captured"
        return f"{self.lane}: torch {self.subject} {how}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """What came in one lane on one day; what is the same as before stands apart."""

    lane: str
    title: str
    entries: tuple[Entry, ...]
    identical: tuple[Entry, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Day:
    """What came on one day."""

    name: str
    groups: tuple[Group, ...]


def changes_pages(snapshot: Snapshot) -> Iterable[Page]:
    """The one page, if there is any capture."""
    entries = recent(snapshot)
    if entries:
        boundaries = sum(entry.kind == "boundary" for entry in entries)
        stopped = sum(entry.kind == "stopped" for entry in entries)
        yield Page(
            path=CHANGES,
            template="changes.html",
            title="Changes",
            description=f"What each capture brought, the newest first: "
            f"{plural(boundaries, 'pair')} of releases not identical, "
            f"{plural(stopped, 'capture')} stopped early.",
            view={"days": tuple(_days(snapshot, entries))},
        )


def recent(snapshot: Snapshot, most: int | None = None) -> tuple[Entry, ...]:
    """What came last, the newest first; on one day the lanes in order, the newest release first."""
    found = (entry for lane in snapshot.lanes for entry in _entries(snapshot, lane))
    return tuple(sorted(found, key=lambda entry: entry.date or _NEVER, reverse=True)[:most])


def _entries(snapshot: Snapshot, lane: LaneData) -> Iterable[Entry]:
    """One or two for every capture that can be read: where it stopped, what it is compared."""
    # A lane that pins nothing is never compared, whatever verdicts there are.
    aligned = align(lane) if lane.settings.constraints else []
    before = {newer: older for older, newer in pairwise(aligned)}
    for release in reversed(lane.releases):
        captured = lane.captures.get(release)
        if captured is None:
            continue
        why = stop(lane, release)
        if why or release not in before:
            yield _alone(lane, release, why)
        if release in before:
            yield _pair(snapshot, lane, (before[release], release))


def _alone(lane: LaneData, release: str, why: str) -> Entry:
    record = lane.captures[release].record
    verdict = (Verdict.NOT_RUN if unable(lane, release) else Verdict.FAILED) if why else None
    ran = [stage for stage in STAGES if record.state(stage) == "ok"]
    return Entry(
        kind="stopped" if why else "ran",
        date=moment(record.started),
        lane=lane.name,
        quick=lane.quick,
        subject=release,
        verdict=verdict,
        headline=why or f"Ran {', '.join(ran)}",
        meaning="",
        href=href(release_page(release)),
    )


def _pair(snapshot: Snapshot, lane: LaneData, pair: Pair) -> Entry:
    held = lane.pairs.get(pair)
    verdict = summarise(held).tally.worst if held else Verdict.NOT_RUN
    kinds: Mapping[Verdict, Kind] = {Verdict.IDENTICAL: "identical"}
    return Entry(
        kind=kinds.get(verdict, "boundary") if held else "uncompared",
        date=_known(lane, pair),
        lane=lane.name,
        quick=lane.quick,
        subject="...".join(pair),
        verdict=verdict,
        headline=headline(lane, pair, summarise(held)) if held else "not compared yet",
        meaning=advised(lane, pair),
        href=href(pair_page(snapshot.settings, lane.name, pair) if held else release_page(pair[1])),
    )


def _known(lane: LaneData, pair: Pair) -> datetime | None:
    """When the later of two captures was made."""
    captured = (lane.captures.get(release) for release in pair)
    times = [moment(held.record.started) if held else None for held in captured]
    return max((time for time in times if time), default=None)


def _days(snapshot: Snapshot, entries: Iterable[Entry]) -> Iterable[Day]:
    titles = {lane.name: lane.settings.title for lane in snapshot.lanes}
    for name, members in groupby(entries, key=lambda e: day(e.date) if e.date else ""):
        by_lane: dict[str, list[Entry]] = {}
        for entry in members:
            by_lane.setdefault(entry.lane, []).append(entry)
        yield Day(
            name=name or "On an unknown day",
            groups=tuple(
                Group(
                    lane=lane,
                    title=titles[lane],
                    entries=tuple(entry for entry in found if entry.kind != "identical"),
                    identical=tuple(entry for entry in found if entry.kind == "identical"),
                )
                for lane, found in by_lane.items()
            ),
        )
