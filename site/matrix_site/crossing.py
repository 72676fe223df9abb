"""The view of which index may be searched with which release, and of how its files are laid out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup

from matrix_compare.advice import MMAP_REPRODUCTION
from matrix_compare.change import Crossing, Outcome
from matrix_compare.schema import Verdict
from matrix_site.snapshot import LaneData
from matrix_site.text import clean, joined, plural, script

_STYLES: dict[Outcome, tuple[str, str]] = {
    "identical": ("=", "identical"),
    "same order": ("=", "reordered"),
    "same top 10": ("≈", "close"),
    "changed": ("≠", "differs"),
    "failed": ("!", "failed"),
    "unknown": (Verdict.NOT_RUN.glyph, "not_run"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What came of one search: a glyph with its style, a number beside it, and all in words."""

    glyph: str
    style: str
    count: str
    words: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """An index and a release: what it finds in the index once loaded, and once mapped."""

    loaded: Finding | None
    mapped: Finding | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """The index of one release, the byte at which the data of its files begin, and who read it."""

    index: str
    offset: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Indexes:
    """What there is to say of the finished indexes of a lane.

    `layouts` says where their data begin; `wrong` are the releases whose index is read shifted once
    it is mapped, `right` the others.
    """

    layouts: str
    wrong: str
    right: str
    reproduction: Markup
    searchers: tuple[str, ...]
    rows: tuple[Row, ...]
    queries: int

    @property
    def shifted(self) -> bool:
        """Is there an index that is read shifted?"""
        return bool(self.wrong)


def indexes(lane: LaneData) -> Indexes:
    """Lay out the indexes of a lane; empty where no capture says how its files are laid out."""
    offsets = {
        release: max(lane.captures[release].offsets)
        for release in lane.releases
        if release in lane.captures and lane.captures[release].offsets
    }
    found = {(c.index, c.search, c.mmap): c for c in lane.crossings}
    searchers = tuple(r for r in lane.releases if any(r == search for _, search, _ in found))
    built = [r for r in reversed(lane.releases) if any(r == index for index, _, _ in found)]
    return Indexes(
        layouts=_layouts(offsets, lane.releases),
        wrong=_named([name for name in offsets if lane.captures[name].shifted]),
        right=_named([name for name in offsets if not lane.captures[name].shifted]),
        reproduction=script(MMAP_REPRODUCTION, 4000),
        searchers=searchers,
        rows=tuple(
            Row(
                index=release,
                offset=str(offsets.get(release, "")),
                cells=tuple(
                    Cell(
                        loaded=_finding(found.get((release, search, False))),
                        mapped=_finding(found.get((release, search, True))),
                    )
                    for search in searchers
                ),
            )
            for release in built
        ),
        queries=max((crossing.queries for crossing in lane.crossings), default=0),
    )


def told(crossing: Crossing) -> str:
    """What came of a search, against what the release that built the index finds in it."""
    queries = plural(crossing.queries, "query", "queries")
    return {
        "identical": f"the same results and scores for all {queries}",
        "same order": f"the same results with other scores for all {queries}",
        "same top 10": f"other results below rank 10 only, for {crossing.changed} of {queries}",
        "changed": f"other first 10 results for {crossing.changed_top} of {queries}",
        "failed": clean(crossing.error, 200),
        "unknown": "nothing to hold it against",
    }[crossing.outcome]


def _layouts(offsets: dict[str, int], releases: Sequence[str]) -> str:
    """`320 from 1.13.1 to 2.0.1, 448 in 2.1.0`: of releases without a capture nothing is said."""
    return joined(tuple(_runs(offsets, releases)), most=len(releases))


def _named(names: Sequence[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def _runs(offsets: dict[str, int], releases: Sequence[str]) -> Iterable[str]:
    for offset, run in groupby(releases, key=offsets.get):
        names = list(run)
        where = f"from {names[0]} to {names[-1]}" if len(names) > 1 else f"in {names[0]}"
        if offset is not None:
            yield f"{offset} {where}"


def _finding(crossing: Crossing | None) -> Finding | None:
    if crossing is None:
        return None
    glyph, style = _STYLES[crossing.outcome]
    return Finding(
        glyph=glyph,
        style=style,
        count=f"{crossing.changed_top}" if crossing.outcome == "changed" else "",
        words=_words(crossing),
    )


def _words(crossing: Crossing) -> str:
    way = "mapped" if crossing.mmap else "loaded"
    who = f"index of {crossing.index}, {way}, searched with {crossing.search}"
    return f"{who}: {told(crossing)}"
