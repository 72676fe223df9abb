"""The file `recorded.json` of the branch: when each lane was last recorded."""

from pathlib import Path

import msgspec

from matrix_capture.errors import MatrixError
from matrix_capture.schema import replacing

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
    content = msgspec.json.encode(msgspec.structs.replace(recorded, lanes=lanes))
    with replacing(data / "recorded.json") as file:
        file.write(msgspec.json.format(content, indent=1) + b"\n")


def read_recorded(data: Path) -> Recorded:
    """Read the file of a data folder; one without lanes if there is none.

    Raises:
        MatrixError: it is damaged or of another version.
    """
    path = data / "recorded.json"
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Recorded)
    except FileNotFoundError:
        return Recorded()
    except (msgspec.DecodeError, OSError, UnicodeDecodeError, RecursionError) as error:
        raise MatrixError(f"{path}: not readable ({error}); delete it and record again") from None
    if found.schema_version != SCHEMA_VERSION:
        raise MatrixError(
            f"{path}: schema version {found.schema_version}, but this release reads "
            f"{SCHEMA_VERSION}; delete it and record again"
        )
    return found
