import re

from hypothesis import given

from matrix_compare.check import Check
from matrix_compare.check_markdown import check_markdown
from matrix_compare.policy import Level
from tests.compare.checks import check_line, check_of, checked, checks, side
from tests.compare.reports import BRIEF, EVIL
from tests.compare.test_markdown import ALLOWED, outside_code, rendered

HEADED = {*ALLOWED, "h3"}


def test_the_answer_comes_first_and_the_rest_is_folded() -> None:
    release = checked(
        check_line("index_codes", level=Level.FAILURE, role="origin", max_abs=2.0, reason="why"),
        check_line("embs"),
        level=Level.FAILURE,
        doubts=("numpy moved",),
        head=side(colbert="0.2.23"),
    )
    text = check_markdown(check_of(release))
    assert text.startswith("**✗ failure**: changes the index; rankings and trained weights stay")
    assert "### torch `2.8.0`: ✗ failure\n\nbase `0.2.22`, head `0.2.23`: changes the" in text
    assert "- artifacts: 180 identical, 2 differ; starts at `index_codes`\n" in text
    assert "\n- ! `numpy moved`\n" in text
    page = rendered(text)
    folded = ["".join(found.itertext()) for found in page.iter("summary")]
    assert folded == [
        "2 not identical, the worst first",
        "Seconds of each stage, in two runs of each",
    ]
    row = next(page.iter("tbody"))[0]
    cells = ["".join(cell.itertext()) for cell in row]
    assert cells == ["✗ failure", "index_codes", "nothing", "≠ differs", "origin", "2", "why"]


def test_one_screen_stands_before_what_is_folded() -> None:
    text = check_markdown(check_of(checked(check_line("embs")), checked(torch="2.9.0")))
    unfolded = re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL)
    assert len(unfolded.split("\n")) < 40


def test_each_evil_string_stays_in_its_cell() -> None:
    for evil in filter(str.strip, EVIL):
        found = check_line(evil, part=evil, role=evil, reason=evil)
        page = rendered(check_markdown(check_of(checked(found, torch=evil, starts=(evil,)))))
        (row, *more) = next(page.iter("tbody"))
        assert (len(row), more) == (7, []), evil
        assert {element.tag for element in page.iter()} <= HEADED


def test_what_does_not_fit_is_counted() -> None:
    lines = [check_line(f"a{n}" + "\N{SNOWMAN}" * 300, reason="r" * 300) for n in range(300)]
    text = check_markdown(check_of(*[checked(*lines, doubts=("d" * 500,) * 9)] * 60))
    assert len(text.encode()) < 60_000
    assert "too long to be shown here" in text
    assert text.count("### torch") + int(re.findall(r"(\d+) more releases", text)[0]) == 60
    # Near miss: one with short names is shown in full but for rows beyond the table.
    short = check_markdown(check_of(checked(*(check_line(f"a{n}") for n in range(300)))))
    assert "240 more lines are not shown" in short
    assert "too long" not in short


@BRIEF
@given(checks)
def test_nothing_breaks_out(check: Check) -> None:
    text = check_markdown(check)
    assert len(text) < 65_535
    assert all(letter.isprintable() or letter == "\n" for letter in text)
    page = rendered(text)
    assert {element.tag for element in page.iter()} <= HEADED
    assert not any(element.attrib for element in page.iter())
    # What we say ourselves has no letter that could begin a mention, a link or markup.
    assert re.fullmatch(r"[\w\s.,:;()/%!?✗▲✓=⇄≈≠~⊘→\u2013+-]*", outside_code(page))
    assert not re.search(r"https?:|www\.|\\", outside_code(page))
    for table in page.iter("table"):
        width = len(table.findall("./thead/tr/th"))
        assert {len(row) for row in table.iter("tr")} == {width}
