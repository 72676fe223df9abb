import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import blake3
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from matrix_capture import schema
from matrix_capture.errors import MatrixError
from matrix_capture.schema import (
    COLUMNS,
    METADATA_KEY,
    STAGES,
    Capture,
    CaptureCode,
    Observer,
    Record,
    StageStatus,
    digest_path,
    list_captures,
    read_capture,
    read_record,
    recorded,
    write_atomically,
    write_capture,
)

LANE = "cpu-pinned"


def record(**changes: Any) -> Record:
    made = Record(
        schema_version=schema.SCHEMA_VERSION,
        lane=LANE,
        torch="2.5.0",
        torch_build="2.5.0+cu124",
        status={stage: StageStatus(state="ok") for stage in STAGES},
        packages={"numpy": "1.26.4"},
        host={"cpu": "Modèle “A”", "cores": 2},
        environ={"OMP_NUM_THREADS": "2"},
        inputs={"checkpoint": "ab" * 32},
        factors={"python": "3.11.9"},
        fingerprint={"isa": "AVX2", "threads": 2},
        capture_code=CaptureCode(version="0.1.0", hash="cd" * 32),
        started="2025-01-02T03:04:05Z",
        seconds={"index": 12.5},
        repeats=2,
        missing={"D": "tap target not found"},
        observer=Observer(identical=False, tensors=9, differing=("ivf",)),
    )
    return msgspec.structs.replace(made, **changes)


def row(seq: int = 0, **changes: Any) -> dict[str, Any]:
    made = {
        "seq": seq,
        "repeat": 0,
        "stage": "encode",
        "artifact": "D",
        "part": "",
        "scope": "sample",
        "occurrence": seq,
        "dtype": "float32",
        "shape": [33_000, 96],
        "device": "cpu",
        "numel": 33_000 * 96,
        "nbytes": 33_000 * 96 * 4,
        "digest": bytes([seq % 256]) * 32,
        "multiset": None,
        "blocks": [bytes([seq % 256]) * 16] * 3,
        "block_rows": 2730,
        "nan": 0,
        "inf": 0,
        "zeros": 1,
        "min": -1.0,
        "max": 1.0,
        "mean": 0.1,
        "std": 0.2,
        "l2": math.inf,
        "stored": True,
    }
    return made | changes


def capture(*rows: dict[str, Any], **changes: Any) -> Capture:
    return Capture(record=record(**changes), rows=pa.Table.from_pylist(list(rows), schema=COLUMNS))


FULL = capture(row(0), row(1, shape=[], blocks=[], multiset=bytes(16), min=None, stored=False))


@pytest.mark.parametrize(
    "made",
    [
        FULL,
        capture(),
        capture(status={"install": StageStatus(state="failed", error="E", message="no wheel")}),
        capture(row(), lane=f"{LANE}+0a1b2c3d", options={"passages": 64}, observer=None),
    ],
)
def test_a_capture_comes_back(made: Capture, tmp_path: Path) -> None:
    path = write_capture(made, tmp_path)
    assert path == tmp_path / "digests" / made.record.lane / "torch-2.5.0.parquet"
    assert path == digest_path(tmp_path, made.record.lane, "2.5.0")
    found = read_capture(path)
    assert found.record == made.record
    assert found.rows.equals(made.rows)
    assert found.rows.schema == COLUMNS
    assert read_record(path) == made.record


def test_rows_in_narrower_types_are_cast(tmp_path: Path) -> None:
    wide = COLUMNS.set(0, pa.field("seq", pa.int64()))
    rows = pa.Table.from_pylist([row()], schema=wide)
    path = write_capture(Capture(record=record(), rows=rows), tmp_path)
    assert read_capture(path).rows.schema == COLUMNS


def test_the_file_can_be_read_without_this_package(tmp_path: Path) -> None:
    path = write_capture(FULL, tmp_path)
    table = pq.read_table(path)
    assert table.column_names == COLUMNS.names
    assert msgspec.json.decode(table.schema.metadata[b"capture"])["torch"] == "2.5.0"
    assert path.stat().st_mode & 0o777 == 0o644


def test_the_same_capture_gives_the_same_bytes(tmp_path: Path) -> None:
    first = write_capture(FULL, tmp_path / "a").read_bytes()
    assert write_capture(FULL, tmp_path / "b").read_bytes() == first


def test_where_a_run_stopped() -> None:
    status = {
        "install": StageStatus(state="ok"),
        "import": StageStatus(state="failed", error="ImportError", message="no"),
    }
    stopped = record(status=status)
    assert stopped.failed_stage() == "import"
    assert [stopped.state(stage) for stage in STAGES] == ["ok", "failed"] + ["not_run"] * 4
    assert record().failed_stage() is None


# History.


def test_a_replaced_record_is_kept(tmp_path: Path) -> None:
    olds = []
    for repeats in (1, 2, 3):
        path = write_capture(capture(row(), repeats=repeats), tmp_path)
        olds.append(path.read_bytes())
    history = tmp_path / "history" / LANE / "2.5.0"
    assert {path.name: path.read_bytes() for path in history.iterdir()} == {
        f"{blake3.blake3(old).hexdigest()}.parquet": old for old in olds[:-1]
    }
    assert path.read_bytes() == olds[-1]
    assert {read_capture(kept).record.repeats for kept in history.iterdir()} == {1, 2}


def test_history_keeps_the_same_record_once(tmp_path: Path) -> None:
    for repeats in (1, 2, 1, 2):
        write_capture(capture(row(), repeats=repeats), tmp_path)
    assert len(list((tmp_path / "history").rglob("*.parquet"))) == 2


def test_other_releases_and_lanes_are_left_alone(tmp_path: Path) -> None:
    write_capture(FULL, tmp_path)
    write_capture(capture(torch="2.5.1"), tmp_path)
    write_capture(capture(lane=f"{LANE}+0a1b2c3d"), tmp_path)
    assert not (tmp_path / "history").exists()
    names = [path.name for path in list_captures(tmp_path, LANE)]
    assert names == ["torch-2.5.0.parquet", "torch-2.5.1.parquet"]
    assert list_captures(tmp_path, "no-such-lane") == []


def test_what_is_on_record_is_told_in_order_by_name_alone(tmp_path: Path) -> None:
    builds = ["2.16.0.dev20261120", "2.16.0.dev20261121"]
    for name in (*reversed(builds), "2.16.0", "2.9.1", "2.10.0", "2.5", "2.5.0+cpu", "2.5.0\n", ""):
        path = digest_path(tmp_path, LANE, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert recorded(tmp_path, LANE) == ["2.9.1", "2.10.0", *builds, "2.16.0"]
    assert recorded(tmp_path, "no-such-lane") == []


# What a reader may find instead of a digest file.


def _rewrite(path: Path, change: Callable[[Any], Any]) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def _with_record(path: Path, payload: bytes) -> None:
    _rewrite(path, lambda table: table.replace_schema_metadata({METADATA_KEY: payload}))


def _with_field(path: Path, **fields: Any) -> None:
    held = msgspec.json.decode(msgspec.json.encode(record())) | fields
    _with_record(path, msgspec.json.encode(held))


def _without_field(path: Path, name: str) -> None:
    held = msgspec.json.decode(msgspec.json.encode(record()))
    del held[name]
    _with_record(path, msgspec.json.encode(held))


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _recast(path: Path, name: str, kind: Any) -> None:
    place = COLUMNS.get_field_index(name)
    _rewrite(path, lambda table: table.cast(table.schema.set(place, pa.field(name, kind))))


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-9]), "not a Parquet file"),
    "half": (
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        "not a Parquet file",
    ),
    "empty": (lambda path: path.write_bytes(b""), "not a Parquet file"),
    "text": (lambda path: path.write_text("a,b\n1,2\n"), "not a Parquet file"),
    "a folder": (_folder, "not a Parquet file"),
    "foreign": (
        lambda path: pq.write_table(pa.table({"x": [1]}), path),
        "has no capture record",
    ),
    "no record": (
        lambda path: _rewrite(path, lambda table: table.replace_schema_metadata(None)),
        "has no capture record",
    ),
    "a column name not UTF-8": (
        lambda path: path.write_bytes(path.read_bytes().replace(b"zeros", b"z\xffros")),
        "not a Parquet file",
    ),
    "newer schema": (
        lambda path: _with_field(path, schema_version=99),
        "schema version 99, but this release reads 1",
    ),
    "newer schema of another shape": (
        lambda path: _with_record(path, b'{"schema_version": 2, "status": 7}'),
        "schema version 2",
    ),
    "garbage": (lambda path: _with_record(path, b"\x00\xff{"), "record is damaged"),
    "no JSON": (lambda path: _with_record(path, b""), "record is damaged"),
    "not UTF-8": (
        lambda path: _with_record(path, b'{"schema_version": 1, "lane": "\xff"}'),
        "record is damaged",
    ),
    "nested too deeply": (
        lambda path: _with_record(path, b'{"x":' + b"[" * 100_000),
        "record is damaged",
    ),
    "a JSON list": (lambda path: _with_record(path, b"[1]"), "record is damaged"),
    "a JSON null": (lambda path: _with_record(path, b"null"), "record is damaged"),
    "no version": (lambda path: _without_field(path, "schema_version"), "record is damaged"),
    "version as text": (lambda path: _with_field(path, schema_version="1"), "record is damaged"),
    "no lane": (lambda path: _without_field(path, "lane"), "missing required field `lane`"),
    "number as lane": (lambda path: _with_field(path, lane=3), "record is damaged"),
    "unknown state": (
        lambda path: _with_field(path, status={"index": {"state": "maybe"}}),
        "record is damaged",
    ),
    "no digest": (
        lambda path: _rewrite(path, lambda table: table.drop_columns(["digest"])),
        "column digest should be fixed_size_binary",
    ),
    "digest twice": (
        lambda path: _rewrite(
            path, lambda table: table.append_column("digest", table.column("digest"))
        ),
        "column digest should be",
    ),
    "a wide seq": (
        lambda path: _recast(path, "seq", pa.int64()),
        "column seq should be int32, found int64",
    ),
    "digest of any length": (
        lambda path: _recast(path, "digest", pa.binary()),
        "column digest should be fixed_size_binary.*found binary",
    ),
    "shape of int32": (
        lambda path: _recast(path, "shape", pa.list_(pa.int32())),
        "column shape should be list.*int64",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_one_line_with_the_cure(name: str, tmp_path: Path) -> None:
    damage, expected = DAMAGE[name]
    path = write_capture(FULL, tmp_path)
    damage(path)
    for read in (read_record, read_capture):
        with pytest.raises(MatrixError) as caught:
            read(path)
        message = str(caught.value)
        assert re.search(expected, message, re.IGNORECASE)
        assert message.startswith(f"{path}: ")
        assert "\n" not in message
        assert "capture the release again" in message


NAME = pa.StringArray.from_buffers(2, *pa.array([b"\xff\xfe", b"\xff"]).buffers()[1:])
HOLES = pa.array([[None], [1]], pa.list_(pa.int64()))


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("part", NAME, "not a readable digest file"),
        ("shape", HOLES, "column shape has empty dimensions"),
        ("digest", pa.nulls(2, pa.binary(32)), "column digest has empty entries"),
    ],
)
def test_rows_that_nothing_could_be_made_of(
    column: str, values: Any, message: str, tmp_path: Path
) -> None:
    path = write_capture(capture(row(), row(occurrence=1)), tmp_path)
    place = COLUMNS.get_field_index(column)
    _rewrite(path, lambda table: table.set_column(place, column, values))
    with pytest.raises(MatrixError, match=message):
        read_capture(path)


def test_a_row_twice_is_told(tmp_path: Path) -> None:
    path = write_capture(capture(row(), row()), tmp_path)
    with pytest.raises(MatrixError, match=r"several rows for repeat 0, artifact '.*; move it out"):
        read_capture(path)


@pytest.mark.parametrize(("name", "most"), [("_MOST_ROWS", 0), ("_MOST_BYTES", 99)])
def test_a_file_larger_than_any_capture_is_not_read(
    name: str, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_capture(FULL, tmp_path)
    monkeypatch.setattr(schema, name, most)
    with pytest.raises(MatrixError, match=f"a capture has at most .*{most}.*; move it out"):
        read_capture(path)
    monkeypatch.undo()
    read_capture(path)


def test_an_absent_file(tmp_path: Path) -> None:
    with pytest.raises(MatrixError, match="no such digest file; capture the release first"):
        read_capture(tmp_path / "torch-9.9.9.parquet")


def test_further_columns_of_a_later_writer_are_ignored(tmp_path: Path) -> None:
    path = write_capture(FULL, tmp_path)
    _rewrite(path, lambda table: table.append_column("more", pa.array([1, 2])))
    assert read_capture(path).rows.equals(FULL.rows)


def test_a_flipped_bit_in_a_page_gives_no_other_rows(tmp_path: Path) -> None:
    path = write_capture(FULL, tmp_path)
    raw = path.read_bytes()
    footer = int.from_bytes(raw[-8:-4], "little") + 8
    found = 0
    for place in range(4, len(raw) - footer, 11):
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
        try:
            assert read_capture(path).rows.equals(FULL.rows)
        except MatrixError as error:
            found += "not a readable digest file" in str(error)
    assert found > 50


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255), cut=st.booleans())
def test_no_damage_gives_a_traceback(place: float, byte: int, cut: bool, tmp_path: Path) -> None:
    path = digest_path(tmp_path, LANE, "2.5.0")
    if not path.exists():
        write_capture(FULL, tmp_path)
        (tmp_path / "whole").write_bytes(path.read_bytes())
    raw = bytearray((tmp_path / "whole").read_bytes())
    at = int(place * len(raw))
    raw[at] = byte
    path.write_bytes(raw[:at] if cut else raw)
    with suppress(MatrixError):
        read_capture(path)


def test_a_capture_is_read_from_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replacement between reading the record and the rows must not mix two captures."""
    path = write_capture(capture(row(0), repeats=1), tmp_path)
    real = schema._checked_record

    def replaced_meanwhile(where: Path, found: Any) -> Record:
        write_capture(capture(row(0), row(1), repeats=2), tmp_path)
        return real(where, found)

    monkeypatch.setattr(schema, "_checked_record", replaced_meanwhile)
    found = read_capture(path)
    assert (found.record.repeats, found.rows.num_rows) == (1, 1)


# Interrupted writers.


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["write", "sync", "rename"])
def test_a_failed_write_leaves_the_earlier_file(
    step: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_capture(FULL, tmp_path)
    earlier = path.read_bytes()

    def half(table: Any, file: Any, **_: Any) -> None:
        file.write(b"PAR1")
        raise error

    def fail(*_: Any, **__: Any) -> None:
        raise error

    target = {"write": (pq, "write_table"), "sync": (os, "fsync"), "rename": (Path, "replace")}
    owner, name = target[step]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, half if step == "write" else fail)
        with pytest.raises(type(error)):
            write_atomically(path, pa.table({"x": [1]}))
        with pytest.raises(type(error)):
            write_capture(capture(repeats=9), tmp_path)
    assert path.read_bytes() == earlier
    assert files(tmp_path / "digests") == ["torch-2.5.0.parquet"]
    # A copy in the history is whole or absent, too.
    assert all(kept.read_bytes() == earlier for kept in (tmp_path / "history").rglob("*.parquet"))


_WRITER = """
import os, random, signal, sys, time
from pathlib import Path
import msgspec
import pyarrow as pa
from matrix_capture.schema import COLUMNS, Capture, Record, digest_path, write_capture

data, kept, row, held, kills = Path(sys.argv[1]), Path(sys.argv[2]), *map(
    msgspec.json.decode, sys.argv[3:5]), int(sys.argv[5])
for name in ("digest", "blocks"):
    row[name] = bytes(32) if name == "digest" else [bytes(16)]

def write_forever():
    for count in range(1_000_000):
        made = [row | {"occurrence": n} for n in range(1 + count % 2 * 500)]
        rows = pa.Table.from_pylist(made, schema=COLUMNS)
        record = msgspec.convert(held | {"repeats": rows.num_rows}, Record)
        write_capture(Capture(record=record, rows=rows), data)

# Forked before pyarrow starts a thread, killed at a random moment, kept for the test to read.
random.seed(5)
for kill in range(kills):
    child = os.fork()
    if not child:
        write_forever()
        os._exit(1)
    path = digest_path(data, held["lane"], held["torch"])
    while not path.exists():
        time.sleep(0.001)
    time.sleep(random.uniform(0.02, 0.08))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    (kept / str(kill)).write_bytes(path.read_bytes())
"""


def test_twenty_kills_leave_readable_files(tmp_path: Path) -> None:
    data, kept = tmp_path / "data", tmp_path / "kept"
    kept.mkdir()
    plain = msgspec.json.encode(row(digest="", blocks=[])).decode()
    held = msgspec.json.encode(record()).decode()
    subprocess.run(
        [sys.executable, "-c", _WRITER, str(data), str(kept), plain, held, "20"],
        check=True,
        timeout=60,
    )
    assert len(list(kept.iterdir())) == 20
    for copy in kept.iterdir():
        found = read_capture(copy)
        assert found.record.repeats == found.rows.num_rows
        assert found.rows.num_rows in (1, 501)
    assert [path.name for path in list_captures(data, LANE)] == ["torch-2.5.0.parquet"]
    for old in (data / "history").rglob("*.parquet"):
        assert old.stem == blake3.blake3(old.read_bytes()).hexdigest()


_KILLED = """
import os, signal, sys
from pathlib import Path
import pyarrow as pa
from matrix_capture.schema import write_atomically
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
write_atomically(Path(sys.argv[1]), pa.table({"x": [1]}))
"""


def test_what_a_kill_leaves_behind_is_not_listed(tmp_path: Path) -> None:
    path = write_capture(FULL, tmp_path)
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(files(path.parent)) == 2, "the kill should have left a temporary file"
    assert list_captures(tmp_path, LANE) == [path]
    assert read_capture(path).record == FULL.record
