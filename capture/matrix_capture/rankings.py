"""The rankings file of a lane: what was found in which index under which release.

One Parquet file per lane. Its metadata key `rankings` holds a `Header` as JSON, with one `Search`
for each index searched with a release. No torch here: compare and site import this module.
"""

import fcntl
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import blake3
import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from matrix_capture.errors import MatrixError
from matrix_capture.schema import CaptureCode, replacing

SCHEMA_VERSION = 1
METADATA_KEY = b"rankings"

DEPTH = 100
"""How many results each query asks for."""

COLUMNS = pa.schema(
    [
        ("index_torch", pa.string()),
        ("search_torch", pa.string()),
        ("mmap", pa.bool_()),
        ("query", pa.int32()),
        ("rank", pa.int32()),
        ("pid", pa.int32()),
        ("score", pa.float32()),
    ]
)
"""`query` and `pid` count from 0 in the lane's queries and collection, `rank` from 1."""


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """One index searched with one release; where it failed, it has no rows.

    `index` is the hash of the files that were searched, `started` UTC in ISO 8601. `error` and
    `message` are the exception's type and first line.
    """

    index_torch: str
    search_torch: str
    mmap: bool
    state: Literal["ok", "failed"]
    index: str
    started: str
    seconds: float
    capture_code: CaptureCode
    error: str = ""
    message: str = ""

    @property
    def key(self) -> tuple[str, str, bool]:
        """Of all searches with this key the lane keeps one."""
        return self.index_torch, self.search_torch, self.mmap


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for all rankings of a lane, and each search.

    `inputs` are the hashes of what was indexed and asked, `relevant` the passages known to answer
    each query.
    """

    schema_version: int
    lane: str
    inputs: dict[str, str]
    relevant: tuple[tuple[int, ...], ...]
    searches: tuple[Search, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Rankings:
    """A rankings file in memory: the header and a table with `COLUMNS`."""

    header: Header
    table: Any

    def search(self, index_torch: str, search_torch: str, *, mmap: bool = False) -> Search | None:
        """The search with that key, or None."""
        wanted = (index_torch, search_torch, mmap)
        return next((search for search in self.header.searches if search.key == wanted), None)

    def rows(self, index_torch: str, search_torch: str, *, mmap: bool = False) -> Any:
        """The rows of one search as a table, in order of query and rank."""
        return self.table.filter(_of(self.table, (index_torch, search_torch, mmap)))


def rankings_path(data: Path, lane: str) -> Path:
    """Where the rankings of a lane live below the data folder."""
    return data / "rankings" / f"{lane}.parquet"


def read_rankings(path: Path) -> Rankings:
    """Read a rankings file, checking it against this schema.

    Raises:
        MatrixError: there is none, or it is truncated, foreign or of another schema version.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            header = _checked_header(path, file.schema_arrow)
            table = file.read().replace_schema_metadata(None)
            table.validate(full=True)
    except FileNotFoundError:
        raise MatrixError(f"{path}: no rankings; nox -s search makes them") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise MatrixError(f"{path}: not a readable rankings file ({error}); {_CURE}") from None
    if any(table.column(name).null_count for name in COLUMNS.names):
        raise MatrixError(f"{path}: has empty entries; {_CURE}")
    return Rankings(header=header, table=table)


def record_searches(data: Path, header: Header, found: Sequence[tuple[Search, Any]]) -> Path:
    """Add searches and their rows to the rankings of a lane; returns the path.

    Of two searches with one key the one that started later stays, and of searches of other inputs
    those of the later. What they did not find again moves to `history/` first, each search alone.
    """
    path = rankings_path(data, header.lane)
    searches = tuple(search for search, _ in found)
    rows = [COLUMNS.empty_table(), *(rows.cast(COLUMNS) for _, rows in found)]
    new = Rankings(
        header=msgspec.structs.replace(header, searches=searches), table=pa.concat_tables(rows)
    )
    with _locked(path):
        if path.exists():
            new, lost = _joined(read_rankings(path), new)
            for one in lost:
                _keep(data, one)
            for search in searches:
                if now := new.search(search.index_torch, search.search_torch, mmap=search.mmap):
                    _history(data, _only(new, now)).unlink(missing_ok=True)
        _write(path, new)
    return path


def retire_searches(data: Path, lane: str, releases: Collection[str]) -> None:
    """Move what was searched in or with any other release to `history/`, each search alone.

    Raises:
        MatrixError: the rankings cannot be read.
    """
    path = rankings_path(data, lane)
    with _locked(path):
        rankings = read_rankings(path)
        for search in rankings.header.searches:
            if not {search.index_torch, search.search_torch} <= set(releases):
                _keep(data, _only(rankings, search))
                rankings = _without(rankings, search.key)
        _write(path, rankings)


def _checked_header(path: Path, schema: Any) -> Header:
    payload = (schema.metadata or {}).get(METADATA_KEY)
    if payload is None:
        raise MatrixError(f"{path}: has no header, so it is not a rankings file; {_CURE}")
    try:
        # Alone: another version may hold anything else.
        version = msgspec.json.decode(payload, type=_Versioned).schema_version
        if version != SCHEMA_VERSION:
            raise MatrixError(
                f"{path}: schema version {version}, but this release reads {SCHEMA_VERSION}; "
                f"{_CURE}"
            )
        header = msgspec.json.decode(payload, type=Header)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MatrixError(f"{path}: its header is damaged ({error}); {_CURE}") from None
    if not schema.equals(COLUMNS):
        raise MatrixError(f"{path}: has not the columns of a rankings file; {_CURE}")
    return header


def _joined(old: Rankings, new: Rankings) -> tuple[Rankings, list[Rankings]]:
    """Both in one, and the searches of which rows are lost by that."""
    if old.header.inputs != new.header.inputs:
        earlier, later = sorted((old, new), key=_started)
        return later, [_only(earlier, search) for search in earlier.header.searches]
    lost = []
    for search in new.header.searches:
        if before := old.search(search.index_torch, search.search_torch, mmap=search.mmap):
            on_record = _only(old, before)
            earlier, later = sorted((on_record, _only(new, search)), key=_started)
            if not _same(earlier.table, later.table):
                lost.append(earlier)
            if later is on_record:
                new = _without(new, search.key)
            else:
                old = _without(old, search.key)
    header = msgspec.structs.replace(
        new.header, searches=(*old.header.searches, *new.header.searches)
    )
    return Rankings(header=header, table=pa.concat_tables([old.table, new.table])), lost


def _started(rankings: Rankings) -> str:
    return max((search.started for search in rankings.header.searches), default="")


def _only(rankings: Rankings, search: Search) -> Rankings:
    """One search alone."""
    rows = rankings.table.filter(_of(rankings.table, search.key))
    return Rankings(header=msgspec.structs.replace(rankings.header, searches=(search,)), table=rows)


def _without(rankings: Rankings, key: tuple[str, str, bool]) -> Rankings:
    searches = tuple(search for search in rankings.header.searches if search.key != key)
    return Rankings(
        header=msgspec.structs.replace(rankings.header, searches=searches),
        table=rankings.table.filter(pc.invert(_of(rankings.table, key))),
    )


def _keep(data: Path, lost: Rankings) -> None:
    """Have the history hold a search; what another search found before it, it holds already."""
    path = _history(data, lost)
    if len(lost.table) and not (path.exists() and _started(read_rankings(path)) >= _started(lost)):
        _write(path, lost)


def _history(data: Path, rankings: Rankings) -> Path:
    """Where the history has a search, by what was asked and found."""
    header, rows = rankings.header, rankings.table.sort_by(_ORDER)
    hasher = blake3.blake3(msgspec.json.encode([header.inputs, header.searches[0].key]))
    for name in ("query", "rank", "pid", "score"):
        hasher.update(rows[name].to_numpy().tobytes())
    return data / "history" / header.lane / "rankings" / f"{hasher.hexdigest()}.parquet"


def _write(path: Path, rankings: Rankings) -> None:
    """Write a row group for each index, so that what stays of a file stays bit by bit."""
    searches = tuple(sorted(rankings.header.searches, key=_key))
    header = msgspec.structs.replace(rankings.header, searches=searches)
    metadata = {METADATA_KEY: msgspec.json.encode(header)}
    table = rankings.table.sort_by(_ORDER).replace_schema_metadata(metadata)
    counts = table.group_by("index_torch").aggregate([([], "count_all")]).sort_by("index_torch")
    options = {
        "compression": "zstd",
        "use_dictionary": COLUMNS.names[:3],
        "column_encoding": _ENCODING,
        "write_page_checksum": True,
    }
    with replacing(path) as file, pq.ParquetWriter(file, table.schema, **options) as writer:
        start = 0
        for count in counts["count_all"].to_pylist():
            writer.write_table(table.slice(start, count))
            start += count


def _same(before: Any, rows: Any) -> bool:
    """Whether two searches found the same, bit by bit: a score may be no number."""
    one, other = before.sort_by(_ORDER), rows.sort_by(_ORDER)
    scores = (table["score"].to_numpy().tobytes() for table in (one, other))
    return bool(one.drop_columns("score").equals(other.drop_columns("score"))) and (
        next(scores) == next(scores)
    )


def _of(table: Any, key: tuple[str, str, bool]) -> Any:
    """Which rows of a table are those of a search."""
    index_torch, search_torch, mmap = key
    same = pc.and_(
        pc.equal(table["index_torch"], index_torch), pc.equal(table["search_torch"], search_torch)
    )
    return pc.and_(same, pc.equal(table["mmap"], mmap))


def _key(search: Search) -> tuple[str, str, bool]:
    return search.key


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Several captures of a lane may end at once: each adds to what the one before has written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / f".{path.stem}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class _Versioned(msgspec.Struct):
    schema_version: int


_ENCODING = {
    "query": "DELTA_BINARY_PACKED",
    "rank": "DELTA_BINARY_PACKED",
    "pid": "PLAIN",
    "score": "BYTE_STREAM_SPLIT",
}
_ORDER = [(name, "ascending") for name in COLUMNS.names[:5]]

_CURE = "move it out of the data folder and search again"
