"""From captures and rankings on disk to the facts that rules look at."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from matrix_capture.errors import MatrixError
from matrix_capture.rankings import COLUMNS, rankings_path
from matrix_capture.schema import StageStatus
from matrix_capture.settings import Settings
from matrix_compare.evidence import Evidence
from matrix_compare.explanation import explanation_path
from tests.compare.advices import (
    FOUND,
    INPUTS,
    SWAPPED,
    A,
    B,
    index_puts,
    ran,
    search,
    training_puts,
    write_pair,
)
from tests.compare.conftest import LANE, Maker
from tests.compare.test_explained import explanation

Writer = Callable[..., None]
Look = Callable[..., Any]  # what may be None is not, where it is looked at


@pytest.fixture
def write(make: Maker, tmp_path: Path) -> Writer:
    return partial(write_pair, make, tmp_path)


@pytest.fixture
def look(tmp_path: Path, settings: Settings) -> Look:
    def look(a: str = A, b: str = B) -> Any:
        return Evidence(tmp_path, LANE, settings).facts(a, b)

    return look


def test_options_are_held_against_what_users_have_now(write: Writer, look: Look) -> None:
    write(
        b=index_puts(2.0),
        searches=[
            search(A, A, FOUND),
            search(A, B, FOUND),
            search(B, B, SWAPPED),
            search(B, A, None),
        ],
    )
    facts = look()
    assert (facts.own.state, facts.keep.state, facts.reindex.state) == ("ok", "ok", "ok")
    assert (facts.keep.ranking, facts.reindex.ranking) == ("same", "changes")
    assert facts.keep.change.identical == 3
    assert facts.reindex.change.changed_top == {"1": 1, "10": 1, "100": 1}
    assert facts.queries == 3
    back = look(B, A)
    assert (back.keep.state, back.keep.error) == ("failed", "RuntimeError: torn")
    assert (back.reindex.index, back.reindex.search, back.reindex.ranking) == (A, A, "changes")


def test_what_was_not_searched_is_unknown(write: Writer, look: Look) -> None:
    write()
    facts = look()
    assert {facts.own.state, facts.keep.state, facts.reindex.state} == {"unknown"}
    assert facts.keep.change is None
    assert facts.queries == 0


def test_nothing_is_held_against_a_search_that_was_not_made(write: Writer, look: Look) -> None:
    write(searches=[search(A, B, FOUND)])
    keep = look().keep
    assert (keep.state, keep.ranking, keep.change) == ("ok", "unknown", None)


def test_the_same_index_need_not_be_searched_twice(write: Writer, look: Look) -> None:
    write(searches=[search(A, A, FOUND), search(B, B, SWAPPED)])
    facts = look()
    assert facts.identical_index
    assert (facts.keep.index, facts.keep.search) == (A, B)
    assert (facts.keep.state, facts.keep.change) == ("inferred", facts.reindex.change)


def test_another_index_says_nothing_of_the_one_that_is_kept(write: Writer, look: Look) -> None:
    write(b=index_puts(2.0), searches=[search(A, A, FOUND), search(B, B, SWAPPED)])
    assert look().keep.state == "unknown"


def test_what_was_searched_beats_what_follows(write: Writer, look: Look) -> None:
    write(searches=[search(A, A, FOUND), search(A, B, FOUND), search(B, B, SWAPPED)])
    assert (look().keep.state, look().keep.ranking) == ("ok", "same")


def test_a_search_of_an_index_replaced_since_does_not_count(write: Writer, look: Look) -> None:
    write(
        b=index_puts(2.0),
        searches=[search(A, A, FOUND, files="new"), search(A, B, FOUND, files="old")],
    )
    assert look().keep.state == "unknown"


def test_searches_of_other_inputs_do_not_count(write: Writer, look: Look) -> None:
    write(searches=[search(A, A, FOUND), search(A, B, FOUND)], inputs=INPUTS | {"collection": "x"})
    facts = look()
    assert (facts.stale, facts.own.state, facts.keep.state) == (True, "unknown", "unknown")
    assert facts.queries == 0


def test_captures_not_comparable_say_nothing_of_the_ranking(write: Writer, look: Look) -> None:
    write(searches=[search(A, A, FOUND), search(A, B, FOUND)], fingerprint={"cpu_model": "Y"})
    facts = look()
    assert facts.obstacles
    assert (facts.keep.state, facts.own.state) == ("unknown", "unknown")


def test_mapped_indexes(write: Writer, look: Look) -> None:
    write(
        a=index_puts(offset=320),
        searches=[
            search(A, A, FOUND),
            search(A, B, FOUND),
            search(A, B, FOUND, mmap=True),
            search(B, B, FOUND),
            search(B, B, SWAPPED, mmap=True),
        ],
    )
    a, b = look().mapped
    assert (a.torch, a.offsets, a.shifted, a.change.same_order) == (A, (320,), False, 3)
    assert (b.torch, b.offsets, b.shifted, b.change.same_order) == (B, (704,), True, 2)


def test_a_mapped_index_that_fails(write: Writer, look: Look) -> None:
    write(searches=[search(A, A, FOUND), search(A, B, FOUND), search(A, B, None, mmap=True)])
    a, b = look().mapped
    assert (a.error, a.change) == ("RuntimeError: torn", None)
    assert (b.error, b.change) == ("", None)


def test_scores_that_are_no_numbers_are_a_failure_of_that_search(write: Writer, look: Look) -> None:
    """As where a mapped index is read shifted."""
    mad = ([(3, float("nan"))], [(2, 7.0)], [(5, 5.0)])
    searches = [search(A, A, FOUND), search(A, B, FOUND), search(A, B, mad, mmap=True)]
    write(searches=[*searches, search(B, B, mad)])
    facts = look()
    assert facts.keep.state == "ok"
    assert facts.reindex.state == "failed"
    assert "query 0" in facts.reindex.error
    assert "query 0" in facts.mapped[0].error
    back = look(B, A)
    assert (back.own.state, back.reindex.state, back.reindex.change) == ("failed", "ok", None)


def test_a_failure_without_a_reason_is_one(write: Writer, look: Look) -> None:
    silent = msgspec.structs.replace(search(A, B, None)[0], error="", message="")
    write(searches=[search(A, A, FOUND), (silent, COLUMNS.empty_table())])
    assert (look().keep.state, look().keep.error) == ("failed", "no reason is on record")


def test_layouts_that_nobody_looked_at(write: Writer, look: Look) -> None:
    write(a=[put for put in index_puts() if put.artifact != "file_layout"])
    a, b = look().mapped
    assert (a.offsets, a.shifted) == ((), False)
    assert b.shifted


def test_the_size_is_that_of_the_index(write: Writer, look: Look) -> None:
    write()
    size = look().size
    assert (size.passages, size.embeddings, size.chunks) == (5, 6, 2)


@pytest.mark.parametrize(
    ("losses", "first"),
    [((0.7, 0.6, 0.5), None), ((0.7, 0.6, 0.4), 3), ((0.8, 0.6, 0.5), 1)],
)
def test_losses(write: Writer, look: Look, losses: Sequence[float], first: int | None) -> None:
    write(
        a=[*index_puts(), *training_puts(0.7, 0.6, 0.5)], b=[*index_puts(), *training_puts(*losses)]
    )
    found = look().losses
    assert found.first == first
    assert found.a == pytest.approx((0.7, 0.6, 0.5))
    assert found.b == pytest.approx(losses)


@pytest.mark.parametrize("losses", [(0.7,), (0.7, float("nan"))])
def test_losses_that_cannot_be_told(write: Writer, look: Look, losses: Sequence[float]) -> None:
    write(a=[*index_puts(), *training_puts(0.7, 0.6)], b=[*index_puts(), *training_puts(*losses)])
    assert look().losses is None


def test_a_known_failure(write: Writer, look: Look) -> None:
    error = StageStatus(
        state="failed",
        error="AttributeError",
        message="'HF_ColBERT' object has no attribute 'all_tied_weights_keys'",
    )
    status = ran(load="failed", index="not_run") | {"load": error}
    write(status=status, packages={"transformers": "5.0.0"})
    known = look().known
    assert known is not None
    assert known.id == "transformers-5"
    write(status=ran(load="failed", index="not_run"))
    assert look().known is None


def test_an_explanation_holds_in_both_directions(write: Writer, look: Look, tmp_path: Path) -> None:
    write()
    assert look().explanation is None
    path = explanation_path(tmp_path, LANE, A, B)
    path.parent.mkdir(parents=True)
    path.write_bytes(msgspec.json.encode(explanation()))
    assert look().explanation == look(B, A).explanation == explanation()
    path.write_text("{")
    assert look().explanation is None


def test_the_run_of_releases_that_make_one_index(write: Writer, look: Look, make: Maker) -> None:
    write(b=index_puts(2.0, offset=320))
    make("2.9.0", index_puts(2.0), status=ran())
    make("2.10.0", index_puts(2.0), status=ran(search="failed"))
    assert look().run.requirement == "torch>=2.8.0,<=2.9.0"
    assert look(B, A).run.requirement == f"torch=={A}"
    make("2.9.0", index_puts(2.0), status=ran(search="not_run"))
    assert look().run.requirement == "torch==2.8.0"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "nox -s explain -- 2.7.1 2.8.0"),
        (
            {"passages": 96, "depth": "sublayers", "colbert": "0.2.21; rm"},
            "nox -s explain -- 2.7.1 2.8.0 --passages 96 --depth sublayers --colbert '0.2.21; rm'",
        ),
    ],
)
def test_commands_ask_about_the_same_lane(
    write: Writer, look: Look, options: dict[str, Any], told: str
) -> None:
    write(options=options)
    assert look().session("explain") == told


def test_a_release_without_a_capture_is_one_line(write: Writer, look: Look) -> None:
    write()
    with pytest.raises(MatrixError, match=r"no capture of torch 2.6.0 .* capture-2.6.0 makes it"):
        look("2.6.0")


def test_damaged_rankings_are_not_taken_for_none(write: Writer, look: Look, tmp_path: Path) -> None:
    write(searches=[search(A, A, FOUND)])
    rankings_path(tmp_path, LANE).write_bytes(b"no rankings")
    with pytest.raises(MatrixError, match="not a readable rankings file"):
        look()
