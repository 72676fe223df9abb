"""What goes wrong on the way to GitHub's API, in one line."""

import pytest

from matrix_capture.errors import MatrixError
from matrix_operate.errors import OutageError
from matrix_operate.github import account, asking, connect, repository_name, sha
from tests.operate.github_server import BOT, Failure, State, hub

__all__ = ["hub"]


def listed() -> list[int]:
    with asking():
        issues = connect().get_repo("us/matrix").get_issues(state="all")
        return [issue.number for issue in issues]


def test_all_pages_are_read(hub: State) -> None:
    for number in range(250):
        hub.issue(f"{number}", "")
    assert len(set(listed())) == 250
    assert len(hub.log) == 3


@pytest.mark.parametrize("failure", ["502", "short rate limit"])
def test_what_only_reads_is_tried_again(hub: State, failure: Failure) -> None:
    hub.failures = [("GET", "issues", failure)] * 2
    assert listed() == []
    assert hub.failures == []


def test_what_makes_something_is_not_tried_again(hub: State) -> None:
    hub.failures = [("POST", "issues", "lost")]
    with pytest.raises(OutageError, match="out of reach"), asking():
        connect().get_repo("us/matrix").create_issue("title", body="")
    assert len(hub.writes) == 1
    assert [issue["title"] for issue in hub.issues] == ["title"]


@pytest.mark.parametrize(
    ("failure", "times", "error", "told"),
    [
        ("502", 9, OutageError, "out of reach"),
        ("429", 1, OutageError, "GitHub fails"),
        ("rate limit", 1, OutageError, "rate limit"),
        ("lost", 9, OutageError, "out of reach"),
        ("403", 1, MatrixError, "may the token do that?"),
    ],
)
def test_what_stays_wrong_is_one_line(
    hub: State, failure: Failure, times: int, error: type[MatrixError], told: str
) -> None:
    hub.failures = [("GET", "issues", failure)] * times
    with pytest.raises(MatrixError, match=told) as raised:
        listed()
    assert type(raised.value) is error
    assert "\n" not in str(raised.value)


def test_nobody_at_the_address(monkeypatch: pytest.MonkeyPatch, hub: State) -> None:
    monkeypatch.setenv("GITHUB_API_URL", "http://127.0.0.1:1")
    with pytest.raises(OutageError, match="out of reach"):
        listed()


def test_the_account_of_a_token(hub: State, monkeypatch: pytest.MonkeyPatch) -> None:
    assert account(connect()) == BOT
    monkeypatch.setenv("GITHUB_TOKEN", "stolen")
    with pytest.raises(MatrixError, match="401"), asking():
        account(connect())


def test_what_the_environment_lacks(hub: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_TOKEN")
    with pytest.raises(MatrixError, match="GITHUB_TOKEN is not set"):
        connect()
    with asking():
        found = connect(anonymous=True).get_repo("us/matrix").get_issues()
        assert list(found) == []
    monkeypatch.setenv("GITHUB_API_URL", "file:///etc")
    with pytest.raises(MatrixError, match="no address"):
        connect(anonymous=True)


@pytest.mark.parametrize(
    "name", ["", "us", "us/", "/us", "us/a/b", "us/../them", "../..", "us/a b", "us/a\n", "us/a?x"]
)
def test_what_is_no_repository(name: str) -> None:
    with pytest.raises(MatrixError, match="OWNER/NAME"):
        repository_name(name)
    assert repository_name("stanford-futuredata/ColBERT") == "stanford-futuredata/ColBERT"


@pytest.mark.parametrize("text", ["", "a" * 39, "a" * 41, "A" * 40, "g" * 40, "a" * 40 + "\n"])
def test_what_is_no_commit(text: str) -> None:
    with pytest.raises(OutageError, match="for a commit"):
        sha(text)
    assert sha("0" * 40) == "0" * 40
