"""The command line."""

from pathlib import Path
from typing import Any

import pytest

from matrix_site.__main__ import main

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_it_prints_the_number_of_pages_and_where_they_start(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a site"
    assert main(["--data", str(data), "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == ["144 pages", f"{(out / 'index.html').as_uri()}"]
    assert printed.err == ""


def test_bad_input_is_one_line_and_status_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", str(tmp_path), "--out", str(tmp_path / "o"), "--lane", "x"]) == 2
    printed = capsys.readouterr()
    assert len(printed.err.splitlines()) == 1
    assert "no lane 'x'" in printed.err
    assert not (tmp_path / "o").exists()


def test_an_unreadable_file_is_one_line_and_the_rest_is_published(
    tmp_path: Path, write_lane: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lane(tmp_path / "data", releases=("2.7.1", "2.8.0", "2.9.0"))
    (tmp_path / "data/digests/cpu-pinned/torch-2.8.0.parquet").write_bytes(b"no")
    (tmp_path / "data/verdicts/cpu-pinned.parquet").write_bytes(b"no")
    assert main(["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]) == 0
    assert len(capsys.readouterr().err.splitlines()) == 2
    index = (tmp_path / "out/index.html").read_text("utf-8")
    assert "The verdict file of this lane cannot be read" in index
    assert "its digest file cannot be read" in index
    assert "failed at install" in index


def test_what_is_shipped_can_be_published(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From there the branch with what is on record begins."""
    assert main(["--data", str(ROOT / "data"), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().err == ""
    shipped = [path.stem for path in (ROOT / "data/digests/cpu-pinned").iterdir()]
    assert len(shipped) > 1
    index = (tmp_path / "out/index.html").read_text("utf-8")
    assert all(name.removeprefix("torch-") in index for name in shipped)
