"""What `--colbert` understands, and what a source tree is made of."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from matrix_capture.errors import MatrixError
from matrix_capture.names import lane_name, lane_options
from matrix_capture.revision import Revision, read_revision, resolved

SHA = "501c29d0c7b0e3bdc1e9d1a1f9d4d3a6d2d0b1c9"
REMOTE = f"git+https://github.com/stanford-futuredata/ColBERT@{SHA}"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A source tree of colbert-ai as a checkout has it, with what does not belong to it."""
    folder = tmp_path / "My ColBERT"
    for name, text in {
        "setup.py": "import setuptools\n",
        "README.md": "# ColBERT\n",
        "colbert/__init__.py": "",
        "colbert/indexer.py": "class Indexer: ...\n",
        "colbert/search/filter_pids.cpp": "int main() {}\n",
        "colbert/indexing/codecs/packbits.cu": "// packs\n",
        "utility/__init__.py": "",
        "utility/runs.py": "",
        "collection.tsv": "0\ta passage\n",
        "experiments/runs/index.py": "raise SystemExit\n",
        "build/lib/colbert/__init__.py": "old\n",
        "colbert_ai.egg-info/PKG-INFO": "Name: colbert-ai\n",
        "colbert/__pycache__/indexer.cpython-311.pyc": "bytes",
        "colbert/.ipynb_checkpoints/indexer.py": "older\n",
        ".git/HEAD": "ref: refs/heads/main\n",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}


# Releases and commits.


@pytest.mark.parametrize(
    "version", ["0.2.15", "0.2.22", "1.0", "0.3.0rc1", "0.2.22.post1", "1.dev2"]
)
def test_a_release(version: str) -> None:
    revision = read_revision(version)
    assert revision == Revision(label=version, argument=version)
    assert revision.requirement(Path("trees")) == f"colbert-ai=={version}"
    assert (revision.version, revision.built("")) == (version, "")


def test_the_release_that_the_installer_chooses() -> None:
    revision = read_revision("latest")
    assert revision == Revision(label="latest", argument="latest")
    assert revision.requirement(Path("trees")) == "colbert-ai"
    assert (revision.version, revision.built("")) == ("", "")


@pytest.mark.parametrize(
    "text",
    [
        REMOTE,
        "git+https://github.com/stanford-futuredata/ColBERT.git@501c29d",
        f"git+ssh://git@github.com/stanford-futuredata/ColBERT@{SHA}",
        "git+ssh://host:2222/~me/ColBERT@501c29d",
    ],
)
def test_a_commit(text: str) -> None:
    revision = read_revision(text)
    assert (revision.label, revision.argument) == (text, text)
    assert revision.requirement(Path("trees")) == f"colbert-ai @ {text}"


def test_a_commit_is_on_record_at_full_length() -> None:
    revision = read_revision(REMOTE.replace(SHA, SHA[:7]))
    assert revision.built(SHA) == REMOTE
    # Where installing failed nothing tells more than what was asked for.
    assert revision.built("") == revision.label


def test_a_commit_of_a_folder_leaves_the_folder_out_of_the_record() -> None:
    revision = read_revision(f"git+file:///home/me/ColBERT@{SHA}")
    assert revision.label == f"git+file@{SHA}"
    assert revision.built(SHA) == f"git+file@{SHA}"
    requirement = revision.requirement(Path("trees"))
    assert requirement == f"colbert-ai @ git+file:///home/me/ColBERT@{SHA}"


@pytest.mark.parametrize(
    "text",
    [
        "git+https://github.com/stanford-futuredata/ColBERT",
        "git+https://github.com/stanford-futuredata/ColBERT@main",
        "git+https://github.com/stanford-futuredata/ColBERT@v0.2.22",
        "git+https://github.com/stanford-futuredata/ColBERT@501c29",
        f"git+https://github.com/stanford-futuredata/ColBERT@{SHA}0",
        f"{REMOTE}#subdirectory=x",
        f"{REMOTE}\n",
        f"git+https://me:s3cr3t@github.com/x/ColBERT@{SHA}",
        f"git+https://s3cr3t@github.com/x/ColBERT@{SHA}",
        f"git+ssh://me:s3cr3t@github.com/x/ColBERT@{SHA}",
        f"git+http://github.com/x/ColBERT@{SHA}",
        f"git+ext::sh -c true@{SHA}",
        f"git+ssh://-oProxyCommand=true/x@{SHA}",
        f"git+https://github.com/$(true)/x@{SHA}",
        f"git+file://host/x@{SHA}",
    ],
)
def test_any_other_address_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(MatrixError, match="because a branch moves") as caught:
        read_revision(text)
    assert "s3cr3t" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        *("", "-", "--index-url=https://example.org", "-e", "v0.2.21", "0.2.*", ">=0.2", "newest"),
        *("0.2.21 --pre", "https://example.org/x.whl", "/nowhere", "no\nsuch", "a\0b", "x" * 5000),
        *("tree:", "tree:0123", "TREE:" + "0" * 32),
    ],
)
def test_nonsense_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(MatrixError) as caught:
        read_revision(text)
    assert str(caught.value).startswith("--colbert ")
    assert "\n" not in str(caught.value)


# Branches and tags.


@pytest.fixture
def repository(tree: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a branch that is not checked out, and a tag with a message."""
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "me")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "me@example.org")
    shutil.rmtree(tree / ".git")
    git(tree, "init", "--quiet", "--initial-branch", "main")
    git(tree, "add", "setup.py", "colbert/__init__.py")
    git(tree, "commit", "--quiet", "--message", "first")
    git(tree, "tag", "--annotate", "--message", "a release", "v1")
    git(tree, "branch", "side/main")
    git(tree, "commit", "--quiet", "--allow-empty", "--message", "second")
    return tree


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize(
    ("name", "commit"),
    [("main", "main"), ("HEAD~1", "v1^{}"), ("side/main", "v1^{}"), ("v1", "v1^{}")],
)
def test_a_name_in_a_repository_here_becomes_a_commit(
    name: str, commit: str, repository: Path
) -> None:
    found = resolved(f"{repository}@{name}")
    assert found == f"git+{repository.as_uri()}@{git(repository, 'rev-parse', commit)}"
    assert read_revision(found).label == f"git+file@{git(repository, 'rev-parse', commit)}"


@pytest.mark.parametrize(
    ("name", "commit"),
    [("main", "main"), ("side/main", "v1^{}"), ("v1", "v1^{}"), ("refs/heads/main", "main")],
)
def test_a_name_in_a_repository_elsewhere_becomes_a_commit(
    name: str, commit: str, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # git itself goes to the folder where the address is asked for.
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.{repository.as_uri()}.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "https://example.org/ColBERT")
    found = resolved(f"git+https://example.org/ColBERT@{name}")
    wanted = git(repository, "rev-parse", commit)
    assert found == f"git+https://example.org/ColBERT@{wanted}"
    assert read_revision(found).origin == wanted


@pytest.mark.parametrize("name", ["nowhere", "--all", "-h", "main:setup.py", "v1^{tree}", ""])
def test_a_name_that_git_does_not_know_is_told(name: str, repository: Path) -> None:
    with pytest.raises(MatrixError, match="git finds no commit of that name"):
        resolved(f"{repository}@{name}")


@pytest.mark.parametrize("text", ["0.2.22", REMOTE, f"git+file:///x/y@{SHA}", ".", "me@home", "@"])
def test_what_names_no_branch_stays_as_it_is(text: str) -> None:
    assert resolved(text) == text


@pytest.mark.parametrize(
    "text", ["git+https://me:s3cr3t@host/x@main", "git+ext::sh -c true@main", "git+http://h/x@main"]
)
def test_an_address_that_is_refused_is_not_asked(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", pytest.fail)
    assert resolved(text) == text


# Source trees.


def test_a_source_tree_is_named_by_its_content(tree: Path, tmp_path: Path) -> None:
    revision = read_revision(str(tree))
    assert revision.tree
    assert revision.label == revision.argument == f"tree:{revision.origin}"
    assert str(tmp_path) not in repr(revision)
    # Written out: a hash that moved would orphan every record below the old one.
    assert revision.origin == "efba34f2c1d5fa6438cf14c07933e34e"
    elsewhere = shutil.copytree(tree, tmp_path / "elsewhere")
    assert read_revision(str(elsewhere)) == revision


CHANGES: dict[str, tuple[str, bool]] = {
    "setup.py": ("import setuptools as s\n", True),
    "pyproject.toml": ("", True),
    "colbert/indexer.py": ("class Indexer: pass\n", True),
    "colbert/indexing/codecs/packbits.cu": ("// unpacks\n", True),
    "colbert/search/filter_pids.cpp": ("int main() { return 1; }\n", True),
    "colbert/new.py": ("", True),
    "utility/runs.py": ("import os\n", True),
    "README.md": ("# Other\n", False),
    "collection.tsv": ("", False),
    "experiments/runs/index.py": ("", False),
    "build/lib/colbert/__init__.py": ("", False),
    "colbert_ai.egg-info/PKG-INFO": ("", False),
    "colbert/__pycache__/indexer.cpython-311.pyc": ("", False),
    ".git/HEAD": ("", False),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_shapes_behaviour_shapes_the_hash(name: str, tree: Path) -> None:
    before = read_revision(str(tree))
    text, moves = CHANGES[name]
    (tree / name).write_text(text, encoding="utf-8")
    assert (read_revision(str(tree)) != before) == moves


def test_moving_text_from_one_file_to_the_next_is_a_change(tree: Path) -> None:
    (tree / "colbert/a.py").write_text("xy")
    (tree / "colbert/b.py").write_text("")
    before = read_revision(str(tree))
    (tree / "colbert/a.py").write_text("x")
    (tree / "colbert/b.py").write_text("y")
    assert read_revision(str(tree)) != before


def test_a_kept_tree_holds_what_a_build_needs_and_no_more(tree: Path, tmp_path: Path) -> None:
    trees = tmp_path / "cache" / "colbert"
    before = files(tree)
    revision = read_revision(str(tree), trees)
    assert revision == read_revision(str(tree))
    assert files(trees) == {
        f"{revision.origin}/{name}"
        for name in (
            *("setup.py", "README.md", "colbert/__init__.py", "colbert/indexer.py"),
            *("colbert/search/filter_pids.cpp", "colbert/indexing/codecs/packbits.cu"),
            *("utility/__init__.py", "utility/runs.py"),
        )
    }
    assert files(tree) == before
    # Kept once more it is the same, and from now on its hash will do.
    assert read_revision(str(tree), trees) == read_revision(revision.argument, trees) == revision


def test_an_edit_does_not_reach_a_kept_tree(tree: Path, tmp_path: Path) -> None:
    revision = read_revision(str(tree), tmp_path / "trees")
    (tree / "colbert/indexer.py").write_text("broken")
    kept = tmp_path / "trees" / revision.origin
    assert read_revision(str(kept)) == revision != read_revision(str(tree))


def test_a_tree_is_asked_for_by_address(tree: Path, tmp_path: Path) -> None:
    revision = read_revision(str(tree))
    requirement = revision.requirement(tmp_path / "with space")
    name, _, url = requirement.partition(" @ ")
    assert name == "colbert-ai"
    assert url == f"file://{tmp_path}/with%20space/{revision.origin}"


def test_a_tree_that_is_not_kept_is_told(tmp_path: Path) -> None:
    name = f"tree:{'0' * 32}"
    assert read_revision(name).origin == "0" * 32
    with pytest.raises(MatrixError, match="give the folder it is made from"):
        read_revision(name, tmp_path)


def without_setup(tree: Path) -> None:
    (tree / "setup.py").unlink()


def without_package(tree: Path) -> None:
    shutil.rmtree(tree / "colbert")


def as_a_file(tree: Path) -> None:
    shutil.rmtree(tree)
    tree.write_text("")


def with_a_linked_file(tree: Path) -> None:
    (tree / "colbert/indexer.py").unlink()
    (tree / "colbert/indexer.py").symlink_to("/etc/hostname")


def with_a_linked_folder(tree: Path) -> None:
    (tree / "colbert/linked").symlink_to("/etc")


def with_a_pipe(tree: Path) -> None:
    os.mkfifo(tree / "colbert/pipe.py")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (without_setup, "no source tree of colbert-ai: it needs setup.py or pyproject.toml beside"),
        (without_package, "no source tree of colbert-ai"),
        (as_a_file, "neither a version (0.2.21), nor git+URL@SHA, nor a folder"),
        (with_a_linked_file, "'colbert/indexer.py' is not a plain file"),
        (with_a_linked_folder, "'colbert/linked' is not a plain file"),
        (with_a_pipe, "'colbert/pipe.py' is not a plain file"),
    ],
)
@pytest.mark.parametrize("keep", [False, True])
def test_what_is_no_source_tree_is_refused(
    spoil: Callable[[Path], None], told: str, keep: bool, tree: Path, tmp_path: Path
) -> None:
    spoil(tree)
    with pytest.raises(MatrixError) as caught:
        read_revision(str(tree), tmp_path / "trees" if keep else None)
    assert told in str(caught.value)
    assert not (tmp_path / "trees").exists() or files(tmp_path / "trees") == set()


# The lane.


def test_another_colbert_is_another_lane(tree: Path) -> None:
    def lane(text: str) -> str:
        label = read_revision(text).label
        return lane_name("cpu-pinned", lane_options(colbert=label, pinned="0.2.22"))

    assert lane("0.2.22") == "cpu-pinned"
    lanes = {lane(text) for text in ("0.2.22", "0.2.21", REMOTE, str(tree))}
    assert len(lanes) == 4
