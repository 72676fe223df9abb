"""One issue lists the pull requests that wait, and nothing of them is fetched."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_compare.check import check_path, write_check
from matrix_operate.__main__ import main
from matrix_operate.poll import waiting
from tests.compare.checks import check_line, check_of, checked
from tests.compare.reports import BRIEF, hostile
from tests.compare.test_markdown import tables
from tests.operate.github_server import State, hub, pull_of
from tests.operate.rendered import check, links

__all__ = ["hub"]

WATCHED = "them/ColBERT"
SHA = "0123456789" * 4
Poll = Callable[..., str]


@pytest.fixture
def poll(capsys: pytest.CaptureFixture[str]) -> Poll:
    """Runs the command; returns what it prints."""

    def poll(*more: str, status: int = 0) -> str:
        words = ["poll", "--watched", WATCHED, "--repository", "us/matrix", *more]
        assert main(words) == status
        found = capsys.readouterr()
        return found.err if status else found.out

    return poll


def listed(hub: State) -> list[list[str]]:
    (table,) = tables(check(hub.issues[0]["body"]))
    return table[1:]


def test_open_pull_requests_are_listed_and_nothing_is_fetched(hub: State, poll: Poll) -> None:
    hub.pulls[WATCHED] = [pull_of(n, f"{n:040x}", title=f"Change {n}") for n in range(1, 4)]
    hub.pulls[WATCHED][1]["state"] = "closed"
    assert poll() == "opened #1: Pull requests of them/ColBERT that wait to be checked\n"
    body = hub.issues[0]["body"]
    assert listed(hub) == [
        [f"{n}", f"Change {n}", "somebody", f"{n:040x}", "2026-11-20", ""] for n in (3, 1)
    ]
    assert links(check(body)) == [
        "https://redirect.github.com/them/ColBERT/pull/3/files",
        "https://redirect.github.com/them/ColBERT/pull/1/files",
        "https://github.com/us/matrix/actions/workflows/pr.yml",
    ]
    assert f"gh workflow run pr.yml --repo us/matrix -f pr=3 -f sha={3:040x}\n" in body
    asked = {path.partition("?")[0] for method, path in hub.log if method == "GET"}
    assert asked == {f"/repos/{WATCHED}/pulls", "/repos/us/matrix/issues"}


def test_edited_when_something_changed_and_only_then(hub: State, poll: Poll) -> None:
    hub.pulls[WATCHED] = [pull_of(402, SHA)]
    poll()
    before = len(hub.writes)
    assert poll() == "nothing has changed\n"
    assert len(hub.writes) == before
    hub.pulls[WATCHED] = [pull_of(402, "f" * 40)]
    assert poll().startswith("edited #1")
    assert SHA not in hub.issues[0]["body"]
    hub.pulls[WATCHED] = []
    poll()
    assert f"No pull request of `{WATCHED}` is open." in hub.issues[0]["body"]
    assert hub.issues[0]["state"] == "open"
    assert (len(hub.issues), hub.said(1)) == (1, [])


def test_what_was_checked_is_marked(hub: State, poll: Poll, tmp_path: Path) -> None:
    hub.pulls[WATCHED] = [pull_of(n, f"{n:040x}") for n in (1, 2, 3)]
    for number, sha in ((1, f"{1:040x}"), (2, f"{9:040x}")):
        found = check_of(checked(check_line("embs")), number=number, sha=sha)
        write_check(tmp_path, found)
    damaged = check_path(tmp_path, 3, f"{3:040x}")
    damaged.parent.mkdir(parents=True)
    damaged.write_text("{", encoding="utf-8")
    poll("--data", str(tmp_path))
    assert [row[-1] for row in listed(hub)] == [
        "done, but cannot be read",
        "waits",
        "done: ▲ alert",
    ]


def test_hundreds_are_read_and_some_are_shown(hub: State, poll: Poll) -> None:
    hub.pulls[WATCHED] = [pull_of(n, f"{n:040x}", title="x" * 240) for n in range(1, 251)]
    poll()
    rows = listed(hub)
    assert [row[0] for row in rows[:2]] == ["250", "249"]
    assert "190 more lines are not shown" in hub.issues[0]["body"]


def test_an_author_who_is_gone(hub: State, poll: Poll) -> None:
    hub.pulls[WATCHED] = [pull_of(402, SHA, user=None)]
    poll()
    assert listed(hub)[0][2] == "ghost"


@pytest.mark.parametrize("sha", ["", "main", "$(id)", "f" * 40 + "\nrun"])
def test_a_head_that_is_no_commit_is_an_outage(hub: State, poll: Poll, sha: str) -> None:
    hub.pulls[WATCHED] = [pull_of(402, sha)]
    assert "for a commit" in poll(status=75)
    assert hub.writes == []


@BRIEF
@given(st.lists(st.tuples(hostile, hostile), max_size=4))
def test_nothing_breaks_out(found: list[tuple[str, str]]) -> None:
    pulls: list[Any] = [Pulled(n, *text) for n, text in enumerate(found, start=1)]
    page = check(waiting(pulls, WATCHED, "us/matrix", None).text)
    if found:
        assert all(len(row) == 6 for row in tables(page)[0])


class Pulled:
    """As much of a pull request as is looked at."""

    def __init__(self, number: int, title: str, author: str) -> None:
        self.number, self.title, self.updated_at = number, title, None
        self.user = type("User", (), {"login": author})()
        self.head = type("Head", (), {"sha": SHA})()


def test_a_dry_run_writes_nothing(hub: State, poll: Poll) -> None:
    hub.pulls[WATCHED] = [pull_of(402, SHA)]
    told = poll("--dry-run")
    assert SHA in told
    assert told.endswith("that wait to be checked\n")
    assert hub.writes == []


def test_bad_input(hub: State, poll: Poll, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "OWNER/NAME" in poll("--watched", "them", status=2)
    monkeypatch.delenv("GITHUB_TOKEN")
    assert "GITHUB_TOKEN is not set" in poll(status=2)
    assert hub.log == []
