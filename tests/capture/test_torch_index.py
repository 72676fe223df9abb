import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from functools import partial
from http.client import IncompleteRead, InvalidURL
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.error import URLError

import pytest

from matrix_capture.errors import MatrixError
from matrix_capture.torch_index import builds, index_of, requirement, variables

BUILD = "2.16.0.dev20261121"
LINUX = "cp311-cp311-manylinux_2_28_x86_64"
LANE = {"index": "https://x.org/whl/cu130", "nightly": "https://x.org/whl/nightly/cu130"}


class Waiting(ThreadingHTTPServer):
    daemon_threads = False  # so that it ends when all is answered


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of a server of the folder `indexes`."""
    (tmp_path / "indexes").mkdir()
    handler = partial(Quiet, directory=str(tmp_path / "indexes"))
    with Waiting(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def offer(index: Path, name: str, version: str, tag: str = "py3-none-any", *needs: str) -> None:
    """Put a wheel that holds nothing but what it is and needs on the page of its project."""
    folder = index / name.replace("_", "-")
    folder.mkdir(parents=True, exist_ok=True)
    info, file = f"{name}-{version}.dist-info", f"{name}-{version}-{tag}.whl"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    made = {
        f"{info}/METADATA": "\n".join([*lines, *(f"Requires-Dist: {need}" for need in needs), ""]),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n",
    }
    made[f"{info}/RECORD"] = "".join(f"{inside},,\n" for inside in (*made, f"{info}/RECORD"))
    with zipfile.ZipFile(folder / file, "w") as archive:
        for inside, text in made.items():
            archive.writestr(inside, text)
    with (folder / "index.html").open("a") as page:
        escaped = file.replace("+", "&#43;")
        page.write(f'<a href="{file.replace("+", "%2B")}">{escaped}</a><br>\n')


# Which index.


@pytest.mark.parametrize(
    ("torch", "lane", "expected"),
    [
        ("2.15.0", LANE, "torch==2.15.0+cu130"),
        (BUILD, LANE, f"torch=={BUILD}+cu130"),
        ("2.15.0", {}, "torch==2.15.0"),
    ],
)
def test_what_the_installer_is_asked_for(
    torch: str, lane: Mapping[str, str], expected: str
) -> None:
    assert requirement(torch, index_of(torch, lane)) == expected


def test_only_a_lane_with_an_index_changes_how_things_are_installed() -> None:
    assert variables(index_of("2.15.0", {})) == {}
    found = variables(index_of(BUILD, LANE))
    assert {found["UV_INDEX"], found["PIP_EXTRA_INDEX_URL"]} == {LANE["nightly"]}


# Which builds there are.


def test_builds_are_told_oldest_first(served: str, tmp_path: Path) -> None:
    index = tmp_path / "indexes" / "nightly" / "cpu"
    for name in (BUILD, "2.16.0.dev20261119", "2.9.0.dev20261122"):
        offer(index, "torch", f"{name}+cpu", LINUX)
    offer(index, "torch", "2.16.0.dev20261118+cpu", "cp311-cp311-linux_x86_64")
    assert builds(f"{served}/nightly/cpu", "3.11") == [
        "2.9.0.dev20261122",
        "2.16.0.dev20261118",
        "2.16.0.dev20261119",
        BUILD,
    ]


@pytest.mark.parametrize(
    ("version", "tag"),
    [
        ("2.16.0.dev20261122+cu130", LINUX),
        ("2.16.0.dev20261122", LINUX),
        ("2.16.0+cpu", LINUX),
        ("2.16.0.dev20261122+cpu", "cp312-cp312-manylinux_2_28_x86_64"),
        ("2.16.0.dev20261122+cpu", "cp311-cp311-manylinux_2_28_aarch64"),
        ("2.16.0.dev20261122+cpu", "cp311-cp311-macosx_11_0_arm64"),
        ("2.16.0.dev20261122+cpu", "cp311-cp311-win_amd64"),
        ("2.16.0.dev20261122+cpu.cxx11", LINUX),
    ],
)
def test_what_cannot_be_installed_is_no_build(
    version: str, tag: str, served: str, tmp_path: Path
) -> None:
    index = tmp_path / "indexes" / "cpu"
    offer(index, "torch", version, tag)
    with pytest.raises(MatrixError, match=r"/cpu/torch/ has no nightly build of torch for Python"):
        builds(f"{served}/cpu", "3.11")
    offer(index, "torch", f"{BUILD}+cpu", LINUX)
    assert builds(f"{served}/cpu", "3.11") == [BUILD]


def test_an_index_that_does_not_answer_is_one_line(served: str) -> None:
    with pytest.raises(MatrixError, match=r"/torch/ cannot be read \(HTTP Error 404") as caught:
        builds(f"{served}/nothing", "3.11")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "fault",
    [IncompleteRead(b"torch-"), TimeoutError("timed out"), URLError("refused"), InvalidURL("no")],
)
def test_an_answer_that_breaks_off_is_one_line_too(
    fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr("urllib.request.urlopen", broken)
    with pytest.raises(
        MatrixError, match=r"^https://x\.org/cpu/torch/ cannot be read \([^<>]+\); "
    ):
        builds("https://x.org/cpu", "3.11")


# What comes of it, with either installer.


def environment(kind: str, folder: Path) -> list[str]:
    """An empty environment; returns what installs into it."""
    if kind == "pip":
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        return [str(folder / "bin" / "python"), "-m", "pip", "install", "--no-cache-dir"]
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("there is no uv on this machine")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
    return [uv, "pip", "install", "--no-cache", "--python", str(folder / "bin" / "python")]


@pytest.mark.parametrize("kind", ["pip", "uv"])
def test_pins_hold_although_the_index_of_torch_has_some_of_everything(
    kind: str, served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public, nightly = tmp_path / "indexes" / "public", tmp_path / "indexes" / "nightly" / "cpu"
    offer(public, "torch", "2.15.0")
    offer(public, "triton", "3.9.0")
    offer(public, "numpy", "1.26.4")
    offer(public, "jinja2", "3.1.6")
    offer(public, "colbert_ai", "0.2.22", "py3-none-any", "torch>=1.13.1", "numpy", "jinja2")
    tag = LINUX.replace("cp311", f"cp3{sys.version_info.minor}")
    offer(nightly, "torch", f"{BUILD}+cpu", tag, "triton==3.8.0+git0d4682f0", "jinja2")
    offer(nightly, "torch", "2.16.0.dev20261122+cpu", tag)
    offer(nightly, "triton", "3.8.0+git0d4682f0")
    offer(nightly, "numpy", "1.26.4", "cp38-cp38-win_amd64")
    offer(nightly, "numpy", "2.5.0rc1")
    offer(nightly, "jinja2", "3.1.3")
    pins = tmp_path / "pins.txt"
    pins.write_text("numpy==1.26.4\njinja2==3.1.6\n")
    index = f"{served}/nightly/cpu"
    for name in ("PIP_FIND_LINKS", "PIP_CONFIG_FILE", "UV_FIND_LINKS", "UV_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", f"{served}/public")
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"{served}/public")
    for name, value in variables(index).items():
        monkeypatch.setenv(name, value)

    folder = tmp_path / "environment"
    asked = [requirement(BUILD, index), "colbert-ai", "--constraint", str(pins)]
    done = subprocess.run(
        [*environment(kind, folder), *asked], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    names = {path.name for path in folder.rglob("*.dist-info")}
    assert names >= {
        f"torch-{BUILD}+cpu.dist-info",
        "triton-3.8.0+git0d4682f0.dist-info",
        "numpy-1.26.4.dist-info",
        "jinja2-3.1.6.dist-info",
        "colbert_ai-0.2.22.dist-info",
    }
