"""Which releases of torch there are: those on the package index that pip is configured for."""

import re
import subprocess
import sys
from typing import Annotated

import msgspec

from matrix_capture.names import RELEASE, version_numbers
from matrix_operate.errors import OutageError

_SECONDS = 300


def released(python: str) -> tuple[str, ...]:
    """The releases that this kind of machine can install for a Python, in ascending order.

    Wheels only; what is yanked, a pre-release or a build of another variant is left out.

    Raises:
        OutageError: pip finds none; most likely the index is out of reach.
    """
    command = [sys.executable, "-m", "pip", "index", "versions", "torch", "--json"]
    command += ["--only-binary", ":all:", "--python-version", python]
    command += ["--disable-pip-version-check", "--no-input"]
    try:
        answer = subprocess.run(command, capture_output=True, check=True, timeout=_SECONDS).stdout
        found = msgspec.json.decode(answer, type=_Found).versions
    except (subprocess.SubprocessError, msgspec.DecodeError):
        # Not pip's own words: they name the index, and its address may hold a password.
        raise OutageError(
            f"pip finds no torch for Python {python} on the package index; is it within reach? "
            "`python -m pip index versions torch` tells more"
        ) from None
    releases = (version for version in found if re.fullmatch(RELEASE, version, re.ASCII))
    return tuple(sorted(releases, key=version_numbers))


class _Found(msgspec.Struct):
    """What `pip index versions --json` prints (since pip 25.1)."""

    versions: Annotated[list[str], msgspec.Meta(min_length=1)]
