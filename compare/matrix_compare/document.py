"""JSON files that say which version of their schema they have."""

from pathlib import Path
from typing import TypeVar

import msgspec

from matrix_capture.errors import MatrixError
from matrix_capture.schema import replacing

Document = TypeVar("Document", bound=msgspec.Struct)


def read_document(
    path: Path, kind: type[Document], version: int, *, what: str, cure: str
) -> Document:
    """Read a file; `what` it is and what cures it are for the message.

    Raises:
        MatrixError: it is absent, damaged or of another version.
    """
    try:
        content = path.read_bytes()
        # Alone: another version may hold anything else.
        found = msgspec.json.decode(content, type=_Versioned).schema_version
        if found == version:
            return msgspec.json.decode(content, type=kind)
    except FileNotFoundError:
        raise MatrixError(f"{path}: no such {what}; {cure}") from None
    except (msgspec.DecodeError, OSError, UnicodeDecodeError, RecursionError) as error:
        raise MatrixError(f"{path}: not a readable {what} ({error}); {cure}") from None
    raise MatrixError(f"{path}: schema version {found}, but this release reads {version}; {cure}")


def write_document(path: Path, document: msgspec.Struct) -> None:
    """Write a file in the place of one that is there."""
    with replacing(path) as file:
        file.write(encoded(document))


def encoded(document: msgspec.Struct) -> bytes:
    """A document as its file holds it, for people as well."""
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


class _Versioned(msgspec.Struct):
    schema_version: int
