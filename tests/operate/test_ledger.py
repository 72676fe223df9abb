"""Our issues in a repository: one for each thing, whatever happens on the way."""

import threading
from typing import Any

import pytest

from matrix_capture.errors import MatrixError
from matrix_operate.errors import OutageError
from matrix_operate.github import asking, connect
from matrix_operate.ledger import MOST_NEW, Entry, Ledger
from tests.operate.github_server import BOT, State, hub

__all__ = ["hub"]


def entry(number: int = 1, **changes: Any) -> Entry:
    found: dict[str, Any] = {
        "kind": "boundary",
        "fingerprint": f"{number:032x}",
        "subject": "cpu-pinned 2.7.1...2.8.0",
        "state": "alert",
        "title": f"Number {number}",
        "sections": ["What is so.\n"],
    }
    return Entry(**found | changes)


def ledger(*, dry_run: bool = False) -> Ledger:
    with asking():
        return Ledger(connect(), "us/matrix", dry_run=dry_run)


def keep(*entries: Entry) -> list[str]:
    with asking():
        held = ledger()
        for one in entries:
            held.keep(one)
        held.settle()
        return held.told


def close(why: str = "It has gone.") -> list[str]:
    with asking():
        held = ledger()
        for kept in held.of("boundary"):
            held.close(kept, why)
        return held.told


def test_opened_once_and_then_left_alone(hub: State) -> None:
    assert keep(entry()) == ["opened #1: Number 1"]
    (issue,) = hub.issues
    assert issue["user"]["login"] == BOT
    assert issue["body"].endswith("What is so.\n")
    before = len(hub.writes)
    assert keep(entry()) == []
    issue["body"] = issue["body"].replace("\n", "\r\n")
    assert keep(entry()) == []
    assert len(hub.writes) == before


def test_the_text_is_edited_in_place(hub: State) -> None:
    keep(entry())
    assert keep(entry(sections=["Something else.\n"])) == ["edited #1: Number 1"]
    assert len(hub.issues) == 1
    assert "Something else." in hub.issues[0]["body"]
    assert hub.said(1) == []


def test_a_new_state_is_worth_a_comment(hub: State) -> None:
    keep(entry())
    keep(entry(state="failure"))
    keep(entry(state="failure"))
    (said,) = hub.said(1)
    assert said.endswith("Now **failure**, before alert.")
    keep(entry())
    assert len(hub.said(1)) == 2


def test_closed_with_a_reason_and_reopened_when_it_returns(hub: State) -> None:
    keep(entry())
    assert close() == ["closed #1: Number 1"]
    assert hub.issues[0]["state"] == "closed"
    assert close() == []
    assert keep(entry()) == ["reopened #1: Number 1"]
    assert hub.issues[0]["state"] == "open"
    assert keep(entry()) == []
    assert [said.splitlines()[1] for said in hub.said(1)] == ["It has gone.", "This is back."]
    assert len(hub.issues) == 1


def test_what_a_person_closed_stays_closed_until_it_has_gone_and_come_back(hub: State) -> None:
    keep(entry())
    hub.issues[0]["state"] = "closed"
    assert keep(entry(state="failure")) == ["left #1, which somebody has closed: Number 1"]
    assert (hub.issues[0]["state"], hub.said(1)) == ("closed", [])
    close()
    assert (hub.issues[0]["state"], hub.said(1)) == ("closed", [])
    assert keep(entry()) == ["reopened #1: Number 1"]


@pytest.mark.parametrize("rest", ["", " and more", "\r\nAn edit.\r\n"])
def test_what_a_person_wrote_into_the_text_is_no_obstacle(hub: State, rest: str) -> None:
    keep(entry())
    hub.issues[0]["body"] = entry().text.partition("\n")[0] + rest
    assert close() == ["closed #1: Number 1"]
    assert keep(entry()) == ["reopened #1: Number 1"]
    assert hub.issues[0]["body"] == entry().text


def test_what_a_person_reopened_is_not_closed_again(hub: State) -> None:
    keep(entry())
    close()
    hub.issues[0]["state"] = "open"
    assert close() == []
    assert hub.issues[0]["state"] == "open"


@pytest.mark.parametrize("filters", [True, False])
def test_strangers_with_our_marker_and_label_are_not_ours(hub: State, filters: bool) -> None:
    """Whether or not the server leaves out what others have opened, as it is asked to."""
    hub.filters = filters
    marked = entry().text
    for number in range(300):
        hub.issue(f"copied {number}", marked, by="stranger")
    assert keep(entry()) == ["opened #301: Number 1"]
    assert keep(entry()) == []
    before = len(hub.writes)
    assert [issue["state"] for issue in hub.issues] == ["open"] * 301
    assert close() == ["closed #301: Number 1"]
    assert {issue["state"] for issue in hub.issues[:300]} == {"open"}
    assert len(hub.writes) == before + 2


def test_a_marker_counts_at_the_top_alone(hub: State) -> None:
    hub.issue("A quotation", f"> somebody said\n{entry().text}")
    assert keep(entry()) == ["opened #2: Number 1"]


def test_a_lost_reply_does_not_open_two(hub: State) -> None:
    hub.failures = [("POST", "/issues$", "lost")]
    with pytest.raises(OutageError):
        keep(entry())
    assert len(hub.issues) == 1
    assert keep(entry()) == []
    assert len(hub.issues) == 1


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_run_that_dies_on_the_way_is_made_good(hub: State, method: str) -> None:
    """Between comment and edit, or before either: there is one comment, and the issue is closed."""
    keep(entry())
    hub.failures = [(method, "/issues/1", "lost")] * 9
    with pytest.raises(OutageError):
        close()
    hub.failures = []
    close()
    assert len(hub.said(1)) == 1
    assert hub.issues[0]["state"] == "closed"
    hub.failures = [(method, "/issues/1", "403")]
    with pytest.raises(MatrixError):
        keep(entry())
    keep(entry())
    assert len(hub.said(1)) == 2
    assert hub.issues[0]["state"] == "open"


def test_runs_that_overlap_leave_one(hub: State) -> None:
    """Each has read before any has opened."""
    runs = [ledger() for _ in range(3)]
    ready = threading.Barrier(3)

    def work(held: Ledger) -> None:
        with asking():
            ready.wait()
            held.keep(entry())
            held.settle()

    threads = [threading.Thread(target=work, args=(held,)) for held in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(hub.issues) == 3
    assert [issue["state"] for issue in hub.issues] == ["open", "closed", "closed"]
    assert keep(entry()) == []
    close()
    keep(entry())
    assert [issue["state"] for issue in hub.issues] == ["open", "closed", "closed"]


def test_ten_are_opened_and_the_rest_is_named(hub: State) -> None:
    told = keep(*(entry(number) for number in range(13)))
    assert len(hub.issues) == MOST_NEW == 10
    assert told[10:] == [
        f"not opened, 10 in one run are enough: Number {number}" for number in (10, 11, 12)
    ]
    assert len(keep(*(entry(number) for number in range(13)))) == 3
    assert len(hub.issues) == 13


def test_a_dry_run_reads_and_tells(hub: State, capsys: pytest.CaptureFixture[str]) -> None:
    keep(entry())
    before = len(hub.writes)
    held = ledger(dry_run=True)
    held.keep(entry(2))
    held.keep(entry(state="failure"))
    held.close(held.of("boundary")[0], "It has gone.")
    held.settle()
    assert [told.partition(" ")[0].rstrip(":") for told in held.told] == [
        "opened",
        "edited",
        "closed",
    ]
    assert capsys.readouterr().out.count("What is so.") == 3
    assert len(hub.writes) == before


def test_a_text_that_is_too_long_loses_its_last_sections() -> None:
    sections = [f"{number}\n" + "\N{SNOWMAN}" * 10_000 for number in range(5)]
    text = entry(sections=sections).text
    assert len(text.encode()) < 65_536
    assert text.count("\N{SNOWMAN}") == 10_000
    assert "the last 4 sections" in text
    assert "Left out" not in entry(sections=["x" * 59_000]).text


def test_kinds_do_not_mix(hub: State) -> None:
    keep(entry(), entry(kind="release"))
    assert len(hub.issues) == 2
    assert len(ledger().of("release")) == 1
