import io
import sys

import pytest

from matrix_capture.job import Event
from matrix_capture.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def events(*states: str) -> list[Event]:
    return [
        Event(stage="load", state=state, seconds=1.25, error="E" if state == "failed" else "")
        for state in states
    ]


def test_each_stage_that_ended_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("torch 2.8.0") as progress:
        progress.label = "run 1 of 2"
        progress.show(events("started"))
        progress.show(events("started", "ok"))
        progress.show(events("started", "ok"))
        progress.end_run()
        progress.label = "run 2 of 2"
        progress.show(
            [*events("started"), Event(stage="load", state="failed", error="OSError", message="no")]
        )
    first, second = capsys.readouterr().err.splitlines()
    assert first.split() == ["torch", "2.8.0", "run", "1", "of", "2", "load", "ok", "1.2", "s"]
    assert second.endswith("0.0 s  OSError: no")


def test_a_terminal_has_a_clock_that_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress("torch 2.8.0") as progress:
        progress.show(events("started"))
        progress.show(events("started"))
        assert terminal.getvalue().count("load") == 2
        assert "\n" not in terminal.getvalue()
        progress.show(events("started", "ok"))
    lines = terminal.getvalue().split("\n")
    assert lines[0].rpartition("\r\x1b[K")[2].startswith("torch 2.8.0")
    assert lines[1] == "\r\x1b[K"


def test_no_events_show_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("torch 2.8.0") as progress:
        progress.show([])
    assert capsys.readouterr().err == ""
