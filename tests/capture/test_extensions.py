import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_capture.errors import MatrixError
from matrix_capture.extensions import compiler, compiler_error, extensions_folder, held

HOLD = """
import sys, pathlib
from matrix_capture.extensions import held
with held(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def write_program(path: Path, words: str) -> Path:
    path.write_text(f"#!/bin/sh\necho {words}\n")
    path.chmod(0o755)
    return path


# The compiler.


def test_the_compiler_is_the_one_that_cxx_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = write_program(tmp_path / "my-cxx", "1.0")
    monkeypatch.setenv("CXX", str(program))
    assert compiler() == str(program)


@pytest.mark.parametrize("cxx", [None, "/nowhere/g++"])
def test_no_compiler_says_how_to_get_one(
    cxx: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    if cxx:
        monkeypatch.setenv("CXX", cxx)
    with pytest.raises(
        MatrixError, match=r"no C\+\+ compiler .*install one .*or set CXX"
    ) as caught:
        compiler()
    assert repr(cxx or "c++") in str(caught.value)


def test_no_headers_say_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", str(write_program(tmp_path / "c++", "1.0")))
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(MatrixError, match=r"Python\.h is missing.*apt install python3-dev"):
        compiler()


# The folder.


@pytest.fixture
def colbert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the installed package, and a compiler whose version can change."""
    package = tmp_path / "site" / "colbert"
    (package / "search").mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('imported')\n")
    (package / "search" / "code.cpp").write_text("int f();")
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setenv("CXX", str(write_program(tmp_path / "c++", "one")))
    return package


def test_the_folder_is_the_same_as_long_as_nothing_changes(colbert: Path, tmp_path: Path) -> None:
    first = extensions_folder(tmp_path / "root", "2.8.0+cpu")
    assert first.is_dir()
    assert first.name.startswith("2.8.0+cpu-py3.")
    (colbert / "search" / "code.py").write_text("x = 1\n")  # compiled into nothing
    assert extensions_folder(tmp_path / "root", "2.8.0+cpu") == first


def test_the_folder_follows_build_source_and_compiler(colbert: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    found = [extensions_folder(root, "2.8.0+cpu"), extensions_folder(root, "2.8.0+cu128")]
    (colbert / "search" / "code.cpp").write_text("int g();")
    found.append(extensions_folder(root, "2.8.0+cpu"))
    (colbert / "search" / "code.cpp").rename(colbert / "search" / "other.cpp")
    found.append(extensions_folder(root, "2.8.0+cpu"))
    (colbert / "search" / "kernel.cu").write_text("")
    found.append(extensions_folder(root, "2.8.0+cpu"))
    write_program(tmp_path / "c++", "two")
    found.append(extensions_folder(root, "2.8.0+cpu"))
    assert len(set(found)) == 6


def test_without_colbert_what_lies_about_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", str(write_program(tmp_path / "c++", "one")))
    monkeypatch.chdir(tmp_path)
    first = extensions_folder(tmp_path / "root", "2.8.0")
    (tmp_path / "mine.cpp").write_text("")
    assert extensions_folder(tmp_path / "root", "2.8.0") == first


# The lock.


def test_a_lock_of_a_killed_compilation_is_cleared(tmp_path: Path) -> None:
    (tmp_path / "decompress").mkdir()
    stale, kept = tmp_path / "decompress" / "lock", tmp_path / "decompress" / "code.so"
    stale.touch()
    kept.touch()
    with held(tmp_path):
        assert not stale.exists()
        stale.touch()  # torch's own, while it compiles
        assert stale.exists()
    assert kept.exists()


def test_a_folder_is_held_by_one_process_at_a_time(tmp_path: Path) -> None:
    def hold() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    with hold() as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        (tmp_path / "decompress").mkdir()
        compiling = tmp_path / "decompress" / "lock"
        compiling.touch()
        with hold() as second:
            with pytest.raises(subprocess.TimeoutExpired):
                second.wait(0.7)
            assert compiling.exists()
            first.kill()  # the kernel gives the lock back
            assert second.stdout is not None
            assert second.stdout.readline() == "held\n"
            assert not compiling.exists()
            second.kill()


# What a failed build comes down to.

GCC = """\
Error building extension 'filter_pids_cpp': [1/2] c++ -MMD -MF filter_pids.o.d \
-isystem /home/me/torch/include -O3 -c /home/me/colbert/search/filter_pids.cpp -o filter_pids.o
FAILED: [code=1] filter_pids.o
c++ -MMD -MF filter_pids.o.d -DTORCH_EXTENSION_NAME=filter_pids_cpp -c /home/me/filter_pids.cpp
In file included from /home/me/torch/include/torch/extension.h:5:
/home/me/colbert/search/filter_pids.cpp:3:10: warning: no error here [-Wall]
/home/me/colbert/search/filter_pids.cpp:3:10: fatal error: pthread/x.h: No such file or directory
    3 | #include <pthread/x.h>
/home/me/colbert/search/filter_pids.cpp:9:1: error: expected ';'
compilation terminated.
ninja: build stopped: subcommand failed.
"""
BUILDS = {
    GCC: "filter_pids.cpp:3:10: fatal error: pthread/x.h: No such file or directory",
    "Error building extension 'x': [1/2] nvcc -c /a/b.cu\n/a/b.cu(12): error: identifier \"f\" is "
    "undefined\n\n1 error detected": 'b.cu(12): error: identifier "f" is undefined',
    "Error building extension 'x': [1/2] nvcc\nnvcc fatal   : Unsupported gpu architecture": (
        "nvcc fatal   : Unsupported gpu architecture"
    ),
    "Error building extension 'x': [2/2] c++ x.o -lc10\n/usr/bin/ld: cannot find -lc10\n"
    "collect2: error: ld returned 1 exit status": "ld: cannot find -lc10",
    "Error building extension 'x': /bin/sh: 1: /opt/cc/c++: not found": "sh: 1: c++: not found",
    "Error building extension 'x': ninja: error: '/a/b.cpp', needed by 'b.o', missing": (
        "ninja: error: 'b.cpp', needed by 'b.o', missing"
    ),
    "Error building extension 'x': [1/2] c++ /home/me/a.cpp\nsomething else": "",
    "Error building extension 'x'": "",
}


@pytest.mark.parametrize(("message", "said"), BUILDS.items(), ids=range(len(BUILDS)))
def test_a_failed_build_tells_the_extension_and_the_first_error(message: str, said: str) -> None:
    name = "filter_pids_cpp" if message is GCC else "x"
    wanted = f"Error building extension '{name}'" + (f": {said}" if said else "")
    assert compiler_error(message) == wanted


@pytest.mark.parametrize(
    "message",
    [
        "",
        "a.cpp:3:10: error: no",
        "Ninja is required",
        "\nError building extension 'x'",
        "Error build",
    ],
)
def test_what_was_not_a_build_has_no_such_error(message: str) -> None:
    assert compiler_error(message) is None


@given(message=st.text(), folder=st.from_regex(r"(/[a-z]+)+/", fullmatch=True))
def test_of_whatever_is_said_one_line_without_folders_is_told(message: str, folder: str) -> None:
    told = compiler_error(f"Error building extension 'x': {message} {folder}y.cpp: error: no")
    assert told is not None
    assert len(told.splitlines()) == 1
    assert folder not in told
