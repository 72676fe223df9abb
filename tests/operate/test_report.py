import json
import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given

from matrix_capture.errors import MatrixError
from matrix_compare.check import Check
from matrix_compare.document import encoded
from matrix_compare.policy import Level
from matrix_operate.__main__ import main
from matrix_operate.check_run import check_run
from tests.compare.checks import SHA, check_line, check_of, checked, checks
from tests.compare.reports import BRIEF
from tests.operate.github_server import State, hub

__all__ = ["hub"]

BAD = check_of(checked(check_line("index_codes", level=Level.FAILURE), level=Level.FAILURE))
ODD = check_of(checked(check_line("embs")))
GOOD = check_of(checked())


@pytest.fixture
def report(tmp_path: Path) -> Any:
    def report(check: Check, *options: str) -> int:
        path = tmp_path / "check.json"
        path.write_bytes(encoded(check))
        return main(["report", "--check", str(path), *options])

    return report


@pytest.mark.parametrize(
    ("fail_on", "expected"),
    [("failure", [0, 0, 1]), ("alert", [0, 1, 1]), ("never", [0, 0, 0])],
)
def test_what_is_red(fail_on: str, expected: list[int], report: Any) -> None:
    found = [report(check, "--fail-on", fail_on) for check in (GOOD, ODD, BAD)]
    assert found == expected


def test_everything_comes_of_one_check(
    report: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = {name: tmp_path / name for name in ("summary", "junit", "check-run")}
    paths["summary"].write_text("before\n", encoding="utf-8")
    outputs = [part for name, path in paths.items() for part in (f"--{name}", str(path))]
    assert report(BAD, *outputs, "--annotations") == 1
    assert capsys.readouterr().out.startswith("::error title=torch 2.8.0::changes the index; ")
    # A summary is added to: other steps have theirs in the same file.
    assert paths["summary"].read_text("utf-8").startswith("before\n**✗ failure**: changes the ind")
    junit = ET.parse(paths["junit"]).getroot()  # noqa: S314 - our own
    assert junit.get("failures") == "2"
    run = json.loads(paths["check-run"].read_bytes())
    assert (run["head_sha"], run["status"], run["conclusion"]) == (SHA, "completed", "failure")
    assert run["name"] == "colbert-matrix"
    assert run["output"]["title"].startswith("changes the index")
    assert paths["summary"].read_text("utf-8").endswith(run["output"]["summary"])


@pytest.mark.parametrize(
    ("check", "conclusion"), [(GOOD, "success"), (ODD, "neutral"), (BAD, "failure")]
)
def test_what_a_check_run_concludes(check: Check, conclusion: str) -> None:
    assert check_run(check)["conclusion"] == conclusion


@BRIEF
@given(checks)
def test_a_check_run_keeps_to_what_github_takes(check: Check) -> None:
    run = json.loads(json.dumps(check_run(check)))
    assert 0 < len(run["output"]["title"]) <= 255
    assert len(run["output"]["summary"]) <= 65_535
    assert run["output"]["title"].isprintable()


@pytest.mark.parametrize("sha", ["", "main", SHA[:39], f"{SHA}\n"])
def test_a_check_of_no_commit_has_no_check_run(sha: str) -> None:
    with pytest.raises(MatrixError, match="of no commit"):
        check_run(check_of(checked(), sha=sha))


def test_a_check_run_is_made_in_a_repository(
    report: Any, hub: State, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(GOOD, "--post", "us/matrix", "--dry-run") == 0
    assert hub.writes == []
    assert report(GOOD, "--post", "us/matrix") == 0
    assert hub.writes == [("POST", "/repos/us/matrix/check-runs")]
    assert [run["head_sha"] for run in hub.check_runs] == [SHA]
    assert capsys.readouterr().out.endswith("made https://github.com/us/matrix/runs/1\n")


@pytest.mark.parametrize(("failure", "status"), [("403", 2), ("502", 75)])
def test_a_check_run_that_github_refuses_is_one_line(
    failure: Any, status: int, report: Any, hub: State, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.failures = [("POST", "check-runs", failure)] * 9
    assert report(GOOD, "--post", "us/matrix") == status
    assert capsys.readouterr().err.count("\n") == 1


def test_what_cannot_be_read_or_written_is_bad_input(
    report: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "--check", str(tmp_path / "none.json")]) == 2
    assert report(GOOD, "--summary", str(tmp_path)) == 2
    assert report(GOOD, "--junit", os.devnull, "--post", "no repository") == 2
    assert report(check_of(checked(), sha="", number=0), "--check-run", os.devnull) == 2
    assert capsys.readouterr().err.count("error: ") == 4
