"""The file `recorded.json` of the branch: when each lane was last recorded."""

from pathlib import Path

import msgspec

from matrix_compare.document import read_document, write_document

SCHEMA_VERSION = 1


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """When a lane was last recorded, by the clock and in UTC, ISO 8601.

    `profiles` is a hash of the tolerance profiles that its verdicts are made with.
    """

    time: str
    profiles: str


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file."""

    schema_version: int = SCHEMA_VERSION
    lanes: dict[str, Lane] = {}


def write_recorded(data: Path, recorded: Recorded) -> None:
    """Write the file of a data folder."""
    lanes = dict(sorted(recorded.lanes.items()))
    write_document(data / "recorded.json", msgspec.structs.replace(recorded, lanes=lanes))


def read_recorded(data: Path) -> Recorded:
    """Read the file of a data folder; one without lanes if there is none.

    Raises:
        MatrixError: it is damaged or of another version.
    """
    path = data / "recorded.json"
    if not path.exists():
        return Recorded()
    cure = "delete it and record again"
    return read_document(path, Recorded, SCHEMA_VERSION, what="list of lanes", cure=cure)
