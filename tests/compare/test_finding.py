from typing import Any

import pytest
from hypothesis import given

from matrix_compare.check import Check, Checked, CheckLine, Effect, Side
from matrix_compare.finding import facts, finding, outcome
from matrix_compare.policy import Level
from matrix_compare.schema import Verdict
from tests.compare.checks import check_line, check_of, checked, checks, ranked, side
from tests.compare.reports import BRIEF

KEPT = "the index, rankings and trained weights stay the same bit by bit"


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], "changes nothing"),
        (
            [check_line("trained_weights")],
            "changes trained weights; the index and rankings stay the same bit by bit",
        ),
        (
            [check_line("embs"), check_line("index_codes"), check_line("ranked_pids")],
            "changes the index and rankings; trained weights stay the same bit by bit",
        ),
        ([check_line("sample")], f"changes 1 artifact on the way; {KEPT}"),
        ([check_line("D"), check_line("D"), check_line("embs")], "changes 2 artifacts on the way"),
        ([check_line("ivf", Verdict.REORDERED)], f"changes nothing but the order; {KEPT}"),
        (
            [check_line("codes", Verdict.MISSING, reason="not in head: renamed")],
            f"changes nothing that was compared; {KEPT}; "
            "cannot tell about codes: not in head: renamed",
        ),
        (
            [check_line("index_codes", Verdict.UNSTABLE)],
            "changes nothing that was compared; rankings and trained weights stay the same bit by "
            "bit; cannot tell about index_codes: unstable",
        ),
    ],
)
def test_the_outcome_says_what_changes_and_what_does_not(lines: list[CheckLine], told: str) -> None:
    assert outcome(checked(*lines)).startswith(told)


def test_a_head_that_stops_breaks_and_a_base_that_stops_leaves_it_open() -> None:
    head, base = side(stopped="failed at import: no x"), side(stopped="failed at load")
    assert outcome(checked(head=head)) == "breaks: the head failed at import: no x"
    assert outcome(checked(base=base)) == (
        "cannot tell, because the base failed at load; the head runs to the end"
    )
    assert outcome(checked(base=base, head=head)).endswith("; the head failed at import: no x")


def test_where_nothing_was_compared_nothing_is_said_to_be_the_same() -> None:
    lines = [check_line("D", Verdict.NOT_COMPARABLE, reason="factors differ")]
    found = checked(*lines, counts={Verdict.NOT_COMPARABLE: 1})
    assert outcome(found) == "cannot tell, because nothing was compared: factors differ"
    assert "identical" not in " ".join(facts(found))


def test_releases_that_come_to_the_same_are_told_together_the_worst_first() -> None:
    worst = checked(check_line("index_codes"), torch="2.7.1", level=Level.FAILURE)
    found = check_of(checked(), checked(torch="2.9.0"), worst)
    assert finding(found) == (
        "changes the index; rankings and trained weights stay the same bit by bit, with torch "
        "2.7.1; changes nothing, with torch 2.8.0 and 2.9.0"
    )


def fact(release: Checked, name: str) -> str:
    (found,) = (text for text in facts(release) if text.startswith(name))
    return found


def test_artifacts_are_counted_and_named() -> None:
    names = [f"a{number}" for number in range(9)]
    release = checked(*map(check_line, names), check_line("D", role="origin"))
    assert fact(release, "artifacts") == "artifacts: 180 identical, 10 differ; starts at D"
    assert fact(release, "not the same") == "not the same: a0, a1, a2, a3, a4, a5 and 4 more"


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (1000, "index: identical, bit by bit; 1,000 bytes, as before"),
        (1500, "index: identical, bit by bit; 1,500 bytes instead of 1,000"),
        (0, "index: identical, bit by bit"),
    ],
)
def test_the_size_of_the_index(after: int, told: str) -> None:
    assert fact(checked(head=side(index_bytes=after)), "index:") == told


def test_what_is_not_finite_is_told() -> None:
    lines = [check_line("D", reason="outside every profile; NaN or infinity in 7 elements")] * 2
    assert fact(checked(*lines), "NaN") == "NaN or infinity in D"


EFFECT = Effect(measure="MRR@10", base=0.9, head=0.85, chance=False)
CHANCE = Effect(measure="Recall@10", base=0.9, head=0.89, chance=True)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "the same results for all 428 queries"),
        ({"rescored": 3}, "the same results for all 428 queries, with other scores for 3"),
        (
            {"changed": 12, "first": 3, "changed_top": 5},
            "12 of 428 queries have other results, from rank 3 on, 5 of them within the first ten",
        ),
        (
            {"effects": (EFFECT, CHANCE)},
            "the same results for all 428 queries; MRR@10 0.900 → 0.850, beyond chance",
        ),
    ],
)
def test_what_becomes_of_rankings(changes: dict[str, Any], told: str) -> None:
    assert fact(checked(ranked=ranked(**changes)), "rankings:").endswith(told)


def test_without_rankings_their_artifacts_tell() -> None:
    release = checked(check_line("ranked_scores", Verdict.CLOSE))
    assert fact(release, "rankings:") == "rankings: not the same in 1 tensor"


def timed(first: float, second: float, *cpu: float) -> Side:
    return side(
        seconds={"index": first}, seconds_again={"index": second}, cpu_seconds={"index": cpu}
    )


@pytest.mark.parametrize(
    ("head", "told"),
    [
        # All runs agree, by more than they are apart.
        (
            timed(75, 61, 90, 72),
            "indexing is slower: 1.50 and 1.52 times as long on the clock, 1.50",
        ),
        (
            timed(25, 19, 30, 23),
            "indexing is faster: 0.50 and 0.47 times as long on the clock, 0.50",
        ),
        # They do not, or by less than that, or by too little.
        (timed(75, 39, 90, 47), "indexing takes as long, as far as can be told (1.50 and 0.97"),
        (timed(55, 60, 66, 72), "indexing takes as long"),
        (timed(53, 42.4, 64, 51), "indexing takes as long"),
        # The machine was slow, not the head.
        (timed(150, 120, 61, 49), "indexing takes as long"),
        # Too little is known.
        (timed(75, 61), "indexing took 1.50 and 1.52 times as long on the clock, which says litt"),
    ],
)
def test_speed_is_told_beyond_what_runs_differ_by(head: Side, told: str) -> None:
    assert fact(checked(base=timed(50, 40, 60, 48), head=head), "indexing").startswith(told)


def test_a_side_without_seconds_says_nothing_of_speed() -> None:
    assert not [text for text in facts(checked(head=side(seconds={}))) if "indexing" in text]


@BRIEF
@given(checks)
def test_only_what_is_quoted_comes_from_a_capture(check: Check) -> None:
    told = [finding(check, lambda _: "Q")]
    for release in check.releases:
        told += [outcome(release, lambda _: "Q"), *facts(release, lambda _: "Q")]
    # Our own words, figures and marks, and no other.
    assert all(character.isascii() or character in "→" for character in "".join(told))
    assert not set("".join(told)) & set("`|<>\\@#[]{}$*_~&\n\r\x00")
