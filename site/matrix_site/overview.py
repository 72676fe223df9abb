"""The view of one lane on the first page: bands, boundaries, and the matrix."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, groupby, pairwise

from markupsafe import Markup

from matrix_capture.catalogue import BY_NAME, CATALOGUE, DEPTHS, expected
from matrix_compare.change import Outcome
from matrix_compare.schema import Verdict
from matrix_site.comparison import NOTHING, Comparison, Comparisons, Pair
from matrix_site.heatmap import Kind, triangle
from matrix_site.lane import facts, quick
from matrix_site.page import href, release_page
from matrix_site.snapshot import LaneData
from matrix_site.summary import Tally, finals, start, stop, summarise, tally, unable, word
from matrix_site.text import joined, plural

OTHER = "other"
"""One column for every artifact that the catalogue does not know."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One artifact of one pair: the worst verdict over all its parts and scopes."""

    counts: Tally
    label: str
    origin: bool

    @property
    def quiet(self) -> bool:
        """Is there nothing to see?"""
        return self.counts.worst is Verdict.IDENTICAL and not self.origin


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line of the matrix: a pair with its cells, or, without cells, a remark on a release."""

    name: str
    href: str
    verdict: Verdict
    remark: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One artifact of the matrix."""

    name: str
    final: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """A heading over the columns of one stage."""

    name: str
    span: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Band:
    """A maximal run of consecutive releases whose artifacts are all identical.

    `skipped` are releases of the matrix within the run that have nothing to compare.
    """

    releases: tuple[str, ...]
    skipped: tuple[str, ...]

    @property
    def first(self) -> str:
        """The oldest release."""
        return self.releases[0]

    @property
    def last(self) -> str:
        """The newest release."""
        return self.releases[-1]

    @property
    def count(self) -> int:
        """How many releases it has."""
        return len(self.releases)


@dataclass(frozen=True, kw_only=True, slots=True)
class Boundary:
    """Between two bands: a consecutive pair that is not identical.

    `outcome` is what becomes of the finished index, `gap` how many releases between the two are not
    on record.
    `explained` says whether its page tells why, `advice` what it comes to, if that was asked.
    """

    name: str
    href: str
    counts: Tally
    outcome: Kind
    gap: str
    start: str
    finals: str
    explained: bool
    advice: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Overview:
    """A lane on the first page; whatever has an order has the newest first.

    `layered` says whether the columns show the parts of layers. `captured`, `failed` and `unable`
    add up to the releases with a digest file; `identical`, `alike` (in the finished index only),
    `changed` and `uncompared` to the consecutive pairs. `searched` is what came of searches across
    those that change the index, `runs` says with which releases every stage runs. `releases` are
    those with something to compare, oldest first; of their pairs the `lacking` were not compared,
    the others are in `pairs`, whose pages lie below `base`, and drawn in `heat`.
    """

    name: str
    title: str
    facts: tuple[str, ...]
    quick: str
    captured: int
    failed: int
    unable: int
    identical: int
    alike: int
    changed: int
    uncompared: int
    searched: tuple[Outcome, ...]
    runs: str
    ladder: tuple[Band | Boundary, ...]
    stages: tuple[Stage, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    layered: bool
    releases: tuple[str, ...]
    lacking: tuple[str, ...]
    pairs: Mapping[Pair, Tally]
    heat: Markup
    base: str
    stale: str


def overview(lane: LaneData, hrefs: Mapping[Pair, str], base: str, stale: str) -> Overview:
    """Lay out a lane; `hrefs` are the pair pages as seen from the first page."""
    aligned = align(lane)
    consecutive = list(pairwise(aligned))
    outcomes = [_outcome(lane.pairs.get(pair, NOTHING)) for pair in consecutive]
    changed = {
        pair
        for pair, outcome in zip(consecutive, outcomes, strict=True)
        if pair in lane.pairs and outcome not in {_SAME, _SAME_INDEX}
    }
    columns = _columns(lane)
    stopped = sum(bool(stop(lane, release)) for release in lane.captures)
    idle = sum(bool(unable(lane, release)) for release in lane.captures)
    pairs = {pair: summarise(rows).tally for pair, rows in lane.pairs.items()}
    return Overview(
        name=lane.name,
        title=lane.settings.title,
        facts=facts(lane),
        quick=quick(lane),
        captured=len(lane.captures) - stopped,
        failed=stopped - idle + len(lane.broken),
        unable=idle,
        identical=outcomes.count(_SAME),
        alike=outcomes.count(_SAME_INDEX),
        changed=len(changed),
        uncompared=sum(pair not in lane.pairs for pair in consecutive),
        searched=tuple(
            one.outcome
            for one in lane.crossings
            if (one.index, one.search) in changed and not one.mmap
        ),
        runs=_runs(lane),
        ladder=_ladder(lane, aligned, hrefs),
        stages=tuple(
            Stage(name=name, span=len(list(group)))
            for name, group in groupby(_stage(column) for column in columns)
        ),
        columns=columns,
        rows=tuple(_rows(lane, aligned, columns, hrefs)),
        layered=any(BY_NAME[c.name].depth == "sublayers" for c in columns if c.name in BY_NAME),
        releases=tuple(aligned),
        lacking=tuple(
            "...".join(pair) for pair in combinations(aligned, 2) if pair not in lane.pairs
        ),
        pairs=pairs,
        heat=_heat(lane, aligned),
        base=base,
        stale=stale,
    )


def align(lane: LaneData) -> list[str]:
    """The releases that have something to compare, oldest first.

    A capture that failed before its first tensor is no link of the chain: its neighbours are
    compared with each other.
    """
    known = {Verdict.FAILED, Verdict.NOT_RUN}
    telling = {
        rows for rows in set(lane.pairs.values()) if any(row.verdict not in known for row in rows)
    }
    compared = {release for pair, rows in lane.pairs.items() if rows in telling for release in pair}
    return [
        release
        for release in lane.releases
        if release in compared or (release in lane.captures and lane.captures[release].dtypes)
    ]


def bands(lane: LaneData) -> tuple[Band, ...]:
    """The bands of a lane, the newest first."""
    steps = _ladder(lane, align(lane), {})
    return tuple(step for step in steps if isinstance(step, Band))


def advised(lane: LaneData, way: Pair) -> str:
    """What going from one release to another comes to, in a line; empty where nobody asked."""
    advice = lane.advices.get(way)
    return advice.headline.partition(": ")[2] if advice else ""


def _runs(lane: LaneData) -> str:
    """`1.13.1 to 2.8.0 (4 releases) and 2.15.0`: of what was tried, what runs to the end."""
    tried = [release for release in lane.releases if release in lane.captures]
    runs = []
    for whole, run in groupby(tried, key=lambda name: lane.captures[name].whole):
        names = list(run)
        if whole:
            many = f"{names[0]} to {names[-1]} ({len(names)} releases)"
            runs.append(many if len(names) > 1 else names[0])
    return joined(tuple(runs), len(runs))


def _heat(lane: LaneData, aligned: Sequence[str]) -> Markup:
    """What becomes of the finished index between any two releases, as a picture."""
    return triangle(
        f"pairs-{lane.name}".replace("+", "-"),
        f"The finished index between any two releases of {lane.name}",
        "A square for each pair of releases, with what becomes of the finished index.",
        aligned,
        {pair: _outcome(rows) for pair, rows in lane.pairs.items()},
        href=lambda release: href(release_page(release)),
    )


_SAME: Kind = ("identical", Verdict.IDENTICAL.glyph, "everything identical")
_SAME_INDEX: Kind = ("reordered", "=", "same index, other tensors")


@cache
def _outcome(rows: Comparisons) -> Kind:
    """What becomes of the finished index; beyond that, is everything else identical too?"""
    summary = summarise(rows)
    if summary.tally.worst is Verdict.IDENTICAL:
        return _SAME
    worst = summary.finals.worst
    if worst is Verdict.IDENTICAL:
        return _SAME_INDEX
    return worst.value, worst.glyph, f"index {word(worst)}"


def _columns(lane: LaneData) -> tuple[Column, ...]:
    """What a whole run on this device at this depth shows, and whatever else was compared."""
    depths = {captured.record.options.get("depth") for captured in lane.captures.values()}
    depth = next((depth for depth in reversed(DEPTHS) if depth in depths), DEPTHS[0])
    shown = {artifact.name for artifact in expected(lane.settings.device, depth)}
    shown |= (compared := {row.artifact for rows in set(lane.pairs.values()) for row in rows})
    columns = [
        Column(name=artifact.name, final=artifact.kind == "final")
        for artifact in CATALOGUE
        if artifact.name in shown
    ]
    if compared - set(BY_NAME):
        columns.append(Column(name=OTHER, final=False))
    return tuple(columns)


def _stage(column: Column) -> str:
    return BY_NAME[column.name].stage if column.name in BY_NAME else OTHER


def _rows(
    lane: LaneData,
    aligned: list[str],
    columns: tuple[Column, ...],
    hrefs: Mapping[Pair, str],
) -> Iterable[Row]:
    """Each pair below the remarks on the releases between its two and on its newer one."""
    older = dict(zip(aligned[1:], aligned, strict=False))
    for release in reversed(lane.releases):
        remark = stop(lane, release)
        if remark:
            verdict = Verdict.NOT_RUN if unable(lane, release) else Verdict.FAILED
            yield Row(name=release, href="", verdict=verdict, remark=remark, cells=())
        if release in older:
            yield _row(lane, (older[release], release), columns, hrefs)


def _row(lane: LaneData, pair: Pair, columns: tuple[Column, ...], hrefs: Mapping[Pair, str]) -> Row:
    rows = lane.pairs.get(pair)
    if rows is None:
        remark = "not compared; nox -s compare does it"
        return Row(name="...".join(pair), href="", verdict=Verdict.NOT_RUN, remark=remark, cells=())
    by_column: dict[str, list[Comparison]] = {column.name: [] for column in columns}
    for row in rows:
        by_column[row.artifact if row.artifact in BY_NAME else OTHER].append(row)
    summary = summarise(rows)
    return Row(
        name="...".join(pair),
        href=hrefs[pair],
        verdict=summary.tally.worst,
        remark="" if summary.tally.worst is Verdict.IDENTICAL else start(summary),
        cells=tuple(_cell(name, found) for name, found in by_column.items()),
    )


def _cell(name: str, comparisons: list[Comparison]) -> Cell:
    counts = tally(comparisons)
    origin = any(comparison.role == "origin" for comparison in comparisons)
    label = f"{name}: {counts.words}{', origin' if origin else ''}"
    return Cell(counts=counts, label=label, origin=origin)


def _ladder(
    lane: LaneData, aligned: list[str], hrefs: Mapping[Pair, str]
) -> tuple[Band | Boundary, ...]:
    steps: list[Band | Boundary] = []
    run: list[str] = []
    for release in aligned:
        if run:
            pair = run[-1], release
            summary = summarise(lane.pairs.get(pair, NOTHING))
            if summary.tally.worst is not Verdict.IDENTICAL:
                boundary = Boundary(
                    name="...".join(pair),
                    href=hrefs.get(pair, ""),
                    counts=summary.tally,
                    outcome=_outcome(lane.pairs.get(pair, NOTHING)),
                    gap=_gap(pair, lane.releases),
                    start=start(summary),
                    finals=finals(summary) if summary.tally.total else "",
                    explained=pair in lane.explanations,
                    advice=advised(lane, pair),
                )
                steps += [_band(run, lane.releases), boundary]
                run = []
        run.append(release)
    return tuple(reversed([*steps, _band(run, lane.releases)])) if run else ()


def _gap(pair: Pair, releases: tuple[str, ...]) -> str:
    between = releases.index(pair[1]) - releases.index(pair[0]) - 1
    return plural(between, "release") if between else ""


def _band(run: list[str], releases: tuple[str, ...]) -> Band:
    within = releases[releases.index(run[0]) : releases.index(run[-1])]
    return Band(
        releases=tuple(run),
        skipped=tuple(release for release in within if release not in run),
    )
