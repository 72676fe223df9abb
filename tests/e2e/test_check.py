"""Pull requests to colbert-ai, played with its real code: a check says the right thing of each.

All share one environment and the capture of one base; each head is the released code with an edit.
"""

import importlib.metadata
import importlib.util
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from matrix_compare.check import Check, Checked, CheckLine, read_check
from matrix_compare.finding import facts, finding
from matrix_compare.policy import Level
from matrix_compare.schema import Verdict
from tests.e2e.conftest import PASSAGES, RELEASES, ROOT, Done, run_session

TORCH = RELEASES[-1]
BASE = "0.2.22"

SETUP = """\
from setuptools import find_packages, setup

setup(
    name="colbert-ai",
    version="0.2.22",
    packages=find_packages(),
    package_data={"": ["*.cpp", "*.cu"]},
)
"""

# Module, what is there, what takes its place.
Edit = tuple[str, str, str]

DOCS = ("modeling/checkpoint.py", "Easy inference with ColBERT.", "Inference, made easy.")
SWAP = (
    "modeling/colbert.py",
    """\
        D = torch.nn.functional.normalize(D, p=2, dim=2)
        if self.use_gpu:
            D = D.half()
""",
    """\
        D = D.half()
        D = torch.nn.functional.normalize(D, p=2, dim=2)
        if not self.use_gpu:
            D = D.float()
""",
)
SEED = ("infra/launcher.py", "set_seed(12345)", "set_seed(54321)")
RENAME = ("indexing/collection_indexer.py", "compute_faiss_kmeans", "train_faiss")
BREAK = ("__init__.py", "from .trainer", "from .trainers")

CheckOf = Callable[..., Check]


@pytest.fixture(scope="module")
def check_of(done: Done, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CheckOf]:
    """Runs `nox -s check`; the environment is kept from one to the next, and deleted last."""
    folder = tmp_path_factory.mktemp("check")
    shutil.copytree(done.data, folder / "data")

    def check_of(head: Path | str, base: Path | str = BASE) -> Check:
        found = folder / "check.json"
        options = ["--passages", str(PASSAGES), "--data", str(folder / "data"), "--keep-env"]
        sides = ["--base", str(base), "--head", str(head), "--json", str(found)]
        run_session(ROOT, "check", TORCH, *options, *sides)
        return read_check(found)

    yield check_of
    shutil.rmtree(ROOT / ".nox" / f"capture-{TORCH.replace('.', '-')}", ignore_errors=True)


@pytest.fixture
def head(tmp_path: Path) -> Callable[..., Path]:
    """The released source with edits."""

    def head(*edits: Edit, setup: str = SETUP) -> Path:
        assert importlib.metadata.version("colbert-ai") == BASE
        spec = importlib.util.find_spec("colbert")
        assert spec is not None
        assert spec.origin is not None
        tree = tmp_path / "ColBERT"
        installed = Path(spec.origin).parent
        for package in (installed, installed.with_name("utility")):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(package, tree / package.name, ignore=ignored)
        (tree / "setup.py").write_text(setup, encoding="utf-8")
        for name, before, after in edits:
            module = tree / "colbert" / name
            text = module.read_text(encoding="utf-8")
            assert before in text
            module.write_text(text.replace(before, after), encoding="utf-8")
        return tree

    return head


def only(check: Check) -> Checked:
    (release,) = check.releases
    assert release.torch == TORCH
    assert release.doubts == ()
    return release


def moved(release: Checked) -> set[str]:
    return {line.artifact for line in release.lines}


def line_of(release: Checked, artifact: str) -> CheckLine:
    return next(line for line in release.lines if line.artifact == artifact)


def test_a_release_that_trains_otherwise(check_of: CheckOf) -> None:
    check = check_of(BASE, base="0.2.21")
    release = only(check)
    assert finding(check).startswith(
        "changes trained weights; the index and rankings stay the same bit by bit"
    )
    assert {line.artifact.partition("_")[0] for line in release.lines} <= {
        *("train", "trained", "gradients", "gradient")
    }
    assert release.starts == ("train_scores",)
    assert release.ranked is not None
    assert (release.ranked.changed, release.ranked.rescored) == (0, 0)


def test_a_docstring_changes_nothing(check_of: CheckOf, head: Callable[..., Path]) -> None:
    check = check_of(head(DOCS))
    release = only(check)
    assert check.level is Level.PASS
    assert finding(check) == f"changes nothing, with torch {TORCH}"
    # Both were captured: what is identical is not the same capture.
    assert release.base.colbert != release.head.colbert
    assert release.counts[Verdict.IDENTICAL] == sum(release.counts.values()) > 100
    assert release.base.index_bytes == release.head.index_bytes > 0


def test_normalizing_behind_half_changes_what_is_embedded(
    check_of: CheckOf, head: Callable[..., Path]
) -> None:
    release = only(check_of(head(SWAP)))
    assert release.level is Level.FAILURE
    # What the layers make stays; what is normalized is the first to be another.
    assert not {"layers", "linear", "input_ids", "sample_pids"} & moved(release)
    assert "masked" in release.starts
    assert {"normalized", "embs", "index_residuals"} <= moved(release)
    assert release.ranked is not None
    assert release.ranked.changed > 0
    # Half of 1e-12 is nought, by which the rows of padding are divided.
    assert any(text.startswith("NaN or infinity in ") for text in facts(release))


def test_another_seed_draws_another_sample_of_the_same_passages(
    check_of: CheckOf, head: Callable[..., Path]
) -> None:
    release = only(check_of(head(SEED)))
    assert release.level is Level.FAILURE
    # All passages are sampled at this size, so only their order is drawn anew.
    assert "sample_pids" not in moved(release)
    assert "local_sample_embs" not in moved(release)
    assert "sample" in release.starts
    assert line_of(release, "centroids").role == "propagated"


def test_a_renamed_function_is_missing_and_changes_nothing_else(
    check_of: CheckOf, head: Callable[..., Path]
) -> None:
    check = check_of(head(RENAME))
    release = only(check)
    assert check.level is Level.ALERT
    assert moved(release) == {"prenorm_centroids"}
    line = line_of(release, "prenorm_centroids")
    assert line.verdict is Verdict.MISSING
    assert "tap target not found" in line.reason
    assert finding(check).startswith("changes nothing that was compared; the index, rankings")


def test_a_head_that_cannot_be_imported_breaks(
    check_of: CheckOf, head: Callable[..., Path]
) -> None:
    check = check_of(head(BREAK))
    release = only(check)
    assert check.level is Level.FAILURE
    assert release.head.stopped.startswith("failed at import: ModuleNotFoundError: ")
    assert finding(check).startswith("breaks: the head failed at import: ModuleNotFoundError")
    assert release.base.stopped == ""


def test_a_head_that_cannot_be_built_breaks(check_of: CheckOf, head: Callable[..., Path]) -> None:
    release = only(check_of(head(setup="raise SystemExit('no')\n")))
    assert release.head.stopped.startswith("failed at install: InstallError: ")
    assert "file:" not in release.head.stopped
    assert {line.verdict for line in release.lines} == {Verdict.FAILED}
