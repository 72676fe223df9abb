import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_capture.errors import MatrixError
from matrix_capture.settings import read_settings
from matrix_operate.__main__ import main
from matrix_operate.admit import admit
from tests.compare.conftest import ROOT

SHIPPED = ROOT / "matrix.toml"
numbers = st.integers(0, 30)
releases = st.builds("{}.{}.{}".format, numbers, numbers, numbers)


@given(torch=releases)
def test_one_line_is_added_and_nothing_else(
    torch: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("admit") / "matrix.toml"
    shutil.copyfile(SHIPPED, path)
    before = read_settings(SHIPPED)
    missing = torch not in before.releases
    assert admit(torch, path) is missing
    assert not admit(torch, path)
    assert read_settings(path) == before.including([torch])
    lines = path.read_text(encoding="utf-8").splitlines()
    if missing:
        lines.remove(f'  "{torch}",')
    assert lines == SHIPPED.read_text(encoding="utf-8").splitlines()


def test_comments_beside_a_release_stay(tmp_path: Path) -> None:
    path = tmp_path / "matrix.toml"
    text = SHIPPED.read_text(encoding="utf-8")
    text = text.replace('"2.7.1",\n', '"2.7.1",  # a comment\n  # another\n')
    path.write_text(text, encoding="utf-8")
    admit("2.7.2", path)
    told = path.read_text(encoding="utf-8")
    assert '  "2.7.1",  # a comment\n  "2.7.2",\n  # another\n  "2.8.0",\n' in told
    assert told.replace('  "2.7.2",\n', "") == text


@pytest.mark.parametrize("layout", ['releases = ["2.7.1", "2.8.0"]', 'releases = [\n"2.8.0"\n]'])
def test_another_layout_is_left_alone(layout: str, tmp_path: Path) -> None:
    path = tmp_path / "matrix.toml"
    path.write_text(f"{layout}\nlanes = {{}}\nprofiles = {{}}\n", encoding="utf-8")
    before = path.read_bytes()
    with pytest.raises(MatrixError, match="by hand"):
        admit("2.9.0", path)
    assert path.read_bytes() == before


def test_another_spelling_of_a_release_is_that_release() -> None:
    assert not admit("2.08.0", SHIPPED)


@pytest.mark.parametrize(
    "name",
    ["2.16", "v2.16.0", "2.16.0rc1", "2.16.0.dev20261121", '2.16.0",\n"2.17.0', "2.16.\u0660", ""],
)
def test_what_is_no_release_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["admit", "2.8.0", name])
    assert caught.value.code == 2
    assert "is no release" in capsys.readouterr().err


def test_no_release_is_nothing_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copyfile(SHIPPED, tmp_path / "matrix.toml")
    monkeypatch.chdir(tmp_path)
    assert main(["admit"]) == 0
    assert main(["admit", "2.15.0", "2.99.0"]) == 0
    assert capsys.readouterr().out == "torch 2.15.0: there already\ntorch 2.99.0: added\n"
    assert read_settings().releases[-1] == "2.99.0"
