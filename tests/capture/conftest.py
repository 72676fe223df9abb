"""A request for a capture, and a torch that is none."""

import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from matrix_capture.runner import Request
from matrix_capture.settings import read_settings

ROOT = Path(__file__).parents[2]


@pytest.fixture
def request_(sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Request:
    """A request for a small slice; scratch folders go where they can be counted."""
    monkeypatch.chdir(ROOT)
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    return Request(
        settings=read_settings(ROOT / "matrix.toml"),
        lane="cpu-pinned",
        torch="2.8.0",
        data=tmp_path / "data",
        cache=sources.parent,
        passages=8,
    )


@pytest.fixture
def fake_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a module named torch in the way of the pipeline."""

    def write(source: str) -> None:
        folder = tmp_path / "fake"
        folder.mkdir(exist_ok=True)
        (folder / "torch.py").write_text(textwrap.dedent(source))
        monkeypatch.setenv("PYTHONPATH", str(folder))

    return write
