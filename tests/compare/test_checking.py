import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from msgspec.structs import replace

from matrix_capture.errors import MatrixError
from matrix_capture.names import lane_name
from matrix_capture.rankings import COLUMNS as RANKINGS
from matrix_capture.rankings import Header, Search, rankings_path, record_searches
from matrix_capture.schema import CaptureCode
from matrix_compare.check import (
    Check,
    check_path,
    list_checks,
    read_check,
    read_recorded,
    write_check,
)
from matrix_compare.checking import main
from matrix_compare.policy import Level
from matrix_compare.schema import Verdict
from tests.compare.conftest import ROOT, Maker, Put, pipeline_puts, status_of

SHA = "0123456789abcdef" * 2 + "01234567"
EMBS = np.linspace(-1, 1, 12).astype(np.float16).reshape(3, 4)
BASE, HEAD = "cpu-pinned+00000001", "cpu-pinned+00000002"
FILES = [
    Put(artifact="index_codes", scope="disk", value=np.arange(6, dtype=np.int32)),
    Put(artifact="index_residuals", scope="disk", value=np.arange(8, dtype=np.uint8)),
]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(ROOT)

    def run(base: str = BASE, head: str = HEAD, sha: str = SHA) -> int:
        words = ["--data", str(tmp_path), "--base", base, "--head", head]
        return main([*words, "--number", "402", "--sha", sha])

    return run


def side(
    make: Maker,
    lane: str,
    torch: str = "2.8.0",
    embs: Any = EMBS,
    files: Any = FILES,
    **record: Any,
) -> None:
    factors = {"python": "3.11", "colbert-ai": lane[-1]}
    puts = [*pipeline_puts(embs), *files]
    make(torch, puts, **{"lane": lane, "factors": factors, **record})


def found(data: Path) -> Check:
    (path,) = list_checks(data)
    return read_check(path)


def test_a_head_that_changes_nothing_passes(
    run: Any, make: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    side(make, BASE)
    side(make, HEAD)
    assert run() == 0
    check = found(tmp_path)
    assert (check.level, check.lane, check.number, check.sha) == (
        Level.PASS,
        "cpu-pinned",
        402,
        SHA,
    )
    (one,) = check.releases
    assert one.counts[Verdict.IDENTICAL] == sum(one.counts.values()) == 10
    assert (one.lines, one.starts) == ((), ())
    assert (one.base.colbert, one.head.colbert) == ("1", "2")
    assert one.base.index_bytes == 6 * 4 + 8
    assert capsys.readouterr().out.startswith("✓ pass: changes nothing, with torch 2.8.0\n")


def test_what_a_head_changes_is_told_under_each_release(
    run: Any, make: Maker, tmp_path: Path
) -> None:
    for torch in ("2.7.1", "2.8.0"):
        side(make, BASE, torch)
    side(make, HEAD, "2.7.1")
    other = [*FILES[:1], Put(artifact="index_residuals", scope="disk", value=np.zeros(8, np.uint8))]
    side(make, HEAD, "2.8.0", embs=EMBS * np.float16(2), files=other)
    assert run() == 0
    check = found(tmp_path)
    assert [(one.torch, one.level) for one in check.releases] == [
        ("2.7.1", Level.PASS),
        ("2.8.0", Level.FAILURE),
    ]
    assert check.level is Level.FAILURE
    assert [line.artifact for line in check.releases[1].lines] == ["embs", "index_residuals"]
    assert "embs" in check.releases[1].starts


def test_a_head_that_stops_fails(run: Any, make: Maker, tmp_path: Path) -> None:
    side(make, BASE)
    make("2.8.0", lane=HEAD, factors={"python": "3.11"}, status=status_of("import"))
    assert run() == 0
    (one,) = found(tmp_path).releases
    assert one.level is Level.FAILURE
    assert one.head.stopped == "failed at import: ImportError: no module\\nsecond line"
    assert {line.verdict for line in one.lines} == {Verdict.FAILED}


def test_a_base_that_stops_is_not_held_against_the_head(
    run: Any, make: Maker, tmp_path: Path
) -> None:
    make("2.8.0", lane=BASE, factors={"python": "3.11"}, status=status_of("import"))
    side(make, HEAD)
    assert run() == 0
    (one,) = found(tmp_path).releases
    assert one.level is Level.ALERT
    assert {line.verdict for line in one.lines} == {Verdict.FAILED}


def test_packages_that_moved_with_colbert_are_a_doubt(
    run: Any, make: Maker, tmp_path: Path
) -> None:
    packages = {"torch": "2.8.0", "numpy": "1.26.4", "colbert-ai": "0.2.21"}
    side(make, BASE, packages=packages)
    # Of colbert-ai itself it is no doubt, nor what is on one side only, such as an installer.
    side(make, HEAD, packages=packages | {"colbert-ai": "0.2.22", "pip": "26.1"})
    assert run() == 0
    (one,) = found(tmp_path).releases
    assert (one.level, one.doubts) == (Level.PASS, ())
    side(make, HEAD, packages=packages | {"numpy": "2.0.0"})
    assert run() == 0
    (one,) = found(tmp_path).releases
    assert one.level is Level.ALERT
    assert one.doubts == ("the head came with other versions too: numpy 1.26.4 → 2.0.0",)


def rank(data: Path, lane: str, passages: list[int], scores: list[float]) -> None:
    """Put the rankings of two queries on record: these passages, then always the same one."""
    header = Header(
        schema_version=1,
        lane=lane,
        inputs={"checkpoint": "aa", "collection": "bb"},
        relevant=((7,), (1,)),
    )
    search = Search(
        index_torch="2.8.0",
        search_torch="2.8.0",
        mmap=False,
        state="ok",
        index="",
        started="2026-01-01T00:00:00+00:00",
        seconds=1.0,
        capture_code=CaptureCode(version="", hash=""),
    )
    rows = [
        {"query": 0, "rank": rank, "pid": pid, "score": score}
        for rank, (pid, score) in enumerate(zip(passages, scores, strict=True), start=1)
    ]
    rows += [{"query": 1, "rank": 1, "pid": 1, "score": 1.0}]
    keys = {"index_torch": "2.8.0", "search_torch": "2.8.0", "mmap": False}
    table = pa.Table.from_pylist([keys | row for row in rows], schema=RANKINGS)
    record_searches(data, header, [(search, table)])


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (([7, 8, 9], [3.0, 2.0, 1.0]), (0, 0, 0)),
        (([7, 9, 8], [3.0, 2.0, 1.0]), (1, 2, 0)),
        (([7, 8, 9], [3.0, 2.0, 1.5]), (0, 0, 1)),
    ],
)
def test_rankings_are_held_against_each_other(
    head: tuple[list[int], list[float]],
    expected: tuple[int, int, int],
    run: Any,
    make: Maker,
    tmp_path: Path,
) -> None:
    for lane in (BASE, HEAD):
        side(make, lane)
    rank(tmp_path, BASE, [7, 8, 9], [3.0, 2.0, 1.0])
    rank(tmp_path, HEAD, *head)
    assert run() == 0
    (one,) = found(tmp_path).releases
    assert one.ranked is not None
    assert one.ranked.queries == 2
    assert (one.ranked.changed, one.ranked.first, one.ranked.rescored) == expected
    assert {effect.measure for effect in one.ranked.effects} == {"MRR@10", "nDCG@10", "Recall@10"}


def test_rankings_that_are_none_are_a_doubt_without_a_path(
    run: Any, make: Maker, tmp_path: Path
) -> None:
    for lane in (BASE, HEAD):
        side(make, lane)
        rank(tmp_path, lane, [7], [float("nan")])
    assert run() == 0
    (one,) = found(tmp_path).releases
    assert one.ranked is None
    assert (one.level, len(one.doubts)) == (Level.ALERT, 1)
    assert "NaN" in one.doubts[0]
    rankings_path(tmp_path, HEAD).write_bytes(b"none")
    assert run() == 0
    assert str(tmp_path) not in repr(found(tmp_path))


def test_both_runs_of_a_side_are_timed(run: Any, make: Maker, tmp_path: Path) -> None:
    for lane in (BASE, HEAD):
        cpu = {"index": [3.0, 1.5]}
        again = {"index": 1.0}
        side(make, lane, seconds={"index": 2.0}, seconds_again=again, cpu_seconds=cpu)
    assert run() == 0
    (one,) = found(tmp_path).releases
    assert (one.head.seconds, one.head.seconds_again) == ({"index": 2.0}, {"index": 1.0})
    assert one.head.cpu_seconds == {"index": (3.0, 1.5)}


def test_a_side_may_be_named_as_colbert_ai_is(make: Maker, tmp_path: Path, run: Any) -> None:
    other = lane_name("cpu-pinned", {"passages": 96, "colbert": "0.2.21"})
    side(make, other)
    side(make, lane_name("cpu-pinned", {"passages": 96}))
    words = ["--data", str(tmp_path), "--lane", "cpu-pinned", "--passages", "96"]
    assert main([*words, "--base", "0.2.21", "--head", "0.2.22"]) == 0
    assert main([*words[:4], "--base", "0.2.21", "--head", "0.2.22"]) == 2


def test_outputs_go_where_they_are_asked_for(
    make: Maker, tmp_path: Path, run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for lane in (BASE, HEAD):
        side(make, lane)
    words = ["2.8.0", "--data", str(tmp_path), "--base", BASE, "--head", HEAD]
    names = {name: tmp_path / f"check.{name}" for name in ("json", "markdown", "junit")}
    outputs = [part for name, path in names.items() for part in (f"--{name}", str(path))]
    assert main([*words, *outputs]) == 0
    assert read_check(names["json"]).number == 0
    assert names["markdown"].read_text("utf-8").startswith("**✓ pass**: changes nothing")
    assert names["junit"].read_bytes().startswith(b"<?xml")
    assert list_checks(tmp_path) == []
    assert main(["2.7.1", *words[1:]]) == 2
    assert main([*words, "--number", "4"]) == 2
    assert main([*words, "--json", str(tmp_path)]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[0] for line in errors] == ["error"] * 3


def test_another_factor_than_colbert_is_no_check(run: Any, make: Maker, tmp_path: Path) -> None:
    side(make, BASE)
    side(make, HEAD, factors={"python": "3.12", "colbert-ai": "2"})
    assert run() == 0
    (one,) = found(tmp_path).releases
    assert {verdict for verdict, count in one.counts.items() if count} == {Verdict.NOT_COMPARABLE}
    assert one.level is Level.FAILURE


def test_captures_without_a_common_release_are_refused(
    run: Any, make: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    side(make, BASE, "2.7.1")
    side(make, HEAD, "2.8.0")
    assert run() == 2
    assert "no torch release in common" in capsys.readouterr().err
    assert not list_checks(tmp_path)


@pytest.mark.parametrize(
    "sha", ["", "0123", SHA + "0", SHA[:-1] + "G", "../" + SHA[3:], SHA + "\n"]
)
def test_what_is_no_commit_becomes_no_folder(
    sha: str, run: Any, make: Maker, tmp_path: Path
) -> None:
    side(make, BASE)
    side(make, HEAD)
    assert run(sha=sha) == 2
    assert not (tmp_path / "pr").exists()


def test_a_check_in_the_place_of_another_is_not_believed(
    run: Any, make: Maker, tmp_path: Path
) -> None:
    side(make, BASE)
    side(make, HEAD)
    run()
    path = check_path(tmp_path, 402, SHA)
    moved = check_path(tmp_path, 403, SHA)
    moved.parent.mkdir()
    path.rename(moved)
    assert read_check(moved).number == 402
    with pytest.raises(MatrixError, match="about pull request 402"):
        read_recorded(moved)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"\xff", b"[" * 100_000, b'{"schema_version": 1}', b"x" * 2**23]
)
def test_a_damaged_check_is_one_line(content: bytes, tmp_path: Path) -> None:
    path = check_path(tmp_path, 1, SHA)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(MatrixError) as refused:
        read_check(path)
    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("number", ["-1", "1" + "0" * 400])
@pytest.mark.parametrize("name", ["index_bytes", "identical"])
def test_numbers_that_none_can_have_are_refused(
    name: str, number: str, run: Any, make: Maker, tmp_path: Path
) -> None:
    side(make, BASE)
    side(make, HEAD)
    run()
    path = check_path(tmp_path, 402, SHA)
    text = path.read_text("utf-8")
    broken = re.sub(rf'"{name}": \d+', f'"{name}": {number}', text)
    assert broken != text
    path.write_text(broken, "utf-8")
    with pytest.raises(MatrixError, match="not a readable check"):
        read_check(path)


def test_a_check_of_no_release_is_refused(run: Any, make: Maker, tmp_path: Path) -> None:
    side(make, BASE)
    side(make, HEAD)
    run()
    path = write_check(tmp_path, replace(found(tmp_path), releases=()))
    with pytest.raises(MatrixError, match="not a readable check"):
        read_check(path)


def test_a_check_of_another_version_is_refused(run: Any, make: Maker, tmp_path: Path) -> None:
    side(make, BASE)
    side(make, HEAD)
    run()
    path = write_check(tmp_path, replace(found(tmp_path), schema_version=2))
    assert json.loads(path.read_bytes())["schema_version"] == 2
    with pytest.raises(MatrixError, match="schema version 2"):
        read_check(path)


def test_other_files_beside_checks_are_left_alone(tmp_path: Path) -> None:
    for name in ("x/y.json", f"0/{SHA}.json", f"1/{SHA}.txt", "1/latest.json", f"1e3/{SHA}.json"):
        path = tmp_path / "pr" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    assert list_checks(tmp_path) == []
