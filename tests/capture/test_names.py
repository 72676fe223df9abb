import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_capture.names import (
    capture_session,
    is_build,
    lane_name,
    lane_options,
    release_order,
    unknown_release,
    version_numbers,
    without_builds,
)


def test_without_options_the_lane_is_itself() -> None:
    assert lane_name("cpu-pinned", {}) == "cpu-pinned"


def test_options_make_a_lane_of_their_own() -> None:
    # Written out: a name that moved would orphan every record below the old one.
    assert lane_name("cpu-pinned", {"passages": 64}) == "cpu-pinned+513d7c5b"
    assert re.fullmatch(r"x\+[0-9a-f]{8}", lane_name("x", {"depth": "deep"}))


def test_only_what_differs_from_the_lane_is_an_option() -> None:
    assert lane_options(colbert="0.2.22", pinned="0.2.22") == {}
    assert lane_options(passages=64, depth="default") == {"passages": 64}
    assert lane_options(depth="sublayers", colbert="0.2.21", pinned="0.2.22") == {
        "depth": "sublayers",
        "colbert": "0.2.21",
    }


def test_the_order_of_the_options_does_not_matter() -> None:
    options: dict[str, str | int] = {"passages": 64, "depth": "deep", "colbert": "0.2.21"}
    turned = dict(reversed(options.items()))
    assert lane_name("x", options) == lane_name("x", turned)


@pytest.mark.parametrize(
    "other", [{"passages": 65}, {"passages": "64"}, {"depth": 64}, {"passages": 64, "depth": "x"}]
)
def test_other_options_make_another_lane(other: dict[str, str | int]) -> None:
    assert lane_name("x", other) != lane_name("x", {"passages": 64})


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("2.5.7", "the nearest is 2.5.1"),
        ("9.9.9", "the nearest is 2.10.0"),
        ("2.10.1", "the nearest is 2.10.0"),
        ("nightly", "it has 2.4.1, 2.5.1, 2.10.0"),
    ],
)
def test_an_unknown_release_is_told_with_a_hint(name: str, hint: str) -> None:
    message = unknown_release(name, ["2.4.1", "2.5.1", "2.10.0"])
    assert message == f"no torch release {name!r} in matrix.toml; {hint}"


@pytest.mark.parametrize(
    ("version", "numbers"),
    [("v2.5.1+cu124", (2, 5, 1)), ("2.10.0", (2, 10, 0)), ("3", (3,)), ("nightly", ())],
)
def test_version_numbers(version: str, numbers: tuple[int, ...]) -> None:
    assert version_numbers(version) == numbers


# Nightly builds.

NUMBERS = st.tuples(*[st.integers(0, 120)] * 3)
NIGHTS = st.dates().map("{:%Y%m%d}".format).filter(lambda night: len(night) == 8)


def test_a_build_comes_before_its_release_and_after_the_one_before() -> None:
    names = ["2.9.1", "2.15.0", "2.16.0.dev20261120", "2.16.0.dev20261121", "2.16.0", "2.16.1"]
    assert sorted([*names[3:], *names[:3]], key=release_order) == names


@given(st.lists(st.tuples(NUMBERS, st.none() | NIGHTS), unique=True))
def test_the_order_is_that_of_the_numbers_then_of_the_nights(
    made: list[tuple[tuple[int, int, int], str | None]],
) -> None:
    names = [
        f"{'.'.join(map(str, numbers))}{f'.dev{night}' if night else ''}" for numbers, night in made
    ]
    expected = sorted(zip(made, names, strict=True), key=lambda one: (one[0][0], one[0][1] or "z"))
    assert sorted(names, key=release_order) == [name for _, name in expected]
    assert len(set(map(release_order, names))) == len(names)
    assert [is_build(name) for name in names] == [night is not None for _, night in made]


@pytest.mark.parametrize(
    "name",
    [
        "2.16.0",
        "2.16.0.dev2026112",
        "2.16.0.dev202611211",
        "2.16.0.dev20261121+cpu",
        "2.16.0.dev20261121\n",
        "2.16.dev20261121",
        "2.16.0.dev2026112\N{ARABIC-INDIC DIGIT TWO}",
        "../2.16.0.dev20261121",
    ],
)
def test_what_is_no_build(name: str) -> None:
    assert not is_build(name)


def test_a_build_has_a_session_of_its_own() -> None:
    build = "2.16.0.dev20261121"
    assert capture_session("2.15.0") == "capture-2.15.0"
    assert capture_session(build) == f"capture-nightly -- --build {build}"
    assert unknown_release(build, ["2.15.0"]).endswith(
        f"nox -s {capture_session(build)} captures it"
    )


def test_where_there_are_no_builds() -> None:
    told = without_builds("2.16.0.dev20261121", "cpu-pinned", [])
    assert told == "lane cpu-pinned does not take 2.16.0.dev20261121, only releases; no other does"
