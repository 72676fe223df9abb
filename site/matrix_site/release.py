"""The page of a torch release: how far it ran in each lane, and from here to any other release."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from matrix_capture.names import is_build
from matrix_capture.schema import STAGES, Record
from matrix_compare.known import Known, read_known
from matrix_compare.layout import HEADER_BYTES
from matrix_compare.schema import Verdict
from matrix_site.environment import environment_digest
from matrix_site.incompatibilities import Cure, cure_of
from matrix_site.lane import facts, quick
from matrix_site.outcomes import Step
from matrix_site.overview import Band, advised, bands
from matrix_site.page import (
    KNOWN,
    Page,
    environment_page,
    href,
    outcomes_page,
    pair_page,
    release_page,
)
from matrix_site.reproduce import command
from matrix_site.snapshot import LaneData, Snapshot
from matrix_site.summary import Summary, Tally, start, stop, summarise
from matrix_site.text import day, duration, joined, moment


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """How far a stage came and how long it took; `share` is its percentage of the longest."""

    step: Step
    seconds: str
    share: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """Another release: what changes, and advice on going there and on coming from there."""

    release: str
    newer: bool
    href: str
    counts: Tally
    what: str
    there: str
    back: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A release in one lane.

    `told` says what became of it and `cure` what is known of its failure. `layout` is about mapping
    its index, which is `shifted` where other numbers are read then. `brought` are the versions of
    libraries that torch brought along. `alone` are other releases without a comparison with this
    one, each with the URL of its page. `outcomes` is the page of a lane that pins nothing,
    `command` captures the release.
    """

    name: str
    title: str
    facts: tuple[str, ...]
    quick: str
    captured: bool
    failed: bool
    told: str
    when: str
    cure: Cure | None
    stages: tuple[Stage, ...]
    band: Band | None
    environment: str
    brought: tuple[tuple[str, str], ...]
    layout: str
    shifted: bool
    substituted: tuple[tuple[str, str], ...]
    missing: tuple[tuple[str, str], ...]
    note: str
    ways: tuple[Way, ...]
    advised: bool
    alone: tuple[tuple[str, str], ...]
    outcomes: str
    command: str


def release_pages(snapshot: Snapshot) -> Iterable[Page]:
    """A page for every release of the matrix, captured or not, and for every build shown."""
    known = read_known()
    shown = [lane for lane in snapshot.lanes if not lane.empty]
    banded = {lane.name: _banded(lane) for lane in shown}
    releases = snapshot.releases
    around = [None, *releases, None]
    every = tuple((name, href(release_page(name))) for name in reversed(releases))
    for place, release in enumerate(releases):
        sections = tuple(
            _section(snapshot, lane, release, banded[lane.name].get(release), known)
            for lane in shown
            if release in lane.releases
        )
        yield Page(
            path=release_page(release),
            template="release.html",
            title=f"torch {release}",
            description=_description(release, sections),
            view={
                "release": release,
                "sections": sections,
                "older": _link(around[place]),
                "newer": _link(around[place + 2]),
                "releases": every,
                "known": href(KNOWN),
                "not_run": Verdict.NOT_RUN,
            },
            listed=not shown or not all(lane.quick for lane in shown),
        )


def _banded(lane: LaneData) -> Mapping[str, Band]:
    """The band that each release belongs to."""
    if not lane.settings.constraints:
        return {}
    return {release: band for band in bands(lane) for release in band.releases}


def _link(release: str | None) -> tuple[str, str] | tuple[()]:
    return (release, href(release_page(release))) if release else ()


def _description(release: str, sections: Sequence[Section]) -> str:
    told = [f"{section.name}: {_state(section)}" for section in sections]
    return f"torch {release} with colbert-ai. {'; '.join(told) or 'Not captured'}."


def _state(section: Section) -> str:
    if not section.captured:
        return "not captured"
    return section.told.partition(":")[0]


def _section(
    snapshot: Snapshot, lane: LaneData, release: str, band: Band | None, known: Sequence[Known]
) -> Section:
    captured = lane.captures.get(release)
    record = captured.record if captured else None
    ways = tuple(_ways(snapshot, lane, release)) if lane.settings.constraints else ()
    compared = {way.release for way in ways}
    time = moment(record.started) if record else None
    return Section(
        name=lane.name,
        title=lane.settings.title,
        facts=facts(lane),
        quick=quick(lane),
        captured=captured is not None or release in lane.broken,
        failed=release in lane.broken or bool(record and record.failed_stage()),
        told=stop(lane, release) or (_end(record) if record else ""),
        when=day(time) if time else "",
        cure=cure_of(record, known) if record else None,
        stages=tuple(_stages(record)) if record else (),
        band=band,
        environment=href(environment_page(environment_digest(record))) if record else "",
        brought=tuple(_brought(record)) if record else (),
        layout=_layout(lane, captured.offsets) if captured else "",
        shifted=captured is not None and _shifted(lane, captured.offsets),
        substituted=tuple(sorted(record.substituted.items())) if record else (),
        missing=tuple(sorted(record.missing.items())) if record else (),
        note=record.note if record else "",
        ways=ways,
        advised=any(way.there or way.back for way in ways),
        alone=tuple(
            (other, href(release_page(other)))
            for other in reversed(lane.releases)
            if lane.settings.constraints and other != release and other not in compared
        ),
        outcomes="" if lane.settings.constraints else href(outcomes_page(lane.name)),
        command=_again(lane, release),
    )


def _again(lane: LaneData, release: str) -> str:
    """What captures a release, or a build in the session for those."""
    session = "capture-nightly" if is_build(release) else f"capture-{release}"
    which = ("--build", release) if is_build(release) else ()
    return command(session, lane, which, (held.record for held in lane.captures.values()))


def _stages(record: Record) -> Iterable[Stage]:
    longest = max(record.seconds.values(), default=0)
    for stage in STAGES:
        seconds = record.seconds.get(stage)
        yield Stage(
            step=Step(stage=stage, state=record.state(stage)),
            seconds="" if seconds is None else duration(seconds),
            # Whoever made the record may have written any number, even none at all.
            share=round(100 * seconds / longest) if seconds and 0 < seconds <= longest else 0,
        )


def _end(record: Record) -> str:
    """What to say of a capture in which nothing failed."""
    left = tuple(stage for stage in STAGES if record.state(stage) != "ok")
    return f"did not fail; not run: {joined(left, len(left))}" if left else "runs to the end"


_BROUGHT = {
    "cuda": "CUDA",
    "cublas": "cuBLAS",
    "cudnn": "cuDNN",
    "mkl": "MKL",
    "onednn": "oneDNN",
    "compiler": "compiler",
}


def _brought(record: Record) -> Iterable[tuple[str, str]]:
    """The build of torch and its libraries: as loaded, else as its wheel requires them."""
    yield "torch build", record.torch_build
    for name, word in _BROUGHT.items():
        wheel = re.compile(rf"nvidia-{name}(-cu[0-9]+)?")
        required = (record.packages[one] for one in record.packages if wheel.fullmatch(one))
        version = record.host.get(name) or next(required, "")
        if version:
            yield word, str(version)


def _layout(lane: LaneData, offsets: Sequence[int]) -> str:
    """Whether an index may be mapped; empty where none was made."""
    if not offsets:
        return ""
    begin = f"the data of its index begin at byte {joined(tuple(map(str, offsets)), len(offsets))}"
    if _shifted(lane, offsets):
        return f"{begin}, but `load_index_with_mmap=True` takes them from byte {HEADER_BYTES} on"
    if lane.settings.device == "cuda":
        return f"{begin}; on a GPU colbert-ai refuses to map it"
    return f"{begin}, where `load_index_with_mmap=True` takes them from"


def _shifted(lane: LaneData, offsets: Sequence[int]) -> bool:
    """Does colbert-ai read other numbers once an index is mapped?"""
    return lane.settings.device == "cpu" and any(offset != HEADER_BYTES for offset in offsets)


def _ways(snapshot: Snapshot, lane: LaneData, release: str) -> Iterable[Way]:
    """Every release that this one was compared with, the newest first."""
    releases = lane.releases
    here = releases.index(release)
    for place in reversed(range(len(releases))):
        other = releases[place]
        pair = (release, other) if here < place else (other, release)
        if pair not in lane.pairs:
            continue
        summary = summarise(lane.pairs[pair])
        yield Way(
            release=other,
            newer=here < place,
            href=href(pair_page(snapshot.settings, lane.name, pair)),
            counts=summary.tally,
            what=_what(summary),
            there=advised(lane, (release, other)),
            back=advised(lane, (other, release)),
        )


def _what(summary: Summary) -> str:
    """Where a change starts, or why nobody knows; empty where there is none."""
    if summary.tally.worst is Verdict.IDENTICAL:
        return ""
    return start(summary) if summary.starts or summary.probes else summary.reason
