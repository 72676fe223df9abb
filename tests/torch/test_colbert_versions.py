"""Every colbert-ai that the taps promise to work on, installed beside the one of the lane."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest
import torch

from matrix_capture import process, runner
from matrix_capture.catalogue import Depth, expected
from matrix_capture.job import Event, Facts
from matrix_capture.revision import Revision, read_revision
from matrix_capture.runner import Request
from matrix_capture.schema import list_captures, read_capture
from matrix_capture.settings import read_settings

ROOT = Path(__file__).parents[2]
SETTINGS = read_settings(ROOT / "matrix.toml")
RELEASES = [f"0.2.{patch}" for patch in range(15, 23)]
PASSAGES = 16
DEPTH: Depth = "sublayers"
EVERYTHING = {artifact.name for artifact in expected("cpu", DEPTH)}

Installs = Callable[[Revision, Path], Path]


@pytest.fixture(scope="module")
def elsewhere(make_cache: Callable[[str], Path]) -> Path:
    """A cache of its own: an extension is compiled again wherever its source moves."""
    return make_cache("colbert")


@pytest.fixture
def install(elsewhere: Path) -> Installs:
    """Installs a colbert-ai and nothing else, always in one place, to be put before all others."""

    def into_place(revision: Revision, trees: Path) -> Path:
        place = elsewhere / "installed"
        shutil.rmtree(place, ignore_errors=True)
        command = ["uv", "pip", "install", "--python", sys.executable, "--target", str(place)]
        command += ["--no-deps", "--no-build-isolation", "--link-mode", "copy"]
        subprocess.run([*command, revision.requirement(trees)], check=True)
        # Of the same age each time: what is compiled already stays newer.
        for source in place.rglob("*.cpp"):
            os.utime(source, (0, 0))
        return place

    return into_place


def request(cache: Path, data: Path, revision: Revision) -> Request:
    return Request(
        settings=SETTINGS,
        lane="cpu-pinned",
        torch=torch.__version__.partition("+")[0],
        data=data,
        cache=cache,
        passages=PASSAGES,
        depth=DEPTH,
        revision=revision,
    )


def variables(place: Path) -> dict[str, str]:
    """What puts the installed colbert-ai first, and lets it show that it was imported."""
    found = process.variables(SETTINGS.lane("cpu-pinned")) | {"PYTHONPATH": str(place)}
    silent = ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")
    return {name: value for name, value in found.items() if name not in silent}


@pytest.mark.parametrize("release", RELEASES)
def test_every_artifact_is_seen(
    release: str, install: Installs, elsewhere: Path, tmp_path: Path
) -> None:
    asked = request(elsewhere, tmp_path / "data", read_revision(release))
    place = install(asked.colbert, tmp_path)
    # Once with the observer certificate, where the launcher is another.
    repeat = 0 if release == RELEASES[0] else 1
    job = runner.job(asked, asked.inputs(), repeat)
    (tmp_path / "job.json").write_bytes(msgspec.json.encode(job))
    subprocess.run(
        [sys.executable, "-m", "matrix_capture.pipeline", tmp_path],
        cwd=tmp_path,
        env=variables(place),
        stdin=subprocess.DEVNULL,
        check=True,
    )
    lines = (tmp_path / "progress.jsonl").read_bytes().splitlines()
    assert [e for e in (msgspec.json.decode(x, type=Event) for x in lines) if e.error] == []
    facts = msgspec.json.decode((tmp_path / "facts.json").read_bytes(), type=Facts)
    rows = pq.read_table(tmp_path / "rows.parquet")
    assert facts.missing == {}
    assert set(rows["artifact"].to_pylist()) == EVERYTHING
    assert facts.observer is None or facts.observer.identical
    assert (place / "colbert" / "indexing" / "__pycache__").is_dir()
    assert list(place.glob(f"colbert_ai-{release}.dist-info"))


SETUP = """\
from setuptools import find_packages, setup

setup(
    name="colbert-ai",
    version="0.2.22",
    packages=find_packages(),
    package_data={"": ["*.cpp", "*.cu"]},
)
"""


@pytest.fixture
def renamed(install: Installs, tmp_path: Path) -> Path:
    """A source tree in which k-means has another name."""
    tree = tmp_path / "ColBERT"
    shutil.copytree(install(read_revision(RELEASES[-1]), tmp_path), tree)
    (tree / "setup.py").write_text(SETUP, encoding="utf-8")
    module = tree / "colbert" / "indexing" / "collection_indexer.py"
    text = module.read_text(encoding="utf-8")
    assert text.count("compute_faiss_kmeans") == 3
    module.write_text(text.replace("compute_faiss_kmeans", "train_faiss"), encoding="utf-8")
    return tree


def test_a_source_tree_with_a_renamed_function(
    renamed: Path, install: Installs, elsewhere: Path, tmp_path: Path
) -> None:
    revision = read_revision(str(renamed), tmp_path / "trees")
    place = install(revision, tmp_path / "trees")
    asked = request(elsewhere, tmp_path / "data", revision)
    words = {
        "--torch": asked.torch,
        "--lane": asked.lane,
        "--data": str(asked.data),
        "--cache": str(asked.cache),
        "--passages": str(PASSAGES),
        "--depth": DEPTH,
        "--colbert": str(renamed),
    }
    subprocess.run(
        [
            sys.executable,
            "-m",
            "matrix_capture",
            "run",
            *(w for pair in words.items() for w in pair),
        ],
        cwd=ROOT,
        env=variables(place),
        check=True,
    )
    (path,) = list_captures(asked.data, asked.lane_name)
    found = read_capture(path)
    record = found.record
    target = "colbert.indexing.collection_indexer:compute_faiss_kmeans"
    assert record.failed_stage() is None, runner.log_path(asked).read_text()[-4000:]
    assert record.missing == {"prenorm_centroids": f"tap target not found: {target}"}
    assert set(found.rows["artifact"].to_pylist()) == EVERYTHING - {"prenorm_centroids"}
    assert record.observer is not None
    assert record.observer.identical
    assert record.options["colbert"] == revision.label
    assert record.factors["colbert-ai"] == f"0.2.22 {revision.label}"
    assert str(tmp_path) not in repr(record)
