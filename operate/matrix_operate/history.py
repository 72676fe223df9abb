"""Captures on record: the one that counts, and all that were there before or came too late.

Most captures find what one before found, bit by bit. So every set of rows is kept once, as a digest
file with the newest record that goes with it; each record before it is a line of
`history/<lane>/<torch>/<BLAKE3 of the rows>.jsonl`. What is on record in the end does not depend on
the order in which captures come.
"""

from collections.abc import Iterator
from pathlib import Path

import blake3
import msgspec

from matrix_capture.errors import MatrixError
from matrix_capture.schema import (
    COLUMNS,
    METADATA_KEY,
    Capture,
    Record,
    digest_path,
    read_capture,
    replacing,
    write_atomically,
)


def record_capture(data: Path, capture: Capture) -> bool:
    """Put a capture on record; False if it is there already.

    The one that started last counts, the others are history.

    Raises:
        MatrixError: what is on record of that release cannot be read.
    """
    record, name = capture.record, _name(capture)
    place, history = digest_path(data, record.lane, record.torch), _folder(data, record)
    now = read_capture(place) if place.exists() else None
    if now is None:
        _write(place, capture)
        return True
    counts = _name(now) == name
    like = place if counts else history / f"{name}.parquet"
    if like.exists():
        found = read_capture(like).record
        others = _others(history / f"{name}.jsonl")
        if record in (found, *others):
            return False
        *older, newest = sorted((*others, found, record), key=_age)
        with replacing(history / f"{name}.jsonl") as file:
            file.write(b"".join(msgspec.json.encode(one) + b"\n" for one in older))
        capture = Capture(record=newest, rows=capture.rows)
    if not counts and _age(capture.record) > _age(now.record):
        _write(history / f"{_name(now)}.parquet", now)
        like.unlink(missing_ok=True)
        like = place
    _write(like, capture)
    return True


def earlier(data: Path, lane: str, torch: str) -> Iterator[Capture]:
    """Every capture of a release that does not count any more; what cannot be read is left out."""
    now = digest_path(data, lane, torch)
    folder = data / "history" / lane / torch
    places = {path.stem: path for path in sorted(folder.glob("*.parquet"))}
    for path in places.values():
        if found := _readable(path):
            yield found
    for path in sorted(folder.glob("*.jsonl")):
        if found := _readable(places.get(path.stem, now)):
            try:
                others = _others(path)
            except MatrixError:
                continue
            if _name(found) == path.stem:
                yield from (Capture(record=record, rows=found.rows) for record in others)


def _name(capture: Capture) -> str:
    """What its rows are called: a hash of all they say."""
    rows = capture.rows.select(COLUMNS.names).to_pylist()
    return blake3.blake3(msgspec.msgpack.encode(rows)).hexdigest()


def _folder(data: Path, record: Record) -> Path:
    return data / "history" / record.lane / record.torch


def _age(record: Record) -> tuple[str, bytes]:
    """What captures are ordered by: when they started; any order will do of those at once."""
    return record.started, msgspec.json.encode(record)


def _others(path: Path) -> list[Record]:
    """The records of captures that found the same, but not last."""
    try:
        lines = path.read_bytes().splitlines() if path.exists() else []
        return [msgspec.json.decode(line, type=Record) for line in lines]
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MatrixError(f"{path}: not readable as records ({error}); delete it") from None


def _readable(path: Path) -> Capture | None:
    try:
        return read_capture(path)
    except MatrixError:
        return None


def _write(path: Path, capture: Capture) -> None:
    metadata = {METADATA_KEY: msgspec.json.encode(capture.record)}
    write_atomically(path, capture.rows.cast(COLUMNS).replace_schema_metadata(metadata))
