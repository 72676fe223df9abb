"""The plan file: the contract between the job that plans captures and those that make and collect.

One JSON file. Whoever collects takes every name from here, none from what a capture says of itself.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec

from matrix_capture.errors import MatrixError
from matrix_capture.names import lane_name, lane_options
from matrix_capture.revision import Revision, read_revision
from matrix_capture.settings import Settings
from matrix_compare.document import read_document, write_document

SCHEMA_VERSION = 1

MOST_ROWS = 256
"""As many jobs as GitHub makes of one matrix."""

RowName = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9.+-]{0,99}\Z")]


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One job: some builds of torch in one lane, one after the other on one machine.

    `name` is that of the job and of what it uploads, `runs_on` are the labels of its runner. With
    `colbert` every build is captured with each of these revisions instead of the lane's. `why` says
    what the captures are for.
    """

    name: RowName
    lane: str
    torch: tuple[str, ...]
    runs_on: tuple[str, ...]
    colbert: tuple[str, ...] = ()
    passages: int | None = None
    why: str = ""


class NotRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A capture that no job is made for, and why."""

    lane: str
    torch: str
    reason: str


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """A capture that a row should bring, by the lane it is recorded in.

    `options` are those that set that lane apart, `revision` is the colbert-ai it runs on.
    """

    row: str
    lane: str
    torch: str
    options: dict[str, str | int]
    revision: Revision


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All jobs of a run.

    `new` are releases that `matrix.toml` does not have yet, `current` lanes that were looked at and
    have nothing due.
    """

    schema_version: int
    rows: tuple[Row, ...]
    not_run: tuple[NotRun, ...] = ()
    new: tuple[str, ...] = ()
    current: tuple[str, ...] = ()


def expected(plan: Plan, settings: Settings) -> Iterator[Expected]:
    """Every capture that the rows should bring, in their order.

    Raises:
        MatrixError: a lane is not in `matrix.toml`, or a revision cannot be read.
    """
    for row in plan.rows:
        pinned = settings.lane(row.lane).colbert
        for torch in row.torch:
            for text in row.colbert or (pinned,):
                revision = read_revision(text)
                options = lane_options(passages=row.passages, colbert=revision.label, pinned=pinned)
                yield Expected(
                    row=row.name,
                    lane=lane_name(row.lane, options),
                    torch=torch,
                    options=options,
                    revision=revision,
                )


def write_plan(path: Path, plan: Plan) -> None:
    """Write a plan."""
    write_document(path, plan)


def read_plan(path: Path) -> Plan:
    """Read a plan.

    Raises:
        MatrixError: it is absent, damaged, of another version, or has a row twice.
    """
    plan = read_document(path, Plan, SCHEMA_VERSION, what="plan", cure="plan again")
    if len({row.name for row in plan.rows}) < len(plan.rows):
        raise MatrixError(f"{path}: two rows have one name; plan again")
    return plan
