import os
from pathlib import Path

import pytest

from matrix_operate.errors import OutageError
from matrix_operate.releases import released

WHEELS = {
    "torch-1.13.1-cp311-cp311-manylinux1_x86_64.whl": "",
    "torch-2.8.0-cp311-cp311-manylinux_2_28_x86_64.whl": "",
    "torch-2.10.0-cp311-cp311-manylinux_2_28_x86_64.whl": "",
    # None of these is a release that a capture could install.
    "torch-2.11.0-cp311-cp311-manylinux_2_28_x86_64.whl": 'data-yanked="broken"',
    "torch-2.12.0rc1-cp311-cp311-manylinux_2_28_x86_64.whl": "",
    "torch-2.13.0.dev20261121-cp311-cp311-manylinux_2_28_x86_64.whl": "",
    "torch-2.14.0-cp311-cp311-win_amd64.whl": "",
    "torch-2.15.0-cp312-cp312-manylinux_2_28_x86_64.whl": "",
    "torch-2.16.0-cp311-cp311-manylinux_2_28_x86_64.whl": 'data-requires-python="&gt;=3.12"',
    "torch-2.17.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl": "",
    "torch-2.18.0.post1-cp311-cp311-manylinux_2_28_x86_64.whl": "",
    "torch-2.19.0.tar.gz": "",
}


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page of torch on a package index that pip is configured for; to be written."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", tmp_path.as_uri())
    (tmp_path / "torch").mkdir()
    return tmp_path / "torch" / "index.html"


def test_only_what_can_be_captured_is_a_release(index: Path) -> None:
    links = (f'<a href="{name}" {attribute}>{name}</a>' for name, attribute in WHEELS.items())
    index.write_text("<!DOCTYPE html>" + "\n".join(links), encoding="utf-8")
    assert released("3.11") == ("1.13.1", "2.8.0", "2.10.0")
    assert released("3.12") == ("2.15.0",)


def test_an_index_without_torch_is_an_outage(index: Path) -> None:
    index.write_text("<!DOCTYPE html>", encoding="utf-8")
    with pytest.raises(OutageError, match="finds no torch"):
        released("3.11")


@pytest.mark.usefixtures("index")
def test_an_index_out_of_reach_is_an_outage_that_tells_no_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://user:secret@127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(OutageError) as caught:
        released("3.11")
    assert "secret" not in str(caught.value)
    assert "127.0.0.1" not in str(caught.value)
