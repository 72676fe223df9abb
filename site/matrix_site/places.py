"""Where the artifacts that matter most differ: in which passage, token, centroid."""

from dataclasses import dataclass
from functools import cache

from matrix_capture.catalogue import BY_NAME
from matrix_capture.schema import run_stage
from matrix_compare.schema import spans
from matrix_site.comparison import Comparison, Comparisons
from matrix_site.summary import CHANGED
from matrix_site.tables import NONE, UNSIZED, measured
from matrix_site.text import clean, joined, percent, plural

_MOST = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where one artifact differs: how much of it, its first difference, and its largest.

    `anchor` is of its line among the artifacts.
    """

    artifact: str
    anchor: str
    passes: str
    role: str
    extent: str
    first: str
    largest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """The first of them, and how many there are besides."""

    shown: tuple[Place, ...]
    more: int


@cache
def places(comparisons: Comparisons) -> Places:
    """Where it starts, and what differs of the finished index; alike passes are told as one."""
    alike: dict[tuple[object, ...], list[Comparison]] = {}
    for row in comparisons:
        if row.verdict in CHANGED and _matters(row):
            told = row.artifact, row.role, _extent(row), row.first_at, row.largest_at
            alike.setdefault(told, []).append(row)
    found = list(alike.values())
    return Places(
        shown=tuple(_place(rows) for rows in found[:_MOST]), more=max(0, len(found) - _MOST)
    )


def _matters(row: Comparison) -> bool:
    if row.kind == "probe":
        return False
    return row.role == "origin" or (row.kind == "final" and run_stage(row.stage) == "index")


def _place(alike: list[Comparison]) -> Place:
    row = alike[0]
    passes = (", ".join(name for name in (row.part, row.scope) if name) for row in alike)
    return Place(
        artifact=row.artifact,
        anchor=f"a-{row.artifact}" if row.artifact in BY_NAME else "",
        passes=joined(tuple(clean(name, 80) for name in passes if name), 4),
        role=row.role,
        extent=_extent(row),
        first=clean(row.first_at, 200) or (UNSIZED if row.unsized else NONE),
        largest=clean(row.largest_at, 200) if measured(row) and row.largest_at else NONE,
    )


def _extent(row: Comparison) -> str:
    """How much of it differs; where the values are not kept, blocks of rows tell."""
    words = []
    differing = row.occurrences - row.identical
    if row.occurrences > 1 and differing == row.occurrences:
        words.append(f"all {differing:,} occurrences")
    elif row.occurrences > 1:
        which = clean(spans(row.differing_occurrences), 60)
        told = f" ({which})" if which else ""
        words.append(f"{differing:,} of {row.occurrences:,} occurrences{told}")
    if row.equal_fraction is not None:
        words.append(f"{percent(1 - row.equal_fraction)} of elements")
    elif row.differing_blocks:
        words.append(plural(row.differing_blocks, "block"))
    return ", ".join(words) or NONE
