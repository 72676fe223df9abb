import io
import json
import re
from collections import Counter
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from matrix_capture.catalogue import BY_NAME
from matrix_capture.schema import Control, Observer
from matrix_compare.cascade import Cascade, Changes, Memberships
from matrix_compare.junit import junit
from matrix_compare.markdown import markdown
from matrix_compare.policy import Level
from matrix_compare.report import (
    Report,
    build,
    facts,
    grounds,
    grouped,
    json_of,
    plain,
    sentence,
    ulps,
)
from matrix_compare.schema import Verdict
from matrix_compare.terminal import print_report
from tests.compare.conftest import Put, capture_of
from tests.compare.reports import BRIEF, SETTINGS, flips, report_of, reports, rows, verdict_row


def cell(artifact: str = "embs", verdict: str = "close", **changes: Any) -> dict[str, Any]:
    row = {"artifact": artifact, "part": "", "kind": "intermediate", "verdict": verdict}
    return row | {"role": "", "reason": "", "max_abs": None} | changes


def cells(**counts: int) -> list[dict[str, Any]]:
    return [
        cell(verdict=verdict, role="origin" if verdict == "close" else "")
        for verdict, count in counts.items()
        for _ in range(count)
    ]


def unsized(artifact: str, role: str, part: str = "") -> dict[str, Any]:
    return cell(artifact, "differs", role=role, part=part, reason="values not kept")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], "a...b: nothing to compare"),
        (cells(identical=51), "a...b: 51 identical"),
        (
            cells(differs=4, close=9, identical=38),
            "a...b: 38 identical, 9 close, 4 differ; starts at embs",
        ),
        (cells(differs=1, failed=2, not_run=3), "a...b: 1 differs, 2 failed, 3 not run"),
        (
            cells(not_comparable=1, missing=2, unstable=3, reordered=4),
            "a...b: 4 reordered, 3 unstable, 2 missing, 1 not comparable",
        ),
        (
            [
                cell(name, kind="final", role="origin")
                for name in ("D", "D", "embs", "codes", "ivf", "sample")
            ],
            "a...b: 6 close; starts at D, embs, codes and 2 more",
        ),
        (
            [
                cell(name, kind=kind, role="origin")
                for name, kind in (("probe_normalize", "probe"), ("batches", "intermediate"))
            ],
            "a...b: 2 close; starts at batches",
        ),
        (
            [
                unsized("layers", "origin", "encoder.layer.3"),
                unsized("layers", "propagated", "encoder.layer.4"),
                cell("probe_normalize", kind="probe", role="propagated", max_abs=1.0),
                cell("batches", role="propagated", max_abs=1e-7),
            ],
            "a...b: 2 close, 2 differ (2 of them by an unknown amount); "
            "starts at layers in layer 3, measured from batches on",
        ),
        (
            [unsized("layers", "origin", f"encoder.layer.{n}") for n in (3, 5)],
            "a...b: 2 differ (2 of them by an unknown amount); starts at layers in layers 3, 5",
        ),
        (
            [unsized("normalized", "origin"), cell("ivf", role="origin", max_abs=2.0)],
            "a...b: 1 close, 1 differs (1 of them by an unknown amount); "
            "starts at normalized and ivf",
        ),
    ],
)
def test_sentence(rows: list[dict[str, Any]], expected: str) -> None:
    assert sentence("a", "b", rows) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain — ≠ text", "plain — ≠ text"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("line\nbreak\r", "line\\nbreak\\r"),
        ("\u202eright to left", "\\u202eright to left"),
        ("\ud800", "\\ud800"),
        ("[red]markup", "[red]markup"),
    ],
)
def test_plain_text_is_shown_and_not_obeyed(text: str, expected: str) -> None:
    assert plain(text) == expected


# The object.


def test_lines_are_the_rows_with_their_levels() -> None:
    puts = [Put(artifact="index_codes", value=[1, 2], scope="disk")]
    row = verdict_row("index_codes", "differs", scope="disk", max_abs=2.0, reason="x\ny")
    report = build(capture_of("2.7.1", puts), capture_of("2.8.0", puts), [row], SETTINGS)
    (found,) = report.lines
    assert (found.dtype, found.verdict, found.level) == ("int64", Verdict.DIFFERS, Level.FAILURE)
    assert (found.max_abs, found.max_ulp, found.reason) == (2.0, None, "x\\ny")
    assert (report.level, report.levels[Level.FAILURE]) == (Level.FAILURE, 1)
    assert report.profiles == ("default", "bitsandbytes")


def test_a_verdict_file_without_the_newer_columns_will_do() -> None:
    old = {name: verdict_row()[name] for name in verdict_row() if name not in _NEWER}
    (found,) = report_of([old]).lines
    assert (found.p50_ulp, found.ulp_histogram, found.violations) == (None, (), {})
    assert (found.first_at, found.largest_at) == ("", "")


_NEWER = ("p50_ulp", "ulp_histogram", "violations", "first_at", "largest_at")


def test_a_capture_that_did_not_pass_its_controls_passes_nothing() -> None:
    rows = [verdict_row("index_codes")]
    assert report_of(rows).level is Level.PASS
    control = Control(identical=False, tensors=9, unstable=("D sample 0",), unstable_tensors=1)
    report = report_of(rows, control=control)
    assert report.level is Level.ALERT
    assert report.doubts == (
        "torch 2.8.0: 1 of 9 tensors differ between two runs of one environment (D sample 0)",
    )
    assert report_of(rows, observer=Observer(identical=False, tensors=9)).level is Level.ALERT
    good = Control(identical=True, tensors=9), Observer(identical=True, tensors=9)
    assert report_of(rows, control=good[0], observer=good[1]).level is Level.PASS


def test_the_environment_and_the_cascade_are_held_as_plain_text() -> None:
    record: dict[str, Any] = {"packages": {"torch": "2.8.0", "numpy": "1.26.4", "m\n": "\x1b"}}
    cascade = Cascade(a="a", b="b", codes="\x00", buckets=flips(), memberships="x")
    report = report_of([], **record, cascade=cascade)
    assert [(d.name, d.a, d.b) for d in report.environment] == [
        ("m\\n", None, "\\x1b"),
        ("torch", "2.7.1", "2.8.0"),
    ]
    assert list(facts(report)) == [
        ("codes", "\\x00"),
        ("buckets", "0 of 12,000 changed"),
        ("lists", "x"),
    ]
    assert list(facts(report_of([]))) == []


def test_a_cascade_in_words() -> None:
    none, two = (Changes(observed=n, predicted=n, explained=n) for n in (0, 2))
    lists = Memberships(elements=(1_000, 1_002), gained=two, lost=none, unlike=(0, 1))
    moved = flips(3, borderline=7, inherited=1)
    cascade = Cascade(a="a", b="b", codes=flips(), buckets=moved, memberships=lists)
    assert list(facts(report_of([], cascade=cascade))) == [
        ("codes", "0 of 12,000 changed"),
        (
            "buckets",
            "3 of 12,000 changed (3 predicted, 3 are both); margins 0.25 to 1, moved by 0.25 to 1; "
            "7 lay within reach of the largest movement; 1 for the sake of another centroid",
        ),
        (
            "lists",
            "1,000 and 1,002 memberships; 2 gained (2 predicted, 2 are both); 0 lost; "
            "0 and 1 come out otherwise in float64",
        ),
    ]


def test_grounds_name_the_worst_first() -> None:
    rows = [verdict_row("probe_matmul", "close"), verdict_row("embs", "close")]
    assert list(grounds(report_of(rows))) == [(Level.ALERT, "2 rows (embs and probe_matmul)")]
    rows += [verdict_row("index_codes", "differs"), verdict_row("index_ivf", "failed")]
    assert [level for level, _ in grounds(report_of(rows))] == [Level.FAILURE, Level.ALERT]
    assert list(grounds(report_of([verdict_row()]))) == []
    nothing, _ = grounds(report_of([verdict_row(verdict="not_run")]))
    assert nothing == (Level.FAILURE, "nothing was compared")


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ({}, ""),
        ({"p99_ulp": 2.0, "max_ulp": 4}, "2 / 4"),
        ({"p99_ulp": 0.0, "max_ulp": 999_999}, "0 / 999,999"),
        ({"p99_ulp": 1.0, "max_ulp": 2**63 - 1}, "1 / 9.2e18"),
    ],
)
def test_ulps(figures: dict[str, Any], expected: str) -> None:
    (group,) = grouped(report_of([verdict_row(verdict="close", **figures)]).lines)
    assert ulps(group) == expected


@BRIEF
@given(reports())
def test_counts_add_up(report: Report) -> None:
    assert sum(report.summary.counts.values()) == len(report.lines)
    assert sum(report.levels.values()) == len(report.lines)
    assert set(report.summary.counts) == set(Verdict)
    kinds = sorted(report.lines, key=lambda line: line.artifact)
    assert sum(len(group.lines) for group in grouped(kinds)) == len(report.lines)
    counts = report.sentence.removeprefix(f"{report.a}...{report.b}: ").partition(";")[0]
    told = re.findall(rf"(\d+) (?:{_WORDS})", counts)
    assert sum(map(int, told)) == len(report.lines)


_WORDS = "identical|reordered|close|differs?|unstable|missing|failed|not comparable|not run"


# JSON.


def test_json_of_no_pair_is_a_failure() -> None:
    assert json.loads(json_of([])) == {"schema_version": 1, "level": "failure", "reports": []}


def test_json_has_a_planted_failure() -> None:
    good, bad = (report_of([verdict_row("index_codes", v)]) for v in ("reordered", "differs"))
    assert json.loads(json_of([good]))["level"] == "pass"
    found = json.loads(json_of([good, bad]))
    assert found["level"] == "failure"
    assert [entry["level"] for entry in found["reports"]] == ["pass", "failure"]
    assert found["reports"][1]["lines"][0]["level"] == "failure"


@BRIEF
@given(st.lists(reports(), max_size=2))
def test_json_holds_what_the_report_holds(several: list[Report]) -> None:
    text = json_of(several)
    assert text == json_of(several)
    for report, found in zip(several, json.loads(text)["reports"], strict=True):
        assert found["summary"]["counts"] == {v.value: n for v, n in report.summary.counts.items()}
        assert [entry["verdict"] for entry in found["lines"]] == [v.verdict for v in report.lines]
        assert found["sentence"] == report.sentence
        assert all(map(str.isprintable, strings(found)))


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for pair in value.items() for item in pair for text in strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


# All outputs.


def counted(text: str) -> dict[str, int]:
    """The counts of a sentence, by verdict."""
    words = re.findall(rf"(\d+) ({_WORDS})", text.partition("\n")[0].partition(";")[0])
    return {_VALUES.get(word, word): int(count) for count, word in words}


_VALUES = {"differ": "differs", "not comparable": "not_comparable", "not run": "not_run"}


@BRIEF
@given(rows)
def test_all_outputs_have_the_same_counts_and_failures(found: list[dict[str, Any]]) -> None:
    known = [row | {"artifact": name} for row, name in zip(found, BY_NAME, strict=False)]
    report = report_of(known)
    expected = {v.value: count for v, count in report.summary.counts.items() if count}
    failing = [line.artifact for line in report.lines if line.level is Level.FAILURE]
    out = io.StringIO()
    print_report(Console(file=out, width=130, highlight=False), report)
    told = f"✗ failure: {len(failing)} row"
    for text in (out.getvalue(), markdown([report])):
        assert counted(text.partition("2.7.1...2.8.0")[2]) == expected
        assert (told in text) == bool(failing)
    document = ET.fromstring(junit([report]))  # noqa: S314 - our own
    assert expected == {
        item.get("name"): int(item.get("value", ""))
        for item in document.iter("property")
        if item.get("value") != "0"
    }
    faults = [*document.findall(".//error/.."), *document.findall(".//failure/..")]
    named = [case.get("name", "").partition(" ")[0] for case in faults]
    assert sorted(set(named) & set(BY_NAME)) == sorted(failing)
    (read,) = json.loads(json_of([report]))["reports"]
    assert Counter(line["verdict"] for line in read["lines"]) == expected
    assert [line["artifact"] for line in read["lines"] if line["level"] == "failure"] == failing
