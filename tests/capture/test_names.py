import re

import pytest

from matrix_capture.names import lane_name, lane_options, unknown_release, version_numbers


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
