"""What uv and pip really print; paths are shortened, nothing else."""

import pytest

from matrix_capture.install_log import infrastructure, reason

NETWORK = "the package index cannot be reached; check the network and try again"
DISK = "the disk is full; free some space and try again"
DAMAGED = "a download was damaged; try again"

COMMIT = "the commit that --colbert names cannot be fetched; check address, network and git"
BUILD = "what --colbert names cannot be built"

UV_NO_VERSION = """\
Using Python 3.11.7 environment at: v
error: No solution found when resolving dependencies
  cause: Because there is no version of torch==9.9.9 and you require torch==9.9.9, we can conclude \
that your requirements are unsatisfiable.
"""
UV_NO_VERSION_WRAPPED = """\
  \u00d7 No solution found when resolving dependencies:
  ╰─▶ Because there is no version of torch==9.9.9 and you require
      torch==9.9.9, we can conclude that your requirements are
      unsatisfiable.
"""
UV_NO_WHEEL = """\
error: No solution found when resolving dependencies
  cause: Because torch==1.7.0 has no wheels with a matching Python ABI tag (e.g., `cp311`) and you \
require torch==1.7.0, we can conclude that your requirements are unsatisfiable.

hint: You require CPython 3.11 (`cp311`), but we only found wheels for `torch` (v1.7.0) with the \
following Python ABI tags: `cp36m`, `cp37m`, `cp38`, `cp38m`
"""
UV_CONFLICT = """\
error: No solution found when resolving dependencies
  cause: Because torch==2.8.0 depends on sympy>=1.13.3 and you require torch==2.8.0, we can \
conclude that you require sympy>=1.13.3.
         And because you require sympy==1.0, we can conclude that your requirements are \
unsatisfiable.
"""
UV_BUILD = """\
Resolved 1 package in 1ms
   Building bad @ file:///bad
error: Failed to build `bad @ file:///bad`
  cause: The build backend returned an error
  cause: Call to `setuptools.build_meta.get_requires_for_build_wheel` failed (exit status: 1)

         [stderr]
         no compiler: Connection refused
         error: No space left on device

hint: Build failures usually indicate a problem with the package or the build environment
"""
PIP_NO_VERSION = """\
ERROR: Ignored the following versions that require a different python version: 3.7 Requires-Python \
>=3.12,!=3.14.1; 3.7rc0 Requires-Python >=3.12,!=3.14.1
ERROR: Could not find a version that satisfies the requirement torch==9.9.9 (from versions: \
1.13.0, 1.13.1, 2.0.0)
ERROR: No matching distribution found for torch==9.9.9
"""
PIP_NO_WHEEL_OF_A_DEPENDENCY = """\
Collecting torch==2.8.0
ERROR: Could not find a version that satisfies the requirement triton==3.4.0; platform_system == \
"Linux" (from torch) (from versions: none)
ERROR: No matching distribution found for triton==3.4.0; platform_system == "Linux"
"""
PIP_CONFLICT = """\
ERROR: Cannot install requests==2.31.0 and urllib3==1.20 because these package versions have \
conflicting dependencies.

The conflict is caused by:
    The user requested urllib3==1.20
    requests 2.31.0 depends on urllib3<3 and >=1.21.1

To fix this you could try to:
1. loosen the range of package versions you've specified

ERROR: ResolutionImpossible: for help visit https://pip.pypa.io/en/latest/topics/dependency-resolution/
"""
PIP_RECOVERED = f"""\
WARNING: Retrying (Retry(total=4, connect=None, read=None, redirect=None, status=None)) after \
connection broken by 'ConnectionResetError(104, 'Connection reset by peer')': /simple/torch/
{PIP_CONFLICT}"""
PIP_BUILD = """\
  Getting requirements to build wheel: started
  Getting requirements to build wheel: finished with status 'error'
  error: subprocess-exited-with-error
  
  \u00d7 Getting requirements to build wheel did not run successfully.
  │ exit code: 1
  ╰─> [1 lines of output]
      no compiler: Connection refused
      [end of output]
  
  note: This error originates from a subprocess, and is likely not a problem with pip.
ERROR: Failed to build 'file:///bad' when getting requirements to build wheel
"""  # noqa: W293 - as pip prints it

UV_REFUSED = """\
error: Request failed after 3 retries in 11.4s
  cause: Failed to fetch: http://127.0.0.1:9/simple/torch/
  cause: error sending request for url (http://127.0.0.1:9/simple/torch/)
  cause: client error (Connect)
  cause: tcp connect error
  cause: Connection refused (os error 111)
"""
UV_EARLIER_DNS = """\
error: Failed to fetch: `https://index.example/simple/torch/`
  Caused by: Request failed after 3 retries
  Caused by: error sending request for url (https://index.example/simple/torch/)
  Caused by: client error (Connect)
  Caused by: dns error
  Caused by: failed to lookup address information: Temporary failure in name resolution
"""
UV_BUILD_OFFLINE = """\
error: Failed to build `bitarray==3.12.3`
  cause: Failed to resolve requirements from `build-system.requires`
  cause: Request failed after 3 retries in 10.3s
  cause: Failed to fetch: https://index.example/simple/setuptools/
  cause: error sending request for url (https://index.example/simple/setuptools/)
"""
UV_UNAVAILABLE = """\
error: Request failed after 1 retry in 1.4s
  cause: Failed to fetch: http://127.0.0.1:9101/simple/torch/
  cause: HTTP status server error (503 Service Unavailable) for url (http://127.0.0.1:9101/)
"""
UV_TOO_MANY = UV_UNAVAILABLE.replace(
    "server error (503 Service Unavailable)", "client error (429 Too Many Requests)"
)
UV_RESET = """\
error: Request failed after 1 retry in 1.5s
  cause: connection error
  cause: Connection reset by peer (os error 104)
"""
UV_SLOW = """\
error: Request failed after 1 retry in 7.3s
  cause: operation timed out
"""
UV_FORBIDDEN = """\
error: No solution found when resolving dependencies
  cause: Because torch was not found in the package registry and you require torch==2.8.0, we can \
conclude that your requirements are unsatisfiable.

hint: An index (http://127.0.0.1:9103/simple) returned a 403 Forbidden error. Check that the index \
URL is correct and the credentials are valid.
"""
UV_OFFLINE = """\
error: No solution found when resolving dependencies
  cause: Because sympy==1.13.3 needs to be downloaded from a registry and torch==2.8.0 depends on \
sympy==1.13.3, we can conclude that torch==2.8.0 cannot be used.

hint: Packages were unavailable because the network was disabled.
"""
PIP_REFUSED = """\
WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after \
connection broken by 'NewConnectionError("HTTPConnection(host='127.0.0.1', port=9): Failed to \
establish a new connection: [Errno 111] Connection refused")': /simple/torch/
ERROR: Could not find a version that satisfies the requirement torch==2.8.0 (from versions: none)
ERROR: No matching distribution found for torch==2.8.0
"""
PIP_SLOW = """\
WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after \
connection broken by 'ReadTimeoutError("HTTPConnectionPool(host='127.0.0.1', port=9106): Read \
timed out. (read timeout=5.0)")': /simple/torch/
ERROR: No matching distribution found for torch==2.8.0
"""
PIP_UNAVAILABLE = """\
Looking in indexes: http://127.0.0.1:9101/simple
ERROR: Could not find a version that satisfies the requirement torch==2.8.0 (from versions: none)
ERROR: No matching distribution found for torch==2.8.0
"""

UV_NO_SPACE = """\
Resolved 1 package in 117ms
warning: Failed to hardlink files; falling back to full copy. This may lead to degraded performance.
error: Failed to install: numpy-1.26.4-cp311-cp311-manylinux_2_17_x86_64.whl (numpy==1.26.4)
  cause: Failed to copy to `v/lib/python3.11/site-packages/numpy.libs/libopenblas64_.so`
  cause: failed to copy file from archive-v0/libopenblas64_.so to v/lib/.tmpMAi34m: No space left \
on device (os error 28)
"""
PIP_NO_SPACE = """\
Installing collected packages: numpy
ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device
"""
UV_HASH = """\
error: Failed to download `six==1.16.0`
  cause: Hash mismatch for `six==1.16.0`

         Expected:
           sha256:0000000000000000000000000000000000000000000000000000000000000000
"""

UV_NO_COMMIT = """\
   Updating https://example.org/ColBERT (1234567)
error: Failed to download and build `colbert-ai @ git+https://example.org/ColBERT@1234567`
  cause: Git operation failed
  cause: failed to find branch, tag, or commit `1234567`
  cause: process didn't exit successfully: `/usr/bin/git rev-parse '1234567^0'` (exit status: 128)
         --- stderr
         fatal: ambiguous argument '1234567^0': unknown revision or path not in the working tree.
"""
UV_NO_GIT = """\
   Updating https://example.org/ColBERT (1234567)
error: Failed to download and build `colbert-ai @ git+https://example.org/ColBERT@1234567`
  cause: Git operation failed
  cause: Git executable not found. Ensure that Git is installed and available.
"""
PIP_NO_COMMIT = """\
Collecting colbert-ai[faiss-cpu]@ git+https://nohost.invalid/x/y@1234567
  fatal: unable to access 'https://nohost.invalid/x/y/': Could not resolve host: nohost.invalid
  error: subprocess-exited-with-error

  \u00d7 git clone --filter=blob:none --quiet https://nohost.invalid/x/y /tmp/p did not run \
successfully.
  \u2502 exit code: 128
  \u2570\u2500> See above for output.

error: subprocess-exited-with-error
"""
UV_TREE_WITHOUT_NAME = """\
error: Failed to build `colbert-ai @ file:///tmp/t/0a0a`
  cause: Package metadata name `my-colbert` does not match given name `colbert-ai`
"""
UV_TREE_BROKEN = """\
error: Failed to build `colbert-ai @ file:///tmp/t/0a0a`
  cause: The build backend returned an error
  cause: Call to `setuptools.build_meta.get_requires_for_build_wheel` failed (exit status: 1)

         [stderr]
         ModuleNotFoundError: No module named 'nosuchmodule'
"""
UV_TREE_OFFLINE = """\
error: Failed to build `colbert-ai @ file:///tmp/t/0a0a`
  cause: Failed to resolve requirements from `setup.py` build
  cause: No solution found when resolving: `setuptools>=40.8.0`
  cause: Request failed after 3 retries in 9.5s
  cause: Failed to fetch: http://127.0.0.1:9/simple/setuptools/
  cause: error sending request for url (http://127.0.0.1:9/simple/setuptools/)
"""
UV_TREE_CONFLICT = """\
error: No solution found when resolving dependencies
  cause: Because only colbert-ai[faiss-cpu]==0.2.22 is available and colbert-ai==0.2.22 depends on \
torch==1.13.1, we can conclude that all versions of colbert-ai[faiss-cpu] depend on torch==1.13.1.
         And because you require torch==2.8.0 and colbert-ai[faiss-cpu], we can conclude that your \
requirements are unsatisfiable.
"""

RELEASE = {
    "uv, a tree asks for another torch": (UV_TREE_CONFLICT, "Because only colbert-ai"),
    "uv, no version": (UV_NO_VERSION, "Because there is no version of torch==9.9.9 and you"),
    "uv, no version, wrapped": (
        UV_NO_VERSION_WRAPPED,
        "Because there is no version of torch==9.9.9 and you require torch==9.9.9, we can conclude "
        "that your requirements are unsatisfiable.",
    ),
    "uv, no wheel": (UV_NO_WHEEL, "Because torch==1.7.0 has no wheels with a matching Python ABI"),
    "uv, conflict": (
        UV_CONFLICT,
        "Because torch==2.8.0 depends on sympy>=1.13.3 and you require torch==2.8.0, we can "
        "conclude that you require sympy>=1.13.3. And because you require sympy==1.0, we",
    ),
    "uv, build": (UV_BUILD, "error: Failed to build `bad @ bad`"),
    "pip, no version": (PIP_NO_VERSION, "ERROR: No matching distribution found for torch==9.9.9"),
    "pip, no wheel of a dependency": (
        PIP_NO_WHEEL_OF_A_DEPENDENCY,
        "ERROR: No matching distribution found for triton==3.4.0",
    ),
    "pip, conflict": (PIP_CONFLICT, "ERROR: Cannot install requests==2.31.0 and urllib3==1.20"),
    "pip, recovered": (PIP_RECOVERED, "ERROR: Cannot install requests==2.31.0"),
    "pip, build": (PIP_BUILD, "ERROR: Failed to build 'bad' when getting requirements"),
    "something else": ("Resolved 3 packages\nthe cat is on the keyboard\n", "Resolved 3 packages"),
    "nothing": ("", "the installer said nothing"),
    "blank": ("\n  \n", "the installer said nothing"),
}

SURROUNDINGS = {
    "uv, no such commit": (UV_NO_COMMIT, COMMIT),
    "uv, no git": (UV_NO_GIT, COMMIT),
    "pip, no such host": (PIP_NO_COMMIT, COMMIT),
    "uv, a tree of another name": (UV_TREE_WITHOUT_NAME, BUILD),
    "uv, a tree that does not build": (UV_TREE_BROKEN, BUILD),
    "uv, a tree that needs the network": (UV_TREE_OFFLINE, NETWORK),
    "uv, refused": (UV_REFUSED, NETWORK),
    "uv, name": (UV_EARLIER_DNS, NETWORK),
    "uv, for a build": (UV_BUILD_OFFLINE, NETWORK),
    "uv, 503": (UV_UNAVAILABLE, NETWORK),
    "uv, 429": (UV_TOO_MANY, NETWORK),
    "uv, 403": (UV_FORBIDDEN, NETWORK),
    "uv, reset": (UV_RESET, NETWORK),
    "uv, slow": (UV_SLOW, NETWORK),
    "uv, offline": (UV_OFFLINE, NETWORK),
    "pip, refused": (PIP_REFUSED, NETWORK),
    "pip, slow": (PIP_SLOW, NETWORK),
    "pip, 503": (PIP_UNAVAILABLE, NETWORK),
    "uv, no space": (UV_NO_SPACE, DISK),
    "pip, no space": (PIP_NO_SPACE, DISK),
    "uv, hash": (UV_HASH, DAMAGED),
}


@pytest.mark.parametrize("name", RELEASE)
def test_a_release_that_cannot_be_installed_is_held_against_it(name: str) -> None:
    log, expected = RELEASE[name]
    assert infrastructure(log) is None
    assert reason(log).startswith(expected)
    assert "\n" not in reason(log)


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_the_surroundings_are_not(name: str) -> None:
    log, blame = SURROUNDINGS[name]
    assert infrastructure(log) == blame


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_a_colbert_that_cannot_be_built_is_held_against_it_where_that_is_judged(name: str) -> None:
    log, blame = SURROUNDINGS[name]
    assert infrastructure(log, judged="colbert-ai") == (None if blame == BUILD else blame)


def test_colours_do_not_matter() -> None:
    coloured = UV_REFUSED.replace("error:", "\x1b[1m\x1b[31merror\x1b[39m\x1b[0m:")
    coloured = coloured.replace("  cause", "  \x1b[1m\x1b[31mcause\x1b[39m\x1b[0m")
    assert infrastructure(coloured) == NETWORK
    coloured = UV_NO_VERSION.replace("  cause:", "  \x1b[1m\x1b[31mcause\x1b[39m\x1b[0m:")
    assert reason(coloured) == reason(UV_NO_VERSION)
