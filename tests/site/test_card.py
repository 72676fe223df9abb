"""The card for chats and feeds: a PNG with the right strips, whatever the words."""

import io
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence

import pytest
from PIL import Image, ImageColor

from matrix_site.card import HEIGHT, WIDTH, card
from matrix_site.palette import COLOURS, ground
from tests.site.drawing import HOSTILE

SENTENCE = "Of 28 consecutive pairs of torch releases, 25 leave the index identical and 3 do not."


def _image(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    image.load()
    return image


def _strip(png: bytes, y: int) -> Counter[str]:
    """How many pixels of a line across a strip have which colour."""
    image = _image(png)
    names = {ImageColor.getrgb(colour): name for name, colour in COLOURS.items()}
    pixels = (image.getpixel((x, y)) for x in range(WIDTH))
    return Counter(names[pixel] for pixel in pixels if pixel in names and names[pixel] != "page")


def _wrong(png: bytes, segments: Sequence[tuple[str, int, str]]) -> set[str]:
    """The verdicts whose part of the last strip is not their part of the releases."""
    found = _strip(png, HEIGHT - 36 - 86 + 34 + 3)
    whole = sum(count for _, count, _ in segments)
    wanted: Counter[str] = Counter()
    for _, count, style in segments:
        wanted[next(name for name, c in COLOURS.items() if c == ground(style))] += count
    share = {name: found[name] / (WIDTH - 144) - count / whole for name, count in wanted.items()}
    return {name for name, excess in share.items() if abs(excess) > 0.02}


def test_it_is_a_png_as_large_as_open_graph_has_it() -> None:
    png = card(
        SENTENCE,
        ["20 November 2026"],
        [("CPU", [("2.8.0", 3, "identical"), ("2.8.0", 2, "differs")])],
    )
    image = _image(png)
    assert (image.format, image.size) == ("PNG", (WIDTH, HEIGHT))
    assert len(png) < 150_000


def test_a_strip_shows_each_verdict_by_its_share() -> None:
    segments = [
        ("2.8.0", 3, "identical"),
        ("2.8.0", 12, "close"),
        ("2.8.0", 5, "differs"),
        ("2.8.0", 1, "failed"),
        ("2.8.0", 8, "identical"),
    ]
    png = card(SENTENCE, ["a day"], [("CPU", segments)])
    assert _wrong(png, segments) == set()


def test_a_strip_of_other_shares_is_noticed() -> None:
    png = card(SENTENCE, [], [("CPU", [("2.8.0", 5, "identical"), ("2.8.0", 5, "differs")])])
    assert _wrong(png, [("2.8.0", 4, "identical"), ("2.8.0", 6, "differs")]) == {"proof", "differs"}


def test_the_same_words_give_the_same_bytes_and_others_do_not() -> None:
    bars = [("CPU", [("2.8.0", 3, "identical"), ("2.8.0", 2, "not_run")])]
    assert card(SENTENCE, ["today"], bars) == card(SENTENCE, ["today"], bars)
    assert card(SENTENCE, ["today"], bars) != card(SENTENCE, ["later"], bars)


@pytest.mark.parametrize("lanes", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("words", [1, 12, 60])
def test_words_keep_off_the_strips_and_the_edges(lanes: int, words: int) -> None:
    bars = [(f"lane {n}", [("2.8.0", 3, "identical")]) for n in range(lanes)]
    image = _image(card(" ".join(["consecutive"] * words), ["first line", "second line"], bars))
    top = HEIGHT - 36 - min(lanes, 3) * 86
    frame = [(0, 20, 70, HEIGHT), (WIDTH - 70, 20, WIDTH, HEIGHT), (0, HEIGHT - 30, WIDTH, HEIGHT)]
    for box in [*frame, (0, top - 8, WIDTH, top)]:
        assert image.crop(box).getextrema() == ((255, 255),) * 3


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_words_are_drawn(hostile: str) -> None:
    _image(
        card(
            hostile,
            [hostile] * 5,
            [(hostile, [("2.8.0", 1, hostile), ("2.8.0", -3, "close"), ("2.8.0", 0, "x")])],
        )
    )
    _image(card(hostile, [], [(hostile, [])]))


@pytest.mark.parametrize(
    "style", ["identical", "reordered", "close", "differs", "unstable", "not_run"]
)
def test_a_segment_has_a_sign_besides_its_colour(style: str) -> None:
    image = _image(card("x", [], [("lane", [("2.8.0", 1, style)])]))
    y = HEIGHT - 36 - 86 + 34
    sign = image.crop((72 + 8, y + 6, 72 + 28, y + 32)).getcolors(10_000) or []
    assert (255, 255, 255) in {colour for _, colour in sign}


def test_only_who_draws_a_card_loads_pillow() -> None:
    program = "import sys, matrix_site.card; sys.exit('PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
