import re
from xml.etree import ElementTree as ET

import html5lib
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from matrix_capture.schema import Observer
from matrix_compare.cascade import Cascade
from matrix_compare.markdown import markdown
from matrix_compare.report import Report, grouped
from matrix_compare.schema import Verdict
from tests.compare.reports import BRIEF, EVIL, flips, report_of, reports, verdict_row

RENDER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])

ALLOWED = {
    *("html", "head", "body", "p", "strong", "code", "ul", "li", "details", "summary"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}


def rendered(text: str) -> ET.Element:
    """The page that the text becomes, comments and foreign names included."""
    page: ET.Element = html5lib.parse(RENDER.render(text), namespaceHTMLElements=False)
    return page


def outside_code(element: ET.Element) -> str:
    """All text but that of code spans, which nothing looks into for links and mentions."""
    inner = "" if element.tag == "code" else element.text or ""
    return inner + "".join(outside_code(child) + (child.tail or "") for child in element)


def tables(page: ET.Element) -> list[list[list[str]]]:
    return [
        [["".join(cell.itertext()) for cell in row] for row in table.iter("tr")]
        for table in page.iter("table")
    ]


def test_the_sentence_comes_first_and_what_is_identical_is_a_count() -> None:
    found = [
        verdict_row("embs", "close", profiles=["bitsandbytes"], max_abs=0.5, role="origin"),
        verdict_row("index_codes", "differs", reason="outside every profile", largest_at="x"),
        *(verdict_row("weights", part=f"w{n}") for n in range(3)),
    ]
    text = markdown([report_of(found)])
    assert text.splitlines()[0] == (
        "**✗ failure** in `2.7.1...2.8.0`: 3 identical, 1 close, 1 differs; starts at `embs`"
    )
    assert "- ✗ failure: 1 row (`index_codes`)\n- ▲ alert: 1 row (`embs`)\n" in text
    (differing, environment) = tables(rendered(text))
    assert [row[:4] for row in differing[1:]] == [
        ["✗ failure", "index_codes", "", "≠ differs"],
        ["▲ alert", "embs", "", "≈ close"],
    ]
    assert differing[2][4:] == ["bitsandbytes", "0.5", "", "a difference starts here"]
    assert "3 of 5 rows identical, not shown." in text
    assert "- ≠ differs: `outside every profile` (`index_codes`)" in text
    assert environment[1:] == [["packages", "torch", "2.7.1", "2.8.0"]]
    assert "<summary>Environment: 1 difference</summary>" in text


def test_a_pass_is_short() -> None:
    text = markdown([report_of([verdict_row("index_codes")], b="2.7.1")])
    assert text == (
        "**✓ pass** in `2.7.1...2.7.1`: 1 identical\n\n1 of 1 rows identical, not shown.\n"
    )


def test_several_pairs_begin_with_the_worst() -> None:
    good, bad = (report_of([verdict_row("index_codes", v)]) for v in ("identical", "missing"))
    assert markdown([good, bad, good]).startswith("**✗ failure**: 3 pairs, 2 pass, 1 failure\n\n")
    assert markdown([good, good]).startswith("**✓ pass**: 2 pairs, 2 pass\n\n")
    assert markdown([]) == "**✗ failure**: no pair was compared\n"


def test_doubts_and_the_cascade_are_told() -> None:
    observer = Observer(identical=False, tensors=9, differing=("a|b",))
    cascade = Cascade(a="a", b="b", codes=flips(3), buckets="x|y", memberships="none")
    text = markdown([report_of([verdict_row()], observer=observer, cascade=cascade)])
    assert r"- ! `torch 2.8.0: watching changes the index (a\x7cb)`" in text
    assert "| `codes` | `3 of 12,000 changed (3 predicted, 3 are both); " in text
    assert r"| `buckets` | `x\x7cy` |" in text


def test_counts_are_those_of_the_report() -> None:
    found = [
        verdict_row("weights", verdict.value, part=f"w{n}")
        for verdict in Verdict
        for n in range(list(Verdict).index(verdict) + 1)
    ]
    report = report_of(found)
    page = rendered(markdown([report]))
    shown = {
        row[3].partition(" ")[2].replace(" ", "_"): int((re.findall(r"x(\d+)$", row[1]) or [1])[0])
        for row in tables(page)[0][1:]
    }
    expected = {v.value: n for v, n in report.summary.counts.items() if v != Verdict.IDENTICAL}
    assert shown == expected
    assert f"{report.summary.counts[Verdict.IDENTICAL]} of {len(found)} rows identical" in (
        outside_code(page)
    )


@BRIEF
@given(st.lists(reports(), max_size=2))
def test_nothing_breaks_out(several: list[Report]) -> None:
    text = markdown(several)
    assert text == markdown(several)
    assert all(letter.isprintable() or letter == "\n" for letter in text)
    page = rendered(text)
    assert {element.tag for element in page.iter()} <= ALLOWED
    assert not any(element.attrib for element in page.iter())
    # What we say ourselves has no letter that could begin a mention, a link or markup.
    assert re.fullmatch(r"[\w\s.,:;()/%!?✗▲✓=⇄≈≠~⊘\u2013+-]*", outside_code(page))
    assert not re.search(r"https?:|www\.|\\", outside_code(page))
    for table in page.iter("table"):
        width = len(table.findall("./thead/tr/th"))
        assert {len(row) for row in table.iter("tr")} == {width}
    differing = sum(
        g.first.verdict is not Verdict.IDENTICAL for r in several for g in grouped(r.lines)
    )
    policies = [table for table in tables(page) if table[0][0] == "policy"]
    assert sum(len(table) - 1 for table in policies) == differing


def test_each_evil_string_is_shown_in_one_cell() -> None:
    for evil in filter(str.strip, EVIL):
        found = verdict_row(evil, "differs", reason=evil, largest_at=evil, max_abs=1.0)
        page = rendered(markdown([report_of([found], packages={"torch": "2.7.1", evil: evil})]))
        cells = tables(page)[0][1]
        assert len(cells) == 8
        assert cells[1], evil
        assert cells[7].startswith("largest at ")


def test_the_text_fits_a_comment() -> None:
    """GitHub refuses what is longer; whatever is left out is counted."""
    wide = [verdict_row(f"{n}" + "\N{SNOWMAN}" * 400, "differs", reason=f"{n}") for n in range(300)]
    text = markdown([report_of(wide)] * 40)
    assert len(text.encode()) < 65_536
    assert text.startswith("**▲ alert**: 40 pairs, 40 alert\n")
    assert "too long to be shown here" in text
    assert text.count("300 differ") + int((re.findall(r"(\d+) more pairs", text) or [0])[0]) == 40
    # Near miss: one of them, with short names, is shown in full but for rows beyond the table.
    short = markdown([report_of([verdict_row(f"a{n}", "differs") for n in range(300)])])
    assert "240 more lines are not shown" in short
    assert "too long" not in short
