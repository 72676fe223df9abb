"""The page of a pair of releases: its answers first, then what they rest on."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from matrix_capture.settings import Settings
from matrix_compare.change import Crossing
from matrix_compare.known import read_known
from matrix_site.advice import AdviceView, advice_view
from matrix_site.answers import Answers, judged
from matrix_site.api import pair_file
from matrix_site.comparison import Pair
from matrix_site.controls import Unstable, controls, unstable
from matrix_site.copies import data_path
from matrix_site.distances import Picture, by_layer, ulps
from matrix_site.environment import environment_digest
from matrix_site.explanation import ExplanationView, explanation_view
from matrix_site.lane import stale
from matrix_site.overview import align
from matrix_site.page import FEED, KNOWN, Page, environment_page, href, pair_page
from matrix_site.pipeline import pipeline
from matrix_site.places import Places, places
from matrix_site.reproduce import Command, command, injected, reproduction
from matrix_site.sides import (
    Fact,
    Facts,
    Records,
    captures,
    environment,
    failures,
    missing,
    moved,
    provenance,
)
from matrix_site.snapshot import LaneData, Snapshot
from matrix_site.statement import Sources
from matrix_site.summary import Tally, headline, summarise
from matrix_site.tables import Table, tables
from matrix_site.text import joined


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """Another page, or a file."""

    name: str
    href: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PairView:
    """Everything on the page of one pair.

    `advice` is about going from a to b, `back` about the other way; without, `shifted` names the
    indexes that must not be mapped. `explain` is the command that
    explains the pair, or explains it again; empty where nothing in the pipeline changes.
    """

    lane: str
    title: str
    quick: bool
    stale: str
    a: str
    b: str
    failures: tuple[str, ...]
    answers: Answers
    shifted: str
    advice: AdviceView | None
    back: AdviceView | None
    why: ExplanationView | None
    explain: str
    headline: str
    counts: Tally
    moved: str
    neighbours: tuple[Link, ...]
    by_layer: Picture | None
    ulps: Picture | None
    places: Places
    profiles: tuple[str, ...]
    tables: tuple[Table, ...]
    pipeline: Markup | None
    captures: tuple[Fact, ...]
    environment: tuple[Facts, ...]
    same: str
    environments: tuple[Link, ...]
    controls: tuple[str, ...]
    unstable: tuple[Unstable, ...]
    missing: tuple[Fact, ...]
    commands: tuple[Command, ...]
    files: tuple[Link, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """What the pages of a lane have in common; `root` leads from each of them to the site's.

    `environments` and `known` are URLs as seen from them, `verdicts` and `digests` paths of files.
    """

    settings: Settings
    profiles: tuple[str, ...]
    lane: LaneData
    root: str
    environments: Mapping[str, str]
    known: Mapping[str, str]
    neighbours: Mapping[Pair, tuple[Pair | None, Pair | None]]
    verdicts: str
    digests: Mapping[str, str]
    provenance: Mapping[str, Mapping[str, str]]
    searched: Mapping[Pair, Crossing]
    stale: str


def pair_pages(snapshot: Snapshot) -> Iterable[Page]:
    """A page for every pair of the lanes that are compared."""
    for lane in snapshot.lanes:
        if not lane.settings.constraints:
            continue
        around = surroundings(snapshot, lane)
        for pair in lane.pairs:
            view = pair_view(around, pair)
            yield Page(
                path=pair_page(snapshot.settings, lane.name, pair),
                template="pair.html",
                title=f"torch {pair[0]}...{pair[1]}",
                description=_described(view),
                view={"pair": view},
                listed=not lane.quick,
            )


def surroundings(snapshot: Snapshot, lane: LaneData) -> Surroundings:
    """What the pages of a lane have in common."""
    settings = snapshot.settings
    root = "../" * pair_page(settings, lane.name, ("", "")).count("/")
    environments = {
        release: root + href(environment_page(environment_digest(captured.record)))
        for release, captured in lane.captures.items()
    }
    return Surroundings(
        settings=settings,
        profiles=tuple(settings.profiles),
        lane=lane,
        root=root,
        environments=environments,
        known={known.id: f"{root}{href(KNOWN)}#{known.id}" for known in read_known()},
        neighbours=_neighbours(lane),
        verdicts=data_path(lane),
        digests={release: data_path(lane, release) for release in lane.captures},
        provenance={name: provenance(held.record) for name, held in lane.captures.items()},
        searched={(one.index, one.search): one for one in lane.crossings if not one.mmap},
        stale=stale(lane, snapshot.today, settings.site.stale_after_days),
    )


def pair_view(around: Surroundings, pair: Pair) -> PairView:
    """Lay out the page of one pair."""
    lane, root = around.lane, around.root
    rows = lane.pairs[pair]
    summary = summarise(rows)
    a, b = (lane.captures.get(release) for release in pair)
    records = (a.record if a else None, b.record if b else None)
    differing = environment(records)
    explanation = lane.explanations.get(pair)
    builds = (
        records[0].torch_build if records[0] else "",
        records[1].torch_build if records[1] else "",
    )
    advice, back = (_advice(around, pair, way) for way in (pair, pair[::-1]))
    explains = (explanation or summary.starts) and not injected(records)
    return PairView(
        lane=lane.name,
        title=lane.settings.title,
        quick=lane.quick,
        stale=around.stale,
        a=pair[0],
        b=pair[1],
        failures=failures(lane, pair),
        answers=advice.answers if advice else _judged(around, pair, records),
        shifted="" if advice else _shifted(lane, pair),
        advice=advice,
        back=back,
        why=explanation_view(explanation, builds) if explanation else None,
        explain=command("explain", lane, pair, records) if explains else "",
        headline=headline(lane, pair, summary),
        counts=summary.tally,
        moved=moved(differing),
        neighbours=tuple(_around(around, pair)),
        by_layer=by_layer(rows),
        ulps=ulps(rows),
        places=places(rows),
        profiles=around.profiles,
        tables=tables(rows, around.profiles, root),
        pipeline=pipeline(rows, root),
        captures=captures(*(around.provenance.get(release, {}) for release in pair)),
        environment=differing,
        same=joined(tuple(facts.title.lower() for facts in differing if not facts.differing), 5),
        environments=tuple(
            Link(name=f"torch {release}", href=around.environments[release])
            for release in pair
            if release in around.environments
        ),
        controls=controls(pair, records, summary.tally),
        unstable=tuple(unstable(pair, records)),
        missing=missing(records),
        commands=reproduction(lane, pair, records),
        files=tuple(_files(around, pair)),
    )


def _judged(around: Surroundings, pair: Pair, records: Records) -> Answers:
    """What can be said without an advice, and how to come by one."""
    lane = around.lane
    searched = around.searched.get(pair)
    session = "advise" if searched else "matrix"
    return judged(lane, pair, command(session, lane, pair, records), searched)


def _shifted(lane: LaneData, pair: Pair) -> str:
    """The releases of a pair whose index is read shifted once it is mapped."""
    held = lane.captures
    return " or ".join(name for name in pair if name in held and held[name].shifted)


def _described(view: PairView) -> str:
    """The verdict in words, for who links to the page."""
    advised = f"{view.advice.headline}. " if view.advice else ""
    return f"{advised}{view.headline}".replace("`", "")


def _advice(around: Surroundings, pair: Pair, way: Pair) -> AdviceView | None:
    """The advice on going one way between the two."""
    lane = around.lane
    advice = lane.advices.get(way)
    if advice is None:
        return None
    anchors = {"environment", *(f"a-{row.artifact}" for row in lane.pairs[pair])}
    anchors |= {"why"} if pair in lane.explanations else set()
    anchors |= {"mapping"} if advice.reproduction else set()
    sources = Sources(
        environments=around.environments,
        known=around.known,
        rankings=around.root + href(pair_file(lane.name, pair)),
        anchors=anchors,
    )
    explained = pair in lane.explanations
    return advice_view(advice, sources, explained=explained)


def _around(around: Surroundings, pair: Pair) -> Iterable[Link]:
    """The consecutive pairs before and after this one."""
    older, newer = around.neighbours.get(pair, (None, None))
    for other, name in ((older, "← {}...{}"), (newer, "{}...{} →")):
        if other:
            path = pair_page(around.settings, around.lane.name, other)
            yield Link(name=name.format(*other), href=around.root + href(path))


def _files(around: Surroundings, pair: Pair) -> Iterable[Link]:
    """The data of the page."""
    paths = {
        "this page as JSON": pair_file(around.lane.name, pair),
        "verdicts of the lane (Parquet)": around.verdicts,
    }
    for release in pair:
        paths[f"digests of torch {release} (Parquet)"] = around.digests.get(release, "")
    for name, path in paths.items():
        if path:
            yield Link(name=name, href=around.root + href(path))
    yield Link(name="what changes next (Atom)", href=around.root + FEED)


def _neighbours(lane: LaneData) -> dict[Pair, tuple[Pair | None, Pair | None]]:
    """For each consecutive pair the one before and the one after it."""
    consecutive = [pair for pair in pairwise(align(lane)) if pair in lane.pairs]
    around = [None, *consecutive, None]
    return {pair: (around[place], around[place + 2]) for place, pair in enumerate(consecutive)}
