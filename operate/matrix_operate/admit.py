"""Add releases to `matrix.toml`, every other line of which stays as it is."""

import argparse
import re
from pathlib import Path

import msgspec

from matrix_capture.errors import MatrixError
from matrix_capture.names import RELEASE, version_numbers
from matrix_capture.schema import replacing
from matrix_capture.settings import Settings, read_settings


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line takes."""
    parser.add_argument(
        "releases", nargs="*", type=_release, metavar="RELEASE", help="such as 2.16.0"
    )


def run(options: argparse.Namespace) -> int:
    """Add what is missing; returns 0."""
    for torch in options.releases:
        print(f"torch {torch}: {'added' if admit(torch) else 'there already'}")
    return 0


def admit(torch: str, path: Path = Path("matrix.toml")) -> bool:
    """Add a release in its place, on a line of its own; returns whether it was missing.

    Raises:
        MatrixError: the file does not have one release a line, or not what it should.
    """
    settings = read_settings(path)
    if version_numbers(torch) in map(version_numbers, settings.releases):
        return False
    wanted = settings.including([torch])
    before = [name for name in settings.releases if version_numbers(name) < version_numbers(torch)]
    line = rf'^( *)"{re.escape(before[-1])}",.*\n' if before else r"^releases = \[\n( *)"
    added = rf'\g<0>\g<1>"{torch}",\n' if before else rf'\g<0>"{torch}",\n\g<1>'
    text = path.read_text(encoding="utf-8")
    text = re.sub(line, added, text, count=1, flags=re.MULTILINE)
    if not _says(text, wanted):
        raise MatrixError(f"{path} does not list one release a line; add {torch} by hand")
    with replacing(path) as file:
        file.write(text.encode("utf-8"))
    return True


def _says(text: str, wanted: Settings) -> bool:
    try:
        return msgspec.toml.decode(text, type=Settings) == wanted
    except msgspec.DecodeError:
        return False


def _release(text: str) -> str:
    if not re.fullmatch(RELEASE, text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is no release such as 2.16.0")
    return text
