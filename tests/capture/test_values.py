import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from matrix_capture import digest, values
from matrix_capture.digest import Snapshot, block_hashes, content_hash, snapshot
from matrix_capture.errors import MatrixError
from matrix_capture.room import Room
from matrix_capture.values import DeferredStore, ValueStore

DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("bfloat16", "float16", "float32", "float64", "complex64", "complex128"),
)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """Any bits in any shape, as a capture would take them."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5))
    storage = digest.storage_dtype(dtype)
    size = math.prod(shape) * storage.itemsize
    raw = draw(st.binary(min_size=size, max_size=size))
    if dtype == "bool":
        raw = bytes(byte & 1 for byte in raw)
    return Snapshot(dtype=dtype, shape=shape, device="cpu", data=np.frombuffer(raw, storage))


def stored_file(root: Path) -> Path:
    (path,) = root.glob("*/*.parquet")
    return path


@pytest.fixture
def snap() -> Snapshot:
    return snapshot(np.random.RandomState(3).standard_normal((300, 96)).astype(np.float32))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=snapshots())
def test_a_value_comes_back_bit_for_bit(value: Snapshot, tmp_path: Path) -> None:
    store = ValueStore(tmp_path)
    key = content_hash(value)
    store.put(value, key)
    assert key in store
    found = store.get(key)
    assert (found.dtype, found.shape, found.data.dtype) == (
        value.dtype,
        value.shape,
        value.data.dtype,
    )
    assert bytes(found.raw) == bytes(value.raw)


@pytest.mark.parametrize("dtype", DTYPES)
def test_encoding_and_one_row_group_per_block(dtype: str, tmp_path: Path) -> None:
    storage = digest.storage_dtype(dtype)
    data = np.zeros(10 * 6, storage)
    value = Snapshot(dtype=dtype, shape=(10, 6), device="cpu", data=data)
    with mock.patch.object(digest, "BLOCK_BYTES", 4 * 6 * storage.itemsize):
        ValueStore(tmp_path).put(value, content_hash(value))
        assert value.block_rows == 4
    path = stored_file(tmp_path)
    metadata = pq.ParquetFile(path).metadata
    columns = [metadata.row_group(i).column(0) for i in range(metadata.num_row_groups)]
    parts = 2 if dtype.startswith("complex") else 1
    assert [column.num_values for column in columns] == [24 * parts, 24 * parts, 12 * parts]
    for column in columns:
        assert "BYTE_STREAM_SPLIT" in column.encodings
        assert not any("DICTIONARY" in encoding for encoding in column.encodings)
        assert column.compression == "ZSTD"


def test_the_file_says_what_it_holds(snap: Snapshot, tmp_path: Path) -> None:
    key = content_hash(snap)
    ValueStore(tmp_path).put(snap, key)
    path = stored_file(tmp_path)
    assert path.relative_to(tmp_path).as_posix() == f"{key.hex()[:2]}/{key.hex()}.parquet"
    table = pq.read_table(path)
    assert table.column_names == ["value"]
    assert table.schema.metadata[b"dtype"] == b"float32"
    assert table.schema.metadata[b"shape"] == b"300,96"


def test_putting_twice_writes_once(snap: Snapshot, tmp_path: Path) -> None:
    store = ValueStore(tmp_path)
    key = content_hash(snap)
    assert key not in store
    store.put(snap, key)
    path = stored_file(tmp_path)
    os.utime(path, ns=(1, 1))
    inode = path.stat().st_ino
    store.put(snap, key)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (1, inode)


@pytest.mark.parametrize("name", ["plain", "with space", "p%20c#?&é", "key=value", "a+b"])
@pytest.mark.parametrize("form", ["path", "text", "uri"])
def test_a_root_is_a_folder_or_an_address(
    name: str, form: str, snap: Snapshot, tmp_path: Path
) -> None:
    root = tmp_path / name
    address: Any = {"path": root, "text": str(root), "uri": root.as_uri()}[form]
    key = content_hash(snap)
    ValueStore(address).put(snap, key)
    assert stored_file(root).is_file()
    assert content_hash(ValueStore(root).get(key)) == key


def test_a_relative_root_stays_put(
    snap: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = ValueStore("values")
    monkeypatch.chdir("/")
    store.put(snap, content_hash(snap))
    assert stored_file(tmp_path / "values").is_file()


@pytest.mark.parametrize("address", ["nowhere://values", "s3:///", "fsspec+nothing://x"])
def test_an_impossible_root_is_one_line(address: str) -> None:
    with pytest.raises(MatrixError, match="not a place for values") as caught:
        ValueStore(address)
    assert "\n" not in str(caught.value)


# What a reader may find instead of a value.


def _flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _write(path: Path, table: Any, **metadata: str) -> None:
    pq.write_table(table.replace_schema_metadata(metadata), path)


FLOATS = pa.table({"value": np.ones(3, np.float32)})
DAMAGE: dict[str, Any] = {
    "a flipped bit": _flip,
    "truncated": _truncate,
    "empty file": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("no Parquet\nat all\n"),
    "another column": lambda path: _write(path, pa.table({"x": [1]}), dtype="int64", shape=""),
    "no metadata": lambda path: _write(path, FLOATS),
    "no shape": lambda path: _write(path, FLOATS, dtype="float32"),
    "unknown dtype": lambda path: _write(path, FLOATS, dtype="float12", shape="3"),
    "object dtype": lambda path: _write(path, FLOATS, dtype="object", shape="3"),
    "wider dtype": lambda path: _write(path, FLOATS, dtype="float64", shape="3"),
    "not ASCII": lambda path: _write(path, FLOATS, dtype="flöat", shape="3"),
    "bad shape": lambda path: _write(path, FLOATS, dtype="float32", shape="3,x"),
    "another shape": lambda path: _write(path, FLOATS, dtype="float32", shape="1,3"),
    "another value": lambda path: _write(path, FLOATS, dtype="float32", shape="3"),
    "strings": lambda path: _write(path, pa.table({"value": ["a"]}), dtype="float32", shape="1"),
    "nulls": lambda path: _write(
        path, pa.table({"value": pa.array([1.0, None])}), dtype="float64", shape="2"
    ),
    "nested": lambda path: _write(path, pa.table({"value": [[1], [2]]}), dtype="int64", shape="2"),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_value_is_one_line_with_the_cure(
    name: str, snap: Snapshot, tmp_path: Path
) -> None:
    store = ValueStore(tmp_path)
    key = content_hash(snap)
    store.put(snap, key)
    path = stored_file(tmp_path)
    DAMAGE[name](path)
    with pytest.raises(MatrixError) as caught:
        store.get(key)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    assert "delete it" in message
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink()
    store.put(snap, key)
    assert content_hash(store.get(key)) == key


def test_a_value_under_the_wrong_name(snap: Snapshot, tmp_path: Path) -> None:
    store = ValueStore(tmp_path)
    store.put(snap, bytes(32))
    with pytest.raises(MatrixError, match="do not match its name; delete it"):
        store.get(bytes(32))


def test_an_absent_value(tmp_path: Path) -> None:
    with pytest.raises(MatrixError, match="no such value; capture the release again"):
        ValueStore(tmp_path).get(bytes(32))


# Some blocks of a value.


def hashes_of(value: Snapshot) -> dict[int, bytes]:
    return dict(enumerate(block_hashes(value)))


def read_blocks(store: ValueStore, value: Snapshot, hashes: dict[int, bytes]) -> bytes:
    parts = list(store.blocks(content_hash(value), value.layout, hashes))
    for start, part in parts:
        assert part.dtype == value.data.dtype
        assert part.tobytes() == value.data[start : start + part.size].tobytes()
    return b"".join(part.tobytes() for _, part in parts)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=snapshots(), data=st.data())
def test_blocks_come_back_bit_for_bit(value: Snapshot, data: st.DataObject, tmp_path: Path) -> None:
    assume(value.data.dtype.kind != "c")
    with mock.patch.object(digest, "BLOCK_BYTES", 16), mock.patch.object(values, "_PIECE", 3):
        store = ValueStore(tmp_path / str(digest.BLOCK_BYTES))
        store.put(value, content_hash(value))
        hashes = hashes_of(value)
        assert read_blocks(store, value, hashes) == bytes(value.raw)
        some = {n: hashes[n] for n in hashes if data.draw(st.booleans())}
        width = value.block_rows * value.row_bytes
        wanted = b"".join(bytes(value.raw)[n * width : (n + 1) * width] for n in some)
        assert read_blocks(store, value, some) == wanted


@pytest.mark.parametrize("name", DAMAGE)
def test_blocks_of_a_damaged_value(name: str, snap: Snapshot, tmp_path: Path) -> None:
    store = ValueStore(tmp_path)
    store.put(snap, content_hash(snap))
    DAMAGE[name](stored_file(tmp_path))
    with pytest.raises(MatrixError, match="delete it") as caught:
        read_blocks(store, snap, hashes_of(snap))
    assert "\n" not in str(caught.value)


def test_blocks_of_another_layout_or_hash(snap: Snapshot, tmp_path: Path) -> None:
    store = ValueStore(tmp_path)
    key = content_hash(snap)
    store.put(snap, key)
    with pytest.raises(MatrixError, match=r"no float32 of shape \(96, 300\)"):
        list(store.blocks(key, replace(snap.layout, shape=(96, 300)), hashes_of(snap)))
    with pytest.raises(MatrixError, match="no int32 of shape"):
        list(store.blocks(key, replace(snap.layout, dtype="int32"), hashes_of(snap)))
    with pytest.raises(MatrixError, match="block 0 does not match its hash"):
        list(store.blocks(key, snap.layout, {0: bytes(16)}))
    with pytest.raises(MatrixError, match="delete it"):
        list(store.blocks(key, snap.layout, {7: bytes(16)}))
    with pytest.raises(MatrixError, match="no such value"):
        list(store.blocks(bytes(32), snap.layout, {}))


def test_blocks_of_a_file_with_other_row_groups(snap: Snapshot, tmp_path: Path) -> None:
    store = ValueStore(tmp_path)
    store.put(snap, content_hash(snap))
    path = stored_file(tmp_path)
    pq.write_table(pq.read_table(path), path, row_group_size=1000)
    assert content_hash(store.get(content_hash(snap))) == content_hash(snap)
    with pytest.raises(MatrixError, match="block 0 has 1000 elements"):
        read_blocks(store, snap, hashes_of(snap))


# Interrupted and concurrent writers.


@pytest.mark.parametrize(
    ("error", "raised"),
    [(OSError("no space left"), MatrixError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
@pytest.mark.parametrize("step", ["write", "rename"])
def test_a_put_that_fails_leaves_nothing(
    step: str,
    error: BaseException,
    raised: type[BaseException],
    snap: Snapshot,
    tmp_path: Path,
) -> None:
    class BrokenFilesystem:
        """The real one, until the rename."""

        def __init__(self, real: Any) -> None:
            self._real = real

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

        def move(self, *_: str) -> None:
            raise error

    store = ValueStore(tmp_path)
    key = content_hash(snap)
    real = store._fs

    def half(table: Any, where: str, **_: Any) -> None:
        Path(where).write_bytes(b"PAR1")
        raise error

    def whole(table: Any, where: str, **_: Any) -> None:
        Path(where).write_bytes(b"PAR1")

    store._fs = BrokenFilesystem(real)
    with (
        mock.patch.object(pq, "write_table", half if step == "write" else whole),
        pytest.raises(raised),
    ):
        store.put(snap, key)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    store._fs = real
    assert key not in store
    store.put(snap, key)
    assert content_hash(store.get(key)) == key


def test_two_writers_of_one_value_do_not_meet(snap: Snapshot, tmp_path: Path) -> None:
    """The second writer comes and goes while the first is about to rename."""
    key = content_hash(snap)
    real = pq.write_table

    def interrupted(*args: Any, **options: Any) -> None:
        real(*args, **options)
        with mock.patch.object(pq, "write_table", real):
            ValueStore(tmp_path).put(snap, key)

    with mock.patch.object(pq, "write_table", interrupted):
        ValueStore(tmp_path).put(snap, key)
    assert content_hash(ValueStore(tmp_path).get(key)) == key
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".parquet"]


_KILLED = """
import os, signal, sys
import numpy as np
import pyarrow.parquet as pq
from matrix_capture.digest import content_hash, snapshot
from matrix_capture.room import Room
from matrix_capture.values import DeferredStore, ValueStore
real = pq.write_table
def die(*args, **options):
    real(*args, **options)
    os.kill(os.getpid(), signal.SIGKILL)
pq.write_table = die
snap = snapshot(np.arange(50_000, dtype=np.float32))
ValueStore(sys.argv[1]).put(snap, content_hash(snap))
"""


def test_a_kill_before_the_rename_leaves_no_value(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.suffix for path in left] == [".tmp"]
    snap = snapshot(np.arange(50_000, dtype=np.float32))
    key = content_hash(snap)
    store = ValueStore(tmp_path)
    assert key not in store
    with pytest.raises(MatrixError, match="no such value"):
        store.get(key)
    store.put(snap, key)
    assert content_hash(store.get(key)) == key


_WRITER = """
import sys
import numpy as np
from matrix_capture.digest import content_hash, snapshot
from matrix_capture.room import Room
from matrix_capture.values import DeferredStore, ValueStore
snaps = [snapshot(np.full(40_000, number, np.float32)) for number in range(12)]
print("ready", flush=True)
sys.stdin.readline()
store = ValueStore(sys.argv[1])
for snap in snaps:
    key = content_hash(snap)
    store.put(snap, key)
    assert content_hash(store.get(key)) == key
"""


def test_concurrent_writers_of_one_value_agree(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        _, problem = writer.communicate(timeout=60)
        assert (writer.returncode, problem) == (0, "")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 12
    assert {path.suffix for path in files} == {".parquet"}


# Storing later.


def test_what_was_put_later_is_what_was_there_at_that_moment(tmp_path: Path) -> None:
    store = DeferredStore(tmp_path)
    array = np.arange(96, dtype=np.float32)
    keys = []
    for _ in range(20):
        now = snapshot(array)
        keys.append(content_hash(now))
        store.put(now, keys[-1])
        array += 1
    store.flush()
    assert [store.get(key).data[0] for key in keys] == list(range(20))


def test_a_value_larger_than_may_wait_is_stored_at_once(
    tmp_path: Path, snap: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DeferredStore(tmp_path)
    monkeypatch.setattr(store, "_room", Room(snap.data.nbytes - 1))
    store.put(snap, content_hash(snap))
    assert content_hash(snap) in store


def test_no_more_waits_than_there_is_room_for(tmp_path: Path) -> None:
    store = DeferredStore(tmp_path)
    values = [snapshot(np.full(2**20, number)) for number in range(24)]  # 8 MiB each
    for value in values:
        store.put(value, content_hash(value))
    store.flush()
    assert all(content_hash(value) in store for value in values)


def test_a_value_that_cannot_be_stored_later_is_told_when_waited_for(
    tmp_path: Path, snap: Snapshot
) -> None:
    root = tmp_path / "values"
    root.write_text("in the way")
    store = DeferredStore(root)
    store.put(snap, content_hash(snap))
    with pytest.raises(MatrixError, match="cannot store a value"):
        store.flush()


def test_a_failed_write_is_told_soon_and_holds_no_copy(tmp_path: Path, snap: Snapshot) -> None:
    root = tmp_path / "values"
    root.write_text("in the way")
    store = DeferredStore(root)
    store.put(snap, content_hash(snap))
    store._writer.shutdown()  # all that was put has been tried
    with pytest.raises(MatrixError, match="cannot store a value"):
        store.put(snap, content_hash(snap))
    assert not store._writing


def test_a_store_that_cannot_be_asked_is_no_fault_of_an_artifact(
    tmp_path: Path, snap: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_store: object, _digest: bytes) -> bool:
        raise OSError("gone")

    monkeypatch.setattr(ValueStore, "__contains__", fail)
    with pytest.raises(MatrixError, match="gone"):
        DeferredStore(tmp_path).put(snap, content_hash(snap))
