import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from matrix_capture.schema import digest_path
from matrix_capture.settings import read_settings
from matrix_operate import row as module
from matrix_operate.__main__ import main
from matrix_operate.plan import SCHEMA_VERSION, Plan, Row, expected, write_plan
from matrix_operate.row import commands
from tests.compare.conftest import ROOT

HEAD = "git+https://github.com/somebody/ColBERT@0123456789abcdef"
NOX = [sys.executable, "-m", "nox", "-s"]

# What somebody's code may print: the last line has no end, and something goes on after the end.
HOSTILE = """
import os, subprocess, sys
print("::stop-commands::mine\\n::mine::", file=sys.stderr)
print("::add-mask::a\\n  ::set-env name=A::b\\n##[add-path]c\\n::endgroup::")
print(*(name for name in os.environ if name.startswith(("GITHUB_", "ACTIONS_", "RUNNER_"))))
late = '''
import pathlib, time
while not pathlib.Path("{go}").exists():
    time.sleep(0.1)
print("::error::late", flush=True)
pathlib.Path("{gone}").touch()
'''
subprocess.Popen([sys.executable, "-c", late])
print("::notice::no end", end="")
"""


def row(**changes: Any) -> Row:
    given: dict[str, Any] = {
        "name": "one",
        "lane": "cpu-pinned",
        "torch": ("2.7.1", "2.8.0"),
        "runs_on": ("ubuntu-24.04",),
    }
    return Row(**given | changes)


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a plan with two rows."""
    monkeypatch.chdir(ROOT)
    path = tmp_path / "plan.json"
    rows = (row(), row(name="other", torch=("2.6.0",)))
    write_plan(path, Plan(schema_version=SCHEMA_VERSION, rows=rows))
    return path


def running(monkeypatch: pytest.MonkeyPatch, *scripts: str) -> None:
    """Have Python scripts run instead of captures."""

    def fake(row: Row, data: Path) -> Iterator[tuple[str, list[str]]]:
        for script in scripts:
            yield "torch 2.8.0", [sys.executable, "-c", script]

    monkeypatch.setattr(module, "commands", fake)


def obeyed(printed: str) -> list[str]:
    """The commands that a runner of GitHub would find in what a step prints."""
    found, stopped = [], ""
    for line in printed.splitlines():
        command = re.match(r"\s*::([\w-]+)(?: [^:]*)?::(.*)|.*##\[([\w-]+)\]", line)
        if command is None:
            continue
        name = command[1] or command[3]
        if not stopped:
            found.append(name)
            stopped = command[2] if name == "stop-commands" else ""
        elif name == stopped:
            stopped = ""
    return found


def recording(data: Path, torch: str) -> str:
    """A script that leaves a digest file."""
    path = digest_path(data, "cpu-pinned", torch)
    return (
        f"import pathlib; path = pathlib.Path({str(path)!r}); "
        "path.parent.mkdir(parents=True, exist_ok=True); path.touch()"
    )


# What runs.


def test_every_build_is_captured_by_its_session(tmp_path: Path) -> None:
    found = [command for _, command in commands(row(), tmp_path)]
    shared = ["--", "--lane", "cpu-pinned", "--data", str(tmp_path)]
    assert found == [[*NOX, f"capture-{torch}", *shared] for torch in ("2.7.1", "2.8.0")]


def test_a_nightly_build_has_a_session_of_its_own(tmp_path: Path) -> None:
    build = "2.16.0.dev20261121"
    nightly = row(lane="cpu-nightly", torch=(build,), passages=96)
    ((title, command),) = commands(nightly, tmp_path)
    assert title == f"torch {build}, lane cpu-nightly"
    which = ["--build", build, "--lane", "cpu-nightly", "--data", str(tmp_path), "--passages", "96"]
    assert command == [*NOX, "capture-nightly", "--", *which]


def test_every_build_is_captured_with_every_revision(tmp_path: Path) -> None:
    found = [command for _, command in commands(row(colbert=("0.2.22", HEAD)), tmp_path)]
    assert [(command[4], command[-2:]) for command in found] == [
        (f"capture-{torch}", ["--colbert", revision])
        for torch in ("2.7.1", "2.8.0")
        for revision in ("0.2.22", HEAD)
    ]


def test_there_is_a_command_for_each_capture_that_is_expected(tmp_path: Path) -> None:
    pull = row(colbert=("0.2.21", HEAD))
    plan = Plan(schema_version=SCHEMA_VERSION, rows=(pull,))
    wanted = [*expected(plan, read_settings(ROOT / "matrix.toml"))]
    assert len(wanted) == len([*commands(pull, tmp_path)]) == 4


# What comes of it.


def capture(plan: Path, name: str = "one") -> int:
    data = plan.parent / "out"
    return main(["capture", "--plan", str(plan), "--row", name, "--data", str(data)])


def test_all_on_record_is_fine(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = plan.parent / "out"
    running(monkeypatch, recording(data, "2.7.1"), recording(data, "2.8.0"))
    assert capture(plan) == 0


def test_it_goes_on_after_a_failure_and_names_what_is_missing(
    plan: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    running(monkeypatch, "raise SystemExit(3)", recording(plan.parent / "out", "2.8.0"))
    assert capture(plan) == 75
    error = capfd.readouterr().err
    assert (
        error == "error: nothing on record of torch 2.7.1 in lane cpu-pinned; run the job again\n"
    )


def test_a_capture_that_failed_but_is_on_record_is_fine(
    plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = plan.parent / "out"
    scripts = (f"{recording(data, torch)}; raise SystemExit(1)" for torch in ("2.7.1", "2.8.0"))
    running(monkeypatch, *scripts)
    assert capture(plan) == 0


def test_a_row_that_is_not_planned_is_refused(
    plan: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert capture(plan, "third") == 2
    assert "has no row 'third', but one, other" in capfd.readouterr().err


# What a runner of GitHub makes of it.


def hostile(folder: Path) -> str:
    return HOSTILE.format(go=folder / "go", gone=folder / "gone")


def let_go(folder: Path) -> None:
    """Have what was left behind print, and wait until it has."""
    (folder / "go").touch()
    deadline = time.monotonic() + 60
    while not (folder / "gone").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_nothing_that_is_printed_inside_becomes_a_command(
    plan: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    for name in ("GITHUB_OUTPUT", "GITHUB_TOKEN", "ACTIONS_RUNTIME_TOKEN", "RUNNER_TEMP"):
        monkeypatch.setenv(name, "private")
    running(monkeypatch, hostile(plan.parent), hostile(plan.parent))
    assert capture(plan) == 75  # without waiting for what was left behind
    let_go(plan.parent)
    out = capfd.readouterr().out
    told = ["stop-commands"]  # around what is missing
    assert obeyed(out) == [*["group", "stop-commands", "endgroup"] * 2, *told]
    assert "::notice::no end" in out
    assert "late" not in out
    assert not re.search("GITHUB_|ACTIONS_|RUNNER_", out)
    tokens = re.findall(r"^::stop-commands::([0-9a-f]{32})$", out, re.MULTILINE)
    assert len({*tokens}) == 3


def test_without_the_guard_it_would(
    plan: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    running(monkeypatch, hostile(plan.parent))
    capture(plan)
    let_go(plan.parent)
    out = capfd.readouterr().out
    assert out.startswith("torch 2.8.0\n")
    assert obeyed(out) == ["stop-commands", "add-mask", "set-env", "add-path", "endgroup", "notice"]
