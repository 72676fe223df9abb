"""Which files the API has, and what is in each of them."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import msgspec

from matrix_capture.catalogue import CATALOGUE
from matrix_compare.comparable import differences
from matrix_compare.known import Known, read_known, source_url
from matrix_compare.schema import Verdict
from matrix_site.api import (
    FOLDER,
    INCOMPATIBILITIES,
    INDEX,
    RELEASES,
    SCHEMA,
    ArtifactFile,
    Compared,
    Document,
    IndexFile,
    KnownEntry,
    KnownFile,
    LaneEntry,
    PairFile,
    PullFile,
    ReleaseEntry,
    ReleaseFile,
    ReleasesFile,
    Seen,
    Step,
    artifact_file,
    encoded,
    pair_file,
    pull_file,
    release_file,
    schema,
)
from matrix_site.banner import badge_file
from matrix_site.comparison import Comparison, Comparisons, Pair, by_artifact
from matrix_site.copies import data_path
from matrix_site.lane import facts, quick, stale
from matrix_site.page import FEED, KNOWN, Asset, artifact_page, href, pull_page, release_page
from matrix_site.snapshot import Snapshot
from matrix_site.standing import LaneStanding, lane_standing, totals
from matrix_site.summary import SEVERITY, summarise, tally
from matrix_site.tensors import read_forms
from matrix_site.text import moment


def endpoints(snapshot: Snapshot, sentence: str, url: str) -> Iterator[Asset]:
    """Every file of the API; `sentence` sums all up, `url` is where the site is published."""
    known = read_known()
    time = _iso(snapshot.newest)
    lanes = [lane_standing(snapshot, lane, known) for lane in snapshot.lanes if not lane.empty]
    yield Asset(path=SCHEMA, content=msgspec.json.encode(schema()) + b"\n")
    yield _file(INDEX, _index(snapshot, lanes, sentence, url))
    yield _file(RELEASES, _releases(snapshot, lanes))
    rows = tuple(_known(row, lanes) for row in known)
    yield _file(INCOMPATIBILITIES, KnownFile(time=time, known=rows))
    for lane in lanes:
        for release in lane.data.releases:
            yield _file(release_file(lane.data.name, release), _release(time, lane, release))
        yield from _pairs(time, snapshot, lane)
        if lane.data.settings.constraints:
            yield from _artifacts(time, snapshot, lane)
    yield from _pulls(snapshot)


def _file(path: str, document: Document) -> Asset:
    return Asset(path=path, content=encoded(document))


def _iso(time: datetime | None) -> str | None:
    return time.isoformat() if time else None


def _index(snapshot: Snapshot, lanes: Sequence[LaneStanding], sentence: str, url: str) -> IndexFile:
    return IndexFile(
        time=_iso(snapshot.newest),
        sentence=sentence,
        url=url,
        files={
            "releases": RELEASES,
            "known": INCOMPATIBILITIES,
            "schema": SCHEMA,
            "release": f"{FOLDER}/{{lane}}/torch/{{release}}.json",
            "pair": f"{FOLDER}/{{lane}}/pair/{{a}}...{{b}}.json",
            "artifact": f"{FOLDER}/{{lane}}/artifact/{{artifact}}.json",
            "badge": badge_file("{lane}"),
            "feed": FEED,
        },
        verdicts={verdict: verdict.meaning for verdict in SEVERITY},
        profiles=snapshot.settings.profiles,
        releases=snapshot.settings.releases,
        artifacts=tuple(artifact.name for artifact in CATALOGUE),
        lanes=tuple(_lane(snapshot, lane) for lane in lanes),
    )


def _lane(snapshot: Snapshot, lane: LaneStanding) -> LaneEntry:
    data = lane.data
    states = [standing.state for standing in lane.standings.values()]
    compared = [lane.pairs[pair] for pair in lane.consecutive if pair in lane.pairs]
    changed = [pair for pair in reversed(compared) if pair.verdict is not Verdict.IDENTICAL]
    return LaneEntry(
        name=data.name,
        title=data.settings.title,
        settings=data.settings,
        facts=facts(data),
        quick=quick(data),
        newest=_iso(data.newest),
        stale=stale(data, snapshot.today, snapshot.settings.site.stale_after_days),
        states={state: states.count(state) for state in dict.fromkeys(states)},
        releases=tuple(data.captures),
        compared=data.settings.constraints is not None,
        pairs=len(lane.pairs),
        identical=len(compared) - len(changed),
        uncompared=tuple("...".join(pair) for pair in lane.consecutive if pair not in lane.pairs),
        bands=lane.bands,
        boundaries=tuple(changed),
        verdicts=href(data_path(data)),
        badge=href(badge_file(data.name)),
    )


def _releases(snapshot: Snapshot, lanes: Sequence[LaneStanding]) -> ReleasesFile:
    entries = (
        ReleaseEntry(
            torch=release,
            page=href(release_page(release)),
            lanes=tuple(lane.standings[release] for lane in lanes if release in lane.standings),
        )
        for release in snapshot.releases
    )
    return ReleasesFile(time=_iso(snapshot.newest), releases=tuple(entries))


def _known(row: Known, lanes: Sequence[LaneStanding]) -> KnownEntry:
    return KnownEntry(
        **msgspec.structs.asdict(row),
        urls=tuple(source_url(source) for source in row.sources),
        page=f"{href(KNOWN)}#{row.id}",
        seen=tuple(
            Seen(lane=lane.data.name, torch=release)
            for lane in lanes
            for release, standing in lane.standings.items()
            if standing.known == row.id
        ),
    )


def _release(time: str | None, lane: LaneStanding, release: str) -> ReleaseFile:
    held = lane.data.captures.get(release)
    crossings = (one for one in lane.data.crossings if release in {one.index, one.search})
    return ReleaseFile(
        time=time,
        standing=lane.standings[release],
        record=held.record if held else None,
        pairs=tuple(found for pair, found in lane.pairs.items() if release in pair),
        crossings=tuple(crossings),
    )


def _pairs(time: str | None, snapshot: Snapshot, lane: LaneStanding) -> Iterator[Asset]:
    profiles = tuple(snapshot.settings.profiles)
    # What is the same in many files is encoded once.
    sides = {release: _raw(standing) for release, standing in lane.standings.items()}
    crossings: dict[Pair, list[Any]] = {}
    for one in lane.data.crossings:
        crossings.setdefault((one.index, one.search), []).append(one)
    for pair in lane.pairs:
        document = _pair(time, lane, pair, profiles=profiles, sides=sides, crossings=crossings)
        yield _file(pair_file(lane.data.name, pair), document)


def _pair(
    time: str | None,
    lane: LaneStanding,
    pair: Pair,
    *,
    profiles: tuple[str, ...],
    sides: dict[str, Any],
    crossings: dict[Pair, list[Any]],
) -> PairFile:
    data, (a, b) = lane.data, pair
    short, rows = lane.pairs[pair], data.pairs[pair]
    summary = summarise(rows)
    records = [held.record for held in map(data.captures.get, pair) if held]
    copied = (data_path(data), data_path(data, a), data_path(data, b))
    searches = ((a, a), (a, b), (b, a), (b, b))
    return PairFile(
        time=time,
        lane=data.name,
        a=a,
        b=b,
        verdict=short.verdict,
        headline=short.headline,
        counts=short.counts,
        index=totals(summary.finals),
        starts=tuple(row.artifact for row in summary.starts),
        profiles=profiles,
        page=short.page,
        data=tuple(href(path) for path in copied if path),
        sides=(sides[a], sides[b]),
        environment=differences(*records) if len(records) == 2 else (),
        advices=tuple(data.advices[way] for way in (pair, (b, a)) if way in data.advices),
        crossings=tuple(one for way in searches for one in crossings.get(way, ())),
        explanation=data.explanations.get(pair),
        rows=_rows(rows),
    )


@cache
def _rows(comparisons: Comparisons) -> Any:
    """The rows of a pair, encoded; pairs that compare alike share them."""
    return msgspec.Raw(msgspec.json.encode(comparisons.rows))


def _raw(part: msgspec.Struct) -> Any:
    """A part of several files, encoded; what it is, the schema says."""
    return msgspec.Raw(msgspec.json.encode(part))


def _artifacts(time: str | None, snapshot: Snapshot, lane: LaneStanding) -> Iterator[Asset]:
    data = lane.data
    captures = map(data.captures.get, reversed(data.releases))
    newest = next((held for held in captures if held and held.dtypes), None)
    forms = read_forms(newest.path) if newest else {}
    steps = [
        (lane.pairs[pair], by_artifact(data.pairs[pair]))
        for pair in reversed(lane.consecutive)
        if pair in lane.pairs
    ]
    for artifact in CATALOGUE:
        name = artifact.name
        document = ArtifactFile(
            time=time,
            lane=data.name,
            artifact=artifact,
            children=tuple(child.name for child in CATALOGUE if name in child.parents),
            page=href(artifact_page(name)),
            torch=newest.record.torch if newest else "",
            forms=forms.get(name, ()),
            history=tuple(_step(pair, found[name]) for pair, found in steps if name in found),
        )
        yield _file(artifact_file(data.name, name), document)


def _step(pair: Compared, rows: Sequence[Comparison]) -> Step:
    counts = tally(rows)
    return Step(
        a=pair.a,
        b=pair.b,
        verdict=counts.worst,
        counts=totals(counts),
        rows=tuple(row for row in rows if row.verdict is not Verdict.IDENTICAL),
        page=pair.page,
        api=pair.api,
    )


def _pulls(snapshot: Snapshot) -> Iterator[Asset]:
    for check in snapshot.checks:
        page = href(pull_page(check.number, check.sha))
        document = PullFile(time=_iso(moment(check.started)), page=page, check=check)
        yield _file(pull_file(check.number, check.sha), document)
