"""The picture that a chat or a feed shows for a link to the site."""

import io
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from matrix_site.palette import COLOURS, ground
from matrix_site.text import clean

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

NAME = "colbert-matrix"

WIDTH, HEIGHT = 1200, 630
"""In pixels, as Open Graph has it."""

Segment = tuple[str, int, str]
"""The name of some releases in a row, how many they are, and the style of their verdict."""

_FINE = 2  # drawn so many times larger, then reduced: edges become smooth
_MARGIN = 72
_INNER = WIDTH - 2 * _MARGIN
_TOP, _BOTTOM = 106, HEIGHT - 36  # between them are sentence, lines and strips
_SIZES, _LEADING = (64, 56, 48, 40, 34), 1.16
_SMALL, _LINE = 27, 37
_LANES, _LANE, _STRIP = 3, 86, 38  # strips at most, from one to the next, height of one

_KNOWN = "·…“”"  # beside ASCII
_SPELLED = {"≠": "!=", "≈": "~", "⇄": "<>", "→": "->", "\N{EN DASH}": "-", "\N{EM DASH}": "-"}


def card(title: str, lines: Sequence[str], bars: Sequence[tuple[str, Sequence[Segment]]]) -> bytes:
    """A PNG with a sentence, two small lines below it, and a strip of releases for three lanes.

    The font is the one that Pillow brings, which knows little more than ASCII: what it cannot show
    is spelled out or becomes a question mark. The same words give the same bytes.
    """
    # Only who draws a card waits for Pillow.
    from PIL import Image, ImageDraw  # noqa: PLC0415

    image = Image.new("RGB", (WIDTH * _FINE, HEIGHT * _FINE), COLOURS["page"])
    draw = ImageDraw.Draw(image)
    shown, strips = lines[:2], bars[:_LANES]
    below = _BOTTOM - len(strips) * _LANE
    _box(draw, (0, 0, WIDTH, 16), COLOURS["text"])
    _write(draw, (_MARGIN, 48), NAME, 32, COLOURS["soft"], bold=True)
    y = _TOP + 0.0
    wrapped, size = _fit(draw, _plain(title, 300), below - 28 - len(shown) * _LINE - _TOP)
    for line in wrapped:
        _write(draw, (_MARGIN, y), line, size, COLOURS["text"], bold=True)
        y += size * _LEADING
    for place, line in enumerate(shown):
        told = _cut(draw, _plain(line, 150), _SMALL)
        _write(draw, (_MARGIN, y + 16 + place * _LINE), told, _SMALL, COLOURS["soft"])
    for place, (name, segments) in enumerate(strips):
        y = below + place * _LANE
        _write(draw, (_MARGIN, y), _cut(draw, _plain(name, 100), 24), 24, COLOURS["text"])
        _strip(draw, y + 34, segments)
    written = io.BytesIO()
    image.reduce(_FINE).save(written, "PNG")
    return written.getvalue()


def _strip(draw: "ImageDraw", y: float, segments: Sequence[Segment]) -> None:
    """Releases from left to right, as wide as they are many, with a sign and a name if they fit."""
    found = [(name, count, style) for name, count, style in segments if count > 0]
    whole = sum(count for _, count, _ in found)
    x = float(_MARGIN)
    for name, count, style in found:
        width = _INNER * count / whole
        gap = min(4.0, width / 4)
        _box(draw, (x, y, x + width - gap, y + _STRIP), ground(style), radius=6)
        if width > 36:
            _sign(draw, x + 18, y + _STRIP / 2, style)
        label = _plain(name, 40)
        if width > 48 + _length(draw, label, 24):
            _write(draw, (x + 36, y + 5), label, 24, COLOURS["page"])
        x += width


def _sign(draw: "ImageDraw", x: float, y: float, style: str) -> None:
    """The sign of a verdict around a point; those that are not in the font are drawn."""
    for line in _STROKES.get(style, ()):
        points = [((x + right) * _FINE, (y + down) * _FINE) for right, down in line]
        draw.line(points, fill=COLOURS["page"], width=5, joint="curve")
    letter = _LETTERS.get(style, "" if style in _STROKES else "-")
    width = _length(draw, letter, 26)
    _write(draw, (x - width / 2, y - 16), letter, 26, COLOURS["page"], bold=True)


_EQUAL = ((-8, -3.5), (8, -3.5)), ((-8, 3.5), (8, 3.5))
_WAVE = (-8, 2), (-6, -1), (-4, -2), (-1, -1), (1, 1), (4, 2), (6, 1), (8, -2)
_STROKES = {
    "identical": _EQUAL,
    "differs": (*_EQUAL, ((4.5, -10), (-4.5, 10))),
    "close": tuple(tuple((x, y + down) for x, y in _WAVE) for down in (-4, 4)),
    "reordered": (*_EQUAL, ((3, -8.5), (8, -3.5)), ((-8, 3.5), (-3, 8.5))),
}
_LETTERS = {"failed": "!", "missing": "?", "unstable": "~"}


def _fit(draw: "ImageDraw", sentence: str, room: float) -> tuple[list[str], int]:
    """A sentence in lines of the largest size in which they fit; else as many as do."""
    for size in _SIZES:
        lines = _wrap(draw, sentence, size)
        most = int(room / (size * _LEADING))
        if len(lines) <= most:
            return lines, size
    return [*lines[: most - 1], _cut(draw, f"{lines[most - 1]} {lines[most]}", size)], size


def _wrap(draw: "ImageDraw", sentence: str, size: int) -> list[str]:
    lines: list[str] = []
    for word in sentence.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _length(draw, longer, size) <= _INNER:
            lines[-1] = longer
        else:
            lines.append(_cut(draw, word, size))
    return lines


def _cut(draw: "ImageDraw", words: str, size: int) -> str:
    """As much of the words as a line holds."""
    kept = words
    while _length(draw, kept, size) > _INNER:
        words = words[:-1]
        kept = f"{words.rstrip()}..."
    return kept


def _plain(value: str, limit: int) -> str:
    """What the font can show of a value."""
    spelled = "".join(_SPELLED.get(character, character) for character in clean(value, limit))
    letters = unicodedata.normalize("NFD", spelled)
    kept = (letter for letter in letters if not unicodedata.combining(letter))
    return "".join(letter if letter.isascii() or letter in _KNOWN else "?" for letter in kept)


def _length(draw: "ImageDraw", words: str, size: int) -> float:
    return draw.textlength(words, font_size=size * _FINE) / _FINE


def _write(
    draw: "ImageDraw",
    at: tuple[float, float],
    words: str,
    size: int,
    colour: str,
    *,
    bold: bool = False,
) -> None:
    """Words from their upper left corner; the font has one weight, so bold ones get an outline."""
    x, y = at
    draw.text(
        (x * _FINE, y * _FINE),
        words,
        fill=colour,
        font_size=size * _FINE,
        stroke_width=size / 48 * _FINE if bold else 0,
        stroke_fill=colour,
    )


def _box(
    draw: "ImageDraw", box: tuple[float, float, float, float], colour: str, radius: int = 0
) -> None:
    left, top, right, bottom = (side * _FINE for side in box)
    draw.rounded_rectangle((left, top, right - 1, bottom - 1), radius * _FINE, fill=colour)
