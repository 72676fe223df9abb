import re
from pathlib import Path

import pytest

from matrix_operate.__main__ import main
from matrix_operate.annotations import escaped
from matrix_operate.recorded import Lane, Recorded, read_recorded, write_recorded
from tests.compare.conftest import ROOT

NOW = "2025-01-03T12:00:00+00:00"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two lanes: one was recorded 47 hours ago, the other 49."""
    monkeypatch.chdir(ROOT)
    lanes = {
        "cpu-pinned": Lane(time="2025-01-01T13:00:00+00:00", profiles=""),
        "cuda-pinned": Lane(time="2025-01-01T11:00:00+00:00", profiles=""),
    }
    write_recorded(tmp_path, Recorded(lanes=lanes))
    return tmp_path


def look(data: Path, *options: str) -> int:
    return main(["heartbeat", "--data", str(data), "--hours", "48", "--now", NOW, *options])


@pytest.mark.parametrize(
    ("options", "late"),
    [
        ((), ["cuda-pinned (last 2025-01-01T11:00:00+00:00)"]),
        (("--lanes", "cpu-pinned"), []),
        (("--lanes", "cpu-pinned cpu-latest"), ["cpu-latest (never)"]),
        (("--now", "2025-01-03T13:00:00"), ["cuda-pinned (last 2025-01-01T11:00:00+00:00)"]),
        (("--now", "2025-01-03T14:00:01+01:00", "--lanes", "cpu-pinned"), ["cpu-pinned (last "]),
        (("--hours", "49"), []),
        (("--hours", "0.5"), ["cpu-pinned (last ", "cuda-pinned (last "]),
    ],
)
def test_lanes_that_are_late_are_named(
    options: tuple[str, ...], late: list[str], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert look(data, *options) == bool(late)
    (line,) = capsys.readouterr().out.splitlines()
    assert ("not recorded for" in line) == bool(late)
    assert len(re.findall(r"\((?:last|never)", line)) == len(late)
    assert all(text in line for text in late)


@pytest.mark.parametrize("options", [(), ("--lanes", "cpu-pinned")])
def test_nothing_on_record_is_late(
    options: tuple[str, ...], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "recorded.json").unlink()
    assert look(data, *options) == 1
    assert "never" in capsys.readouterr().out


def test_now_is_now_unless_told(data: Path) -> None:
    assert main(["heartbeat", "--data", str(data), "--hours", "48"]) == 1


def test_on_github_it_is_an_error_of_one_line(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    lane = Lane(time="2024-01-01T00:00:00+00:00", profiles="")
    write_recorded(data, Recorded(lanes={"cpu-latest": lane, "gone\n::stop-commands::x": lane}))
    assert look(data) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line == (
        "::error::not recorded for 48 hours: cpu-latest (last 2024-01-01T00:00:00+00:00)"
    )


def test_what_github_reads_as_its_own_is_escaped() -> None:
    assert escaped("50%\r\n::error::") == "50%25%0D%0A::error::"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "not a readable"),
        ('{"schema_version": 2}', "schema version 2, but this release reads 1"),
        ('{"lanes": {"a": 1}}', "not a readable"),
    ],
)
def test_a_damaged_file_is_bad_input(
    content: str, told: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "recorded.json").write_text(content)
    assert look(data) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("options", [("--lanes", "no-such-lane"), ("--now", "tomorrow")])
def test_bad_input_is_one_line(
    options: tuple[str, ...], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert look(data, *options) == 2
    assert re.fullmatch(r"error: [^\n]*\n", capsys.readouterr().err)


def test_what_was_recorded_is_read(data: Path) -> None:
    assert read_recorded(data).lanes["cpu-pinned"].time == "2025-01-01T13:00:00+00:00"
    assert read_recorded(data / "nowhere") == Recorded()
