from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matrix_capture.settings import Settings
from matrix_capture.values import ValueStore
from matrix_compare.captures import load_captures
from matrix_compare.drift import Band, Drift, bands, drifts
from matrix_compare.gauge import Gauge
from matrix_compare.pairs import compare
from matrix_compare.tolerance import read_profiles
from tests.compare.conftest import LANE, Maker, Put

RELEASES = ("2.4.0", "2.4.1", "2.5.0", "2.5.1", "2.6.0")
PROFILES = ("default", "bitsandbytes")


@pytest.fixture
def seen(make: Maker, tmp_path: Path, settings: Settings, store: ValueStore) -> Any:
    """Bands and drifts of releases whose one artifact has these values; None is no artifact."""

    def seen(*values: float | None, releases: tuple[str, ...] = RELEASES) -> Any:
        for torch, value in zip(releases, values, strict=False):
            there = np.array([1.0, 2.0 if value is None else value], np.float32)
            make(torch, [] if value is None else [Put(artifact="D", value=there, scope="sample")])
        captures = load_captures(tmp_path, LANE, settings).captures
        verdicts = compare(captures, Gauge(store, read_profiles(settings)), store)
        names = [capture.record.torch for capture in captures]
        return bands(names, verdicts), drifts(names, verdicts, PROFILES)

    return seen


def drift(first: str, last: str, profile: str) -> tuple[str, ...]:
    return ("D", "", "sample", profile, first, last)


def brief(found: list[Drift]) -> list[tuple[str, ...]]:
    return [(d.artifact, d.part, d.scope, d.profile, d.first, d.last) for d in found]


def test_bands(seen: Any) -> None:
    found, _ = seen(1, 1, 2, 2, 3)
    assert found == [
        Band(first="2.4.0", last="2.4.1"),
        Band(first="2.5.0", last="2.5.1"),
        Band(first="2.6.0", last="2.6.0"),
    ]


def test_no_captures_have_no_bands(store: ValueStore) -> None:
    assert bands([], compare([], Gauge(store, ()), store)) == []


def test_small_steps_that_add_up(seen: Any) -> None:
    # Each step is within 1e-8 + 1e-5 of 1, two of them are not.
    _, found = seen(1.0, 1.0000053, 1.0000105, 1.0000105, 1.0000105)
    assert brief(found) == [drift("2.4.0", "2.5.0", "default")]
    assert found[0].max_abs == pytest.approx(1.05e-5, rel=0.02)


def test_the_shortest_run_is_told(seen: Any) -> None:
    _, found = seen(1.0, 1.0, 1.000008, 1.000016, 1.000024)
    assert brief(found) == [
        drift("2.4.1", "2.5.1", "default"),
        drift("2.5.0", "2.6.0", "default"),
        # 1.6e-5 are more than 1e-6 + 1e-5 too.
        drift("2.4.1", "2.5.1", "bitsandbytes"),
        drift("2.5.0", "2.6.0", "bitsandbytes"),
    ]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param((1.0, 1.000004, 1.000008), id="together within the profile too"),
        pytest.param((1.0, 1.1, 1.2), id="a step that anybody sees"),
        pytest.param((1.0, 1.000008, 1.0), id="there and back again"),
        pytest.param((1.0, 1.000008, None, 1.000016), id="a step that nobody took"),
        pytest.param((1.0, 1.0, 1.0), id="identical"),
    ],
)
def test_nothing_adds_up(seen: Any, values: tuple[float | None, ...]) -> None:
    assert seen(*values)[1] == []
