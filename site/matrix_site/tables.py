"""The tables of a pair: every comparison has its place in a line, and what changed its figures."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from matrix_capture.catalogue import BY_NAME
from matrix_compare.schema import Verdict, in_layers
from matrix_site.comparison import Comparison, Comparisons
from matrix_site.page import artifact_page, href
from matrix_site.summary import CHANGED, Tally, tally
from matrix_site.text import clean, number, percent

NONE = "\N{EN DASH}"
UNSIZED = "only digests are kept, so nobody knows how far it moves"
"""What a line says instead of figures."""

_EQUATED = CHANGED | {Verdict.UNSTABLE, Verdict.IDENTICAL}
_KINDS = {
    "final": (
        "Final artifacts",
        "what is left at the end: the finished index on disk, the rankings, the trained weights",
    ),
    "intermediate": ("Intermediate artifacts", "tensors on the way to the index"),
    "probe": (
        "Probes",
        "what torch does without ColBERT around it: a few fixed lines, and how it lays out a file",
    ),
    "": ("Other artifacts", "not in the catalogue of this release of the site"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """How far a tensor moves; distances only of floats, for those of numbers of things mean none.

    `passes` says of each tolerance profile whether all elements are within it.
    """

    passes: tuple[str, ...]
    largest: str
    mean: str
    rtol: str
    ulps: str
    share: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of a table: a comparison, or several that say the same, at several `places`.

    `layers` are those of the encoder that all places lie in. `href` is of the artifact's page.
    Without `figures` there is nothing to measure, or nobody knows.
    """

    artifact: str
    href: str
    anchor: str
    places: tuple[str, ...]
    layers: str
    dtype: str
    equal: str
    verdict: Verdict
    unsized: bool
    role: str
    figures: Figures | None
    notes: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """The comparisons of one kind; the counts add up to `counts.total`."""

    title: str
    caption: str
    counts: Tally
    lines: tuple[Line, ...]

    @property
    def measured(self) -> bool:
        """Has any line figures?"""
        return any(line.figures for line in self.lines)

    @property
    def mixed(self) -> bool:
        """Did some change and others not?"""
        return 0 < self.counts.of(Verdict.IDENTICAL) < self.counts.total


@cache
def tables(comparisons: Comparisons, profiles: tuple[str, ...], root: str) -> tuple[Table, ...]:
    """A table for each kind; `root` leads from their page to that of the site.

    Pairs that compare alike share them.
    """
    kinds: dict[str, list[Comparison]] = {kind: [] for kind in _KINDS}
    for row in comparisons:
        # An unknown kind goes to the last table, so that the tables add up to all comparisons.
        kinds[row.kind if row.kind in kinds else ""].append(row)
    found = []
    anchored: set[str] = set()
    for kind, rows in kinds.items():
        if rows or kind:
            title, caption = _KINDS[kind]
            lines = tuple(_lines(rows, profiles, root, anchored))
            found.append(Table(title=title, caption=caption, counts=tally(rows), lines=lines))
    return tuple(found)


def measured(row: Comparison) -> bool:
    """Has it a distance that means something?

    Two passage numbers, codes or packed bytes are not near each other for being near as numbers,
    nor are elements that only swapped places: only floats have ULPs.
    """
    return (
        row.max_abs is not None and row.max_ulp is not None and row.verdict is not Verdict.REORDERED
    )


def _lines(
    rows: Sequence[Comparison], profiles: tuple[str, ...], root: str, anchored: set[str]
) -> Iterable[Line]:
    for alike in _folded(rows):
        name = alike[0].artifact
        # Verdicts may call one artifact by two kinds; an anchor is on a page once.
        yield _line(tuple(alike), profiles, root, first=name in BY_NAME and name not in anchored)
        anchored.add(name)


@cache
def _line(
    alike: tuple[Comparison, ...], profiles: tuple[str, ...], root: str, *, first: bool
) -> Line:
    """One line; lines of other pairs that say the same are the same object."""
    row = alike[0]
    known = BY_NAME.get(row.artifact)
    counted = row.verdict in CHANGED | {Verdict.UNSTABLE} and not row.unsized
    return Line(
        artifact=row.artifact,
        href=root + href(artifact_page(row.artifact)) if known else "",
        anchor=f"a-{row.artifact}" if first else "",
        places=tuple(_places(alike)),
        layers=_layers(alike),
        dtype=row.dtype or NONE,
        equal=_equal(row) if len({_equal(other) for other in alike}) == 1 else "in part",
        verdict=row.verdict,
        unsized=row.unsized,
        role=row.role,
        figures=_figures(row, profiles) if counted else None,
        notes="; ".join(filter(None, (_meaning(row), *_notes(row)))),
    )


def _folded(rows: Sequence[Comparison]) -> Iterable[list[Comparison]]:
    """Parts and scopes of one artifact that have the same to say, the same figures included."""
    groups: dict[tuple[object, ...], list[Comparison]] = {}
    for row in rows:
        groups.setdefault(_told(row), []).append(row)
    return groups.values()


@cache
def _told(row: Comparison) -> tuple[object, ...]:
    """What a line says of a comparison, but for its place.

    Where nobody knows how far they differ, how many of their occurrences do sets none apart.
    """
    told = row.artifact, row.verdict, row.reason, row.role, row.dtype
    if row.unsized:
        return told
    figures = row.max_abs, row.mean_abs, row.rtol_needed, row.p99_ulp, row.max_ulp
    shares = row.equal_fraction, row.violations, row.profiles
    return *told, _equal(row), *_notes(row), *figures, *shares


def _places(alike: Sequence[Comparison]) -> Iterable[str]:
    """Where the comparisons of a line are, and how many of each are equal if that is not one."""
    uneven = len({_equal(row) for row in alike}) > 1
    for row in alike:
        place = clean(", ".join(name for name in (row.part, row.scope) if name), 120)
        if place:
            yield f"{place}: {_equal(row)} equal" if uneven else place


def _layers(alike: Sequence[Comparison]) -> str:
    """`layer 3`, `layers 0-2`; empty unless all of them lie in a layer."""
    found = [row.layer for row in alike]
    known = [layer for layer in found if layer is not None]
    return "" if len(known) < len(found) else in_layers(known)


def _meaning(row: Comparison) -> str:
    """What it is; of what did not change its own page tells that."""
    known = BY_NAME.get(row.artifact)
    if known is None:
        return "not in the catalogue"
    return "" if row.verdict is Verdict.IDENTICAL else known.meaning


def _equal(row: Comparison) -> str:
    if row.verdict not in _EQUATED:
        return NONE
    if row.identical == row.occurrences:
        return "yes"
    return f"{row.identical:,} of {row.occurrences:,}" if row.identical else "no"


def _figures(row: Comparison, profiles: tuple[str, ...]) -> Figures:
    far = measured(row)
    # Of several occurrences it is the largest percentile.
    p99 = "" if row.p99_ulp is None else f"{number(row.p99_ulp)} / "
    return Figures(
        passes=tuple(_passes(row, place, name) for place, name in enumerate(profiles)),
        largest=number(row.max_abs) if far else NONE,
        mean=number(row.mean_abs) if far else NONE,
        rtol=number(row.rtol_needed) if far else NONE,
        ulps=f"{p99}{number(row.max_ulp)}" if far else NONE,
        share=NONE if row.equal_fraction is None else percent(row.equal_fraction),
    )


def _passes(row: Comparison, place: int, profile: str) -> str:
    """Is it within a profile, and if not, how many elements are outside?"""
    if row.verdict is Verdict.UNSTABLE:
        return NONE
    if profile in row.profiles:
        return "yes"
    outside = row.violations[place] if place < len(row.violations) else 0
    return f"no ({outside:,})" if outside else "no"


def _notes(row: Comparison) -> Iterable[str]:
    """The reason of a verdict, and where the difference is."""
    if row.unsized:
        yield UNSIZED
        return
    if row.reason:
        yield clean(row.reason, 200)
    if row.verdict not in CHANGED | {Verdict.UNSTABLE}:
        return
    if row.occurrences > 1 and row.differing_occurrences:
        yield f"in {len(row.differing_occurrences):,} of {row.occurrences:,} occurrences"
    if row.largest_at and measured(row):
        yield f"largest at {clean(row.largest_at, 200)}"
