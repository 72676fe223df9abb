from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matrix_capture.errors import MatrixError
from matrix_capture.schema import Capture, digest_path, read_capture, write_capture
from matrix_operate.history import earlier, record_capture
from tests.compare.conftest import LANE, capture_of
from tests.operate.uploads import SAME, files, puts


def capture(day: int, rows: float = 1, torch: str = "2.8.0", **record: object) -> Capture:
    """A capture of a day; `rows` says what it finds."""
    started = f"2025-01-{day:02}T00:00:00+00:00"
    return capture_of(torch, puts(SAME * rows), started=started, **record)


def all_of(data: Path, torch: str = "2.8.0") -> list[tuple[str, bytes]]:
    """Every capture on record: when it started, and a digest that says what it found."""
    now = read_capture(digest_path(data, LANE, torch))
    every = [now, *earlier(data, LANE, torch)]
    return sorted((one.record.started, one.rows["digest"][0].as_py()) for one in every)


def expected(captures: Sequence[Capture]) -> list[tuple[str, bytes]]:
    return sorted((one.record.started, one.rows["digest"][0].as_py()) for one in captures)


def test_the_one_that_started_last_counts(tmp_path: Path) -> None:
    for day, rows in ((2, 1), (3, 2), (1, 3)):
        assert record_capture(tmp_path, capture(day, rows))
    now = read_capture(digest_path(tmp_path, LANE, "2.8.0"))
    assert now.record == capture(3).record
    assert now.rows == capture(3, 2).rows
    assert all_of(tmp_path) == expected([capture(1, 3), capture(2, 1), capture(3, 2)])
    assert sum("history/" in place for place in files(tmp_path)) == 2


def test_what_finds_the_same_again_is_a_line(tmp_path: Path) -> None:
    for day in (2, 3, 1):
        assert record_capture(tmp_path, capture(day, host={"cores": day}))
    held = files(tmp_path)
    (line,) = (place for place in held if "history/" in place)
    assert line.endswith(".jsonl")
    assert len(held[line].splitlines()) == 2
    read = list(earlier(tmp_path, LANE, "2.8.0"))
    assert [one.record for one in read] == [
        capture(day, host={"cores": day}).record for day in (1, 2)
    ]
    assert all(one.rows == capture(1).rows for one in read)


def test_what_is_found_by_turns_is_kept_once(tmp_path: Path) -> None:
    days = [capture(day, 1 + day % 2) for day in range(1, 9)]
    for one in days:
        record_capture(tmp_path, one)
    assert all_of(tmp_path) == expected(days)
    assert sum(place.endswith(".parquet") for place in files(tmp_path)) == 2


@pytest.mark.parametrize("day", [1, 2, 3])
def test_the_very_same_again_changes_nothing(day: int, tmp_path: Path) -> None:
    for one in (capture(1), capture(2), capture(3, 2)):
        record_capture(tmp_path, one)
    before = files(tmp_path)
    assert not record_capture(tmp_path, capture(day, 1 + day // 3))
    assert files(tmp_path) == before


def test_captures_without_rows_are_captures(tmp_path: Path) -> None:
    for day in (1, 2):
        failed = capture_of("2.8.0", [], started=f"2025-01-0{day}T00:00:00+00:00")
        assert record_capture(tmp_path, failed)
    assert [one.record.started[:10] for one in earlier(tmp_path, LANE, "2.8.0")] == ["2025-01-01"]


def test_what_other_commands_moved_to_history_is_found_too(tmp_path: Path) -> None:
    for day in (1, 2):
        write_capture(capture(day, day), tmp_path)
    record_capture(tmp_path, capture(3, 3))
    assert all_of(tmp_path) == expected([capture(day, day) for day in (1, 2, 3)])


_SOME = [
    capture(day, rows, torch)
    for torch in ("2.7.1", "2.8.0")
    for day, rows in ((1, 1), (2, 2), (3, 1), (4, 3), (5, 2), (6, 1))
]


@settings(deadline=None, max_examples=15)
@given(order=st.permutations(_SOME), again=st.lists(st.sampled_from(_SOME), max_size=4))
def test_the_order_of_recording_does_not_matter(
    order: list[Capture], again: list[Capture], tmp_path_factory: pytest.TempPathFactory
) -> None:
    one, other = (tmp_path_factory.mktemp("data") for _ in range(2))
    for found in _SOME:
        record_capture(one, found)
    for found in [*order, *again]:
        record_capture(other, found)
    assert files(one) == files(other)
    assert all_of(one) == expected(_SOME[6:])
    assert all_of(one, "2.7.1") == expected(_SOME[:6])


def test_a_planted_record_by_arrival_is_seen(tmp_path: Path) -> None:
    """Whoever just wrote what came last would have the order matter."""
    for folder, order in (("one", _SOME), ("other", _SOME[::-1])):
        for found in order:
            write_capture(found, tmp_path / folder)
    assert files(tmp_path / "one") != files(tmp_path / "other")


@pytest.mark.parametrize("content", [b"{\n", b"\xff\n", b'{"lane": "a"}\n', b"[" * 9999 + b"\n"])
def test_damaged_lines_are_told_to_whoever_adds_and_left_out_by_who_reads(
    content: bytes, tmp_path: Path
) -> None:
    for day in (1, 2):
        record_capture(tmp_path, capture(day))
    (path,) = tmp_path.rglob("*.jsonl")
    path.write_bytes(content)
    assert list(earlier(tmp_path, LANE, "2.8.0")) == []
    with pytest.raises(MatrixError, match=r"jsonl: not readable as records"):
        record_capture(tmp_path, capture(3))
    assert path.read_bytes() == content


def test_lines_whose_rows_are_gone_are_left_out(tmp_path: Path) -> None:
    for day, rows in ((1, 1), (2, 1), (3, 2)):
        record_capture(tmp_path, capture(day, rows))
    (path,) = (tmp_path / "history").rglob("*.parquet")
    path.unlink()
    assert list(earlier(tmp_path, LANE, "2.8.0")) == []
