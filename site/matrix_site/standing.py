"""Where a lane and its releases stand, in the structs of the API, made once for all its files."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from matrix_capture.schema import STAGES
from matrix_compare.known import Known, match
from matrix_site.api import (
    Band,
    Compared,
    Standing,
    State,
    Totals,
    pair_file,
    release_file,
)
from matrix_site.comparison import Pair
from matrix_site.copies import data_path
from matrix_site.environment import environment_digest
from matrix_site.overview import advised, align, bands
from matrix_site.page import environment_page, href, pair_page, release_page
from matrix_site.snapshot import LaneData, Snapshot
from matrix_site.summary import Tally, headline, stop, summarise, unable


@dataclass(frozen=True, kw_only=True, slots=True)
class LaneStanding:
    """A lane: every release that it shows, every pair in short, and what is identical in a row.

    `consecutive` are the pairs of releases that have something to compare, oldest first, `bands`
    the newest first. Where the lane pins nothing, nothing is compared, whatever verdicts there are.
    """

    data: LaneData
    standings: Mapping[str, Standing]
    pairs: Mapping[Pair, Compared]
    consecutive: tuple[Pair, ...]
    bands: tuple[Band, ...]


def lane_standing(snapshot: Snapshot, lane: LaneData, known: Sequence[Known]) -> LaneStanding:
    """Put together what the files of a lane tell."""
    compared = lane.settings.constraints is not None
    found = tuple(_bands(lane)) if compared else ()
    around = {release: band.releases for band in found for release in band.releases}
    return LaneStanding(
        data=lane,
        standings={
            release: _standing(lane, release, around.get(release, ()), known)
            for release in lane.releases
        },
        pairs={pair: _compared(snapshot, lane, pair) for pair in lane.pairs if compared},
        consecutive=tuple(pairwise(align(lane))) if compared else (),
        bands=found,
    )


def totals(counts: Tally) -> Totals:
    """A tally as the API has it."""
    return Totals(verdicts=dict(counts.counts), total=counts.total, unsized=counts.unsized)


def _bands(lane: LaneData) -> Iterator[Band]:
    for band in bands(lane):
        yield Band(releases=band.releases, skipped=band.skipped)


def _standing(
    lane: LaneData, release: str, band: tuple[str, ...], known: Sequence[Known]
) -> Standing:
    held = lane.captures.get(release)
    if held is None:
        return Standing(
            lane=lane.name,
            torch=release,
            state="unreadable" if release in lane.broken else "absent",
            told=stop(lane, release),
            band=band,
            page=href(release_page(release)),
            api=href(release_file(lane.name, release)),
        )
    record = held.record
    row = match(record, known)
    digest = environment_digest(record)
    return Standing(
        lane=lane.name,
        torch=release,
        state=_state(lane, release),
        told=stop(lane, release),
        torch_build=record.torch_build,
        started=record.started,
        stages={stage: record.status[stage] for stage in STAGES if stage in record.status},
        seconds=record.seconds,
        band=band,
        environment=digest,
        known=row.id if row else "",
        repeats=record.repeats,
        control=record.control,
        observer=record.observer,
        missing=record.missing,
        options=record.options,
        note=record.note,
        offsets=held.offsets,
        page=href(release_page(release)),
        environment_page=href(environment_page(digest)),
        digests=href(data_path(lane, release)),
        api=href(release_file(lane.name, release)),
    )


def _state(lane: LaneData, release: str) -> State:
    if lane.captures[release].record.failed_stage():
        return "failed"
    return "unable" if unable(lane, release) else "captured"


def _compared(snapshot: Snapshot, lane: LaneData, pair: Pair) -> Compared:
    summary = summarise(lane.pairs[pair])
    return Compared(
        a=pair[0],
        b=pair[1],
        verdict=summary.tally.worst,
        counts=totals(summary.tally),
        # Without the backticks that set names apart on a page.
        headline=headline(lane, pair, summary).replace("`", ""),
        advice=advised(lane, pair),
        back=advised(lane, pair[::-1]),
        page=href(pair_page(snapshot.settings, lane.name, pair)),
        api=href(pair_file(lane.name, pair)),
    )
