"""Strings and numbers of the data as a page shows them."""

from datetime import UTC, datetime

import html5lib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_site.text import (
    clean,
    code,
    duration,
    finalize,
    listed,
    moment,
    name,
    number,
    percent,
    plural,
)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain", "plain"),
        ("two\n  lines\t", "two lines"),
        ("\x1b[31mred\x00", "<U+001B>[31mred<U+0000>"),
        ("safe\u202egnp.exe", "safe<U+202E>gnp.exe"),
        ("zero\u200bwidth\ufeff", "zero<U+200B>width<U+FEFF>"),
        ("\ufdd0\U0001ffff", "<U+FDD0><U+1FFFF>"),
        ("naïve ≠ 東京", "naïve ≠ 東京"),
        (3, "3"),
    ],
)
def test_clean_makes_the_invisible_visible(value: object, shown: str) -> None:
    assert clean(value) == shown


@given(st.text(), st.integers(min_value=1, max_value=50))
def test_clean_is_short_and_printable(value: str, limit: int) -> None:
    shown = clean(value, limit)
    assert len(shown) <= limit
    assert all(character.isprintable() for character in shown)


@given(st.text())
def test_markup_made_from_any_string_is_valid_html(value: str) -> None:
    html = f"<!doctype html><html lang=en><title>t</title><p>{code(value)}{name(value)}</p></html>"
    html5lib.HTMLParser(strict=True).parse(html)


def test_code_and_name_escape_what_they_wrap() -> None:
    assert code("at `<b>` & on") == "at <code>&lt;b&gt;</code> &amp; on"
    assert name("<i>_x") == "&lt;i&gt;_<wbr>x"


def test_a_template_never_shows_none() -> None:
    with pytest.raises(TypeError, match="shows None"):
        finalize(None)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "\N{EN DASH}"),
        (0.0, "0"),
        (1.2e-7, "1.2e-07"),
        (5.96e-08, "6.0e-08"),
        (0.5, "5.0e-01"),
        (57.0, "57"),
        (41022.0, "41,022"),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
        (1e300, "1.0e+300"),
    ],
)
def test_number(value: float | None, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.44, "0.4 s"),
        (41.0, "41 s"),
        (61.4, "1 min 1 s"),
        (7200.0, "2 h 0 min"),
        (float("nan"), "\N{EN DASH}"),
        (-1.0, "\N{EN DASH}"),
    ],
)
def test_duration(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("fraction", "shown"),
    [(1.0, "100%"), (0.999999, "99.99%"), (0.798, "79.8%"), (1e-9, "<0.01%"), (0.0, "0%")],
)
def test_percent_rounds_down(fraction: float, shown: str) -> None:
    assert percent(fraction) == shown


@pytest.mark.parametrize(
    ("started", "expected"),
    [
        ("2025-11-20T08:30:00+00:00", datetime(2025, 11, 20, 8, 30, tzinfo=UTC)),
        ("2025-11-20T08:30:00Z", datetime(2025, 11, 20, 8, 30, tzinfo=UTC)),
        ("2025-11-20T09:30:00+01:00", datetime(2025, 11, 20, 8, 30, tzinfo=UTC)),
        ("2025-11-20T08:30:00", datetime(2025, 11, 20, 8, 30, tzinfo=UTC)),
        ("yesterday", None),
        ("0001-01-01T00:00:00+23:00", None),
    ],
)
def test_moment(started: str, expected: datetime | None) -> None:
    assert moment(started) == expected


def test_lists_and_plurals() -> None:
    assert listed(()) == ""
    assert listed(("a",)) == "`a`"
    assert listed(("a", "b", "c")) == "`a`, `b` and `c`"
    assert listed(("a", "b", "c"), 2) == "`a`, `b` and 1 more"
    assert (plural(1, "pair"), plural(2, "pair")) == ("1 pair", "2 pairs")
