"""Compiled extensions: where they live, beyond the environment, and why one was not built."""

import fcntl
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import blake3

from matrix_capture.errors import MatrixError


def compiler() -> str:
    """The C++ compiler that torch will call, checked together with Python's headers.

    Raises:
        MatrixError: there is none, or the headers are missing.
    """
    name = os.environ.get("CXX", "c++")
    if shutil.which(name) is None:
        raise MatrixError(
            f"no C++ compiler {name!r} on PATH, which colbert-ai needs to load a checkpoint; "
            "install one (Debian: apt install g++) or set CXX"
        )
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.is_file():
        raise MatrixError(
            f"{header} is missing, which colbert-ai's extensions include; install Python's "
            "headers (Debian: apt install python3-dev)"
        )
    return name


def extensions_folder(root: Path, torch_build: str, *also: str) -> Path:
    """Where extensions compiled for one torch build, Python, compiler and colbert-ai live.

    `also` are further compilers that take part, such as nvcc.
    """
    spec = importlib.util.find_spec("colbert")
    hasher = blake3.blake3()
    for package in map(Path, (spec and spec.submodule_search_locations) or ()):
        for source in sorted([*package.rglob("*.cpp"), *package.rglob("*.cu")]):
            hasher.update(source.relative_to(package).as_posix().encode())
            hasher.update(source.read_bytes())
    for tool in (compiler(), *also):
        version = subprocess.run([tool, "--version"], check=True, capture_output=True).stdout
        hasher.update(version)
    folder = root / f"{torch_build}-py{platform.python_version()}-{hasher.hexdigest(8)}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the folder for one process, and clear the locks that killed compilations left in it.

    torch waits for ever on such a lock. Ours is the kernel's, which dies with its process.
    """
    with (folder / ".held").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for stale in folder.glob("*/lock"):
            stale.unlink(missing_ok=True)
        yield


def compiler_error(message: str) -> str | None:
    """Which extension was not built, and the first error of the compiler; None if none was built.

    That is what is worth telling of the exception that torch raises then, which quotes the compiler
    at length. Paths lose their folders: a record holds none of its machine.
    """
    build = _BUILD.match(message)
    if build is None:
        return None
    lines = message[build.end() :].splitlines()
    said = next(filter(_ERROR.search, lines), "").lstrip(": ")
    return ": ".join(filter(None, (build[0], _FOLDERS.sub("", said).strip())))


_BUILD = re.compile(r"Error building extension '[^'\n]*'")
# Of a compiler, a linker, a shell; nvcc says "fatal" alone.
_ERROR = re.compile(r"\b(error|fatal)\s*:|cannot find -l|undefined reference|not found$")
_FOLDERS = re.compile(r"(?<![\w.])/([^\s:'\"()/]+/)+")
