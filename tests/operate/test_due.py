from pathlib import Path
from typing import Any

import pytest

from matrix_capture.environment import capture_code, pins
from matrix_capture.names import version_numbers
from matrix_capture.schema import CaptureCode, digest_path
from matrix_capture.settings import Settings, read_settings
from matrix_operate.due import due
from tests.compare.conftest import LANE, ROOT, status_of
from tests.operate.nights import MOVED, Nights, puts

RELEASES = ("2.6.0", "2.7.0", "2.7.1", "2.8.0")
OTHER = CaptureCode(version="0.0.1", hash="11")


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(ROOT)  # constraints are named from there
    return read_settings()


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    return Nights(tmp_path)


def capture(nights: Nights, torch: str, values: Any = None, **changes: Any) -> None:
    """Record a capture as it is made today, but for the changes."""
    today: dict[str, Any] = {"capture_code": capture_code(), "packages": {"torch": torch}}
    nights.capture(torch, values, **today | changes)


def record_all(nights: Nights, **changes: Any) -> None:
    for torch in RELEASES:
        capture(nights, torch, **changes)


def test_what_is_on_record_is_not_due(nights: Nights, settings: Settings) -> None:
    record_all(nights)
    assert due(nights.data, LANE, settings, RELEASES) == {}


def test_without_a_record_all_are_due_the_newest_first(nights: Nights, settings: Settings) -> None:
    found = due(nights.data, LANE, settings, RELEASES)
    assert [*found] == sorted(RELEASES, key=version_numbers, reverse=True)
    assert {*found.values()} == {"not on record"}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"capture_code": OTHER}, "captured by other code"),
        ({"packages": {"transformers": "1.0.0"}}, "captured with other packages"),
        ({"packages": {"colbert-ai": "0.2.21"}}, "captured with other packages"),
        (
            {"fingerprint": {"cpu_model": "Y", "threads": 2}},
            "captured on another host or with other inputs",
        ),
        ({"inputs": {"checkpoint": "zz"}}, "captured on another host or with other inputs"),
    ],
)
def test_what_was_captured_differently_is_due(
    nights: Nights, settings: Settings, changes: dict[str, Any], why: str
) -> None:
    capture(nights, "2.6.0", **changes)
    for torch in RELEASES[1:]:
        capture(nights, torch)
    assert due(nights.data, LANE, settings, RELEASES) == {"2.6.0": why}


def test_the_host_of_the_latest_capture_is_the_one_that_counts(
    nights: Nights, settings: Settings
) -> None:
    record_all(nights)
    capture(nights, "2.8.0", fingerprint={"cpu_model": "Y", "threads": 2})
    assert [*due(nights.data, LANE, settings, RELEASES)] == ["2.6.0", "2.7.0", "2.7.1"]


def test_a_boundary_that_was_seen_once_comes_first_and_seen_twice_is_no_reason(
    nights: Nights, settings: Settings
) -> None:
    for torch in ("2.6.0", "2.7.0"):
        capture(nights, torch)
    capture(nights, "2.7.1", puts(MOVED))
    once = due(nights.data, LANE, settings, RELEASES)
    assert [*once.items()] == [
        ("2.7.1", "parts from the release before, seen once"),
        ("2.8.0", "not on record"),
    ]
    capture(nights, "2.7.1", puts(MOVED))
    assert due(nights.data, LANE, settings, RELEASES) == {"2.8.0": "not on record"}


def test_a_release_that_cannot_be_installed_is_captured_no_more_than_twice(
    nights: Nights, settings: Settings
) -> None:
    failed = {"status": status_of("install"), "packages": {}, "factors": {"python": "3.11"}}
    for torch in ("2.6.0", "2.7.0", "2.8.0"):
        capture(nights, torch, packages=pins(settings.lane(LANE)))
    for due_yet in (True, False):
        capture(nights, "2.7.1", [], **failed)
        assert ("2.7.1" in due(nights.data, LANE, settings, RELEASES)) is due_yet


def test_a_capture_that_cannot_be_read_is_none(nights: Nights, settings: Settings) -> None:
    record_all(nights)
    digest_path(nights.data, LANE, "2.7.0").write_bytes(b"PAR1")
    assert due(nights.data, LANE, settings, RELEASES) == {"2.7.0": "not on record"}


def test_where_nothing_is_pinned_all_take_turns(nights: Nights, settings: Settings) -> None:
    for torch in ("2.7.0", "2.6.0", "2.8.0"):
        capture(nights, torch, lane="cpu-latest", fingerprint={"cpu_model": torch})
    found = due(nights.data, "cpu-latest", settings, RELEASES)
    assert [*found] == ["2.7.1", "2.7.0", "2.6.0", "2.8.0"]
