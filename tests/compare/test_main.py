import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest

from matrix_compare import gauge
from matrix_compare.__main__ import main
from matrix_compare.explained import conclusion
from matrix_compare.explanation import explanation_path
from matrix_compare.schema import read_verdicts
from tests.compare.conftest import LANE, ROOT, Maker, Put, pipeline_puts
from tests.compare.test_explained import explanation

EMBS = np.linspace(-1, 1, 12).astype(np.float16).reshape(3, 4)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: str, lane: str = LANE) -> tuple[int, str, str]:
        code = main(["--data", str(tmp_path), "--lane", lane, *arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def three(make: Maker) -> None:
    make("2.7.0", pipeline_puts(EMBS))
    make("2.7.1", pipeline_puts(EMBS))
    make("2.8.0", pipeline_puts(EMBS * np.float16(2)))


@pytest.mark.usefixtures("three")
def test_without_names_one_line_per_consecutive_pair(run: Any, tmp_path: Path) -> None:
    code, out, err = run()
    written = tmp_path / "verdicts" / f"{LANE}.parquet"
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "2.7.0...2.7.1: 8 identical",
        "2.7.1...2.8.0: 7 identical, 1 differs; starts at embs",
        "identical releases: 2.7.0 to 2.7.1 | 2.8.0",
        f"wrote {written}",
    ]
    assert len(read_verdicts(tmp_path, LANE)) == 3 * 8


@pytest.mark.usefixtures("three")
def test_names_choose_what_is_shown_and_not_what_is_written(run: Any, tmp_path: Path) -> None:
    code, out, _ = run("2.8.0", "2.7.0")
    assert code == 0
    assert out.startswith("2.7.0...2.8.0: 7 identical, 1 differs; starts at embs\n")
    assert "Intermediate" in out
    assert "2.7.1" not in out
    assert len(read_verdicts(tmp_path, LANE)) == 3 * 8


@pytest.mark.usefixtures("three")
def test_a_pair_says_why_or_how_to_find_out(run: Any, tmp_path: Path) -> None:
    how = f"why: nox -s explain -- 2.7.1 2.8.0 --lane {LANE} finds out"
    assert how in run("2.7.1", "2.8.0")[1]
    assert "why: " not in run("2.7.0", "2.7.1")[1]
    path = explanation_path(tmp_path, LANE, "2.7.1", "2.8.0")
    path.parent.mkdir(parents=True)
    path.write_bytes(msgspec.json.encode(explanation()))
    assert f"why: {conclusion(explanation())}" in run("2.7.1", "2.8.0")[1]
    path.write_text("{")
    code, out, err = run("2.7.1", "2.8.0")
    assert (code, "why: " in out, len(err.splitlines())) == (0, False, 1)


@pytest.mark.usefixtures("three")
def test_the_same_captures_give_the_same_bytes(run: Any, tmp_path: Path) -> None:
    def verdicts() -> bytes:
        run()
        return (tmp_path / "verdicts" / f"{LANE}.parquet").read_bytes()

    assert verdicts() == verdicts()


@pytest.mark.usefixtures("three")
def test_json(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    assert run("--json", str(file))[0] == 0
    content = json.loads(file.read_text())
    assert (content["schema_version"], content["lane"]) == (1, LANE)
    assert content["verdicts"] == read_verdicts(tmp_path, LANE)
    assert content["bands"] == [
        {"first": "2.7.0", "last": "2.7.1"},
        {"first": "2.8.0", "last": "2.8.0"},
    ]
    assert [(r["a"], r["b"], r["level"]) for r in content["reports"]] == [
        ("2.7.0", "2.7.1", "pass"),
        ("2.7.1", "2.8.0", "alert"),
    ]
    run("2.7.0", "2.8.0", "--json", str(file))
    content = json.loads(file.read_text())
    assert {(row["a"], row["b"]) for row in content["verdicts"]} == {("2.7.0", "2.8.0")}
    assert run("--json", str(tmp_path))[0] == 2


@pytest.mark.usefixtures("three")
def test_markdown_and_junit(run: Any, tmp_path: Path) -> None:
    page, suites = tmp_path / "out.md", tmp_path / "out.xml"
    code, out, _ = run("2.7.1", "2.8.0", "--markdown", str(page), "--junit", str(suites))
    assert code == 0
    assert f"wrote {page}\nwrote {suites}\n" in out
    assert "2.7.1...2.8.0" in page.read_text(encoding="utf-8")
    (suite,) = ElementTree.fromstring(suites.read_bytes())  # noqa: S314 - our own
    assert suite.get("tests") == "8"


@pytest.mark.usefixtures("three")
def test_what_was_measured_is_not_measured_again(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    before = read_verdicts(tmp_path, LANE)

    def refuse(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(gauge, "measure", refuse)
    assert run()[0] == 0
    assert read_verdicts(tmp_path, LANE) == before
    assert any(row["max_abs"] for row in before)


@pytest.mark.usefixtures("three")
def test_json_has_no_numbers_that_json_does_not_know(run: Any, make: Maker, tmp_path: Path) -> None:
    for torch, sign in (("2.9.0", 1), ("2.9.1", -1)):
        make(torch, [Put(artifact="embs", value=np.array([sign * np.finfo(np.float64).max]))])
    file = tmp_path / "out.json"
    run("2.9.0", "2.9.1", "--json", str(file))

    def refuse(name: str) -> None:
        raise AssertionError(name)

    (row,) = json.loads(file.read_text(), parse_constant=refuse)["verdicts"]
    assert (row["verdict"], row["max_abs"]) == ("differs", None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("2.7.0", "2.9.0"), "no capture of torch 2.9.0 in lane cpu-pinned"),
        (("2.7.0", "2.8"), "no torch release '2.8' in matrix.toml; the nearest is 2.8.0"),
        (("2.7.0",), "name another beside 2.7.0"),
        (("2.7.0", "2.7.0"), "name another beside 2.7.0"),
    ],
)
@pytest.mark.usefixtures("three")
def test_bad_names(run: Any, arguments: tuple[str, ...], message: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_no_captures(run: Any) -> None:
    code, _, err = run()
    assert (code, err.count("\n")) == (2, 1)
    assert "make some with nox -s matrix" in err


def test_no_lane(run: Any) -> None:
    code, _, err = run(lane="cpu")
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("error: no lane 'cpu' in matrix.toml; it has cpu-pinned")


@pytest.mark.usefixtures("three")
def test_a_damaged_capture_is_one_line_and_the_rest_goes_on(run: Any, tmp_path: Path) -> None:
    (tmp_path / "digests" / LANE / "torch-2.9.0.parquet").write_bytes(b"\x1b[31m")
    code, out, err = run()
    assert (code, err.count("\n")) == (0, 1)
    assert "torch-2.9.0.parquet: not a Parquet file" in err
    assert out.count("...") == 2


def test_one_capture(run: Any, make: Maker, tmp_path: Path) -> None:
    make("2.7.1", pipeline_puts(EMBS))
    code, out, _ = run()
    assert code == 0
    assert out.startswith("2.7.1 is the only capture of lane cpu-pinned; there is nothing")
    assert read_verdicts(tmp_path, LANE) == []


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    out = capsys.readouterr().out
    assert "python -m matrix_compare" in out
    assert "--lane" in out
