"""`python -m matrix_compare.advise`."""

import json
from pathlib import Path
from typing import Any

import pytest

from matrix_capture.rankings import rankings_path
from matrix_compare.advice import advice_path, read_advices
from matrix_compare.advise import main
from tests.compare.advices import (
    FOUND,
    SWAPPED,
    A,
    B,
    index_puts,
    ran,
    search,
    training_puts,
    write_pair,
)
from tests.compare.conftest import LANE, ROOT, Maker


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: str, lane: str = LANE) -> tuple[int, str, str]:
        code = main(["--data", str(tmp_path), "--lane", lane, *arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def recorded(make: Maker, tmp_path: Path) -> None:
    """2.8.0 makes another index, in which two passages change places, and trains otherwise."""
    write_pair(
        make,
        tmp_path,
        a=[*index_puts(offset=320), *training_puts(0.7, 0.6)],
        b=[*index_puts(2.0), *training_puts(0.7, 0.5)],
        searches=[search(A, A, FOUND), search(A, B, FOUND), search(B, B, SWAPPED)],
    )


@pytest.mark.usefixtures("recorded")
def test_a_pair_from_captures_to_words(run: Any, tmp_path: Path) -> None:
    code, out, err = run(A, B)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == (
        "2.7.1 → 2.8.0: keep the index; the ranking is the same for all 3 queries; training changes"
    )
    assert "  Keep the index: searched with 2.8.0, that of 2.7.1 loads, and no measure of" in lines
    assert "requirement: torch==2.8.0" in lines
    assert 'torch.save(codes, "0.codes.pt")  # as colbert-ai saves the codes of an index' in lines
    assert lines[-1] == f"wrote {advice_path(tmp_path, LANE)}"
    order = ["Keep the index", "not measured:", "requirement:", "import array"]
    places = [out.index(part) for part in order]
    assert places == sorted(places)
    assert all(len(line) <= 80 for line in lines if line.startswith("  ") and line[2] != " ")
    assert not any(line.endswith(" ") for line in lines)


@pytest.mark.usefixtures("recorded")
def test_the_order_is_that_of_the_question(run: Any) -> None:
    assert run(B, A)[1].startswith("2.8.0 → 2.7.1: whether the index can be kept was not measured")


@pytest.mark.usefixtures("recorded")
def test_without_releases_every_pair_of_neighbours(run: Any, make: Maker, tmp_path: Path) -> None:
    make("2.9.0", index_puts(2.0), status=ran())
    assert run(B, A)[0] == 0
    code, out, _ = run()
    assert code == 0
    assert "import array" not in out
    told = read_advices(advice_path(tmp_path, LANE)).advices
    assert [(one.a, one.b) for one in told] == [(A, B), (B, A), (B, "2.9.0")]


@pytest.mark.usefixtures("recorded")
def test_json_has_what_was_asked_and_the_file_has_all(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    run(B, A)
    code, out, _ = run(A, B, "--json", str(file))
    assert code == 0
    assert f"wrote {file}\n" in out
    content = json.loads(file.read_text(encoding="utf-8"))
    (advice,) = content["advices"]
    assert (content["schema_version"], content["lane"]) == (1, LANE)
    assert (advice["a"], advice["b"], advice["index"], advice["training"]) == (
        A,
        B,
        "keep",
        "changes",
    )
    assert advice["re-index"]["ranking"] == "changes"
    assert len(read_advices(advice_path(tmp_path, LANE)).advices) == 2


@pytest.mark.usefixtures("recorded")
def test_the_same_question_has_the_same_bytes(run: Any, tmp_path: Path) -> None:
    def answer() -> bytes:
        run()
        return advice_path(tmp_path, LANE).read_bytes()

    assert answer() == answer()


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["2.7.1"], "two releases make a pair, not 1"),
        (["2.7.1", "2.8.0", "2.9.0"], "two releases make a pair, not 3"),
        (["2.7.1", "2.7.1"], "one release makes no pair; name another beside 2.7.1"),
        (["2.7.1", "9.9"], "no torch release '9.9' in matrix.toml; the nearest is 2.15.0"),
        (["2.7.1", "2.6.0"], "nox -s capture-2.6.0 makes it"),
        (["2.7.1", "2.8.0", "--json", "/"], "/"),
    ],
)
def test_bad_input_is_one_line(run: Any, arguments: list[str], message: str) -> None:
    code, _, err = run(*arguments)
    assert code == 2
    assert err.startswith("error: ")
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_lane_without_captures_or_with_one(run: Any, make: Maker) -> None:
    assert run()[0] == 2
    assert run(lane="nowhere")[0] == 2
    make(A, index_puts(), status=ran())
    code, _, err = run()
    assert code == 2
    assert "fewer than two captures" in err


@pytest.mark.usefixtures("recorded")
def test_captures_that_are_left_out_are_told(run: Any, tmp_path: Path) -> None:
    (tmp_path / "digests" / LANE / "torch-2.9.0.parquet").write_bytes(b"torn")
    code, _, err = run(A, B)
    assert code == 0
    assert "torch-2.9.0.parquet: not a Parquet file" in err


@pytest.mark.usefixtures("recorded")
def test_a_planted_worse_ranking_is_told(run: Any, make: Maker, tmp_path: Path) -> None:
    """The relevant passage of every query falls behind, in the index that would be kept."""
    rankings_path(tmp_path, LANE).unlink()
    good = [[(3, 9.0), (7, 8.0)], [(1, 9.0), (2, 8.5)], [(5, 5.0)]]
    bad = [[(7, 9.0), (3, 8.0)], [(7, 9.0), (1, 8.5), (2, 8.0)], [(5, 5.0)]]
    write_pair(
        make,
        tmp_path,
        b=index_puts(2.0),
        searches=[search(A, A, good), search(A, B, bad), search(B, B, good)],
    )
    out = run(A, B)[1]
    assert out.startswith("2.7.1 → 2.8.0: re-index; the ranking is the same for all 3 queries")
    assert "Re-index: with 2.8.0 the index of 2.7.1 does worse than now: MRR@10 1.0000" in out
