"""Curves and bars: what is drawn is what was measured."""

import math
from xml.etree.ElementTree import Element

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matrix_capture.digest import Layout
from matrix_capture.settings import Tolerance
from matrix_compare.metrics import measure
from matrix_compare.tolerance import Profile
from matrix_site.plot import histogram, log_plot, ulp_labels
from tests.site.drawing import HOSTILE, of_class, read, starts

LABELS = tuple(f"layer {n}" for n in range(6))
SIZES = st.one_of(st.none(), st.just(0.0), st.floats(1e-300, 1e300))


def _ticks(root: Element) -> dict[float, float]:
    """The height of every tick by its value."""
    (group,) = of_class(root, "ticks")
    units = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
    found = {}
    for text in group:
        words = text.text or ""
        value = float(words.rstrip("kMGTPE")) * units.get(words[-1], 1)
        found[value] = float(text.get("y", "")) - 4
    return found


def _misplaced(picture: str, values: list[float | None]) -> list[float]:
    """The values of the first series whose marker is not where the ticks beside it say."""
    root = read(picture)
    heights = _ticks(root)
    floor = heights.pop(0.0, None)
    marks = "".join(one.get("d", "") for one in of_class(root, "largest", "marks")[:1])
    equal = "".join(one.get("d", "") for one in of_class(root, "largest", "equal"))
    positive = [value for value in values if value]
    assert len(starts(equal)) == values.count(0.0)
    assert all(y == floor for _, y in starts(equal))
    if not positive:
        return []
    drawn = starts(marks)[: len(positive)]
    (low, bottom), (high, top) = min(heights.items()), max(heights.items())
    decade = (bottom - top) / (math.log10(high) - math.log10(low))
    return [
        value
        for value, (_, y) in zip(positive, drawn, strict=True)
        if abs(bottom - (math.log10(value) - math.log10(low)) * decade - y) > 0.6
    ]


@settings(deadline=None)
@given(st.lists(SIZES, min_size=1, max_size=30))
def test_every_value_lies_between_the_ticks_that_its_logarithm_says(
    values: list[float | None],
) -> None:
    labels = [f"step {n}" for n in range(len(values))]
    assert _misplaced(log_plot("p", "t", "d", labels, {"largest": values}), values) == []


def test_a_value_in_the_wrong_place_is_noticed() -> None:
    values: list[float | None] = [1e-7, 1e-5, 1e-3, None, 0.0, 2e-6]
    wrong: list[float | None] = [1e-7, 2e-5, 1e-3, None, 0.0, 2e-6]
    assert _misplaced(log_plot("p", "t", "d", LABELS, {"largest": wrong}), values) == [1e-5]


def test_ticks_are_powers_of_ten_and_zero_is_told_apart() -> None:
    root = read(log_plot("p", "t", "d", LABELS[:3], {"largest": [3.6e-7, 0.0, 1.2e-5]}))
    (ticks,) = of_class(root, "ticks")
    assert [text.text for text in ticks] == ["1e-7", "1e-6", "1e-5", "1e-4", "0"]
    assert "no difference" in list(root.itertext())


def test_what_was_not_measured_leaves_a_gap() -> None:
    values = [1e-7, 2e-7, None, 3e-7, 0.0, math.nan]
    root = read(log_plot("p", "t", "d", LABELS, {"largest": values}))
    (line,) = of_class(root, "largest", "line")[:1]
    path = line.get("d", "")
    assert (path.count("M"), path.count("L")) == (2, 1)
    told = [text for text in root.itertext() if text.startswith("layer 2: ")]
    assert told == ["layer 2: largest not measured"]


def test_two_series_differ_by_more_than_colour() -> None:
    series = {"largest": [1e-7, 2e-7], "mean": [1e-8, 2e-8]}
    root = read(log_plot("p", "t", "d", LABELS[:2], series, unit="absolute"))
    discs, diamonds = (of_class(root, style, "marks")[0] for style in ("largest", "mean"))
    assert discs.get("d", "").split("m")[1] != diamonds.get("d", "").split("m")[1]
    assert {"largest", "mean", "absolute"} <= set(root.itertext())
    assert "layer 0: largest 1.0e-07; mean 1.0e-08" in list(root.itertext())


def test_series_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        log_plot("p", "t", "d", LABELS, {"largest": [1.0]})
    with pytest.raises(ValueError, match="zip"):
        log_plot("p", "t", "d", LABELS[:1], {"a": [1.0], "b": [1.0], "c": [1.0]})


@pytest.mark.parametrize("values", [[], [None], [0.0], [5e-324, 1.7e308], [-1.0, math.inf]])
def test_nothing_and_extremes_are_drawn(values: list[float | None]) -> None:
    read(log_plot("p", "t", "d", LABELS[: len(values)], {"largest": values}))


def _wrong_bars(picture: str, counts: list[int]) -> list[int]:
    """The counts whose bar does not end at the height that the ticks say."""
    root = read(picture)
    heights = _ticks(root)
    (bottom, top), high = (heights[1.0], heights[max(heights)]), math.log10(max(heights))
    (bars,) = of_class(root, "bars")
    tops = [float(part.split("h")[0]) for part in bars.get("d", "").split("V")[1::2]]
    return [
        count
        for count, y in zip((count for count in counts if count > 0), tops, strict=True)
        if abs(bottom - math.log10(count) * (bottom - top) / high - y) > 0.6
    ]


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=64))
def test_every_bar_is_as_high_as_the_logarithm_of_its_count(counts: list[int]) -> None:
    picture = histogram("h", "t", "d", ulp_labels(len(counts)), counts)
    assert _wrong_bars(picture, counts) == []


def test_a_bar_of_the_wrong_height_is_noticed() -> None:
    picture = histogram("h", "t", "d", ulp_labels(3), [1000, 20, 0])
    assert _wrong_bars(picture, [1000, 10, 0]) == [10]


@pytest.mark.parametrize(
    ("count", "told"),
    [(1, "1"), (999, "999"), (1646, "1.6k"), (999_999, "999k"), (1_000_000, "1M")],
)
def test_counts_are_short_and_rounded_down(count: int, told: str) -> None:
    (group,) = of_class(read(histogram("h", "t", "d", ["0"], [count])), "counts")
    assert [text.text for text in group] == [told]


@pytest.mark.parametrize("ulps", [0, 1, 2, 3, 4, 7, 8, 1023, 8191, 8192, 16383, 16384, 100_000])
def test_labels_name_the_bins_that_compare_counts_in(ulps: int) -> None:
    b = np.ones(4, np.float32)
    a = (b.view(np.int32) + np.int32(ulps)).view(np.float32)
    of = Layout(dtype="float32", shape=(4,), device="cpu")
    profile = Profile(name="default", tolerances={"other": Tolerance(atol=1e-8, rtol=1e-5)})
    counts = measure(of, [(0, a, b)], [profile]).ulp_histogram
    assert counts is not None
    label = ulp_labels(len(counts))[counts.index(4)].replace(",", "")
    low, _, high = label.removeprefix("from ").partition("\N{EN DASH}")
    if "^" in low:
        least = 2 ** int(low.removeprefix("2^"))
        assert least <= ulps < 2 * least
    else:
        assert int(low) <= ulps <= int(high or low)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_words_stay_words(hostile: str) -> None:
    root = read(log_plot("p", hostile, hostile, [hostile], {hostile: [1e-7]}, unit=hostile))
    assert len(list(root.iter("text"))) <= 6
    read(histogram("h", hostile, hostile, [hostile], [3]))


def test_the_same_values_give_the_same_picture() -> None:
    series = {"largest": [1e-7, None, 0.0], "mean": [1e-9, None, 0.0]}
    pictures = {log_plot("p", "t", "d", LABELS[:3], series) for _ in range(3)}
    assert len(pictures) == 1


def test_a_picture_grows_with_its_labels_and_no_faster() -> None:
    few, many = (
        len(log_plot("p", "t", "d", ["label"] * n, {"largest": [1e-7] * n})) for n in (100, 400)
    )
    assert many < 4.2 * few
