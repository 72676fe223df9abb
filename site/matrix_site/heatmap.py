"""All pairs of releases in one picture: a square for each, with the sign of its verdict."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

from markupsafe import Markup, escape

from matrix_site.svg import svg
from matrix_site.text import clean

_CELL = 18  # pixels
_ADVANCE = 6.4  # about the width of a character
_LABEL = 18  # characters of a release at most, as a nightly build has
_WORD = 40  # characters of the name of a verdict at most

Kind = tuple[str, str, str]
"""A class of the stylesheet, its glyph, and the word for both."""

_NONE: Kind = ("absent", "", "not compared")


def triangle(
    id_: str,
    title: str,
    description: str,
    releases: Sequence[str],
    cells: Mapping[tuple[str, str], Kind],
    *,
    href: Callable[[str], str] | None = None,
) -> Markup:
    """Draw all pairs of releases, which come oldest first; `href` links the name of each.

    A row is the older release of its pairs and begins with its name, a column the newer. The
    legend counts the pairs of each kind, the most frequent first, and so does the description.
    """
    runs = _runs(releases, cells)
    counts = Counter(kind for kind, _, _, length in runs for _ in range(length))
    kinds = sorted(counts, key=lambda kind: (-counts[kind], kind))
    told = [f"{clean(word, _WORD)}: {counts[kind]:,}" for kind in kinds for word in kind[2:]]
    names = [clean(release, _LABEL) for release in releases]
    room = round(max(map(len, names), default=0) * _ADVANCE) + 12
    wide = round(max(map(len, told), default=0) * _ADVANCE) + _CELL + 12
    # Below the diagonal is room for the legend; where there is too little, it goes below all.
    first = len(names) - len(kinds)
    if first * _CELL < wide + room:
        first = len(names)
    runs += [(kind, 0, first + place, 1) for place, kind in enumerate(kinds)]
    paths: dict[Kind, list[str]] = {}
    for kind, column, row, length in runs:
        x, y, width = room + column * _CELL, room + row * _CELL, length * _CELL
        paths.setdefault(kind, []).append(f"M{x} {y}h{width}v{_CELL}h-{width}z")
    drawn = (
        _pattern(f"{id_}-{place}", kind, room)
        + f'<path fill="url(#{id_}-{place})" d="{"".join(paths[kind])}"/>'
        for place, kind in enumerate(kinds)
    )
    words = _rows(releases, names, room, href), _columns(names, room), _legend(told, room, first)
    return svg(
        (id_, title, f"{clean(description)} {'; '.join(told)}."),
        "".join([*drawn, *words]),
        style="triangle",
        width=room + max(_CELL * (len(names) - 1), wide),
        height=room + _CELL * max(len(names), first + len(kinds)) + 4,
        links=href is not None,
    )


def _runs(
    releases: Sequence[str], cells: Mapping[tuple[str, str], Kind]
) -> list[tuple[Kind, int, int, int]]:
    """Neighbours of one kind in a row: the kind, the first column, the row, and how many."""
    runs = []
    for row, older in enumerate(releases):
        kinds = (cells.get((older, newer), _NONE) for newer in releases[row + 1 :])
        column = row
        for kind, run in groupby(kinds):
            length = sum(1 for _ in run)
            runs.append((kind, column, row, length))
            column += length
    return runs


def _pattern(id_: str, kind: Kind, room: int) -> str:
    """One cell, which is repeated over all of its kind; identical ones stay without a sign."""
    style, glyph, _ = kind
    sign = "" if style == "identical" else escape(clean(glyph, 2))
    text = f'<text x="8.5" y="13">{sign}</text>' if sign else ""
    return (
        f'<pattern id="{id_}" class="{escape(style)}" x="{room}" y="{room}" width="{_CELL}"'
        f' height="{_CELL}" patternUnits="userSpaceOnUse">'
        f'<rect x=".5" y=".5" width="16" height="16"/>{text}</pattern>'
    )


def _rows(
    releases: Sequence[str],
    names: Sequence[str],
    room: int,
    href: Callable[[str], str] | None,
) -> str:
    """Each name left of where its row begins, the last one below the last column."""
    found = []
    for row, (name, release) in enumerate(zip(names, releases, strict=True)):
        x, y = room + row * _CELL - 5, room + row * _CELL + 13
        text = f'<text x="{x}" y="{y}">{escape(name)}</text>'
        found.append(f'<a href="{escape(href(release))}">{text}</a>' if href else text)
    return f'<g class="rows">{"".join(found)}</g>'


def _columns(names: Sequence[str], room: int) -> str:
    found = (
        f'<text transform="translate({room + column * _CELL + 13} {room - 5})rotate(-90)">'
        f"{escape(name)}</text>"
        for column, name in enumerate(names[1:])
    )
    return f'<g class="columns">{"".join(found)}</g>'


def _legend(told: Sequence[str], room: int, first: int) -> str:
    x = room + _CELL + 6
    return "".join(
        f'<text x="{x}" y="{room + (first + place) * _CELL + 13}">{escape(words)}</text>'
        for place, words in enumerate(told)
    )
