"""The content-addressed store of tensors: one Parquet file per value, named by its digest."""

import mmap
import os
import uuid
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from pyarrow import fs

from matrix_capture.digest import BLOCK_BYTES, Layout, Snapshot, content_hash, storage_dtype
from matrix_capture.errors import MatrixError
from matrix_capture.room import Room

_PIECE = 2**18
"""Elements that are read at a time: rows may be large, and a block is one row at least."""


class ValueStore:
    """Reads and writes values below a root: a folder, an `s3://` or `gs://` address.

    Writing a value that exists does nothing; a reader never sees half a file.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        address = os.fspath(root)
        if "://" not in address:
            self._fs, self._root = fs.LocalFileSystem(), str(Path(address).absolute())
            return
        try:
            self._fs, self._root = fs.FileSystem.from_uri(address)
        except (pa.ArrowException, OSError, ValueError, ImportError) as error:
            raise MatrixError(f"{address}: not a place for values ({error})") from None

    def __contains__(self, digest: bytes) -> bool:
        kind: Any = self._fs.get_file_info(self._path(digest)).type
        return bool(kind == fs.FileType.File)

    def put(self, snap: Snapshot, digest: bytes) -> None:
        """Store a value under its digest.

        Raises:
            MatrixError: the store cannot be written to.
        """
        if not self._has(digest):
            with _storing():
                self._write(snap, self._path(digest))

    def flush(self) -> None:
        """Wait until all that was put is stored: here it is at once."""

    def get(self, digest: bytes) -> Snapshot:
        """Read a value back and check that its bytes are those its name promises.

        Raises:
            MatrixError: the value is absent, unreadable, or not what its name says.
        """
        path = self._path(digest)
        with _reading(path):
            table = pq.read_table(path, filesystem=self._fs)
            dtype, shape = _kind(table.schema)
            data = table.column("value").to_numpy().view(storage_dtype(dtype))
        snap = Snapshot(dtype=dtype, shape=shape, device="store", data=data)
        if content_hash(snap) != digest:
            raise MatrixError(f"{path}: its bytes do not match its name; delete it")
        return snap

    def blocks(
        self, digest: bytes, layout: Layout, hashes: Mapping[int, bytes]
    ) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Read some blocks of a value, piece by piece, each with the number of its first element.

        `hashes` maps the number of every block that is wanted to its XXH3-128. They are checked as
        the block ends, so what was read counts only if the iterator comes to its own end. What it
        takes of memory does not grow with the value. Complex numbers cannot be read like this.

        Raises:
            MatrixError: the value is absent, unreadable, or not what layout and hashes say.
        """
        path = self._path(digest)
        with _reading(path), self._fs.open_input_file(path) as source:
            file = pq.ParquetFile(source, buffer_size=BLOCK_BYTES)
            if _kind(file.schema_arrow) != (layout.dtype, layout.shape):
                raise ValueError(f"it is no {layout.dtype} of shape {layout.shape}")
            for number, expected in hashes.items():
                yield from _block(file, layout, number, expected)

    def _has(self, digest: bytes) -> bool:
        with _storing():
            return digest in self

    def _write(self, snap: Snapshot, path: str) -> None:
        self._fs.create_dir(path.rpartition("/")[0], recursive=True)
        temporary = f"{path}.{uuid.uuid4().hex}.tmp"
        metadata = {"dtype": snap.dtype, "shape": ",".join(map(str, snap.shape))}
        # Parquet has no complex numbers: real and imaginary parts alternate.
        column = snap.data.view(snap.data.real.dtype)
        table = pa.table({"value": column}).replace_schema_metadata(metadata)
        rows = snap.block_rows * max(1, snap.row_bytes // column.itemsize)
        try:
            pq.write_table(
                table,
                temporary,
                filesystem=self._fs,
                row_group_size=rows,
                compression="zstd",
                use_dictionary=False,
                column_encoding="BYTE_STREAM_SPLIT",
                write_statistics=False,
            )
            self._fs.move(temporary, path)
        except BaseException:
            if self._fs.get_file_info(temporary).type == fs.FileType.File:
                self._fs.delete_file(temporary)
            raise

    def _path(self, digest: bytes) -> str:
        name = digest.hex()
        return f"{self._root}/{name[:2]}/{name}.parquet"


class DeferredStore(ValueStore):
    """A store that copies what is put and writes it later, in a thread of its own.

    Copies that wait take at most 64 MiB; a larger value is written at once.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        super().__init__(root)
        self._room = Room(64 * 2**20)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._writing: deque[Future[None]] = deque()

    def put(self, snap: Snapshot, digest: bytes) -> None:
        """Have a value stored under its digest, as it is now.

        Raises:
            MatrixError: the store cannot be written to.
        """
        self._reap()
        size = snap.data.nbytes
        if not 0 < size <= self._room.size:
            super().put(snap, digest)
        elif not self._has(digest):
            self._room.take(size)
            copy = replace(snap, data=_copy(snap.data))
            self._writing.append(self._writer.submit(self._put_later, copy, digest))

    def flush(self) -> None:
        """Wait until all that was put is stored.

        Raises:
            MatrixError: something could not be.
        """
        while self._writing:
            self._writing.popleft().result()

    def _reap(self) -> None:
        """Let go of what is written by now, or say that it could not be."""
        while self._writing and self._writing[0].done():
            self._writing.popleft().result()

    def _put_later(self, snap: Snapshot, digest: bytes) -> None:
        try:
            super().put(snap, digest)
        finally:
            self._room.give(snap.data.nbytes)


def _kind(schema: Any) -> tuple[str, tuple[int, ...]]:
    """The dtype and shape that a file says it holds."""
    metadata = schema.metadata or {}
    dims = metadata[b"shape"].decode("ascii").split(",")
    return metadata[b"dtype"].decode("ascii"), tuple(int(dim) for dim in dims if dim)


def _block(
    file: Any, layout: Layout, number: int, expected: bytes
) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    size = layout.block_rows * layout.row_bytes // layout.itemsize
    start = number * size
    found = file.metadata.row_group(number).num_rows
    if found != min(size, layout.numel - start):
        raise ValueError(f"block {number} has {found} elements")
    hasher = xxhash.xxh3_128()
    for batch in file.iter_batches(_PIECE, [number], ["value"], use_threads=False):
        piece = batch.column(0).to_numpy(zero_copy_only=False)
        if piece.dtype != storage_dtype(layout.dtype):
            raise ValueError(f"block {number} has elements of {piece.dtype}")
        hasher.update(piece)
        yield start, piece
        start += piece.size
    if hasher.digest() != expected:
        raise ValueError(f"block {number} does not match its hash")


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """What is wrong with a file is told with its name and the cure."""
    try:
        yield
    except FileNotFoundError:
        raise MatrixError(f"{path}: no such value; capture the release again") from None
    except (pa.ArrowException, OSError, LookupError, TypeError, ValueError) as error:
        raise MatrixError(f"{path}: not a readable value ({error}); delete it") from None


@contextmanager
def _storing() -> Iterator[None]:
    """What the file system says against it is told as what it means."""
    try:
        yield
    except OSError as error:
        raise MatrixError(f"cannot store a value ({error})") from None


def _copy(data: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A copy in memory that is mapped for it alone.

    Among torch's temporaries it would keep the holes apart that they leave, and the process would
    grow by hundreds of megabytes.
    """
    copy = np.frombuffer(mmap.mmap(-1, data.nbytes), data.dtype)
    np.copyto(copy, data)
    return copy
