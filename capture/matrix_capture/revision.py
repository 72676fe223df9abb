"""Which colbert-ai a capture runs on; standard library only, because the noxfile imports it too."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from matrix_capture.errors import MatrixError

LATEST = "latest"
"""The release that the installer chooses."""

_VERSION = re.compile(r"\d+(\.\d+)*((a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?", re.ASCII)
# Neither a password nor a token fits in: the address goes into the record.
_ADDRESS = r"(https://|ssh://(\w[\w-]*@)?)\w[\w.-]*(:\d+)?/[\w./~+-]+"
_REMOTE = re.compile(rf"git\+{_ADDRESS}@(?P<sha>[0-9a-f]{{7,40}})", re.ASCII)
_NAMED = re.compile(rf"git\+(?P<address>{_ADDRESS})@(?P<name>\w[\w./-]*)", re.ASCII)
_LOCAL = re.compile(r"git\+file:///[\w./~+%-]+@(?P<sha>[0-9a-f]{7,40})", re.ASCII)
_TREE = re.compile(r"tree:(?P<hash>[0-9a-f]{32})")

# What a build reads beside the packages of a source tree: what may change its result, and the rest.
_SETTINGS = ("*.py", "*.toml", "*.cfg", "*.in", "*.txt")
_DOCUMENTS = ("*.md", "*.rst", "LICENSE*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Revision:
    """A release of colbert-ai, a commit of its repository, or a source tree.

    `label` is its name in records, which hold no path of a machine: a version, `latest`,
    `git+URL@SHA` or `tree:<hash>`. `argument` says the same on a command line. `origin` is the
    commit, or the hash of the source tree; empty for a release.
    """

    label: str
    argument: str
    origin: str = ""

    @property
    def version(self) -> str:
        """The version that must be installed; empty where any may be."""
        return "" if self.origin or self.label == LATEST else self.label

    @property
    def tree(self) -> bool:
        """Whether it is a source tree."""
        return _TREE.fullmatch(self.label) is not None

    def built(self, origin: str) -> str:
        """What was built, once `origin` is installed: a commit at its full length; no release."""
        return self.label.removesuffix(self.origin) + (origin or self.origin) if self.origin else ""

    def requirement(self, trees: Path) -> str:
        """What an installer is asked for; a source tree is `trees/<its hash>`."""
        if not self.origin:
            return f"colbert-ai=={self.version}" if self.version else "colbert-ai"
        where = (trees / self.origin).absolute().as_uri() if self.tree else self.argument
        return f"colbert-ai @ {where}"


def read_revision(text: str, trees: Path | None = None) -> Revision:
    """What `--colbert` asks for: a version, `latest`, `git+URL@SHA`, or a source tree's folder.

    With `trees`, a source tree is copied to `trees/<its hash>`, where no edit reaches it any more;
    from then on `tree:<its hash>` names it.

    Raises:
        MatrixError: it is none of those.
    """
    if text == LATEST or _VERSION.fullmatch(text):
        return Revision(label=text, argument=text)
    if found := _REMOTE.fullmatch(text):
        return Revision(label=text, argument=text, origin=found["sha"])
    if found := _LOCAL.fullmatch(text):
        return Revision(label=f"git+file@{found['sha']}", argument=text, origin=found["sha"])
    if text.startswith("git+"):
        raise MatrixError(
            "--colbert git+...: expected git+https://HOST/PATH@SHA (or git+ssh, git+file), without "
            "a password, and at least 7 hex digits of a commit, because a branch moves"
        )
    if found := _TREE.fullmatch(text):
        if trees and not (trees / found["hash"]).is_dir():
            raise MatrixError(
                f"--colbert {text} is not in {trees}; give the folder it is made from"
            )
        return Revision(label=text, argument=text, origin=found["hash"])
    folder = _source_tree(text)
    origin = _keep(folder, trees) if trees else _hash(folder)
    return Revision(label=f"tree:{origin}", argument=f"tree:{origin}", origin=origin)


def resolved(text: str) -> str:
    """What `read_revision` takes, where branches and tags may be named too: they become commits.

    `PATH@REF` is of a repository on this machine, `git+URL@REF` of one elsewhere; what is neither
    stays as it is.

    Raises:
        MatrixError: git finds no such commit.
    """
    folder, _, name = text.rpartition("@")
    if (found := _NAMED.fullmatch(text)) and not _REMOTE.fullmatch(text):
        address, commit = f"git+{found['address']}", _commit_elsewhere(found["address"], name)
    elif not text.startswith("git+") and not Path(text).exists() and Path(folder or "-").is_dir():
        address = f"git+{Path(folder).resolve().as_uri()}"
        commit = _git(
            "-C", folder, "rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}"
        )
    else:
        return text
    if not commit:
        raise MatrixError(f"--colbert {text!r}: git finds no commit of that name")
    return f"{address}@{commit}"


def _commit_elsewhere(address: str, name: str) -> str:
    """The commit that a branch, a tag or a full name of a remote repository stands for."""
    # A tag with a message is an object of its own; behind `^{}` is what it points to.
    names = (f"refs/heads/{name}", f"refs/tags/{name}^{{}}", f"refs/tags/{name}", name)
    lines = _git("ls-remote", "--", address, *names).splitlines()
    found = {ref: commit for commit, _, ref in (line.partition("\t") for line in lines)}
    return next((found[ref] for ref in names if ref in found), "")


def _git(*arguments: str) -> str:
    """What git answers; nothing where it fails."""
    try:
        found = subprocess.run(
            ["git", *arguments],
            capture_output=True,
            check=False,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
            text=True,
        )
    except FileNotFoundError:
        return ""
    return "" if found.returncode else found.stdout.strip()


def _source_tree(text: str) -> Path:
    folder = Path(text)
    try:
        found = bool(text) and folder.is_dir()
        built = any((folder / name).is_file() for name in ("setup.py", "pyproject.toml"))
        held = (folder / "colbert" / "__init__.py").is_file()
    except OSError as error:
        raise MatrixError(f"--colbert {text!r}: {error.strerror}") from None
    if not found:
        raise MatrixError(
            f"--colbert {text!r} is neither a version (0.2.21), nor git+URL@SHA, nor a folder"
        )
    if not (built and held):
        raise MatrixError(
            f"--colbert {text!r} is no source tree of colbert-ai: it needs setup.py or "
            "pyproject.toml beside the package colbert"
        )
    return folder


def _keep(folder: Path, trees: Path) -> str:
    """Copy a source tree; returns the hash of the copy, since the original may be edited by now."""
    trees.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=trees) as scratch:
        copy = Path(scratch) / "tree"
        documents = (path.name for pattern in _DOCUMENTS for path in folder.glob(pattern))
        for name in (*_files(folder), *documents):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, copy / name)
        kept = trees / _hash(copy)
        shutil.rmtree(kept, ignore_errors=True)
        copy.rename(kept)
    return kept.name


def _hash(folder: Path) -> str:
    """Hash of the names and contents of the files that shape what a source tree does."""
    hasher = hashlib.blake2b(digest_size=16)
    for name in _files(folder):
        content = (folder / name).read_bytes()
        hasher.update(f"{name}\0{len(content)}\0".encode("utf-8", "surrogateescape"))
        hasher.update(content)
    return hasher.hexdigest()


def _files(folder: Path) -> list[str]:
    """The files that shape what a source tree does, in the order of their names.

    Raises:
        MatrixError: one of them is a link, or no file at all.
    """
    found = [path for pattern in _SETTINGS for path in folder.glob(pattern)]
    for package in folder.iterdir():
        if (package / "__init__.py").is_file():
            found += _walk(package)
    for path in found:
        if path.is_symlink() or not path.is_file():
            name = path.relative_to(folder)
            raise MatrixError(f"--colbert {str(folder)!r}: {str(name)!r} is not a plain file")
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _walk(package: Path) -> Iterator[Path]:
    """Every file of a package, and every link to a folder, which is not followed."""
    for folder, folders, files in os.walk(package):
        folders[:] = [name for name in folders if name != "__pycache__" and name[0] != "."]
        for name in (*files, *folders):
            path = Path(folder, name)
            if name[0] != "." and (path.is_symlink() or name in files):
                yield path
