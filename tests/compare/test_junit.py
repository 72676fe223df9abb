from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_capture.schema import Observer
from matrix_compare.junit import junit
from matrix_compare.policy import COMPARED, Level
from matrix_compare.report import Report
from matrix_compare.schema import Verdict
from tests.compare.reports import BRIEF, report_of, reports, tabled, verdict_row

TAGS = {"tests": "testcase", "failures": "failure", "errors": "error", "skipped": "skipped"}


def parsed(document: bytes) -> ET.Element:
    return ET.fromstring(document)  # noqa: S314 - our own


def outcome(case: ET.Element) -> str:
    """What a reader of JUnit makes of a case."""
    tags = [child.tag for child in case]
    return next((tag for tag in ("error", "failure", "skipped") if tag in tags), "passed")


@pytest.mark.parametrize(
    ("verdict", "beside", "index"),
    [
        ("identical", "passed", "passed"),
        ("reordered", "passed", "passed"),
        ("close", "passed", "passed"),
        ("differs", "passed", "failure"),
        ("unstable", "passed", "failure"),
        ("missing", "passed", "failure"),
        ("failed", "error", "error"),
        ("not_comparable", "skipped", "failure"),
        ("not_run", "skipped", "failure"),
    ],
)
def test_outcomes(verdict: str, beside: str, index: str) -> None:
    document = parsed(junit([report_of([*tabled(Verdict(verdict)), verdict_row("D")])]))
    cases = document.findall(".//testcase")
    assert [outcome(case) for case in cases] == [beside, index, "passed"]
    assert [case.get("name") for case in cases] == [
        "codes / chunk.0",
        "index_codes / disk",
        "D / chunk.0",
    ]


def test_an_alert_is_told_and_passes() -> None:
    found = verdict_row("embs", "close", max_abs=0.5, first_at="token 3", reason="why")
    (case,) = parsed(junit([report_of([found])])).findall(".//testcase")
    assert [child.tag for child in case] == ["system-out"]
    assert case.findtext("system-out") == (
        "alert: ≈ close: why\nlargest difference: 0.5\nfirst at token 3"
    )


def test_a_failure_says_what_and_where() -> None:
    figures: dict[str, Any] = {
        "max_abs": 208.0,
        "max_ulp": 3,
        "largest_at": "token 3",
        "reason": "why",
    }
    found = verdict_row("index_codes", "differs", **figures)
    (fault,) = parsed(junit([report_of([found])])).iter("failure")
    assert (fault.get("message"), fault.get("type")) == ("≠ differs: why", "differs")
    assert (fault.text or "").splitlines() == [
        "largest difference: 208",
        "largest at token 3",
        "ULPs: all within 3",
    ]


def test_what_compared_nothing_is_red() -> None:
    document = parsed(junit([]))
    assert (document.get("tests"), document.get("failures")) == ("1", "1")
    document = parsed(junit([report_of([verdict_row(verdict="not_run")])]))
    assert (document.get("tests"), document.get("failures"), document.get("skipped")) == (
        *("2", "1"),
        "1",
    )
    assert document.find(".//failure[@message='nothing was compared']") is not None


def test_doubts_are_told_with_their_pair() -> None:
    report = report_of([verdict_row()], observer=Observer(identical=False, tensors=9))
    text = parsed(junit([report])).findtext("./testsuite/system-out")
    assert text == f"{report.sentence}\ntorch 2.8.0: watching changes the index (not named)"


@BRIEF
@given(st.lists(reports(), min_size=1, max_size=2))
def test_the_document_adds_up_whatever_the_strings(several: list[Report]) -> None:
    text = junit(several)
    assert text == junit(several)
    root = parsed(text)
    suites = root.findall("testsuite")
    assert len(suites) == len(several)
    for element in (root, *suites):
        for attribute, tag in TAGS.items():
            assert int(element.get(attribute, "")) == len(list(element.iter(tag)))
    for suite, report in zip(suites, several, strict=True):
        properties = {p.get("name", ""): int(p.get("value", "")) for p in suite.iter("property")}
        assert properties == {v.value: count for v, count in report.summary.counts.items()}
        cases = suite.findall("testcase")
        added = not any(line.verdict in COMPARED for line in report.lines)
        assert len(cases) == len(report.lines) + added
        bad = [case for case in cases if outcome(case) in {"failure", "error"}]
        assert len(bad) == report.levels[Level.FAILURE] + added
        assert bool(bad) == (report.level is Level.FAILURE)
    told = [(element.text or "").strip() for element in root.iter()]
    told += [value for element in root.iter() for value in element.attrib.values()]
    assert all(letter.isprintable() or letter == "\n" for text in told for letter in text)
