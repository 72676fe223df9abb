"""The digest file: the contract between a capture and everything that reads captures.

One Parquet file per lane and torch release. Its rows are digests of tensors, its metadata key
`capture` holds a `Record` as JSON. No torch here: compare and site import this module.
"""

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import blake3
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from matrix_capture.errors import MatrixError
from matrix_capture.names import BUILD, RELEASE, release_order

SCHEMA_VERSION = 1
METADATA_KEY = b"capture"

STAGES = ("install", "import", "load", "index", "search", "train")
"""What a run goes through, in order; `Record.status` has one entry for each."""


def run_stage(stage: str) -> str:
    """The stage of a run in which artifacts of a catalogue stage arise.

    All that a run makes before it searches or trains, probes included, it makes while indexing.
    """
    return stage if stage in STAGES else "index"


COLUMNS = pa.schema(
    [
        ("seq", pa.int32()),
        ("repeat", pa.int8()),
        ("stage", pa.string()),
        ("artifact", pa.string()),
        ("part", pa.string()),
        ("scope", pa.string()),
        ("occurrence", pa.int32()),
        ("dtype", pa.string()),
        ("shape", pa.list_(pa.int64())),
        ("device", pa.string()),
        ("numel", pa.int64()),
        ("nbytes", pa.int64()),
        ("digest", pa.binary(32)),
        ("multiset", pa.binary(16)),
        ("blocks", pa.list_(pa.binary(16))),
        ("block_rows", pa.int32()),
        ("nan", pa.int64()),
        ("inf", pa.int64()),
        ("zeros", pa.int64()),
        ("min", pa.float64()),
        ("max", pa.float64()),
        ("mean", pa.float64()),
        ("std", pa.float64()),
        ("l2", pa.float64()),
        ("stored", pa.bool_()),
    ]
)


class StageStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How far one stage came; `error` and `message` are the exception's type and first line."""

    state: Literal["ok", "failed", "not_run"]
    error: str = ""
    message: str = ""


class Observer(msgspec.Struct, frozen=True, kw_only=True):
    """The observer certificate: does an index built under taps equal one built without?"""

    identical: bool
    tensors: int
    differing: tuple[str, ...] = ()


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """The A/A control: does every tensor equal itself when the same environment runs again?

    `unstable` names those that do not as `artifact part scope occurrence`, the first hundred of
    `unstable_tensors`.
    """

    identical: bool
    tensors: int
    unstable: tuple[str, ...] = ()
    unstable_tensors: int = 0


class CaptureCode(msgspec.Struct, frozen=True, kw_only=True):
    """Which version of this package captured; `hash` covers its Python sources."""

    version: str
    hash: str


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a capture that is not a tensor.

    `factors` are the lane's fixed factors as found in the environment, `missing` maps an artifact
    that could not be tapped, be it in one pass only, to the reason, `options` are those that set
    this lane apart from its baseline, `injected` is a hash of another release's values that the run
    went on with, `note` says how an environment came about that no session installed, `seconds` are
    wall seconds per stage, those of the second run `seconds_again`, `cpu_seconds` those that all
    threads worked, in each run, `started` is UTC in ISO 8601, `substituted` names what of
    colbert-ai or torch something else stood in for, and why.
    """

    schema_version: int
    lane: str
    torch: str
    torch_build: str
    status: dict[str, StageStatus]
    packages: dict[str, str]
    host: dict[str, str | int]
    environ: dict[str, str]
    inputs: dict[str, str]
    factors: dict[str, str]
    fingerprint: dict[str, str | int]
    capture_code: CaptureCode
    started: str
    seconds: dict[str, float]
    seconds_again: dict[str, float] = {}
    cpu_seconds: dict[str, list[float]] = {}
    repeats: int = 0
    options: dict[str, str | int] = {}
    injected: str = ""
    missing: dict[str, str] = {}
    substituted: dict[str, str] = {}
    note: str = ""
    observer: Observer | None = None
    control: Control | None = None

    def failed_stage(self) -> str | None:
        """The stage where the run stopped, or None."""
        return next((s for s in STAGES if self.state(s) == "failed"), None)

    def state(self, stage: str) -> str:
        """`ok`, `failed` or `not_run`."""
        status = self.status.get(stage)
        return status.state if status else "not_run"


@dataclass(frozen=True, kw_only=True, slots=True)
class Capture:
    """A digest file in memory: the record and its rows (a table with `COLUMNS`)."""

    record: Record
    rows: Any


def digest_path(data: Path, lane: str, torch: str) -> Path:
    """Where a capture lives below the data folder."""
    return data / "digests" / lane / f"torch-{torch}.parquet"


def list_captures(data: Path, lane: str) -> list[Path]:
    """Every digest file of a lane, in no particular order."""
    return sorted((data / "digests" / lane).glob("torch-*.parquet"))


def recorded(data: Path, lane: str) -> list[str]:
    """The releases and nightly builds that a lane has on record, in order.

    A digest file with another name is passed over.
    """
    name = re.compile(rf"torch-({BUILD}|{RELEASE})\.parquet", re.ASCII)
    found = (name.fullmatch(path.name) for path in list_captures(data, lane))
    return sorted((match[1] for match in found if match), key=release_order)


def write_capture(capture: Capture, data: Path) -> Path:
    """Write a capture; a record that it replaces moves to `history/` first.

    Returns the path. A kill at any moment leaves the earlier record whole and no half file.
    """
    record = capture.record
    path = digest_path(data, record.lane, record.torch)
    metadata = {METADATA_KEY: msgspec.json.encode(record)}
    table = capture.rows.cast(COLUMNS).replace_schema_metadata(metadata)
    if path.exists():
        old = path.read_bytes()
        name = f"{blake3.blake3(old).hexdigest()}.parquet"
        with replacing(data / "history" / record.lane / record.torch / name) as file:
            file.write(old)
    write_atomically(path, table)
    return path


def write_atomically(path: Path, table: Any, **options: Any) -> None:
    """Write a Parquet table beside `path`, flush it to disk, then rename it into place."""
    with replacing(path) as file:
        pq.write_table(table, file, compression="zstd", write_page_checksum=True, **options)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the name `path` once it is complete and on disk, or never."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_capture(path: Path, columns: Sequence[str] = ()) -> Capture:
    """Read a digest file, checking it against this schema.

    With `columns`, only those are read, and only those are checked.

    Raises:
        MatrixError: the file is truncated, foreign, of another schema version, larger than any
            capture, or has a row twice or one that lacks what a row must have.
    """
    # Opened once: a capture that replaces this one meanwhile must not lend it its rows.
    with _opened(path) as file:
        record = _checked_record(path, file.schema_arrow)
        _check_size(path, file.metadata)
        try:
            table = file.read(columns=list(columns) or None)
            table.validate(full=True)
        except _UNREADABLE as error:
            raise MatrixError(f"{path}: not a readable digest file ({error}); {_CURE}") from None
    _check_filled(path, table)
    if not columns:
        _check_once(path, table)
    rows = table.select(columns or COLUMNS.names)
    return Capture(record=record, rows=rows.replace_schema_metadata(None))


def read_record(path: Path) -> Record:
    """Read only the record of a digest file.

    Raises:
        MatrixError: as `read_capture`.
    """
    with _opened(path) as file:
        return _checked_record(path, file.schema_arrow)


def _opened(path: Path) -> Any:
    try:
        return pq.ParquetFile(path, page_checksum_verification=True)
    except FileNotFoundError:
        raise MatrixError(f"{path}: no such digest file; capture the release first") from None
    except _UNREADABLE as error:
        raise MatrixError(f"{path}: not a Parquet file ({error}); {_CURE}") from None


def _checked_record(path: Path, schema: Any) -> Record:
    payload = (schema.metadata or {}).get(METADATA_KEY)
    if payload is None:
        raise MatrixError(f"{path}: has no capture record, so it is not a digest file; {_CURE}")
    try:
        version = msgspec.json.decode(payload, type=_Versioned).schema_version
        if version != SCHEMA_VERSION:
            raise MatrixError(
                f"{path}: schema version {version}, but this release reads {SCHEMA_VERSION}; "
                "capture the release again"
            )
        record = msgspec.json.decode(payload, type=Record)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MatrixError(f"{path}: its capture record is damaged ({error}); {_CURE}") from None
    for field in COLUMNS:
        index = schema.get_field_index(field.name)
        found = schema.field(index).type if index >= 0 else "nothing"
        if found != field.type:
            raise MatrixError(
                f"{path}: column {field.name} should be {field.type}, found {found}; {_CURE}"
            )
    return record


def _check_size(path: Path, metadata: Any) -> None:
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    size = sum(group.total_byte_size for group in groups)
    if metadata.num_rows > _MOST_ROWS or size > _MOST_BYTES:
        raise MatrixError(
            f"{path}: {metadata.num_rows:,} rows of {size:,} bytes, but a capture has at most "
            f"{_MOST_ROWS:,} of {_MOST_BYTES:,}; {_CURE}"
        )


_KEY = ["repeat", "artifact", "part", "scope", "occurrence"]
_REQUIRED = (*_KEY, "seq", "stage", "dtype", "shape", "digest")


def _check_filled(path: Path, rows: Any) -> None:
    for name in _REQUIRED:
        if name in rows.column_names and rows.column(name).null_count:
            raise MatrixError(f"{path}: column {name} has empty entries; {_CURE}")
    if "shape" in rows.column_names and rows["shape"].combine_chunks().flatten().null_count:
        raise MatrixError(f"{path}: column shape has empty dimensions; {_CURE}")


def _check_once(path: Path, rows: Any) -> None:
    keys = np.zeros(len(rows), np.int64)
    for name in _KEY:
        column = rows.column(name).combine_chunks().dictionary_encode()
        codes = keys * len(column.dictionary) + column.indices.to_numpy()
        keys = np.unique(codes, return_inverse=True)[1]  # counted anew, lest they overflow
    twice = np.flatnonzero(np.bincount(keys)[keys] > 1)
    if twice.size:
        row = rows.select(_KEY).slice(int(twice[0]), 1).to_pylist()[0]
        told = ", ".join(f"{name} {value!r}" for name, value in row.items())
        raise MatrixError(f"{path}: several rows for {told}; {_CURE}")


# A damaged column name is not UTF-8.
_UNREADABLE = (pa.ArrowException, OSError, UnicodeDecodeError)


class _Versioned(msgspec.Struct):
    schema_version: int


# Fifty times the largest capture that anybody is expected to make: 69,199 passages, all sublayers.
_MOST_ROWS = 10_000_000
_MOST_BYTES = 4 * 2**30

_CURE = "move it out of the data folder and capture the release again"
