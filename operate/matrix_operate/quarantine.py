"""Reads what came from a machine where a stranger's code ran, and believes none of it.

Whoever asks says which file of which folder is wanted and what it must be about. Nothing is opened
that is a link, no plain file or too large; nothing is taken that is not what its schema says. What
is taken must be written anew, so that nothing rides along.
"""

import datetime
import math
import re
import resource
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from matrix_capture.digest import Layout
from matrix_capture.errors import MatrixError
from matrix_capture.rankings import DEPTH, Header, Rankings, Search, read_rankings
from matrix_capture.revision import LATEST
from matrix_capture.schema import COLUMNS, Capture, Record, read_capture, read_record
from matrix_capture.values import ValueStore
from matrix_operate.plan import Expected

MEMORY = 8 * 2**30
"""Bytes that reading may take: a page of a few bytes can say that it unpacks to any number."""

# Many times what the largest capture takes: 69,199 passages, all sublayers.
_MOST_ROWS = 1_000_000
_LARGEST_DIGESTS = 2**28
_LARGEST_RECORD = 2**18
_LARGEST_RANKINGS = 2**28
_MOST_RANKED = 50_000_000
_LARGEST_VALUE = 2**31
_LARGEST_VALUES = 2**36

# Of one entry: of these no capture has a tenth.
_LETTERS = 4_000
_ENTRIES = 1_000
_NAME = 300
_SECONDS = 10_000_000


@contextmanager
def bounded() -> Iterator[None]:
    """Have what is read within take so much memory and no more."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = pages * resource.getpagesize() + MEMORY
    limits = [limit for limit in (most, soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min(limits), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def attempts(incoming: Path, row: str) -> list[tuple[int, Path]]:
    """The folders that the runs of a row left, the newest first."""
    name = re.compile(rf"capture-{re.escape(row)}-([1-9][0-9]{{0,5}})", re.ASCII)
    found = ((name.fullmatch(path.name), path) for path in incoming.iterdir())
    return sorted(
        ((int(match[1]), path) for match, path in found if match and _is(path, stat.S_ISDIR)),
        reverse=True,
    )


def plain_file(folder: Path, name: Path, largest: int) -> Path | None:
    """A file below a folder; None if there is none.

    Raises:
        MatrixError: it, or what leads to it, is a link or something else, or it is too large.
    """
    path = folder
    for part in name.parts:
        path = path / part
        if not path.is_symlink() and not path.exists():
            return None
        if not _is(path, stat.S_ISREG if part is name.parts[-1] else stat.S_ISDIR):
            raise MatrixError(f"{path.name!r} is a link, or no plain file")
    if path.stat().st_size > largest:
        raise MatrixError(f"it has {path.stat().st_size:,} bytes, more than {largest:,}")
    return path


def take_capture(folder: Path, wanted: Expected) -> Capture | None:
    """The capture that a row was to make; None if it did not.

    Raises:
        MatrixError: it is not that, or not a capture.
    """
    path = plain_file(
        folder, Path("digests", wanted.lane, f"torch-{wanted.torch}.parquet"), _LARGEST_DIGESTS
    )
    if path is None:
        return None
    with _reading(path):
        _check_record(read_record(path), wanted)
        rows = pq.read_metadata(path).num_rows
        if rows > _MOST_ROWS:
            raise MatrixError(f"it has {rows:,} rows, more than {_MOST_ROWS:,}")
        capture = read_capture(path)
        _check_record(capture.record, wanted)
        _check_rows(capture.rows)
    return capture


def take_rankings(
    folder: Path, lane: str, captures: Mapping[str, dict[str, str]]
) -> tuple[Header, list[tuple[Search, Any]]] | None:
    """What was found in indexes of the releases captured, searched with them; None if nothing.

    `captures` has the inputs of each release.

    Raises:
        MatrixError: it is of another lane or of other inputs, or it is no rankings file.
    """
    path = plain_file(folder, Path("rankings", f"{lane}.parquet"), _LARGEST_RANKINGS)
    if path is None:
        return None
    with _reading(path):
        if pq.read_metadata(path).num_rows > _MOST_RANKED:
            raise MatrixError(f"it has more than {_MOST_RANKED:,} rows")
        rankings = read_rankings(path)
        header = rankings.header
        if header.lane != lane:
            raise MatrixError(f"its header says lane {header.lane!r}")
        held = (header.inputs.items() <= inputs.items() for inputs in captures.values())
        if not header.inputs or not all(held):
            raise MatrixError("its inputs are not those of the captures")
        if len(header.relevant) > 100 * _ENTRIES or not all(map(_is_passages, header.relevant)):
            raise MatrixError("its header has passages that there cannot be")
        wanted = [s for s in header.searches if {s.index_torch, s.search_torch} <= captures.keys()]
        if len({search.key for search in wanted}) < len(wanted):
            raise MatrixError("it has a search twice")
        found = [(search, _found(rankings, search)) for search in wanted]
    return msgspec.structs.replace(header, searches=()), found


def take_values(folder: Path, rows: Any, store: ValueStore) -> tuple[int, int, list[str]]:
    """Store the values that rows say are stored: how many are, of how many, and what is refused."""
    kept = rows.filter(rows["stored"]).select(["digest", "dtype", "shape"]).to_pylist()
    layouts = {
        row["digest"]: Layout(dtype=row["dtype"], shape=tuple(row["shape"]), device="store")
        for row in kept
    }
    if sum(layout.nbytes for layout in layouts.values()) > _LARGEST_VALUES:
        return 0, len(layouts), [f"its values have more than {_LARGEST_VALUES:,} bytes"]
    taken, refused = 0, []
    for digest, layout in layouts.items():
        try:
            taken += digest in store or _take_value(folder, digest, layout, store)
        except MatrixError as error:
            refused.append(f"value {digest.hex()[:12]}: {error}")
    return taken, len(layouts), refused


def _take_value(folder: Path, digest: bytes, layout: Layout, store: ValueStore) -> bool:
    """Store a value; False if there is none."""
    name = Path("values", digest.hex()[:2], f"{digest.hex()}.parquet")
    # Parquet keeps a byte as four, and what cannot be packed is a little larger than what it holds.
    most = 4 * layout.nbytes + 2**20
    path = plain_file(folder, name, min(most, _LARGEST_VALUE))
    if path is None:
        return False
    with _reading(path):
        metadata = pq.read_metadata(path)
        groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
        packed = sum(group.total_byte_size for group in groups)
        # A complex number is two; a dictionary says any number of times what it holds once.
        if packed > most or metadata.num_rows > 2 * layout.numel:
            raise MatrixError(f"it is larger than {layout.dtype} of shape {layout.shape}")
        snap = ValueStore(folder / "values").get(digest)
        if (snap.dtype, snap.shape) != (layout.dtype, layout.shape):
            raise MatrixError(f"it is no {layout.dtype} of shape {layout.shape}")
        store.put(snap, digest)
    return True


def _is(path: Path, kind: Any) -> bool:
    """Whether a path itself, not what it leads to, is of a kind."""
    return bool(kind(path.lstat().st_mode))


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """What is wrong with a file is told without its place on this machine."""
    try:
        yield
    except MatrixError as error:
        told = str(error).removeprefix(f"{path}: ").removeprefix(f"{path.absolute()}: ")
        raise MatrixError(told) from None
    except MemoryError:
        raise MatrixError(f"reading it takes more than {MEMORY:,} bytes") from None
    except (pa.ArrowException, OSError) as error:
        raise MatrixError(f"not readable ({error})") from None


def _check_record(record: Record, wanted: Expected) -> None:
    found = (record.lane, record.torch, record.options, record.injected)
    if found != (wanted.lane, wanted.torch, wanted.options, ""):
        raise MatrixError(
            f"its record says torch {record.torch!r} of lane {record.lane!r}, made with "
            f"{record.options!r}"
        )
    if record.torch_build.partition("+")[0] not in ("", wanted.torch):
        raise MatrixError(f"it was made with torch {record.torch_build!r}")
    colbert = record.factors.get("colbert-ai", "")
    installed = bool(colbert) or record.state("install") == "ok"
    if installed and not _is_revision(colbert, wanted):
        raise MatrixError(f"it was made with colbert-ai {colbert!r}")
    _check_sizes(msgspec.to_builtins(record))
    if len(msgspec.json.encode(record)) > _LARGEST_RECORD:
        raise MatrixError(f"its record has more than {_LARGEST_RECORD:,} bytes")
    _check_time(record.started)
    walls = (record.seconds, record.seconds_again)
    times = chain(*(wall.values() for wall in walls), *record.cpu_seconds.values())
    for seconds in times:
        _check_seconds(seconds)


def _is_revision(colbert: str, wanted: Expected) -> bool:
    """Whether the colbert-ai on record is the one planned; of a commit, at its full length."""
    if wanted.revision.label == LATEST:
        return True
    if wanted.revision.origin:
        return colbert.rpartition(" ")[2].startswith(wanted.revision.label)
    return colbert == wanted.revision.version


def _check_sizes(entry: object) -> None:
    """Refuse long strings and lists, and numbers that JSON has no room for, however deep."""
    if isinstance(entry, dict | list | tuple):
        if len(entry) > _ENTRIES:
            raise MatrixError(f"an entry has more than {_ENTRIES:,} parts")
        for part in (*entry, *entry.values()) if isinstance(entry, dict) else entry:
            _check_sizes(part)
    elif isinstance(entry, str):
        if len(entry) > _LETTERS:
            raise MatrixError(f"an entry has more than {_LETTERS:,} characters")
    elif isinstance(entry, int | float) and not abs(entry) <= 2**53:
        raise MatrixError("a number of it is none that there can be")


def _check_time(started: str) -> None:
    """Refuse what is no time or lies ahead: of two captures the later counts."""
    try:
        then = datetime.datetime.fromisoformat(started)
        ahead = then - datetime.datetime.now(datetime.UTC) > datetime.timedelta(hours=1)
    except (TypeError, ValueError):  # without a time zone it cannot be held against one with
        raise MatrixError(f"it started at {started!r}, which is no time") from None
    if ahead or then.isoformat(timespec="seconds") != started or then.utcoffset():
        raise MatrixError(f"it started at {started!r}, which is no time that it can have started")


def _check_seconds(seconds: float) -> None:
    if not (math.isfinite(seconds) and 0 <= seconds <= _SECONDS):
        raise MatrixError(f"it took {seconds} seconds")


_MAY_BE_EMPTY = ("multiset", "min", "max", "mean", "std", "l2")
_COUNTS = ("seq", "repeat", "occurrence", "block_rows")


def _check_rows(rows: Any) -> None:
    for field in COLUMNS:
        column = rows[field.name]
        if column.null_count and field.name not in _MAY_BE_EMPTY:
            raise MatrixError(f"column {field.name} has empty entries")
        if field.type == pa.string() and (pc.max(pc.binary_length(column)).as_py() or 0) > _NAME:
            raise MatrixError(f"column {field.name} has more than {_NAME} bytes in an entry")
        if field.name in _COUNTS and (pc.min(column).as_py() or 0) < 0:
            raise MatrixError(f"column {field.name} has numbers below 0")
    names = ("dtype", "shape", "numel", "nbytes", "nan", "inf", "zeros", "block_rows")
    columns = (rows[name].to_pylist() for name in names)
    blocks = pc.list_value_length(rows["blocks"]).to_pylist()
    for dtype, shape, numel, nbytes, *counts, block_rows, held in zip(
        *columns, blocks, strict=True
    ):
        layout = Layout(dtype=dtype, shape=tuple(shape), device="")
        try:
            size = layout.nbytes
        except TypeError as error:
            raise MatrixError(str(error)) from None
        number = -(-size // max(1, layout.block_rows * layout.row_bytes))
        said = (numel, nbytes, block_rows, held)
        if (
            len(shape) > 16
            or min(shape, default=0) < 0
            or size > 2**45
            or said != (layout.numel, size, layout.block_rows, number)
            or not all(0 <= count <= numel for count in counts)
        ):
            raise MatrixError("a row says of its tensor what cannot be")


def _is_passages(passages: tuple[int, ...]) -> bool:
    return len(passages) <= _ENTRIES and all(0 <= passage < 2**31 for passage in passages)


def _found(rankings: Rankings, search: Search) -> Any:
    """The rows of one search."""
    _check_sizes(msgspec.to_builtins(search))
    _check_time(search.started)
    _check_seconds(search.seconds)
    rows = rankings.rows(search.index_torch, search.search_torch, mmap=search.mmap)
    query, rank, pid = (rows[name].to_numpy().astype(np.int64) for name in ("query", "rank", "pid"))
    fits = (query >= 0) & (query < len(rankings.header.relevant)) & (pid >= 0)
    fits &= (rank >= 1) & (rank <= DEPTH)
    once = np.unique(query * (DEPTH + 1) + rank).size == query.size
    if not (fits.all() and once) or (search.state == "failed" and query.size):
        raise MatrixError(
            f"{search.index_torch} searched with {search.search_torch}: "
            "a query, rank or passage that there is not, or one twice"
        )
    return rows
