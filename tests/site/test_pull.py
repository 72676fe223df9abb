"""What the page of a pull request says, and that nothing else counts it."""

from pathlib import Path
from typing import Any

import html5lib
import pytest

from matrix_capture.settings import Settings
from matrix_compare.check import (
    SCHEMA_VERSION,
    Check,
    Checked,
    CheckLine,
    Side,
    check_path,
    write_check,
)
from matrix_compare.policy import Level
from matrix_compare.schema import Verdict
from matrix_site.page import Page
from matrix_site.publish import publish
from matrix_site.pull import pull_pages
from matrix_site.snapshot import read_snapshot

SHA = "0123456789abcdef" * 2 + "01234567"
PLACE = f"pr/402/{SHA}/index.html"


def line(artifact: str, verdict: Verdict = Verdict.DIFFERS, **changes: Any) -> CheckLine:
    return CheckLine(**{"artifact": artifact, "verdict": verdict, "level": Level.ALERT} | changes)


def side(**changes: Any) -> Side:
    facts: dict[str, Any] = {
        "colbert": "0.2.22",
        "stopped": "",
        "seconds": {"index": 50.0, "search": 5.0},
        "index_bytes": 1000,
    }
    return Side(**facts | changes)


def checked(*lines: CheckLine, **changes: Any) -> Checked:
    counts = {verdict: sum(one.verdict is verdict for one in lines) for verdict in Verdict}
    facts: dict[str, Any] = {
        "torch": "2.8.0",
        "level": Level.ALERT if lines else Level.PASS,
        "sentence": "",
        "counts": counts | {Verdict.IDENTICAL: 180},
        "starts": tuple(one.artifact for one in lines if one.role == "origin"),
        "lines": lines,
        "doubts": (),
        "base": side(),
        "head": side(),
    }
    return Checked(**facts | changes)


def check(*releases: Checked, **changes: Any) -> Check:
    facts: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "lane": "cpu-pinned",
        "number": 402,
        "sha": SHA,
        "started": "2026-05-04T03:02:01+00:00",
        "level": releases[0].level,
        "releases": releases,
    }
    return Check(**facts | changes)


@pytest.fixture
def shown(tmp_path: Path, settings: Settings) -> Any:
    def shown(one: Check) -> Page:
        write_check(tmp_path, one)
        (page,) = pull_pages(read_snapshot(tmp_path, settings))
        return page

    return shown


def test_a_commit_that_changes_nothing_is_told_so(shown: Any) -> None:
    page = shown(check(checked()))
    assert page.path == PLACE
    assert not page.listed
    pull = page.view["pull"]
    assert pull.sentence == "Every artifact is identical to the base's, under 1 torch release."
    (release,) = pull.releases
    assert release.told == (
        "The finished index: identical, bit by bit.",
        "What queries find: identical, bit by bit.",
        "Trained weights: identical, bit by bit.",
    )
    assert release.counts.total == 180


def test_what_changes_is_counted_and_the_worst_comes_first(shown: Any) -> None:
    lines = (
        line("D", Verdict.CLOSE),
        line("index_codes", level=Level.FAILURE, role="origin"),
        line("embs"),
    )
    pull = shown(check(checked(*lines), checked(torch="2.7.1"))).view["pull"]
    assert pull.sentence == "Artifacts differ from the base's under 1 of 2 torch releases."
    first, second = pull.releases
    assert [one.artifact for one in first.lines] == ["index_codes", "embs", "D"]
    assert first.starts == ("index_codes",)
    assert first.counts.total == 183
    assert not second.lines


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([line("ranked_pids"), line("ranked_scores")], "What queries find: not the same in 2"),
        ([line("ranked_scores", Verdict.CLOSE)], "the same order; scores are close."),
        ([line("ranked_pids", Verdict.FAILED)], "What queries find: not compared."),
        ([line("ranked_pids", Verdict.MISSING)], "What queries find: not compared."),
        ([line("embs")], "What queries find: identical, bit by bit."),
        ([line("index_codes")], "The finished index: not the same in 1 tensor."),
        ([line("trained_weights", Verdict.NOT_RUN)], "Trained weights: not compared."),
    ],
)
def test_what_is_left_at_the_end_is_told_as_far_as_it_was_compared(
    lines: list[CheckLine], told: str, shown: Any
) -> None:
    (release,) = shown(check(checked(*lines))).view["pull"].releases
    assert told in " ".join(release.told)


def test_where_nothing_is_identical_nothing_is_said_to_be(shown: Any) -> None:
    lines = (line("D", Verdict.FAILED),)
    counts = {Verdict.FAILED: 1}
    (release,) = shown(check(checked(*lines, counts=counts))).view["pull"].releases
    assert set(release.told) == {
        "The finished index: not compared.",
        "What queries find: not compared.",
        "Trained weights: not compared.",
    }


def test_size_and_speed_stand_beside_each_other(shown: Any) -> None:
    head = side(colbert="0.2.23", seconds={"index": 75.0, "train": 3.0}, index_bytes=900)
    (release,) = shown(check(checked(head=head))).view["pull"].releases
    assert [(row.name, row.change) for row in release.measures] == [
        ("colbert-ai", ""),
        ("outcome", ""),
        ("index, bytes", "-10%"),
        ("index", "+50%"),
    ]


def test_the_distance_between_names_is_not_shown(shown: Any) -> None:
    lines = (line("ranked_pids", max_abs=270.0), line("embs", max_abs=1e-3))
    (release,) = shown(check(checked(*lines))).view["pull"].releases
    assert {one.artifact: one.largest for one in release.lines} == {
        "ranked_pids": "",
        "embs": "1.0e-03",
    }


def test_no_other_page_knows_of_a_check(
    tmp_path: Path, settings: Settings, write_lane: Any
) -> None:
    write_lane(tmp_path / "data", releases=("2.7.1", "2.8.0"), failed=())
    publish(read_snapshot(tmp_path / "data", settings), tmp_path / "without")
    write_check(tmp_path / "data", check(checked(line("embs"))))
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
    hostile = line(text, part=text, scope=text, reason=text, role=text, largest_at=text)
    many = tuple(line(f"a{number}") for number in range(1000))
    release = checked(
        hostile,
        *many,
        torch=text,
        starts=(text,) * 100,
        doubts=(text,),
        base=side(colbert=text, stopped=text),
    )
    write_check(tmp_path, check(release, lane=text, started=text))
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
