import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_capture.catalogue import BY_NAME, CATALOGUE
from matrix_capture.errors import MatrixError
from matrix_capture.settings import Rule, Settings
from matrix_compare.policy import Level, Policy, read_policy, worst_level
from matrix_compare.schema import Verdict
from tests.compare import reports
from tests.compare.reports import BRIEF, SETTINGS, hostile, verdict_row

NEVER = ("missing", "not_comparable", "not_run")
LAST = Rule(artifacts=("*",), alert=NEVER)


def settings_of(*rules: Rule) -> Settings:
    return Settings(releases=("2.8.0",), lanes={}, profiles={}, policy=rules)


@pytest.fixture(scope="module")
def shipped() -> Policy:
    return read_policy(SETTINGS)


# The shipped policy.

FINAL = {
    **dict.fromkeys(("identical", "reordered"), "pass"),
    "close": "alert",
    **dict.fromkeys(("differs", "unstable", "failed", *NEVER), "failure"),
}
OTHER = {
    **dict.fromkeys(("identical", "reordered"), "pass"),
    **dict.fromkeys(("close", "differs", "unstable", *NEVER), "alert"),
    "failed": "failure",
}


@pytest.mark.parametrize("artifact", [artifact.name for artifact in CATALOGUE])
def test_the_finished_index_is_judged_harder(artifact: str, shipped: Policy) -> None:
    expected = FINAL if BY_NAME[artifact].kind == "final" else OTHER
    assert set(expected) == {verdict.value for verdict in Verdict}
    found = {v: shipped.judge(verdict_row(artifact, v)).value for v in expected}
    assert found == expected


@BRIEF
@given(hostile)
def test_an_artifact_that_nobody_knows_is_judged_too(artifact: str) -> None:
    policy = read_policy(SETTINGS)
    assert policy.judge(verdict_row(artifact, "differs")) is not Level.PASS
    assert policy.judge(verdict_row(artifact, "identical")) is Level.PASS


# Rules.


def test_the_first_rule_that_matches_decides() -> None:
    hard = Rule(artifacts=("index_*", "codes"), failure=("close", *NEVER))
    policy = read_policy(settings_of(hard, LAST))
    assert policy.judge(verdict_row("index_codes", "close")) is Level.FAILURE
    assert policy.judge(verdict_row("codes", "close")) is Level.FAILURE
    # Near misses: a name that merely begins so, and a verdict that is not listed.
    assert policy.judge(verdict_row("codes_before_sort", "close")) is Level.PASS
    assert policy.judge(verdict_row("codes", "differs")) is Level.PASS


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ((), r'has no policy; add \[\[policy\]\] with artifacts = \["\*"\]'),
        (
            (Rule(artifacts=("*",), failure=("diffs",), alert=NEVER),),
            "rule 1 .*no verdict 'diffs'; there are .*close, differs",
        ),
        (
            (Rule(artifacts=("embs", "idx_*"), alert=NEVER), LAST),
            r"rule 1 \(embs, idx_\*\): 'idx_\*' matches no artifact; there are .*index_codes",
        ),
        ((Rule(artifacts=("index_*",), alert=NEVER),), "last policy rule must have artifacts"),
        # All of the catalogue is not all: a capture may hold what the catalogue does not.
        ((Rule(artifacts=tuple(BY_NAME), alert=NEVER),), "last policy rule must have"),
        ((LAST, LAST), r"rule 2 \(\*\) decides nothing"),
        (
            (Rule(artifacts=("*",), alert=NEVER[1:]),),
            "missing is never a pass; list it in failure or alert",
        ),
        ((Rule(artifacts=("*",), alert=("failed", *NEVER)),), "failed is always a failure"),
        ((Rule(artifacts=("*",), alert=("identical", *NEVER)),), "identical is always a pass"),
        (
            (Rule(artifacts=("*",), alert=NEVER, failure=("missing",)),),
            "missing is listed more than once",
        ),
    ],
)
def test_a_fault_of_the_table_is_one_line(rules: Sequence[Rule], message: str) -> None:
    with pytest.raises(MatrixError, match=message) as caught:
        read_policy(settings_of(*rules))
    assert str(caught.value).startswith("matrix.toml")
    assert "\n" not in str(caught.value)


def test_a_small_policy_is_enough() -> None:
    assert read_policy(settings_of(LAST)).rules == (LAST,)


# Pairs.


def test_the_worst_level() -> None:
    assert worst_level([]) is Level.FAILURE
    assert worst_level([Level.PASS, Level.ALERT]) is Level.ALERT
    assert worst_level(Level) is Level.FAILURE


@pytest.mark.parametrize("verdict", ["failed", "unstable", *NEVER])
def test_a_pair_in_which_nothing_was_compared_is_a_failure(verdict: str) -> None:
    policy = read_policy(settings_of(LAST))
    assert policy.judge_all([]) is Level.FAILURE
    rows = [verdict_row("codes", verdict)]
    assert policy.judge_all(rows) is Level.FAILURE
    # Near miss: something was.
    if verdict != "failed":
        assert policy.judge_all([*rows, verdict_row("embs")]) is not Level.FAILURE


verdicts = st.lists(
    st.builds(
        verdict_row,
        st.sampled_from(sorted(BY_NAME)),
        st.sampled_from([verdict.value for verdict in Verdict]),
    )
)


@BRIEF
@given(rows=verdicts | reports.rows, passing=st.sampled_from(sorted(BY_NAME)))
def test_a_pass_more_turns_nothing_green(rows: list[dict[str, Any]], passing: str) -> None:
    policy = read_policy(SETTINGS)
    before = policy.judge_all(rows)
    after = policy.judge_all([*rows, verdict_row(passing)])
    if any(policy.judge(row) is Level.FAILURE for row in rows):
        assert before is after is Level.FAILURE
    elif rows and before is not Level.PASS:
        assert after is not Level.PASS


@BRIEF
@given(rows=verdicts)
def test_only_what_was_looked_at_passes(rows: list[dict[str, Any]]) -> None:
    level = read_policy(SETTINGS).judge_all(rows)
    green = rows and all(re.match("identical|reordered", row["verdict"]) for row in rows)
    assert (level is Level.PASS) == bool(green)
