"""The check file: the contract between whoever captures two colbert-ai and whoever tells of them.

One JSON file, of a pull request one per commit: what changes when colbert-ai becomes the head,
under each torch release that both were captured with. It is no part of the matrix, and what it says
comes from code that nobody has reviewed.
"""

import re
from pathlib import Path
from typing import Annotated

import msgspec

from matrix_capture.errors import MatrixError
from matrix_compare.document import read_document, write_document
from matrix_compare.policy import Level
from matrix_compare.schema import Verdict

SCHEMA_VERSION = 1

LARGEST = 2**22
"""Bytes of the largest file that is read; one of three releases takes some hundred thousand."""

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]

_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_SHA = re.compile(r"[0-9a-f]{40}")


class CheckLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One artifact that is not identical, as in the verdict file."""

    artifact: str
    part: str = ""
    scope: str = ""
    kind: str = ""
    verdict: Verdict
    level: Level
    role: str = ""
    reason: str = ""
    max_abs: float | None = None
    equal_fraction: float | None = None
    largest_at: str = ""


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One side: its colbert-ai, where its run stopped, the size of its index.

    `seconds` are those of each stage in its first run, `seconds_again` in its second, `cpu_seconds`
    those that its threads worked, in both.
    """

    colbert: str
    stopped: str
    seconds: dict[str, Seconds]
    index_bytes: Count
    seconds_again: dict[str, Seconds] = {}
    cpu_seconds: dict[str, tuple[Seconds, ...]] = {}


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """How much of what is relevant both sides find; `chance` where it may explain the change."""

    measure: str
    base: Share
    head: Share
    chance: bool


class Ranked(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of the rankings: each side searched its own index.

    Of `queries`, `changed` have other passages or another order, `changed_top` within the first
    ten; `first` is the first rank at which any has, 0 if none. `rescored` have the same passages in
    the same order with other scores.
    """

    queries: Count
    changed: Count
    changed_top: Count
    first: Count
    rescored: Count
    effects: tuple[Effect, ...] = ()


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What the commit changes under one torch release.

    `counts` add up to all that was compared, `starts` are the artifacts in which a difference
    starts, `lines` what is not identical, `doubts` the controls that a capture did not pass.
    Without rankings of both sides there is no `ranked`.
    """

    torch: str
    level: Level
    sentence: str
    counts: dict[Verdict, Count]
    starts: tuple[str, ...]
    lines: tuple[CheckLine, ...]
    doubts: tuple[str, ...]
    base: Side
    head: Side
    ranked: Ranked | None = None


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """A head of colbert-ai held against its base; `level` is that of the worst release.

    `number` and `sha` are those of a pull request, 0 and empty where it is of none. `started` is
    when the first of its captures began, in ISO 8601.
    """

    schema_version: int
    lane: str
    number: int
    sha: str
    started: str
    level: Level
    releases: Annotated[tuple[Checked, ...], msgspec.Meta(min_length=1)]


def check_path(data: Path, number: int, sha: str) -> Path:
    """Where a check lives below the data folder.

    Raises:
        MatrixError: the number or the commit cannot be one; both become names of folders.
    """
    if not _NUMBER.fullmatch(str(number)) or not _SHA.fullmatch(sha):
        raise MatrixError(
            f"no pull request {number} at {sha!r}; a commit has 40 hexadecimal digits"
        )
    return data / "pr" / str(number) / f"{sha}.json"


def list_checks(data: Path) -> list[Path]:
    """Every check file, by number and commit; what is named otherwise is none."""
    found = [
        (int(path.parent.name), path.stem, path)
        for path in (data / "pr").glob("*/*.json")
        if _NUMBER.fullmatch(path.parent.name) and _SHA.fullmatch(path.stem)
    ]
    return [path for *_, path in sorted(found)]


def write_check(data: Path, check: Check) -> Path:
    """Write a check of a pull request, replacing one of the same commit; returns the path."""
    path = check_path(data, check.number, check.sha)
    write_document(path, check)
    return path


def read_check(path: Path) -> Check:
    """Read a check, wherever it lies.

    Raises:
        MatrixError: it is damaged, too large, or of another version.
    """
    if path.exists() and not (path.is_file() and path.stat().st_size <= LARGEST):
        raise MatrixError(f"{path}: no check, or one of more than {LARGEST:,} bytes")
    return read_document(path, Check, SCHEMA_VERSION, what="check", cure="check the commit again")


def read_recorded(path: Path) -> Check:
    """Read a check of a data folder.

    Raises:
        MatrixError: as `read_check`, and where it lies in the place of another.
    """
    found = read_check(path)
    if (str(found.number), found.sha) != (path.parent.name, path.stem):
        raise MatrixError(f"{path}: is about pull request {found.number} at {found.sha!r}; move it")
    return found
