"""A verdict as a badge for a README: as data for shields.io, and as a picture that needs nobody."""

from typing import Any

from markupsafe import Markup, escape

from matrix_site.palette import COLOURS, ground
from matrix_site.text import clean

_LABEL, _MESSAGE = 40, 80  # characters at most
_KEPT = 3600  # seconds: how long shields.io may keep what it read
_PAD = 8  # pixels beside words

_NARROW, _LARGE, _WIDE = "!'(),./:;I[]fijlrt| ", "%@MWmw—…", "≈≠⊘⇄"
_ADVANCES = dict.fromkeys(_NARROW, 4.2) | dict.fromkeys(_LARGE, 10.2) | dict.fromkeys(_WIDE, 9.0)


def shield(label: str, message: str, style: str) -> dict[str, Any]:
    """What shields.io asks of an endpoint (https://shields.io/badges/endpoint-badge).

    `style` is a verdict. A failure is an error, whose colour a reader cannot choose.
    """
    found = {
        "schemaVersion": 1,
        "label": clean(label, _LABEL),
        "message": clean(message, _MESSAGE),
        "color": ground(style),
        "cacheSeconds": _KEPT,
    }
    return found | {"isError": True} if style == "failed" else found


def badge_svg(label: str, message: str, style: str) -> str:
    """A file of its own: a label and, on the ground of a verdict, a message beside it.

    Letters are spread over the room they have, whichever font the reader's machine takes.
    """
    left, right = clean(label, _LABEL), clean(message, _MESSAGE)
    split, width = _room(left), _room(left) + _room(right)
    frame = f'x=".5" y=".5" width="{width - 1}" height="21" rx="4"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="title"'
        f' width="{width}" height="22" viewBox="0 0 {width} 22">'
        f'<title id="title">{escape(f"{left}: {right}")}</title>'
        f'<rect {frame} fill="{COLOURS["text"]}"/>'
        f'<path d="M{split} .5H{width - 4.5}a4 4 0 0 1 4 4v13a4 4 0 0 1-4 4H{split}z"'
        f' fill="{ground(style)}"/>'
        f'<rect {frame} fill="none" stroke="#fff" stroke-opacity=".5"/>'
        f'<g fill="#fff" font-family="Verdana, \'DejaVu Sans\', sans-serif" font-size="11">'
        f"{_text(left, 0)}{_text(right, split)}</g></svg>\n"
    )


def _text(words: str, left: int) -> Markup:
    length = _room(words) - 2 * _PAD
    return Markup('<text x="{}" y="15" textLength="{}">{}</text>').format(
        left + _PAD, length, words
    )


def _room(words: str) -> int:
    """About how wide words are in Verdana at 11 pixels, with what is left free beside them."""
    return round(sum(map(_advance, words))) + 2 * _PAD


def _advance(character: str) -> float:
    if character in _ADVANCES:
        return _ADVANCES[character]
    if not character.isascii():
        return 11.0
    return 7.7 if character.isupper() else 6.6
