"""Boundaries over the captures of a lane, as nights go by."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest

from matrix_capture.schema import digest_path
from matrix_capture.settings import Settings, read_settings
from matrix_capture.values import ValueStore
from matrix_compare.captures import load_captures
from matrix_compare.gauge import Gauge
from matrix_compare.pairs import compare
from matrix_compare.policy import Level
from matrix_compare.schema import write_verdicts
from matrix_compare.tolerance import read_profiles
from matrix_operate.boundary import Boundary, Sighting, awaiting, survey
from tests.compare.conftest import LANE, ROOT, Put, status_of
from tests.operate.nights import CODES, MOVED, SAME, Nights, puts

OTHER_HOST: Any = {"fingerprint": {"cpu_model": "Y", "threads": 2}}


@pytest.fixture
def settings() -> Settings:
    return read_settings(ROOT / "matrix.toml")


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    return Nights(tmp_path)


def only(nights: Nights, settings: Settings) -> Sighting:
    (found,) = survey(nights.data, LANE, settings)
    return found


def boundary(nights: Nights, settings: Settings) -> Boundary:
    found = only(nights, settings).boundary
    assert found
    return found


def test_two_alike_are_no_boundary(nights: Nights, settings: Settings) -> None:
    nights.capture("2.7.1")
    assert survey(nights.data, LANE, settings) == ()
    nights.capture("2.8.0")
    assert only(nights, settings) == Sighting(lane=LANE, a="2.7.1", b="2.8.0")
    assert awaiting(nights.data, LANE, settings) == ()
    assert survey(nights.data, "cuda-pinned", settings) == ()


def test_a_boundary_is_believed_when_another_run_sees_it_too(
    nights: Nights, settings: Settings
) -> None:
    nights.capture("2.7.1")
    nights.capture("2.8.0", puts(MOVED))
    first = boundary(nights, settings)
    assert (first.starts, first.level, first.confirmed) == (("embs",), Level.ALERT, False)
    assert awaiting(nights.data, LANE, settings) == ("2.8.0",)
    nights.capture("2.8.0", puts(MOVED))
    again = boundary(nights, settings)
    assert again.confirmed
    assert again.fingerprint == first.fingerprint
    assert awaiting(nights.data, LANE, settings) == ()


def test_what_was_measured_counts_where_values_are_gone(nights: Nights, settings: Settings) -> None:
    """Without values nobody knows how far the index is; the verdicts on record say it is close."""
    nights.capture("2.7.1")
    nights.capture("2.8.0", puts(MOVED, CODES[::-1]))
    assert boundary(nights, settings).level is Level.FAILURE
    captures = load_captures(nights.data, LANE, settings)
    store = ValueStore(nights.data / "values")
    table = compare(captures.captures, Gauge(store, read_profiles(settings)), store).table
    place = table.schema.get_field_index("verdict")
    near = pc.replace_substring(table["verdict"].cast("string"), "differs", "close")
    write_verdicts(table.set_column(place, "verdict", near), nights.data, LANE)
    found = boundary(nights, settings)
    assert found.level is Level.ALERT
    assert found.starts == ("embs",)


@pytest.mark.parametrize(
    ("values", "record"),
    [
        (puts(SAME), {}),
        (puts(SAME, CODES[::-1]), {}),
        (puts(MOVED), {"lane": "cuda-pinned"}),
        (puts(MOVED), {"started": "2026-01-01T03:00:00+00:00"}),
        (puts(MOVED), OTHER_HOST),
    ],
    ids=["a pass", "another start", "another lane", "the same run", "another host"],
)
def test_what_does_not_confirm(
    nights: Nights, settings: Settings, values: list[Put], record: dict[str, Any]
) -> None:
    """The first capture of 2.8.0 is no second look; the next one sees a boundary."""
    nights.capture("2.7.1")
    nights.capture("2.8.0", values, **record)
    path = digest_path(nights.data, "cuda-pinned", "2.8.0")
    if path.exists():  # a capture of another lane that has come into the history of this one
        target = nights.data / "history" / LANE / "2.8.0" / "0.parquet"
        target.parent.mkdir(parents=True)
        path.rename(target)
    nights.capture("2.8.0", puts(MOVED))
    assert not boundary(nights, settings).confirmed


def test_what_cannot_be_read_does_not_confirm(nights: Nights, settings: Settings) -> None:
    nights.capture("2.7.1")
    nights.capture("2.8.0", puts(MOVED))
    nights.capture("2.8.0", puts(MOVED))
    (path,) = (path for path in (nights.data / "history").rglob("*") if path.is_file())
    path.write_bytes(path.read_bytes()[:-9])
    assert not boundary(nights, settings).confirmed


def test_an_earlier_pair_on_another_host_confirms(nights: Nights, settings: Settings) -> None:
    """Both were captured there, so they can be held against each other."""
    nights.capture("2.7.1", **OTHER_HOST)
    nights.capture("2.8.0", puts(MOVED), **OTHER_HOST)
    nights.capture("2.7.1")
    nights.capture("2.8.0", puts(MOVED))
    assert boundary(nights, settings).confirmed


def test_nobody_knows_of_what_cannot_be_compared(nights: Nights, settings: Settings) -> None:
    nights.capture("2.7.1")
    nights.capture("2.8.0", puts(MOVED), **OTHER_HOST)
    found = only(nights, settings)
    assert found.boundary is None
    assert found.unknown.startswith("fingerprint differs: cpu_model")


def test_nobody_knows_of_what_did_not_run(nights: Nights, settings: Settings) -> None:
    """What was compared is alike, but training might differ."""
    trained = Put(artifact="trained_weights", scope="step", value=CODES)
    status = {name: stage for name, stage in status_of().items() if name != "train"}
    nights.capture("2.7.1", [*puts(), trained])
    nights.capture("2.8.0", status=status)
    found = only(nights, settings)
    assert (found.boundary, found.unknown) == (None, "2.8.0 did not run train")


def test_what_cannot_be_read_hides_what_lies_on_either_side(
    nights: Nights, settings: Settings
) -> None:
    for torch in ("2.7.0", "2.7.1", "2.8.0"):
        nights.capture(torch, puts(MOVED if torch == "2.8.0" else SAME))
    digest_path(nights.data, LANE, "2.7.1").write_bytes(b"")
    found = survey(nights.data, LANE, settings)
    assert [(one.a, one.b) for one in found] == [("2.7.0", "2.7.1"), ("2.7.1", "2.8.0")]
    assert {one.unknown for one in found} == {"the capture of torch 2.7.1 cannot be read"}


def test_a_release_that_does_not_load_is_told_once(nights: Nights, settings: Settings) -> None:
    """It is held against the one before it; those on either side of it against each other."""
    nights.capture("2.7.0")
    nights.capture("2.7.1", [], status=status_of("import"))
    nights.capture("2.8.0")
    stopped, passed = survey(nights.data, LANE, settings)
    assert stopped.boundary
    assert (stopped.a, stopped.b) == ("2.7.0", "2.7.1")
    assert stopped.boundary.starts == ("torch 2.7.1 stopped at import",)
    assert stopped.boundary.level is Level.FAILURE
    assert passed == Sighting(lane=LANE, a="2.7.0", b="2.8.0")
    assert awaiting(nights.data, LANE, settings) == ("2.7.1",)
    nights.capture("2.7.1", [], status=status_of("import"))
    assert awaiting(nights.data, LANE, settings) == ()


def test_what_is_unstable_names_the_artifact(nights: Nights, settings: Settings) -> None:
    again = [Put(artifact="embs", value=MOVED, repeat=1)]
    nights.capture("2.7.1")
    nights.capture("2.8.0", [*puts(), *again])
    assert boundary(nights, settings).starts == ("embs",)


def test_the_fingerprint_is_of_the_place_alone(nights: Nights, settings: Settings) -> None:
    nights.capture("2.7.1")
    nights.capture("2.8.0", puts(MOVED))
    first = boundary(nights, settings)
    nights.capture("2.8.0", puts(MOVED, CODES[::-1]), packages={"torch": "2.8.0", "numpy": "2.0"})
    worse = boundary(nights, settings)
    assert (first.level, worse.level) == (Level.ALERT, Level.FAILURE)
    assert worse.fingerprint == first.fingerprint
    nights.capture("2.8.0", puts(SAME, CODES[::-1]))
    assert boundary(nights, settings).fingerprint != first.fingerprint


def test_builds_that_are_too_old_are_not_compared(nights: Nights, settings: Settings) -> None:
    builds = [f"2.16.0.dev202611{day:02}" for day in range(1, 17)]
    lane = next(name for name, held in settings.lanes.items() if held.nightly)
    for build in builds:
        nights.capture(build, puts(MOVED if build == builds[0] else SAME), lane=lane)
    found = survey(nights.data, lane, settings)
    assert [one.b for one in found] == builds[1:]
    assert [one.outdated for one in found] == [True, True, *[False] * 13]
    assert not any(one.boundary or one.unknown for one in found)


def test_values_that_are_not_on_record_are_not_needed(nights: Nights, settings: Settings) -> None:
    nights.capture("2.7.1")
    nights.capture("2.8.0", puts(np.nextafter(SAME, 2)))
    assert not (nights.data / "values").exists()
    assert boundary(nights, settings).report.summary.unsized == 1
