"""What issues say: of a boundary, of a release, and of what has gone."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from matrix_compare.report import Report
from matrix_operate.alarm import boundary_entry, gone, release_entry, title
from matrix_operate.boundary import Boundary, Sighting
from tests.compare.reports import BRIEF, EVIL, SETTINGS, hostile, report_of, reports, verdict_row
from tests.compare.test_markdown import tables
from tests.operate.rendered import check, links

SITE = "https://matrix.example/"
PAIR: Any = {"lane": "cpu-pinned", "a": "2.7.1", "b": "2.8.0"}
ROWS = [
    verdict_row("probe_normalize", "close", role="origin"),
    verdict_row("embs", "differs", role="propagated"),
    verdict_row("normalized", "differs", role="origin"),
    verdict_row("index_codes", "identical", role="absorbed"),
    verdict_row("ranked_pids", "missing", reason="not in 2.8.0"),
    verdict_row("weights", "identical"),
]


def boundary(
    report: Report | None = None, starts: Sequence[str] = ("normalized",), **changes: Any
) -> Boundary:
    found = {"report": report or report_of(ROWS), "confirmed": True, **PAIR}
    return Boundary(starts=tuple(starts), **found | changes)


def text_of(found: Boundary) -> str:
    return boundary_entry(found, SETTINGS, SITE).text


def test_the_body_of_a_boundary() -> None:
    text = text_of(boundary())
    page = check(text)
    assert "(CPU, everything but torch pinned)" in text
    assert links(page) == [f"{SITE}pair/2.7.1...2.8.0/index.html"]
    assert "nox -s compare -- 2.7.1 2.8.0 --lane cpu-pinned\nnox -s explain -- 2.7.1" in text
    changed, environment = tables(page)
    assert [row[:2] for row in changed[1:]] == [
        ["origin", "normalized"],
        ["origin", "probe_normalize"],
        ["propagated", "embs"],
        ["", "ranked_pids"],
    ]
    assert "2 of 6 rows are identical, 1 of them although something they are made from" in text
    assert "- ? missing: `not in 2.8.0` (`ranked_pids`)" in text
    assert environment[1:] == [["packages", "torch", "2.7.1", "2.8.0"]]
    assert text == text_of(boundary())


def test_another_lane_has_its_pages_in_a_folder() -> None:
    (link,) = links(check(text_of(boundary(lane="cuda-pinned"))))
    assert link == f"{SITE}cuda-pinned/pair/2.7.1...2.8.0/index.html"


@BRIEF
@given(reports(), st.lists(hostile, max_size=3))
def test_nothing_breaks_out_of_a_body(report: Report, starts: list[str]) -> None:
    found = boundary(report, starts)
    text = text_of(found)
    check(text)
    assert len(text) < 65_536


@given(st.lists(hostile | st.text(), max_size=5))
def test_nothing_comes_of_a_title(starts: list[str]) -> None:
    found = title(boundary(starts=starts))
    assert found.isprintable()
    assert len(found) <= 200
    assert not set(found) & set("@#<>[]`*/\\:&$!~") - {":"}


def test_each_evil_string_is_in_a_cell() -> None:
    for evil in filter(str.strip, EVIL):
        found = report_of([verdict_row(evil, "differs", reason=evil, largest_at=evil, max_abs=1.0)])
        assert len(tables(check(text_of(boundary(found))))[0][1]) == 6


def test_a_long_body_keeps_what_comes_first() -> None:
    wide = [
        verdict_row(f"{n}" + "\N{SNOWMAN}" * 400, "differs", reason=f"{n}" + "\N{SNOWMAN}" * 400)
        for n in range(300)
    ]
    text = text_of(boundary(report_of(wide)))
    assert len(text.encode()) < 65_536
    assert text.index("**▲ alert**") < text.index("nox -s explain") < text.index("Left out here")
    check(text)


def test_a_release_says_which_line_is_missing() -> None:
    lacking = replace(SETTINGS, releases=(*SETTINGS.releases, "2.99.0", "3.0.0"))
    entry = release_entry("3.0.0", lacking)
    check(entry.text)
    assert entry.title == "Add torch 3.0.0 to matrix.toml"
    assert 'behind `"2.99.0",`' in entry.text
    assert '\n```toml\n  "3.0.0",\n```\n' in entry.text
    first = replace(SETTINGS, releases=("1.0.0", *SETTINGS.releases))
    assert "at their beginning" in release_entry("1.0.0", first).text
    assert entry.fingerprint != release_entry("2.99.0", lacking).fingerprint


SEEN = boundary()
SUBJECT = "cpu-pinned 2.7.1...2.8.0"


@pytest.mark.parametrize(
    ("sightings", "told"),
    [
        ([Sighting(**PAIR, boundary=SEEN)], ""),
        ([Sighting(**PAIR)], "a pass by now"),
        ([Sighting(**PAIR, unknown="not comparable")], ""),
        ([Sighting(**PAIR, outdated=True)], "too old"),
        (
            [Sighting(**PAIR, boundary=boundary(starts=["e|@x"]))],
            r"starts elsewhere now: `e\x7c@x`",
        ),
        ([Sighting(lane="cpu-pinned", a="2.7.1", b="2.7.2")], "another release lies between"),
        ([Sighting(lane="cpu-pinned", a="2.7.2", b="2.8.0")], "another release lies between"),
        ([Sighting(lane="cpu-pinned", a="2.7.1", b="2.7.2", unknown="unreadable")], ""),
        ([Sighting(lane="cpu-pinned", a="2.5.0", b="2.5.1")], ""),
        ([], ""),
    ],
)
def test_what_has_gone_and_what_nobody_knows(sightings: list[Sighting], told: str) -> None:
    found = gone(SUBJECT, SEEN.fingerprint, {"cpu-pinned": sightings})
    assert told in found
    assert bool(told) == bool(found)


def test_a_lane_that_nobody_looked_at_closes_nothing() -> None:
    passed = Sighting(lane="cuda-pinned", a="2.7.1", b="2.8.0")
    assert gone(SUBJECT, SEEN.fingerprint, {"cuda-pinned": [passed]}) == ""
    assert gone("cpu-pinned", SEEN.fingerprint, {"cpu-pinned": [Sighting(**PAIR)]}) == ""
