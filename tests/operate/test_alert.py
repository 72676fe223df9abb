"""The issues of boundaries and releases, as nights go by."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from matrix_capture.schema import digest_path
from matrix_operate.__main__ import main
from tests.compare.conftest import LANE, ROOT, status_of
from tests.operate.github_server import State, hub
from tests.operate.nights import CODES, MOVED, SAME, Nights, puts
from tests.operate.rendered import check

__all__ = ["hub"]

Alert = Callable[..., str]
OTHER_HOST = {"cpu_model": "Y", "threads": 2}
TITLE = "torch 2.7.1...2.8.0 in cpu-pinned: embs"


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    return Nights(tmp_path)


@pytest.fixture
def alert(
    nights: Nights, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Alert:
    """Runs the command; returns what it prints."""
    monkeypatch.chdir(ROOT)

    def alert(*more: str, status: int = 0) -> str:
        words = ["alert", "--data", str(nights.data), "--repository", "us/matrix", *more]
        assert main(words) == status
        found = capsys.readouterr()
        return found.err if status else found.out

    return alert


def moved(nights: Nights) -> None:
    """A boundary that two runs have seen."""
    nights.capture("2.7.1")
    nights.capture("2.8.0", puts(MOVED))
    nights.capture("2.8.0", puts(MOVED))


def states(hub: State) -> list[str]:
    return [issue["state"] for issue in hub.issues]


def test_the_life_of_a_boundary(hub: State, nights: Nights, alert: Alert) -> None:
    nights.capture("2.7.1")
    nights.capture("2.8.0", puts(MOVED))
    assert alert() == f"awaits confirmation by a second capture: {TITLE}\n"
    assert hub.writes == []

    nights.capture("2.8.0", puts(MOVED))
    assert alert() == f"opened #1: {TITLE}\n"
    (issue,) = hub.issues
    assert issue["title"] == TITLE
    check(issue["body"])
    assert "**▲ alert** in `2.7.1...2.8.0`" in issue["body"]

    before = len(hub.writes)
    assert alert() == "nothing has changed\n"
    nights.capture("2.8.0", puts(MOVED))
    assert alert() == "nothing has changed\n"
    assert len(hub.writes) == before

    nights.capture("2.8.0", puts(MOVED, CODES[::-1]))
    assert alert() == f"edited #1: {TITLE}\n"
    assert "**✗ failure** in `2.7.1...2.8.0`" in issue["body"]
    assert hub.said(1)[-1].endswith("Now **failure**, before alert.")

    nights.capture("2.8.0", puts(SAME))
    assert alert() == f"closed #1: {TITLE}\n"
    assert states(hub) == ["closed"]
    assert hub.said(1)[-1].endswith("The two are a pass by now.")
    assert alert() == "nothing has changed\n"

    nights.capture("2.8.0", puts(MOVED))
    assert alert() == f"reopened #1: {TITLE}\n"
    assert states(hub) == ["open"]
    assert len(hub.said(1)) == 3
    assert len(hub.issues) == 1


def test_another_start_is_another_boundary(hub: State, nights: Nights, alert: Alert) -> None:
    moved(nights)
    alert()
    other = puts(SAME, CODES[::-1])
    nights.capture("2.8.0", other)
    assert alert() == (
        f"closed #1: {TITLE}\n"
        "awaits confirmation by a second capture: torch 2.7.1...2.8.0 in cpu-pinned: codes\n"
    )
    assert "It starts elsewhere now: `codes`." in hub.said(1)[-1]
    nights.capture("2.8.0", other)
    assert alert() == "opened #2: torch 2.7.1...2.8.0 in cpu-pinned: codes\n"
    assert states(hub) == ["closed", "open"]


def test_a_gap_neither_opens_nor_closes(hub: State, nights: Nights, alert: Alert) -> None:
    moved(nights)
    alert()
    before = len(hub.writes)
    path = digest_path(nights.data, LANE, "2.8.0")
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    assert "nobody knows of torch 2.7.1...2.8.0 in cpu-pinned" in alert()
    path.write_bytes(whole)
    nights.capture("2.8.0", puts(SAME), fingerprint=OTHER_HOST)
    assert "fingerprint differs" in alert()
    nights.capture("2.8.0", [], status={})
    assert "nobody knows" in alert()
    nights.capture("2.7.1", lane="cuda-pinned")
    nights.capture("2.8.0", lane="cuda-pinned")
    assert alert("--lanes", "cuda-pinned") == "nothing has changed\n"
    assert len(hub.writes) == before
    assert states(hub) == ["open"]


def test_a_lane_that_pins_nothing_is_left_out(hub: State, nights: Nights, alert: Alert) -> None:
    moved(nights)
    nights.capture("2.7.1", lane="cpu-latest")
    for _ in range(2):
        nights.capture("2.8.0", puts(MOVED), lane="cpu-latest")
    assert alert("--lanes", "cpu-latest cpu-pinned cpu-pinned") == f"opened #1: {TITLE}\n"
    assert alert() == "nothing has changed\n"


def test_what_was_opened_needs_no_second_look_again(
    hub: State, nights: Nights, alert: Alert
) -> None:
    """History may have been lost; the boundary is there all the same."""
    moved(nights)
    alert()
    shutil.rmtree(nights.data / "history")
    assert alert() == "nothing has changed\n"
    assert states(hub) == ["open"]


def test_a_release_in_between_takes_its_place(hub: State, nights: Nights, alert: Alert) -> None:
    nights.capture("2.7.0")
    for _ in range(2):
        nights.capture("2.8.0", puts(MOVED))
    alert()
    for _ in range(2):
        nights.capture("2.7.1", puts(MOVED))
    assert alert() == (
        "closed #1: torch 2.7.0...2.8.0 in cpu-pinned: embs\n"
        "opened #2: torch 2.7.0...2.7.1 in cpu-pinned: embs\n"
    )


def test_a_release_that_does_not_load_is_told(hub: State, nights: Nights, alert: Alert) -> None:
    nights.capture("2.7.1")
    for _ in range(2):
        nights.capture("2.8.0", [], status=status_of("import"))
    assert "torch 2.8.0 stopped at import" in alert()
    body = hub.issues[0]["body"]
    check(body)
    assert "`2.8.0 stopped at import: ImportError: no module second line`" in body.replace(
        "\\n", " "
    )


def test_a_release_that_the_matrix_lacks(
    hub: State,
    nights: Nights,
    alert: Alert,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nights.capture("2.15.0")
    nights.capture("2.99.0", puts(MOVED))
    told = alert().splitlines()
    assert told == [
        "opened #1: Add torch 2.99.0 to matrix.toml",
        "awaits confirmation by a second capture: torch 2.15.0...2.99.0 in cpu-pinned: embs",
    ]
    nights.capture("2.99.0", puts(MOVED))
    assert alert() == "opened #2: torch 2.15.0...2.99.0 in cpu-pinned: embs\n"
    settings = (ROOT / "matrix.toml").read_text(encoding="utf-8")
    added = settings.replace('  "2.15.0",\n', '  "2.15.0",\n  "2.99.0",\n', 1)
    (tmp_path / "matrix.toml").write_text(added, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert alert() == "closed #1: Add torch 2.99.0 to matrix.toml\n"
    assert states(hub) == ["closed", "open"]


def test_the_summary_shows_data_as_text(
    hub: State, nights: Nights, alert: Alert, tmp_path: Path
) -> None:
    moved(nights)
    nights.capture("2.7.1", fingerprint={"cpu_model": "<b>@you</b>", "threads": 2})
    alert("--summary", str(tmp_path / "summary.md"))
    text = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert text.startswith("### Issues\n\n- `nobody knows of torch 2.7.1...2.8.0")
    assert "`" not in text.partition("- `")[2].rstrip().removesuffix("`")


def test_a_dry_run_writes_nothing(hub: State, nights: Nights, alert: Alert) -> None:
    moved(nights)
    told = alert("--dry-run", "--site", "https://elsewhere.example/here")
    assert "(https://elsewhere.example/here/pair/2.7.1...2.8.0/index.html)" in told
    assert told.endswith(f"A dry run: nothing of this was done.\nopened: {TITLE}\n")
    assert hub.writes == []


def test_bad_input_and_outages(hub: State, nights: Nights, alert: Alert) -> None:
    assert "is that the data folder?" in alert(status=2)
    moved(nights)
    assert "no lane 'gpu'" in alert("--lanes", "gpu", status=2)
    assert "is no address" in alert("--site", "javascript:alert(1)", status=2)
    hub.failures = [("GET", "issues", "rate limit")]
    assert alert(status=75).count("\n") == 1
    hub.failures = [("POST", "/issues$", "lost")]
    assert "out of reach" in alert(status=75)
    assert alert() == "nothing has changed\n"
    assert len(hub.issues) == 1
