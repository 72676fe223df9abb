"""The stylesheet: enough contrast in both schemes, and nothing from elsewhere."""

import re
from pathlib import Path

import pytest

import matrix_site

CSS = (Path(matrix_site.__file__).parent / "static/style.css").read_text("utf-8")

PAIRS = [
    ("text", "page"),
    ("text", "panel"),
    ("soft", "page"),
    ("soft", "panel"),
    ("link", "page"),
    ("link", "panel"),
    *((name, ground) for name in ("differs", "close", "reordered") for ground in (f"{name}-page",)),
    *((name, "page") for name in ("differs", "close", "reordered", "unstable", "unknown")),
    *(("page", name) for name in ("differs", "close", "reordered", "unknown")),
    ("unstable", "unstable-page"),
    ("unknown", "unknown-page"),
    ("failed", "failed-page"),
    ("proof", "proof-page"),
    ("text", "close-page"),
    ("soft", "close-page"),
]


def _colours(scheme: str) -> dict[str, str]:
    light, dark = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)[:2]
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", light if scheme == "light" else dark))


def _luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("ink", "ground"), PAIRS)
def test_text_stands_out_from_its_ground(ink: str, ground: str, scheme: str) -> None:
    """4.5 to 1, as WCAG 2.2 asks of small text (success criterion 1.4.3)."""
    colours = _colours(scheme)
    lighter, darker = sorted((_luminance(colours[n]) for n in (ink, ground)), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= 4.5


def test_both_schemes_name_the_same_colours() -> None:
    assert _colours("light").keys() == _colours("dark").keys()


def test_nothing_is_fetched() -> None:
    assert "url(" not in CSS
    assert "@import" not in CSS
