"""All pairs of releases: every cell is there once, with the sign of its verdict."""

import gzip
import re
from collections import Counter
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matrix_capture.settings import read_settings
from matrix_compare.schema import Verdict
from matrix_site.heatmap import Kind, triangle
from tests.site.conftest import ROOT
from tests.site.drawing import CSS, HOSTILE, of_class, read

RELEASES = (*read_settings(ROOT / "matrix.toml").releases, "2.16.0")
KINDS: tuple[Kind, ...] = tuple((v.value, v.glyph, v.value.replace("_", " ")) for v in Verdict)
SAME: Kind = ("identical", "=", "identical")
DIFFERS: Kind = ("differs", "≠", "differs")
Pair = tuple[str, str]


def _bands(*breaks: str, last: Kind = DIFFERS) -> dict[Pair, Kind]:
    """All pairs where some releases change everything."""
    places = [RELEASES.index(release) for release in breaks]
    return {
        (a, b): last if any(x < place <= y for place in places) else SAME
        for (x, a), (y, b) in combinations(enumerate(RELEASES), 2)
    }


def _shown(picture: str, releases: tuple[str, ...]) -> dict[Pair, list[str]]:
    """The sign or, without one, the class of every cell, as often as it is drawn."""
    root = read(picture)
    signs: dict[str, str] = {}
    for one in root.iter("pattern"):
        text = one.find("text")
        signs[f"url(#{one.get('id')})"] = one.get("class", "") if text is None else text.text or ""
    room = int(next(root.iter("pattern")).get("x", ""))
    found: dict[Pair, list[str]] = {pair: [] for pair in combinations(releases, 2)}
    for path in root.iter("path"):
        for run in re.findall(r"M(\d+) (\d+)h(\d+)v18h-\3z", path.get("d", "")):
            x, y, width = (int(number) for number in run)
            for column in range((x - room) // 18, (x - room + width) // 18):
                row = (y - room) // 18
                if row <= column < len(releases) - 1:
                    found[releases[row], releases[column + 1]].append(signs[path.get("fill", "")])
    return found


def _wrong(picture: str, releases: tuple[str, ...], cells: Mapping[Pair, Kind]) -> set[Pair]:
    wanted = {pair: cells.get(pair, ("absent", "", "")) for pair in combinations(releases, 2)}
    signs = {
        pair: "identical" if k[0] == "identical" else k[1] or k[0] for pair, k in wanted.items()
    }
    return {p for p, shown in _shown(picture, releases).items() if shown != [signs[p]]}


@settings(deadline=None)
@given(st.integers(2, 14), st.data())
def test_every_pair_is_drawn_once_with_its_sign(number: int, data: Any) -> None:
    releases = RELEASES[:number]
    kinds = st.one_of(st.none(), st.sampled_from(KINDS))
    chosen = {pair: data.draw(kinds) for pair in combinations(releases, 2)}
    cells = {pair: kind for pair, kind in chosen.items() if kind is not None}
    assert _wrong(triangle("t", "t", "d", releases, cells), releases, cells) == set()


def test_a_pair_with_the_sign_of_another_is_noticed() -> None:
    cells = _bands("2.1.0", "2.8.0")
    swapped = cells | {("2.0.1", "2.1.0"): SAME, ("2.0.0", "2.0.1"): DIFFERS}
    picture = triangle("t", "t", "d", RELEASES, swapped)
    assert _wrong(picture, RELEASES, cells) == {("2.0.1", "2.1.0"), ("2.0.0", "2.0.1")}


def test_the_legend_counts_all_pairs() -> None:
    cells = _bands("2.8.0")
    del cells["2.15.0", "2.16.0"]
    root = read(triangle("t", "t", "Worst verdicts.", RELEASES, cells))
    counts = Counter(kind[2] for kind in cells.values()) | Counter({"not compared": 1})
    for word, count in counts.items():
        assert f"{word}: {count}" in list(root.itertext())
    assert sum(counts.values()) == 435
    told = next(root.iter("desc")).text or ""
    assert told.startswith("Worst verdicts. ")
    assert "not compared: 1" in told


def test_each_release_is_linked_once_where_its_row_begins() -> None:
    root = read(triangle("t", "t", "d", RELEASES, {}, href=lambda name: f"torch/{name}/index.html"))
    links = [(link.get("href"), "".join(link.itertext())) for link in root.iter("a")]
    assert links == [(f"torch/{name}/index.html", name) for name in RELEASES]
    (columns,) = of_class(root, "columns")
    assert tuple(text.text for text in columns) == RELEASES[1:]


@pytest.mark.parametrize("number", [0, 1, 2, 5])
def test_few_releases_have_their_legend_below(number: int) -> None:
    releases = RELEASES[:number]
    cells = dict.fromkeys(combinations(releases, 2), DIFFERS)
    root = read(triangle("t", "t", "d", releases, cells))
    height = float(root.get("height", ""))
    assert all(float(text.get("y", 0)) <= height for text in root.iter("text"))


def test_three_pictures_are_small() -> None:
    lanes = _bands("2.1.0", "2.8.0"), _bands("2.0.0", "2.5.0", "2.11.0"), _bands("2.9.0")
    mixed = [
        cells | {pair: KINDS[n % 9] for n, pair in enumerate(cells) if n % 7 == 0}
        for cells in lanes
    ]
    for several in (lanes, mixed):
        pictures = "".join(
            triangle(f"t{n}", "All pairs", "d", RELEASES, cells, href=lambda name: f"torch/{name}/")
            for n, cells in enumerate(several)
        )
        assert len(gzip.compress(pictures.encode(), mtime=0)) < 4096


def test_what_is_alike_is_one_run() -> None:
    picture = triangle("t", "t", "d", RELEASES, _bands("2.8.0"))
    # A run for each row and side of the one boundary, and the two of the legend.
    assert picture.count("v18h-") == len(RELEASES) - 1 + RELEASES.index("2.8.0") - 1 + 2


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_words_stay_words(hostile: str) -> None:
    cells = {("1", hostile): ("differs", hostile, hostile)}
    read(triangle("t", hostile, hostile, ("1", hostile), cells, href=lambda name: f"{name[:50]!r}"))


@pytest.mark.parametrize("style", [*(v.value for v in Verdict), "unsized", "absent"])
def test_the_stylesheet_knows_every_verdict(style: str) -> None:
    assert f".triangle .{style} rect" in CSS
