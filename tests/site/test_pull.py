"""What the page of a pull request says, and that nothing else counts it."""

from pathlib import Path
from typing import Any

import html5lib
import pytest

from matrix_capture.settings import Settings
from matrix_compare.check import Check, check_path, write_check
from matrix_compare.policy import Level
from matrix_compare.schema import Verdict
from matrix_site.page import Page
from matrix_site.publish import publish
from matrix_site.pull import pull_pages
from matrix_site.snapshot import read_snapshot
from tests.compare.checks import SHA, check_line, check_of, checked, ranked, side

PLACE = f"pr/402/{SHA}/index.html"


@pytest.fixture
def shown(tmp_path: Path, settings: Settings) -> Any:
    def shown(one: Check) -> Page:
        write_check(tmp_path, one)
        (page,) = pull_pages(read_snapshot(tmp_path, settings))
        return page

    return shown


def test_a_commit_that_changes_nothing_is_told_so(shown: Any) -> None:
    page = shown(check_of(checked()))
    assert page.path == PLACE
    assert not page.listed
    pull = page.view["pull"]
    assert pull.sentence == "changes nothing, with torch 2.8.0"
    (release,) = pull.releases
    assert release.told == (
        "changes nothing",
        "artifacts: 180 identical",
        "index: identical, bit by bit; 1,000 bytes, as before",
        "rankings: identical, bit by bit",
        "trained weights: identical, bit by bit",
        "indexing took 1.00 times as long on the clock, which says little without two runs of each",
    )
    assert release.counts.total == 180


def test_what_changes_is_counted_and_the_worst_comes_first(shown: Any) -> None:
    lines = (
        check_line("D", Verdict.CLOSE),
        check_line("index_codes", level=Level.FAILURE, role="origin"),
        check_line("embs"),
    )
    pull = shown(check_of(checked(*lines), checked(torch="2.7.1"))).view["pull"]
    assert pull.sentence == (
        "changes the index; rankings and trained weights stay the same bit by bit, with torch "
        "2.8.0; changes nothing, with torch 2.7.1"
    )
    first, second = pull.releases
    assert [one.artifact for one in first.lines] == ["index_codes", "embs", "D"]
    assert first.counts.total == 183
    assert not second.lines


def test_what_becomes_of_rankings_is_told(shown: Any) -> None:
    found = ranked(changed=12, first=3, changed_top=5)
    (release,) = (
        shown(check_of(checked(check_line("ranked_pids"), ranked=found))).view["pull"].releases
    )
    assert "rankings: 12 of 428 queries have other results, from rank 3 on" in " ".join(
        release.told
    )


def test_where_nothing_is_identical_nothing_is_said_to_be(shown: Any) -> None:
    lines = (check_line("D", Verdict.FAILED),)
    counts = {Verdict.FAILED: 1}
    (release,) = shown(check_of(checked(*lines, counts=counts))).view["pull"].releases
    assert {"rankings: not compared", "trained weights: not compared"} <= set(release.told)
    assert "identical" not in " ".join(release.told)


def test_size_and_speed_stand_beside_each_other(shown: Any) -> None:
    head = side(colbert="0.2.23", seconds={"index": 75.0, "train": 3.0}, index_bytes=900)
    (release,) = shown(check_of(checked(head=head))).view["pull"].releases
    assert [(row.name, row.change) for row in release.measures] == [
        ("colbert-ai", ""),
        ("outcome", ""),
        ("index, bytes", "-10%"),
        ("index", "+50%"),
    ]


def test_the_distance_between_names_is_not_shown(shown: Any) -> None:
    lines = (check_line("ranked_pids", max_abs=270.0), check_line("embs", max_abs=1e-3))
    (release,) = shown(check_of(checked(*lines))).view["pull"].releases
    assert {one.artifact: one.largest for one in release.lines} == {
        "ranked_pids": "",
        "embs": "1.0e-03",
    }


def test_no_other_page_knows_of_a_check(
    tmp_path: Path, settings: Settings, write_lane: Any
) -> None:
    write_lane(tmp_path / "data", releases=("2.7.1", "2.8.0"), failed=())
    publish(read_snapshot(tmp_path / "data", settings), tmp_path / "without")
    write_check(tmp_path / "data", check_of(checked(check_line("embs"))))
    publish(read_snapshot(tmp_path / "data", settings), tmp_path / "with")
    before = {p.relative_to(tmp_path / "without") for p in (tmp_path / "without").rglob("*")}
    after = {p.relative_to(tmp_path / "with") for p in (tmp_path / "with").rglob("*")}
    added = {path.as_posix() for path in after - before if path.suffix}
    assert added == {PLACE, f"api/v1/pr/402/{SHA}.json"}
    for path in before:
        if (tmp_path / "with" / path).is_file():
            content = (tmp_path / "with" / path).read_bytes()
            assert content == (tmp_path / "without" / path).read_bytes(), path


def test_hostile_words_stay_words_and_claims_are_capped(tmp_path: Path, settings: Settings) -> None:
    text = "<script>alert(1)</script>\u202e\"' {{ 7 * 7 }} ../" + "x" * 10_000
    hostile = check_line(text, part=text, scope=text, reason=text, role=text, largest_at=text)
    many = tuple(check_line(f"a{number}") for number in range(1000))
    release = checked(
        hostile,
        *many,
        torch=text,
        starts=(text,) * 100,
        doubts=(text,),
        base=side(colbert=text, stopped=text),
    )
    write_check(tmp_path, check_of(release, lane=text, started=text))
    publish(read_snapshot(tmp_path, settings), tmp_path / "out")
    html = (tmp_path / "out" / PLACE).read_text("utf-8")
    tree = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(html)
    assert [script.attrib["src"] for script in tree.iter("script")] == ["../../../static/site.js"]
    assert "\u202e" not in html
    assert "x" * 700 not in html
    assert "801 more are not shown" in html
    assert len(html) < 1_000_000


def test_an_unreadable_check_is_one_problem_and_leaves_the_rest(
    tmp_path: Path, settings: Settings, write_lane: Any
) -> None:
    write_lane(tmp_path, releases=("2.7.1", "2.8.0"), failed=())
    path = check_path(tmp_path, 7, SHA)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"{}")
    snapshot = read_snapshot(tmp_path, settings)
    assert snapshot.checks == ()
    assert len(snapshot.problems) == 1
    assert snapshot.lanes[0].pairs
