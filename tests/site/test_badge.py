"""Badges: what shields.io reads, and the picture for those who do without."""

import json
import string
from xml.etree import ElementTree

import pytest

from matrix_compare.schema import Verdict
from matrix_site.badge import badge_svg, shield
from tests.site.drawing import HOSTILE

SVG = "{http://www.w3.org/2000/svg}"
STYLES = [*(verdict.value for verdict in Verdict), "unsized"]


def _luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_what_shields_asks_for() -> None:
    assert shield("torch 2.8.0", "index identical", "identical") == {
        "schemaVersion": 1,
        "label": "torch 2.8.0",
        "message": "index identical",
        "color": "#17602b",
        "cacheSeconds": 3600,
    }


@pytest.mark.parametrize("style", STYLES)
def test_only_a_failure_is_an_error(style: str) -> None:
    assert shield("a", "b", style).get("isError", False) == (style == "failed")


@pytest.mark.parametrize("style", STYLES)
def test_white_stands_out_from_every_ground(style: str) -> None:
    assert 1.05 / (_luminance(shield("a", "b", style)["color"]) + 0.05) >= 4.5
    assert shield("a", "b", style)["color"] in badge_svg("a", "b", style)


def test_verdicts_that_mean_something_else_have_another_ground() -> None:
    known = ("identical", "reordered", "close", "differs", "unstable", "failed", "not_run")
    assert len({shield("a", "b", style)["color"] for style in known}) == len(known)


def test_a_badge_is_a_file_with_a_title_and_room_for_its_words() -> None:
    root = ElementTree.fromstring(badge_svg("colbert-ai", "differs", "differs"))  # noqa: S314 - our own
    (title,) = root.iter(f"{SVG}title")
    assert title.text == "colbert-ai: differs"
    assert title.get("id") == root.get("aria-labelledby")
    label, message = root.iter(f"{SVG}text")
    ends = [int(t.get("x", "")) + int(t.get("textLength", "")) for t in (label, message)]
    assert ends[0] < int(message.get("x", ""))
    assert ends[1] < int(root.get("width", ""))


@pytest.mark.parametrize("character", [*string.ascii_letters, *string.digits, "≠", "東", "-"])
def test_each_character_takes_room(character: str) -> None:
    widths = [
        int(ElementTree.fromstring(badge_svg("a", character * n, "close")).get("width", ""))  # noqa: S314 - our own
        for n in (1, 11)
    ]
    assert 40 <= widths[1] - widths[0] <= 115


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_words_stay_words(hostile: str) -> None:
    root = ElementTree.fromstring(badge_svg(hostile, hostile, hostile))  # noqa: S314 - our own
    assert {element.tag for element in root.iter()} <= {
        f"{SVG}{name}" for name in ("svg", "title", "rect", "path", "g", "text")
    }
    data = shield(hostile, hostile, hostile)
    assert json.loads(json.dumps(data)) == data
    assert all(text.isprintable() for text in (data["label"], data["message"]))
    assert len(data["message"]) <= 80
