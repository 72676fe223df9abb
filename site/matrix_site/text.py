"""Words and numbers as the pages show them; every string of the data passes through here."""

import math
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

from markupsafe import Markup, escape

LIMIT = 600
"""No single value on a page is longer; a legitimate exception message is far shorter."""

_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def clean(value: object, limit: int = LIMIT) -> str:
    """A value as one line of visible characters, at most `limit` of them.

    Control, bidirectional, unassigned and zero-width characters become `<U+202E>`: they could
    otherwise hide or reorder what a page says.
    """
    text = str(value)
    if len(text) <= limit and text.isprintable() and "  " not in text:
        return text.strip()  # as nearly all that is shown
    words = " ".join(text[: limit + 1].split())
    shown = "".join(_visible(character) for character in words)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def finalize(value: object) -> object:
    """What Jinja does with the value of every expression; markup is already clean.

    Raises:
        TypeError: the value is None, which a page must put into words itself.
    """
    if value is None:
        raise TypeError("a template shows None")
    if type(value) is str:
        return _clean(value)  # most of a page was on another
    return value if isinstance(value, Markup) else clean(value)


@lru_cache(maxsize=2**16)
def _clean(value: str) -> str:
    return clean(value)


@lru_cache(maxsize=2**14)
def code(sentence: str) -> Markup:
    """A sentence whose parts between backticks become code elements."""
    return coded(clean(sentence).split("`"))


def coded(parts: Sequence[str]) -> Markup:
    """Parts of a text as one, every second of them as a code element."""
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else part
        for place, part in enumerate(parts)
    )


@lru_cache(maxsize=2**14)
def name(value: str) -> Markup:
    """An identifier that may break after its separators, and is not longer than a line."""
    breakable = str(escape(clean(value, 80) or "(no name)"))
    for separator in "_./":
        breakable = breakable.replace(separator, f"{separator}<wbr>")
    return Markup(breakable)  # noqa: S704 - escaped above


def script(value: str, limit: int) -> Markup:
    """Text of several lines with its spaces, at most `limit` characters; what hides is shown."""
    shown = "".join(c if c == "\n" else _visible(c) for c in value[:limit])
    return escape(shown)


def number(value: float | None) -> str:
    """A distance: `1.2e-07`, `57`, `0`; a dash where there is none."""
    if value is None:
        return "\N{EN DASH}"
    if math.isfinite(value) and value == int(value) and abs(value) < 1e9:
        return f"{int(value):,}"
    return f"{value:.1e}"


def percent(fraction: float) -> str:
    """A share, rounded down so that only everything is 100%."""
    if 0 < fraction < 1e-4:
        return "<0.01%"
    return f"{math.floor(fraction * 1e4) / 100:g}%"


def duration(seconds: float) -> str:
    """Seconds for a reader: `0.4 s`, `41 s`, `3 min 20 s`, `2 h 5 min`."""
    if not math.isfinite(seconds) or seconds < 0:
        return "\N{EN DASH}"
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes_left} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def moment(started: str) -> datetime | None:
    """The time a record names, in UTC; None when it is no ISO 8601 time."""
    try:
        parsed = datetime.fromisoformat(started)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def day(time: datetime) -> str:
    """A date without doubt about the order of its parts: `20 November 2025`."""
    return f"{time.day} {_MONTHS[time.month - 1]} {time.year}"


def plural(count: int, noun: str, many: str = "") -> str:
    """`1 release`, `2 releases`; `many` is the word for several where an s does not do."""
    return f"{count:,} {noun if count == 1 else many or f'{noun}s'}"


def listed(names: tuple[str, ...], most: int = 3) -> str:
    """Names in backticks for `code`, the rest as a count."""
    return joined(tuple(ticked(name) for name in names), most)


def ticked(name: str) -> str:
    """A name in backticks, which `code` makes an element of."""
    return f"`{clean(name, 32)}`"


def joined(phrases: tuple[str, ...], most: int = 3) -> str:
    """`a, b and c`, the rest as a count."""
    shown = phrases[:most]
    if len(phrases) > most:
        return f"{', '.join(shown)} and {len(phrases) - most} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)


def _visible(character: str) -> str:
    if unicodedata.category(character) in _INVISIBLE:
        return f"<U+{ord(character):04X}>"
    return character


_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
