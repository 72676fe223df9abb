from xml.etree import ElementTree as ET

import pytest
from hypothesis import given

from matrix_compare.check import Check
from matrix_compare.check_junit import check_junit
from matrix_compare.policy import Level
from matrix_compare.schema import Verdict
from tests.compare.checks import check_line, check_of, checked, checks, side
from tests.compare.reports import BRIEF

TAGS = {"tests": "testcase", "failures": "failure", "errors": "error", "skipped": "skipped"}


def parsed(check: Check) -> ET.Element:
    return ET.fromstring(check_junit(check))  # noqa: S314 - our own


def outcome(case: ET.Element) -> str:
    tags = [child.tag for child in case]
    return next((tag for tag in ("error", "failure", "skipped") if tag in tags), "passed")


@pytest.mark.parametrize(
    ("level", "verdict", "expected"),
    [
        (Level.ALERT, Verdict.DIFFERS, ["passed", "passed"]),
        (Level.FAILURE, Verdict.DIFFERS, ["failure", "failure"]),
        (Level.FAILURE, Verdict.FAILED, ["failure", "error"]),
        (Level.ALERT, Verdict.NOT_RUN, ["passed", "skipped"]),
    ],
)
def test_outcomes(level: Level, verdict: Verdict, expected: list[str]) -> None:
    found = checked(check_line("index_codes", verdict, level=level), level=level)
    cases = list(parsed(check_of(found)).iter("testcase"))
    assert [outcome(case) for case in cases] == expected
    assert [case.get("name") for case in cases] == ["head against base", "index_codes"]


def test_a_head_that_stops_is_an_error_even_without_an_artifact() -> None:
    found = checked(head=side(stopped="failed at import"), counts={}, level=Level.FAILURE)
    (case,) = parsed(check_of(found)).iter("testcase")
    assert outcome(case) == "error"
    assert case[0].get("message") == "breaks: the head failed at import"


def test_a_pass_is_one_case_with_its_facts() -> None:
    (case,) = parsed(check_of(checked())).iter("testcase")
    assert (case.findtext("system-out") or "").startswith("changes nothing\nartifacts: 180 ident")


@BRIEF
@given(checks)
def test_a_parser_reads_all_of_it_and_counts_add_up(check: Check) -> None:
    root = parsed(check)
    assert check_junit(check) == check_junit(check)
    for element in (root, *root.iter("testsuite")):
        for attribute, tag in TAGS.items():
            assert element.get(attribute) == str(len(list(element.iter(tag))))
    lines = sum(len(release.lines) for release in check.releases)
    assert len(list(root.iter("testcase"))) == len(check.releases) + lines
    for suite, release in zip(root.iter("testsuite"), check.releases, strict=True):
        red = {outcome(case) for case in suite.iter("testcase")} & {"failure", "error"}
        worst = {release.level, *(line.level for line in release.lines)}
        assert bool(red) == (Level.FAILURE in worst)
