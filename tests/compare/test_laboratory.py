"""What is run in an environment, and what becomes of one that fails; swaps run where torch is."""

import sys
from pathlib import Path

import pytest

from matrix_capture import runner
from matrix_capture.errors import MatrixError
from matrix_capture.settings import Settings
from matrix_compare import explain
from matrix_compare.laboratory import Side


@pytest.fixture
def side(settings: Settings, tmp_path: Path) -> Side:
    request = runner.Request(
        settings=settings, lane="cpu-pinned", torch="2.7.1", data=tmp_path, cache=tmp_path
    )
    return Side(request=request, python=Path(sys.executable))


def test_a_script_runs_in_the_environment(side: Side) -> None:
    assert side.script("import sys\nprint(sys.executable)\n") == sys.executable


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("raise SystemExit('error: no such tensor')", "torch 2.7.1: no such tensor"),
        ("raise ValueError('first\\nsecond')", "torch 2.7.1: second"),
        ("raise SystemExit(3)", "torch 2.7.1: no output"),
    ],
)
def test_a_failure_is_one_line_with_the_release(side: Side, script: str, told: str) -> None:
    with pytest.raises(MatrixError) as error:
        side.script(script)
    assert str(error.value) == told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["2.7.1", "2.7.1"], "one release makes no pair"),
        (["2.7.1", "9.9.9"], "no torch release '9.9.9'"),
        (["2.7.1", "2.8.0", "--lane", "cpu-pined"], "no lane 'cpu-pined'"),
        (["2.7.1", "2.8.0", "--json", "/nowhere/at/all.json"], "/nowhere/at/all.json"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = ["--lane", "cpu-pinned", "--data", str(tmp_path), "--cache", str(tmp_path)]
    shared += ["--python", sys.executable, sys.executable]
    assert explain.main([*shared, *arguments]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert not list(tmp_path.rglob("explanations"))


def test_the_older_release_is_a_in_whatever_order_they_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    class Asked(Exception):  # noqa: N818 - it only ends the command
        pass

    def explaining(a: Side, b: Side, *_: object) -> None:
        asked.extend((side.torch, side.python.name) for side in (a, b))
        raise Asked

    monkeypatch.setattr(explain, "Explaining", explaining)
    shared = ["--lane", "cpu-pinned", "--data", str(tmp_path), "--cache", str(tmp_path)]
    with pytest.raises(Asked):
        explain.main(["2.8.0", "2.7.1", *shared, "--python", "new", "old"])
    assert asked == [("2.7.1", "old"), ("2.8.0", "new")]


def test_an_environment_without_the_release_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = ["--lane", "cpu-pinned", "--data", str(tmp_path), "--cache", str(tmp_path)]
    missing = str(tmp_path / "no-python")
    assert explain.main(["2.7.1", "2.8.0", *shared, "--python", missing, missing]) == 2
    assert "error: " in capsys.readouterr().err
