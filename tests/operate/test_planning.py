import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from matrix_capture.errors import MatrixError
from matrix_operate import jobs, planning
from matrix_operate.__main__ import main
from matrix_operate.errors import OutageError
from matrix_operate.plan import Plan, read_plan
from tests.compare.conftest import ROOT

HEAD = "git+https://github.com/somebody/ColBERT@0123456789abcdef"
Planned = Callable[..., tuple[int, Plan | None, dict[str, str]]]


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Planned:
    """Runs `plan`: its exit status, the plan if there is one, and what a workflow reads."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(planning, "released", lambda python: ("2.15.0", "2.16.0"))
    monkeypatch.setattr(jobs, "builds", lambda index, python: ["2.17.0.dev20261121"])
    out, output = tmp_path / "plan.json", tmp_path / "output"
    output.write_text("earlier=step\n", encoding="utf-8")

    def plan(kind: str, lanes: str, *more: str) -> tuple[int, Plan | None, dict[str, str]]:
        out.unlink(missing_ok=True)
        given = ["plan", "--kind", kind, "--lanes", lanes, *more]
        status = main([*given, "--out", str(out), "--output", str(output)])
        lines = output.read_text(encoding="utf-8").splitlines()
        pairs = (line.partition("=") for line in lines)
        return status, read_plan(out) if out.exists() else None, {a: b for a, _, b in pairs}

    return plan


def test_what_a_workflow_reads(planned: Planned, tmp_path: Path) -> None:
    lanes = "cuda-pinned cpu-nightly cuda-pinned"
    status, plan, output = planned(
        "nightly", lanes, "--gpu", "sm_90", "--data", str(tmp_path / "absent")
    )
    assert status == 0
    assert plan
    assert output.keys() == {"earlier", "matrix", "captures", "new", "plan"}
    assert msgspec.json.decode(output["plan"], type=Plan) == plan
    include = json.loads(output["matrix"])["include"]
    assert include[0] == {
        "name": "cuda-pinned-2.16.0",
        "runs_on": ["self-hosted", "linux", "x64", "colbert-gpu", "sm_90"],
    }
    assert [row["name"] for row in include] == [row.name for row in plan.rows]
    assert [row.name for row in plan.rows][-1] == "cpu-nightly"
    assert plan.rows[-1].torch == ("2.16.0", "2.17.0.dev20261121")
    assert output["captures"] == str(sum(len(row.torch) for row in plan.rows)) == "10"
    assert output["new"] == "2.16.0"


def test_what_people_read(
    planned: Planned, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = tmp_path / "summary.md"
    more = ("--releases", "2.8.0 2.0.1", "--gpu", "sm_90", "--summary", str(summary))
    planned("lanes", "cuda-pinned cpu-pinned", *more)
    out, err = capsys.readouterr()
    assert [line.split() for line in out.splitlines()] == [
        ["row", "lane", "torch", "why"],
        ["cuda-pinned-2.8.0", "cuda-pinned", "2.8.0", "asked", "for"],
        ["cpu-pinned", "cpu-pinned", "2.0.1", "2.8.0", "asked", "for"],
    ]
    assert err == "not run: lane cuda-pinned, torch 2.0.1: unsupported GPU: no sm_90 code\n"
    assert summary.read_text(encoding="utf-8").splitlines() == [
        "| row | lane | torch | why |",
        "| --- | --- | --- | --- |",
        "| `cuda-pinned-2.8.0` | `cuda-pinned` | `2.8.0` | `asked for` |",
        "| `cpu-pinned` | `cpu-pinned` | `2.0.1 2.8.0` | `asked for` |",
        "",
        "- not run: `lane cuda-pinned, torch 2.0.1: unsupported GPU: no sm_90 code`",
    ]


def test_a_pull_request_has_base_and_head_in_every_row(planned: Planned) -> None:
    lanes, more = "cuda-pinned cpu-pinned", ("--releases", "2.7.1 2.8.0", "--gpu", "sm_90")
    _, plan, output = planned("pull", lanes, *more, "--base", "0.2.22", "--head", HEAD)
    assert plan
    assert [(row.name, row.torch) for row in plan.rows] == [
        ("cuda-pinned-2.7.1", ("2.7.1",)),
        ("cuda-pinned-2.8.0", ("2.8.0",)),
        ("cpu-pinned", ("2.7.1", "2.8.0")),
    ]
    assert {row.colbert for row in plan.rows} == {("0.2.22", HEAD)}
    assert (output["captures"], output["new"]) == ("8", "")


def test_a_night_with_nothing_due_has_no_captures(
    planned: Planned,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(jobs, "due", lambda *_: {})
    status, plan, output = planned("nightly", "cpu-pinned", "--data", str(tmp_path))
    assert (status, output["captures"]) == (0, "0")
    assert json.loads(output["matrix"]) == {"include": []}
    assert plan
    assert plan.rows == ()
    assert capsys.readouterr().out == "nothing is due\n"


def test_a_nightly_index_out_of_reach_is_told_and_no_reason_to_stop(
    planned: Planned,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def unreachable(index: str, python: str) -> list[str]:
        raise MatrixError(f"{index}\ncannot be read")

    monkeypatch.setattr(jobs, "builds", unreachable)
    data = ("--data", str(tmp_path))
    status, plan, output = planned("nightly", "cpu-nightly cpu-pinned", *data)
    assert status == 0
    assert plan
    assert [row.name for row in plan.rows] == ["cpu-pinned"]
    (gap,) = plan.not_run
    assert (gap.lane, gap.torch) == ("cpu-nightly", "nightly")
    assert capsys.readouterr().err.count("\n") == 1
    assert output["captures"] == str(len(plan.rows[0].torch))


def test_the_package_index_out_of_reach_is_an_outage(
    planned: Planned,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def unreachable(python: str) -> Any:
        raise OutageError("pip finds no torch")

    monkeypatch.setattr(planning, "released", unreachable)
    status, plan, output = planned("nightly", "cpu-pinned", "--data", str(tmp_path))
    assert (status, plan, output) == (75, None, {"earlier": "step"})
    assert capsys.readouterr().err == "error: pip finds no torch\n"


GPU = ("--gpu", "sm_90")
TWO = ("--releases", "2.7.1 2.8.0")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("nightly", "cpu-pinned"), "needs --data"),
        (("lanes", "cpu-pinned"), "needs --releases"),
        (("lanes", "cpu-pinned", "--releases", ""), "needs --releases"),
        (("pull", "cpu-pinned", *TWO, "--base", "0.2.21"), "needs --head"),
        (("nightly", "cpu-pinned", "--data", ".", *TWO), "takes no --releases"),
        (("lanes", "cpu-pinned", *TWO, "--head", "0.2.21"), "takes no --head"),
        (("lanes", " ", *TWO), "matrix.toml has cpu-pinned"),
        (("lanes", "cpu", *TWO), "no lane 'cpu' in matrix.toml; it has cpu-pinned"),
        (("lanes", "cpu-pinned+00112233", *TWO), "no lane 'cpu-pinned+00112233'"),
        (("lanes", "cuda-pinned", *TWO), "say with --gpu which"),
        (("lanes", "cpu-pinned", *TWO, "--gpu", "H200"), "it has sm_70, sm_75"),
        (("lanes", "cuda-pinned", *GPU, "--releases", "1.13.1 2.0.1"), "no release that was named"),
        (("lanes", "cpu-pinned", "--releases", "2.7.9"), "the nearest is 2.7.1"),
        (("lanes", "cpu-pinned", *TWO, "--passages", "0"), "--passages 0"),
        (("pull", "cpu-pinned", *TWO, "--base", "0.2.21", "--head", "0.2.21"), "both 0.2.21"),
        (("pull", "cpu-pinned", *TWO, "--base", "0.2.21", "--head", "no such"), "neither"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    planned: Planned, capsys: pytest.CaptureFixture[str], given: tuple[str, ...], told: str
) -> None:
    assert planned(*given) == (2, None, {"earlier": "step"})
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_a_folder_is_no_revision_that_another_machine_has(
    planned: Planned, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tree" / "colbert").mkdir(parents=True)
    for name in ("setup.py", "colbert/__init__.py"):
        (tmp_path / "tree" / name).touch()
    more = (*TWO, "--base", "0.2.21", "--head", str(tmp_path / "tree"))
    assert planned("pull", "cpu-pinned", *more)[0] == 2
    assert "no folders" in capsys.readouterr().err


def test_more_rows_than_a_matrix_takes_are_refused(
    planned: Planned, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(planning, "MOST_ROWS", 1)
    lanes = "cpu-pinned cpu-nightly"
    assert planned("lanes", lanes, *TWO) == (2, None, {"earlier": "step"})
    assert "2 rows, but GitHub takes 1; name fewer" in capsys.readouterr().err


def test_a_lane_with_inputs_of_a_hub_is_not_for_runners(
    planned: Planned, capsys: pytest.CaptureFixture[str]
) -> None:
    assert planned("lanes", "cpu-conditionalqa", *TWO)[0] == 2
    assert "takes inputs from a hub" in capsys.readouterr().err
