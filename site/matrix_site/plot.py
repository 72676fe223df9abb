"""Curves and bars over named places, both on logarithmic axes, as SVG without a script.

Pictures have their natural size: one that is wider than a page goes into a region that scrolls,
where its letters stay as large as they are.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby

from markupsafe import Markup, escape

from matrix_site.svg import About, shown, svg
from matrix_site.text import clean, number

_LEFT, _TOP, _RIGHT = 54, 38, 24  # around the area of a plot; above it is the legend
_AREA = 220  # its height in pixels
_FLOOR = 30  # from the lowest decade down to where 0 is drawn
_WIDTH, _NARROW, _WIDE = 660, 24, 60  # of the whole area if it may, of the room for one label
_ADVANCE = 6.2  # about the width of a character in pixels
_SLANT = math.sqrt(0.5)
_LABEL = 26  # characters of a label at most
_TICKS = 12  # steps of decades at most
_LEAST = -0.4  # decades below 1 where bars start, so that a count of 1 is seen

_STYLES = (
    ("largest", "m-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0"),
    ("mean", "m0-4.5l4.5 4.5l-4.5 4.5l-4.5-4.5z"),
)
"""Class and marker of each series: a disc on a solid line, a diamond on a dashed one."""

_EQUAL = "m-4.5-2h9m-9 4h9"


def log_plot(
    id_: str,
    title: str,
    description: str,
    labels: Sequence[str],
    series: Mapping[str, Sequence[float | None]],
    *,
    unit: str = "",
) -> Markup:
    """Draw one or two series over labels, with ticks at powers of ten.

    A series has a value for each label. What was not measured (None, or what is no finite size)
    leaves a gap; 0, which has no logarithm, is a sign of equality on a line of its own below.

    Raises:
        ValueError: there are more than two series, or one does not fit the labels.
    """
    names = [clean(name, _LABEL) for name in series]
    found = [tuple(map(_measured, values)) for values in series.values()]
    logs = [math.log10(v) for values in found for v in values if v]
    low, high = (math.floor(min(logs)), math.ceil(max(logs))) if logs else (0, 0)
    high = max(high, low + 1)
    floor = _TOP + _AREA + _FLOOR
    ticks = {f"1e{n}": _down(n, low, high) for n in _decades(low, high)} if logs else {}
    if any(value == 0 for values in found for value in values):
        ticks["0"] = floor
    places = _places(labels)
    drawn = []
    for values, (style, marker) in zip(found, _STYLES[: len(found)], strict=True):
        points = [
            (x, None if v is None else _down(math.log10(v), low, high) if v else floor)
            for x, v in zip(places, values, strict=True)
        ]
        drawn.append(_series(style, marker, points, floor))
    told = [
        "; ".join(
            f"{name} {'not measured' if (value := values[n]) is None else number(value)}"
            for name, values in zip(names, found, strict=True)
        )
        for n in range(len(labels))
    ]
    legend, least = _legend(names, unit, equal="0" in ticks)
    drawn.append(legend)
    about = id_, title, description
    return _picture(about, labels, ticks, "".join(drawn), told=told, base=floor, least=least)


def histogram(
    id_: str, title: str, description: str, labels: Sequence[str], counts: Sequence[int]
) -> Markup:
    """Draw a bar over each label, with ticks at powers of ten; without a count, no bar.

    Raises:
        ValueError: there are not as many counts as labels.
    """
    high = max(1, math.ceil(math.log10(max([1, *counts]))))
    base = _TOP + _AREA
    ticks = {_short(10**n): _down(n, _LEAST, high) for n in _decades(0, high)}
    places, half = _places(labels), max(7.0, _step(labels) * 0.36)
    bars, above = [], []
    for x, count in zip(places, counts, strict=True):
        if count > 0:
            top = _down(math.log10(count), _LEAST, high)
            bars.append(f"M{x - half:.0f} {base}V{top:.1f}h{2 * half:.0f}V{base}z")
            above.append(f'<text x="{x:.0f}" y="{top - 4:.0f}">{_short(count)}</text>')
    drawn = f'<path class="bars" d="{"".join(bars)}"/><g class="counts">{"".join(above)}</g>'
    told = [f"{count:,}" for count in counts]
    return _picture((id_, title, description), labels, ticks, drawn, told=told, base=base)


def ulp_labels(n: int) -> tuple[str, ...]:
    """Names of the first n bins of a histogram of ULPs: 0, 1, 2 to 3, 4 to 7 and so on."""
    return tuple(_ulps(place) for place in range(n))


def _ulps(place: int) -> str:
    if place < 2:
        return str(place)
    if place > 14:
        return f"from 2^{place - 1}"
    return f"{2 ** (place - 1):,}\N{EN DASH}{2**place - 1:,}"


def _measured(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) and value >= 0 else None


def _down(log: float, low: float, high: float) -> float:
    """How far below the top of the picture a logarithm lies."""
    return _TOP + _AREA * (high - log) / (high - low)


def _decades(low: int, high: int) -> range:
    return range(low, high + 1, -(-(high - low) // _TICKS))


def _step(labels: Sequence[str]) -> float:
    return min(_WIDE, max(_NARROW, _WIDTH / max(1, len(labels))))


def _places(labels: Sequence[str]) -> list[float]:
    """The middle of each label's room, so far to the right that no slanted label is cut off."""
    step = _step(labels)
    middles = [step * (place + 0.5) for place in range(len(labels))]
    over = (_length(label) * _SLANT - x for x, label in zip(middles, labels, strict=True))
    left = max([_LEFT, *over])
    return [left + x for x in middles]


def _length(label: str) -> float:
    return min(_LABEL, len(label)) * _ADVANCE + 8


def _series(
    style: str, marker: str, points: Sequence[tuple[float, float | None]], floor: float
) -> str:
    """Lines between neighbours on the logarithmic axis, their markers, and signs of equality."""
    line, marks, equal = [], [], []
    for drawn, run in groupby(points, lambda point: point[1] is not None and point[1] < floor):
        for place, (x, y) in enumerate(run):
            if drawn:
                line.append(f"{'L' if place else 'M'}{x:.0f} {y:.1f}")
                marks.append(f"M{x:.0f} {y:.1f}{marker}")
            elif y is not None:
                equal.append(f"M{x:.0f} {y:.0f}{_EQUAL}")
    paths = (("line", line), ("marks", marks), ("equal", equal))
    return "".join(f'<path class="{style} {k}" d="{"".join(d)}"/>' for k, d in paths if d)


def _legend(names: Sequence[str], unit: str, *, equal: bool) -> tuple[str, float]:
    """What the marks mean, and how far to the right that reaches."""
    entries = [
        (
            name,
            f'<path class="{style} line" d="M{{0}} 14h24"/>'
            f'<path class="{style} marks" d="M{{1}} 14{marker}"/>',
        )
        for name, (style, marker) in zip(names, _STYLES, strict=False)
    ]
    if equal:
        entries.append(("no difference", f'<path class="equal" d="M{{1}} 14{_EQUAL}"/>'))
    parts = [f'<text class="unit" x="12" y="18">{shown(unit, _LABEL)}</text>'] if unit else []
    x = 12 + (_length(unit) + 8 if unit else 0)
    for words, sign in entries:
        parts.append(sign.format(round(x), round(x + 12)))
        parts.append(f'<text x="{x + 30:.0f}" y="18">{shown(words, _LABEL)}</text>')
        x += 30 + _length(words) + 8
    return "".join(parts), x


def _picture(
    about: About,
    labels: Sequence[str],
    ticks: Mapping[str, float],
    drawn: str,
    *,
    told: Sequence[str],
    base: float,
    least: float = 0,
) -> Markup:
    """The frame around what is drawn: ticks, grid, slanted labels, and what each place is worth."""
    step, places = _step(labels), _places(labels)
    left = places[0] - step / 2 if places else _LEFT
    right = left + step * len(labels)
    width = max(right + _RIGHT, least)
    height = base + 26 + _SLANT * max(map(_length, labels), default=0)
    grid = "".join(f"M{left:.0f} {y:.1f}H{right:.0f}" for y in ticks.values())
    names = "".join(
        f'<text x="{left - 8:.0f}" y="{y + 4:.0f}">{name}</text>' for name, y in ticks.items()
    )
    below = "".join(
        f'<text transform="translate({x + 4:.0f} {base + 22:.0f})rotate(-45)">'
        f"{shown(label, _LABEL)}</text>"
        for x, label in zip(places, labels, strict=True)
    )
    values = "".join(
        f'<path d="M{x - step / 2:.0f} {_TOP - 8}h{step:.0f}V{base + 12:.0f}h-{step:.0f}z">'
        f"<title>{shown(label, _LABEL)}: {escape(value)}</title></path>"
        for x, label, value in zip(places, labels, told, strict=True)
    )
    frame = (
        f'<path class="grid" d="{grid}"/><g class="ticks">{names}</g><g class="labels">{below}</g>'
    )
    inside = f'{frame}{drawn}<g class="values">{values}</g>'
    return svg(about, inside, style="plot", width=width, height=height)


def _short(count: int) -> str:
    """A count in at most four characters, rounded down: `999`, `1.6k`, `34M`."""
    thousands = min((len(str(count)) - 1) // 3, len(_UNITS) - 1)
    scaled = count / 1000**thousands
    rounded = math.floor(scaled * 10) / 10 if scaled < 10 else math.floor(scaled)
    return f"{rounded:g}{_UNITS[thousands]}"


_UNITS = ("", "k", "M", "G", "T", "P", "E")
