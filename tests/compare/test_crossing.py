from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from msgspec.structs import replace

from matrix_capture.errors import MatrixError
from matrix_capture.rankings import (
    COLUMNS,
    SCHEMA_VERSION,
    Header,
    Rankings,
    Search,
    rankings_path,
    record_searches,
)
from matrix_capture.schema import CaptureCode
from matrix_compare import cross
from matrix_compare.advice import Advices, advice_path, read_advices
from matrix_compare.change import Crossing
from matrix_compare.crossing import crossings
from matrix_compare.document import encoded

ROOT = Path(__file__).parents[2]
OLD, NEW = "2.7.1", "2.10.0"
Results = list[list[tuple[int, float]]]

FOUND: Results = [[(pid, 30.0 - pid) for pid in range(12)], [(5, 2.5)], []]


def search(index: str, searched: str, *, mmap: bool = False, **changes: Any) -> Search:
    found = Search(
        index_torch=index,
        search_torch=searched,
        mmap=mmap,
        state="ok",
        index=f"hash of {index}",
        started="2026-01-01T00:00:00+00:00",
        seconds=1.0,
        capture_code=CaptureCode(version="0", hash="0"),
    )
    return replace(found, **changes)


def rows(found: Search, results: Results) -> Any:
    listed = [
        (*found.key, query, rank, pid, score)
        for query, ranking in enumerate(results)
        for rank, (pid, score) in enumerate(ranking, start=1)
    ]
    columns = list(zip(*listed, strict=True)) or [()] * len(COLUMNS)
    return pa.table(columns, schema=COLUMNS)


def header(*searches: Search) -> Header:
    return Header(
        schema_version=SCHEMA_VERSION,
        lane="cpu-pinned",
        inputs={"collection": "0"},
        relevant=((), (), ()),
        searches=searches,
    )


def rankings(found: Mapping[Search, Results]) -> Rankings:
    tables = [rows(one, results) for one, results in found.items()]
    return Rankings(header=header(*found), table=pa.concat_tables(tables))


def changed(query: int, place: int, **to: Any) -> Results:
    """The results with one of them another."""
    results = [list(ranking) for ranking in FOUND]
    pid, score = results[query][place]
    results[query][place] = to.get("pid", pid), to.get("score", score)
    return results


OWN = search(OLD, OLD)
CROSS = search(OLD, NEW)


def crossed(results: Results) -> Crossing:
    """What is found of an old index with a new release."""
    own, other = crossings(rankings({OWN: FOUND, CROSS: results}))
    assert (own.outcome, own.changed) == ("identical", 0)
    assert (other.index, other.search, other.mmap) == (OLD, NEW, False)
    return other


@pytest.mark.parametrize(
    ("results", "outcome", "moved", "top"),
    [
        (FOUND, "identical", 0, 0),
        (changed(0, 3, score=27.000002), "same order", 0, 0),
        (changed(1, 0, score=-2.5), "same order", 0, 0),
        (changed(0, 10, pid=99), "same top 10", 1, 0),
        (changed(0, 9, pid=99), "changed", 1, 1),
        (changed(1, 0, pid=6), "changed", 1, 1),
        ([FOUND[0][:11], *FOUND[1:]], "same top 10", 1, 0),
        ([FOUND[0], [], FOUND[2]], "changed", 1, 1),
        ([[], [], [(0, 1.0)]], "changed", 3, 3),
    ],
)
def test_what_becomes_of_results(results: Results, outcome: str, moved: int, top: int) -> None:
    found = crossed(results)
    assert (found.outcome, found.changed, found.changed_top) == (outcome, moved, top)
    assert (found.queries, found.error) == (3, "")


def test_a_score_that_is_not_a_number_is_another_score() -> None:
    assert crossed(changed(0, 0, score=float("nan"))).outcome == "same order"


def test_a_search_that_failed_says_why() -> None:
    failed = replace(CROSS, state="failed", error="ProcessDied", message="killed by signal 11")
    *_, found = crossings(rankings({OWN: FOUND, failed: []}))
    assert (found.outcome, found.error) == ("failed", "ProcessDied: killed by signal 11")
    assert found.queries == 0


@pytest.mark.parametrize(
    "own",
    [
        {},
        {replace(OWN, state="failed"): []},
        # Made anew since: what was found in the one before says nothing of this one.
        {replace(OWN, index="hash of another"): FOUND},
    ],
)
def test_without_the_release_that_built_it_nothing_is_known(own: Any) -> None:
    found = crossings(rankings({**own, CROSS: FOUND}))
    assert found[-1].outcome == "unknown"


def test_they_come_in_the_order_of_releases_loaded_before_mapped() -> None:
    every = [search(a, b, mmap=m) for a in (NEW, OLD) for b in (NEW, OLD) for m in (True, False)]
    found = crossings(rankings(dict.fromkeys(every, FOUND)))
    assert [(one.index, one.search, one.mmap) for one in found] == [
        (a, b, m) for a in (OLD, NEW) for b in (OLD, NEW) for m in (False, True)
    ]


@pytest.mark.parametrize(
    "results",
    [[*FOUND, [(1, 1.0)]], [[(pid, 1.0) for pid in range(101)], [], []]],
    ids=["a query too many", "a rank too many"],
)
def test_what_no_search_can_give_is_refused(results: Results) -> None:
    with pytest.raises(MatrixError, match=r"searched with 2\.10\.0: a query or a rank"):
        crossings(rankings({OWN: FOUND, CROSS: results}))


# The command.


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(ROOT)
    mapped = search(OLD, NEW, mmap=True)
    failed = search(NEW, OLD, state="failed", error="RuntimeError", message="no \x1b[31mindex")
    found = {OWN: FOUND, CROSS: FOUND, mapped: changed(1, 0, pid=6), failed: []}
    searches = [(one, rows(one, results)) for one, results in found.items()]
    record_searches(tmp_path, header(), searches)
    return tmp_path


def test_the_command_shows_and_records_them(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = Advices(schema_version=1, lane="cpu-pinned")
    advice_path(data, "cpu-pinned").parent.mkdir()
    advice_path(data, "cpu-pinned").write_bytes(encoded(given))
    assert cross.main(["--lane", "cpu-pinned", "--data", str(data)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines if line[:1].isdigit()] == [
        *([OLD, "=", "="], [NEW, "!"]),
        [OLD, "≠", "1"],
    ]
    (told,) = [line for line in lines if line.startswith("! 2.7.1: RuntimeError: no ")]
    assert "\x1b" not in told
    found = read_advices(advice_path(data, "cpu-pinned"))
    assert len(found.crossings) == 4
    assert found.crossings[0].outcome == "identical"


@pytest.mark.parametrize("lane", ["cpu-pinned", "nowhere"])
def test_without_rankings_there_is_one_line(
    lane: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rankings_path(data, "cpu-pinned").unlink()
    assert cross.main(["--lane", lane, "--data", str(data)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
