"""The colours of the stylesheet's light scheme, for pictures that stand outside of a page."""

from collections.abc import Mapping

COLOURS: Mapping[str, str] = {
    "page": "#ffffff",
    "panel": "#f6f7f9",
    "text": "#1d2127",
    "soft": "#5a626d",
    "line": "#d6dae0",
    "differs": "#a4161a",
    "close": "#7a4b00",
    "reordered": "#0b5563",
    "unstable": "#6a2c91",
    "unknown": "#444b55",
    "proof": "#17602b",
    "failed-page": "#3d444e",
}
"""Variables of `static/style.css`."""

_GROUNDS = {
    "identical": "proof",
    "reordered": "reordered",
    "close": "close",
    "differs": "differs",
    "unstable": "unstable",
    "failed": "failed-page",
}


def ground(style: str) -> str:
    """A colour for a verdict from which white stands out; what nobody knows is grey."""
    return COLOURS[_GROUNDS.get(style, "soft")]
