"""Which colbert-ai a capture runs on; standard library only, because the noxfile imports it too."""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from matrix_capture.errors import MatrixError

_VERSION = re.compile(r"\d+(\.\d+)*((a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?", re.ASCII)
_SHA = r"(?P<sha>[0-9a-f]{7,40})"
# Neither a password nor a token fits in: the address goes into the record.
_REMOTE = re.compile(
    rf"git\+(https://|ssh://([\w-]+@)?)[\w-][\w.-]*(:\d+)?/[\w./~+-]+@{_SHA}", re.A
)
_LOCAL = re.compile(rf"git\+file:///[\w./~+%-]+@{_SHA}", re.ASCII)
_TREE = re.compile(r"tree:(?P<hash>[0-9a-f]{32})")

# What a build reads at the root of a source tree; everything else it needs is in a package.
_SETTINGS = ("*.py", "*.toml", "*.cfg", "*.in", "*.txt")
_DOCUMENTS = ("*.md", "*.rst", "LICENSE*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Revision:
    """A release of colbert-ai, a commit of its repository, or a source tree.

    `label` is its name in records, which hold no path; `argument` says the same on a command line.
    `origin` is the commit, or the hash of the source tree; empty for a release.
    """

    label: str
    argument: str
    origin: str = ""

    @property
    def release(self) -> str | None:
        """The version, where that alone says what it is."""
        return None if self.origin else self.label

    def requirement(self, folder: Path) -> str:
        """What an installer is asked for; a source tree is looked for by its hash in `folder`."""
        if not self.origin:
            return f"colbert-ai[faiss-cpu]=={self.label}"
        where = self.argument
        if _TREE.fullmatch(self.label):
            where = (folder / self.origin).absolute().as_uri()
        return f"colbert-ai[faiss-cpu] @ {where}"


def read_revision(text: str) -> Revision:
    """What `--colbert` asks for: a version, `git+URL@SHA`, or the folder of a source tree.

    Raises:
        MatrixError: it is none of those.
    """
    if _VERSION.fullmatch(text):
        return Revision(label=text, argument=text)
    if tree := _TREE.fullmatch(text):
        return Revision(label=text, argument=text, origin=tree["hash"])
    if found := _REMOTE.fullmatch(text):
        return Revision(label=text, argument=text, origin=found["sha"])
    if found := _LOCAL.fullmatch(text):
        return Revision(label=f"git+file@{found['sha']}", argument=text, origin=found["sha"])
    if text.startswith("git+"):
        raise MatrixError(
            f"--colbert {text!r}: expected git+https://HOST/PATH@SHA (or git+ssh, git+file) without "
            "a password, and a commit of at least 7 hex digits, because a branch moves"
        )
    tree_hash = _hash(_source_tree(text))
    return Revision(label=f"tree:{tree_hash}", argument=f"tree:{tree_hash}", origin=tree_hash)


def keep_tree(text: str, trees: Path) -> Revision:
    """Copy the source tree in folder `text` below `trees`, where no edit reaches it.

    Raises:
        MatrixError: the folder is no source tree of colbert-ai.
    """
    folder = _source_tree(text)
    trees.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=trees) as scratch:
        copy = Path(scratch) / "tree"
        for name in (*_files(folder), *_documents(folder)):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, copy / name)
        # Of the copy: somebody may be editing the folder.
        kept = read_revision(str(copy))
        shutil.rmtree(trees / kept.origin, ignore_errors=True)
        copy.rename(trees / kept.origin)
    return kept


def is_tree(text: str) -> bool:
    """Whether `--colbert` names a folder, and nothing that an installer could fetch."""
    return not any(known.fullmatch(text) for known in (_VERSION, _TREE, _REMOTE, _LOCAL))


def _source_tree(text: str) -> Path:
    folder = Path(text)
    try:
        found = bool(text) and folder.is_dir()
        built = any((folder / name).is_file() for name in ("setup.py", "pyproject.toml"))
        holds = (folder / "colbert" / "__init__.py").is_file()
    except OSError as error:
        raise MatrixError(f"--colbert {text!r}: {error.strerror}") from None
    if not found:
        raise MatrixError(
            f"--colbert {text!r} is neither a version (0.2.21), nor git+URL@SHA, nor a folder"
        )
    if not (built and holds):
        raise MatrixError(
            f"--colbert {text!r} is no source tree of colbert-ai: it needs setup.py or "
            "pyproject.toml beside the package colbert"
        )
    return folder


def _hash(folder: Path) -> str:
    """Hash of the names and contents of all files that shape what the tree does."""
    hasher = hashlib.blake2b(digest_size=16)
    for name in _files(folder):
        content = (folder / name).read_bytes()
        hasher.update(f"{name}\0{len(content)}\0".encode("utf-8", "surrogateescape"))
        hasher.update(content)
    return hasher.hexdigest()


def _files(folder: Path) -> list[str]:
    """Every file that a build of this tree takes in, in the order of their names.

    Raises:
        MatrixError: one of them is a link, or no file at all.
    """
    found = {path for pattern in _SETTINGS for path in folder.glob(pattern)}
    for package in folder.iterdir():
        if (package / "__init__.py").is_file():
            found |= set(_walk(package))
    names = {path.relative_to(folder).as_posix(): path for path in found}
    for name, path in sorted(names.items()):
        if path.is_symlink() or not path.is_file():
            raise MatrixError(f"--colbert {str(folder)!r}: {name} is no plain file; replace it")
    return sorted(names)


def _documents(folder: Path) -> list[str]:
    """What a build may read, but nothing that it makes depends on."""
    found = (path for pattern in _DOCUMENTS for path in folder.glob(pattern))
    return sorted(path.name for path in found if path.is_file())


def _walk(package: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(package):
        folders[:] = [name for name in folders if name != "__pycache__" and name[0] != "."]
        # A link to a folder is not walked into; it is told like a link to a file.
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        yield from (Path(folder) / name for name in (*files, *links) if name[0] != ".")
