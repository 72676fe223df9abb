import itertools
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matrix_capture.errors import MatrixError
from matrix_capture.rankings import (
    COLUMNS,
    METADATA_KEY,
    SCHEMA_VERSION,
    Header,
    Search,
    rankings_path,
    read_rankings,
    record_searches,
    retire_searches,
)
from matrix_capture.schema import CaptureCode, write_atomically
from matrix_capture.search import ranking_rows

HEADER = Header(
    schema_version=SCHEMA_VERSION,
    lane="cpu-pinned",
    inputs={"collection": "0a", "queries": "0b"},
    relevant=((0,), (1, 2)),
)
FOUND = [[(4, 1, 0.75), (0, 2, 0.5)], [(2, 1, 0.25)]]
"""Of two queries: passage, rank and score."""


def search(
    of: str = "2.7.1", by: str = "2.8.0", *, mmap: bool = False, **other: Any
) -> tuple[Search, Any]:
    """A search and its rows; those are `FOUND`, or what `found` says."""
    found = other.pop("found", FOUND)
    facts = {
        "state": "ok",
        "index": "0c",
        "started": "2025-01-01T00:00:00+00:00",
        "seconds": 1.5,
        "capture_code": CaptureCode(version="1", hash="0d"),
        **other,
    }
    return (
        Search(index_torch=of, search_torch=by, mmap=mmap, **facts),
        ranking_rows(found, index_torch=of, search_torch=by, mmap=mmap),
    )


def history(data: Path) -> list[Path]:
    return sorted((data / "history").rglob("*.parquet"))


def test_what_was_recorded_is_read(tmp_path: Path) -> None:
    path = record_searches(tmp_path, HEADER, [search(), search(mmap=True, found=[])])
    assert path == rankings_path(tmp_path, "cpu-pinned")
    read = read_rankings(path)
    searches = search()[0], search(mmap=True)[0]
    assert read.header == msgspec.structs.replace(HEADER, searches=searches)
    assert read.table.schema.equals(COLUMNS, check_metadata=True)
    assert read.table.to_pylist() == [
        {
            "index_torch": "2.7.1",
            "search_torch": "2.8.0",
            "mmap": False,
            "query": query,
            "rank": rank,
            "pid": pid,
            "score": score,
        }
        for query, pid, rank, score in [(0, 4, 1, 0.75), (0, 0, 2, 0.5), (1, 2, 1, 0.25)]
    ]
    assert history(tmp_path) == []


def test_one_search_is_found_among_others(tmp_path: Path) -> None:
    others = [search("2.8.0"), search(by="2.7.1"), search(mmap=True)]
    read = read_rankings(
        record_searches(tmp_path, HEADER, [search(), *((one, rows[:1]) for one, rows in others)])
    )
    assert read.search("2.7.1", "2.8.0") == search()[0]
    assert read.search("2.7.1", "2.8.0", mmap=True) == others[2][0]
    assert read.search("2.8.0", "2.7.1") is None
    assert read.rows("2.7.1", "2.8.0").num_rows == 3
    for index, by, mmap in (("2.8.0", "2.8.0", False), ("2.7.1", "2.8.0", True)):
        assert read.rows(index, by, mmap=mmap).num_rows == 1
    assert read.rows("2.8.0", "2.7.1").num_rows == 0


# One search replaces another.


def test_a_search_takes_the_place_of_its_own_and_of_no_other(tmp_path: Path) -> None:
    keys = [(index, by, mmap) for index in "ab" for by in "ab" for mmap in (False, True)]
    record_searches(tmp_path, HEADER, [search(i, b, mmap=mmap) for i, b, mmap in keys])
    new = search("a", "b", index="another", found=[[(7, 1, 0.5)]])
    read = read_rankings(record_searches(tmp_path, HEADER, [new]))
    assert [one.key for one in read.header.searches] == keys
    assert read.search("a", "b") == new[0]
    assert read.rows("a", "b").column("pid").to_pylist() == [7]
    for index, by, mmap in keys:
        if (index, by, mmap) != new[0].key:
            assert read.search(index, by, mmap=mmap) == search(index, by, mmap=mmap)[0]
            assert read.rows(index, by, mmap=mmap).column("pid").to_pylist() == [4, 0, 2]
    (old,) = map(read_rankings, history(tmp_path))
    assert old.header.searches == (search("a", "b")[0],)
    assert old.table.column("pid").to_pylist() == [4, 0, 2]


@pytest.mark.parametrize(
    "found",
    [
        FOUND[:1],
        [],
        [[(4, 1, 0.75), (0, 2, 0.5), (3, 3, 0.5)], [(2, 1, 0.25)]],
        [[(4, 1, 0.75), (3, 2, 0.5)], [(2, 1, 0.25)]],
        [[(4, 1, 0.75), (0, 2, np.nextafter(np.float32(0.5), np.float32(1)))], [(2, 1, 0.25)]],
    ],
)
def test_rows_that_are_not_found_again_go_to_history(found: Any, tmp_path: Path) -> None:
    record_searches(tmp_path, HEADER, [search(), search("2.8.0")])
    record_searches(tmp_path, HEADER, [search(found=found)])
    (old,) = history(tmp_path)
    assert old.parent == tmp_path / "history" / "cpu-pinned" / "rankings"
    assert read_rankings(old).header.searches == (search()[0],)
    assert read_rankings(old).rows("2.7.1", "2.8.0").num_rows == 3
    # What is found by turns is kept once each, and says when it was found last.
    for found_then, day in ((FOUND, "02"), (found, "03"), (FOUND, "04"), (found, "05")):
        record_searches(
            tmp_path, HEADER, [search(found=found_then, started=f"2025-01-{day}T00:00:00+00:00")]
        )
    kept = [one.header.searches[0].started for one in map(read_rankings, history(tmp_path))]
    assert kept == ["2025-01-04T00:00:00+00:00"]


def test_a_search_that_fails_now_keeps_what_it_had_found(tmp_path: Path) -> None:
    record_searches(tmp_path, HEADER, [search()])
    failed = search(found=[], state="failed", error="RuntimeError", message="no")
    read = read_rankings(record_searches(tmp_path, HEADER, [failed]))
    assert (read.header.searches, read.table.num_rows) == ((failed[0],), 0)
    assert [read_rankings(old).table.num_rows for old in history(tmp_path)] == [3]


@pytest.mark.parametrize("scores", [(0.75, 0.5, 0.25), (float("nan"), -0.0, float("-inf"))])
def test_what_is_found_again_bit_by_bit_loses_nothing(
    scores: tuple[float, float, float], tmp_path: Path
) -> None:
    one, two, three = scores
    found = [[(4, 1, one), (0, 2, two)], [(2, 1, three)]]
    record_searches(tmp_path, HEADER, [search(found=found), search("2.8.0")])
    again, rows = search(found=found, seconds=9.0)
    # In whatever order and pieces they come.
    rows = pa.concat_tables([rows[2:], rows[:2]])
    read = read_rankings(record_searches(tmp_path, HEADER, [(again, rows)]))
    assert read.search("2.7.1", "2.8.0") == again
    assert read.table.num_rows == 6
    assert history(tmp_path) == []


def test_a_zero_of_another_sign_is_not_found_again(tmp_path: Path) -> None:
    record_searches(tmp_path, HEADER, [search(found=[[(1, 1, 0.0)]])])
    record_searches(tmp_path, HEADER, [search(found=[[(1, 1, -0.0)]])])
    assert len(history(tmp_path)) == 1


def test_other_inputs_start_afresh(tmp_path: Path) -> None:
    record_searches(tmp_path, HEADER, [search(), search("2.8.0")])
    header = msgspec.structs.replace(HEADER, inputs={"collection": "ff"}, relevant=((5,),))
    read = read_rankings(record_searches(tmp_path, header, [search(by="2.9.0")]))
    assert read.header == msgspec.structs.replace(header, searches=(search(by="2.9.0")[0],))
    assert read.table.num_rows == 3
    old = [read_rankings(path) for path in history(tmp_path)]
    assert {one.header.searches for one in old} == {(search()[0],), (search("2.8.0")[0],)}
    assert [one.table.num_rows for one in old] == [3, 3]


def test_what_was_searched_with_others_retires(tmp_path: Path) -> None:
    keys = [(index, by) for index in "ab" for by in "ab"]
    path = record_searches(tmp_path, HEADER, [search(*key) for key in keys])
    retire_searches(tmp_path, "cpu-pinned", ["b", "c"])
    read = read_rankings(path)
    assert [one.key[:2] for one in read.header.searches] == [("b", "b")]
    assert read.table.num_rows == 3
    old = [read_rankings(path) for path in history(tmp_path)]
    assert {one.header.searches[0].key[:2] for one in old} == {*keys} - {("b", "b")}
    assert [one.table.num_rows for one in old] == [3, 3, 3]
    # It may come back, and is in one place only.
    record_searches(tmp_path, HEADER, [search("a", "b")])
    assert len(read_rankings(path).header.searches) == len(history(tmp_path)) == 2


def test_lanes_have_a_file_each(tmp_path: Path) -> None:
    record_searches(tmp_path, HEADER, [search()])
    other = msgspec.structs.replace(HEADER, lane="cpu-pinned+0a0a0a0a")
    record_searches(tmp_path, other, [search("2.8.0")])
    assert read_rankings(rankings_path(tmp_path, "cpu-pinned")).header.searches == (search()[0],)
    assert history(tmp_path) == []


# Any order, any process.

_TIMES = [
    (
        msgspec.structs.replace(HEADER, inputs={"collection": inputs}),
        [
            search(
                by=by,
                found=[[(pid, 1, 0.5)]],
                started=f"2025-01-{10 * (inputs == 'new') + 2 * pid + len(by):02}T00:00:00+00:00",
            )
            for by in bys
        ],
    )
    for inputs, pid, bys in (
        ("old", 1, ("2.8.0",)),
        ("old", 2, ("2.8.0", "2.10.0")),
        ("new", 1, ("2.10.0",)),
        ("new", 2, ("2.10.0", "2.8.0")),
        ("new", 2, ("2.9.0",)),
    )
]


@settings(deadline=None, max_examples=40)
@given(order=st.permutations(_TIMES))
def test_what_started_later_stays_in_whatever_order_it_comes(
    order: Sequence[tuple[Header, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    one, other = (tmp_path_factory.mktemp("data") for _ in range(2))
    for data, several in ((one, order), (other, _TIMES)):
        for header, found in several:
            record_searches(data, header, found)
    files = [
        {path.relative_to(data): path.read_bytes() for path in data.rglob("*.parquet")}
        for data in (one, other)
    ]
    assert files[0] == files[1]
    read = read_rankings(rankings_path(one, "cpu-pinned"))
    assert read.rows("2.7.1", "2.8.0").column("pid").to_pylist() == [2]
    assert len(history(one)) == 4


_SOME = [
    search(index, by, mmap=mmap, found=[[(number, 1, number / 7)], [(1, 1, 0.5), (2, 2, 0.5)]])
    for number, (index, by, mmap) in enumerate(
        itertools.product(("1.13.1", "2.10.0", "2.9.0"), ("2.10.0", "2.9.0"), (False, True))
    )
]


@settings(deadline=None, max_examples=30)
@given(order=st.permutations(_SOME), cuts=st.sets(st.integers(1, len(_SOME) - 1)))
def test_the_order_of_recording_does_not_matter(
    order: Sequence[tuple[Search, Any]],
    cuts: set[int],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    data = tmp_path_factory.mktemp("data")
    edges = [0, *sorted(cuts), len(order)]
    for start, end in itertools.pairwise(edges):
        path = record_searches(data, HEADER, order[start:end])
    other = record_searches(tmp_path_factory.mktemp("other"), HEADER, _SOME)
    assert path.read_bytes() == other.read_bytes()
    assert history(data) == []


_RECORDING = """
import sys
from pathlib import Path

import msgspec

from matrix_capture.rankings import COLUMNS, Header, Search, record_searches
from matrix_capture.search import ranking_rows

header = msgspec.json.decode(sys.argv[2], type=Header)
print("ready", flush=True)
sys.stdin.readline()
for one in msgspec.json.decode(sys.argv[3], type=list[Search]):
    rows = ranking_rows(
        [[(4, 1, 0.5)]], index_torch=one.index_torch, search_torch=one.search_torch, mmap=False
    )
    record_searches(Path(sys.argv[1]), header, [(one, rows)])
"""


def test_processes_that_record_at_once_lose_nothing(tmp_path: Path) -> None:
    def started(by: str) -> subprocess.Popen[bytes]:
        searches = [search(f"{index}", by)[0] for index in range(20)]
        told = (msgspec.json.encode(one) for one in (HEADER, searches))
        return subprocess.Popen(
            [sys.executable, "-c", _RECORDING, tmp_path, *told],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    with started("a") as one, started("b") as other:
        for process in (one, other):
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
        for process in (one, other):
            assert process.stdin is not None
            process.stdin.close()
    assert (one.returncode, other.returncode) == (0, 0)
    read = read_rankings(rankings_path(tmp_path, "cpu-pinned"))
    assert {one.key for one in read.header.searches} == {
        (f"{index}", by, False) for index in range(20) for by in "ab"
    }
    assert read.table.num_rows == len(read.header.searches) == 40
    assert history(tmp_path) == []


# What is no rankings file.


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return record_searches(tmp_path, HEADER, [search()])


def rewritten(path: Path, change: Callable[[Any], Any]) -> None:
    write_atomically(path, change(pq.read_table(path)))


def header_of(table: Any, **change: Any) -> Any:
    held = {**msgspec.json.decode(table.schema.metadata[METADATA_KEY]), **change}
    return table.replace_schema_metadata({METADATA_KEY: msgspec.json.encode(held)})


def refused(path: Path, message: str) -> None:
    """Both who reads and who would add to it is told, in one line, and the file stays."""
    before = path.read_bytes()
    for use in (
        lambda: read_rankings(path),
        lambda: record_searches(path.parents[1], HEADER, [search("2.8.0")]),
    ):
        with pytest.raises(MatrixError, match=message) as error:
            use()
        assert "\n" not in str(error.value)
        assert str(error.value).startswith(f"{path}: ")
        assert str(error.value).endswith("move it out of the data folder and search again")
    assert path.read_bytes() == before
    assert history(path.parents[1]) == []


def test_without_a_file_there_are_no_rankings(tmp_path: Path) -> None:
    with pytest.raises(MatrixError, match=r"cpu-pinned\.parquet: no rankings; nox -s search"):
        read_rankings(rankings_path(tmp_path, "cpu-pinned"))


@pytest.mark.parametrize("content", [b"", b"PAR1", b"x" * 100, b"PAR1" + bytes(50) + b"PAR1"])
def test_another_file_is_refused(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    refused(path, "not a readable rankings file")


@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(part: float, path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    refused(path, "not a readable rankings file")


def test_a_damaged_page_is_refused(path: Path) -> None:
    column = pq.read_metadata(path).row_group(0).column(5)
    content = bytearray(path.read_bytes())
    content[column.data_page_offset + column.total_compressed_size - 1] ^= 1
    path.write_bytes(content)
    refused(path, "not a readable rankings file")


def test_a_file_without_header_is_refused(path: Path) -> None:
    rewritten(path, lambda table: table.replace_schema_metadata({b"capture": b"{}"}))
    refused(path, "has no header, so it is not a rankings file")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"\xff",
        b"{" * 5000,
        b'{"schema_version": "1"}',
        b'{"schema_version": 1}',
        b'{"schema_version":1,"lane":"a","inputs":{},"relevant":[[0]],"searches":[{}]}',
    ],
)
def test_a_damaged_header_is_refused(payload: bytes, path: Path) -> None:
    rewritten(path, lambda table: table.replace_schema_metadata({METADATA_KEY: payload}))
    refused(path, "its header is damaged")


@pytest.mark.parametrize("others", [{}, {"relevant": "elsewhere"}])
def test_a_newer_schema_is_refused(others: dict[str, Any], path: Path) -> None:
    """Whatever else it has."""
    rewritten(path, lambda table: header_of(table.drop_columns("pid"), schema_version=2, **others))
    refused(path, "schema version 2, but this release reads 1")


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.drop_columns("score"),
        lambda table: table.append_column("more", [pa.array([1, 2, 3])]),
        lambda table: table.set_column(6, "score", table["score"].cast(pa.float64())),
        lambda table: table.set_column(4, "rank", pa.array([2**40] * 3)),
        lambda table: table.select([1, 0, *range(2, 7)]),
    ],
)
def test_other_columns_are_refused(change: Callable[[Any], Any], path: Path) -> None:
    rewritten(path, change)
    refused(path, "has not the columns of a rankings file")


@pytest.mark.parametrize("name", COLUMNS.names)
def test_empty_entries_are_refused(name: str, path: Path) -> None:
    def emptied(table: Any) -> Any:
        place = COLUMNS.get_field_index(name)
        kept = table.column(name).to_pylist()[:2]
        return table.set_column(
            place, COLUMNS.field(name), pa.array([*kept, None], COLUMNS[place].type)
        )

    rewritten(path, emptied)
    refused(path, "has empty entries")


def test_text_that_is_no_text_is_refused(path: Path) -> None:
    def foreign(table: Any) -> Any:
        offsets = pa.py_buffer(struct.pack("<4i", 0, 1, 2, 3))
        column = pa.Array.from_buffers(
            pa.string(), 3, [None, offsets, pa.py_buffer(b"\xff\xfe\xfd")]
        )
        return table.set_column(0, COLUMNS.field(0), column)

    rewritten(path, foreign)
    refused(path, "not a readable rankings file")
