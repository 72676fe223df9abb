"""The file `collected.json`: what of a plan has arrived, what has not, and why.

It lies beside the captures that were accepted, in a folder with the layout of a data folder.
"""

from pathlib import Path

import msgspec

from matrix_compare.document import read_document, write_document
from matrix_operate.plan import NotRun

SCHEMA_VERSION = 1


class Arrived(msgspec.Struct, frozen=True, kw_only=True):
    """A capture that was accepted.

    `attempt` is the run of the row that brought it, `stopped` the stage where it failed, if any,
    `values` how many of the values that it says are stored were accepted, of so many `stored`.
    """

    row: str
    lane: str
    torch: str
    attempt: int
    started: str
    stopped: str
    values: int
    stored: int


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """A capture that a row should have brought and did not."""

    row: str
    lane: str
    torch: str


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """Something that came and was not accepted; without `torch`, rankings of the lane."""

    row: str
    lane: str
    torch: str
    reason: str


class Collected(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file; every capture that was planned is in one of the four, in order of the plan.

    A capture may have arrived while values or rankings of it were refused. In the lanes `current`
    nothing was due.
    """

    schema_version: int
    arrived: tuple[Arrived, ...]
    missing: tuple[Missing, ...]
    refused: tuple[Refused, ...]
    not_run: tuple[NotRun, ...]
    current: tuple[str, ...] = ()


def write_collected(folder: Path, collected: Collected) -> Path:
    """Write the file beside the captures; returns its path."""
    path = folder / "collected.json"
    write_document(path, collected)
    return path


def read_collected(folder: Path) -> Collected:
    """Read the file of a folder.

    Raises:
        MatrixError: it is absent, damaged or of another version.
    """
    path = folder / "collected.json"
    return read_document(
        path, Collected, SCHEMA_VERSION, what="list of captures", cure="collect again"
    )
