import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_compare.check import Check
from matrix_compare.policy import Level
from matrix_operate.annotations import annotations, command
from tests.compare.checks import check_line, check_of, checked, checks
from tests.compare.reports import BRIEF, EVIL, hostile

COMMANDS = ("add-mask", "error", "notice", "set-env", "set-output", "stop-commands", "warning")


def understood(line: str) -> tuple[str, dict[str, str], str] | None:
    """What the runner makes of a line of output: command, properties, message.

    As ActionCommand.TryParseV2 and TryParse of actions/runner do it, the second of which looks for
    an older form anywhere in a line.
    """
    if line.lstrip().startswith("::") and "::" in line.lstrip()[2:]:
        whole, _, data = line.lstrip()[2:].partition("::")
        name, _, rest = whole.partition(" ")
        if name in COMMANDS:
            pairs = (one.split("=", 1) for one in rest.strip().split(",") if "=" in one)
            return name, {key: unescaped(value) for key, value in pairs}, unescaped(data)
    if old := re.search(r"##\[(\S+)[^]]*\]", line):
        return (old[1], {}, "") if old[1] in COMMANDS else None
    return None


def unescaped(text: str) -> str:
    for spelled, meant in {"%0D": "\r", "%0A": "\n", "%3A": ":", "%2C": ",", "%25": "%"}.items():
        text = text.replace(spelled, meant)
    return text


@pytest.mark.parametrize(
    ("level", "kind"),
    [(Level.PASS, "notice"), (Level.ALERT, "warning"), (Level.FAILURE, "error")],
)
def test_each_release_is_an_annotation_of_its_level(level: Level, kind: str) -> None:
    release = checked(check_line("embs"), level=level, doubts=("x",))
    assert list(annotations(check_of(release))) == [
        f"::{kind} title=torch 2.8.0::changes 1 artifact on the way; the index, rankings and "
        "trained weights stay the same bit by bit (1 doubts)"
    ]


def test_github_shows_ten_of_a_kind_so_the_last_counts_the_rest() -> None:
    def shown(count: int) -> list[str]:
        return list(annotations(check_of(*(checked(torch=f"2.{n}.0") for n in range(count)))))

    assert [len(shown(count)) for count in (9, 10, 11, 30)] == [9, 10, 10, 10]
    assert "torch 2.9.0" in shown(10)[-1]
    assert shown(11)[-1] == "::notice title=more releases::2 more are not shown"
    assert shown(30)[-1].endswith("21 more are not shown")


def test_what_a_line_may_be_taken_for_is_what_the_test_finds() -> None:
    assert understood("x ##[set-env name=a]b") == ("set-env", {}, "")
    assert understood(" ::error file=a,line=1::b%0Ac") == (
        "error",
        {"file": "a", "line": "1"},
        "b\nc",
    )
    assert understood("::nothing::x") is None


@BRIEF
@given(st.sampled_from(["error", "warning"]), hostile, hostile)
def test_a_command_is_read_as_it_is_meant(kind: str, title: str, message: str) -> None:
    line = command(kind, title, message)
    assert "\n" not in line
    assert "\r" not in line
    found = understood(line)
    assert found is not None
    name, properties, told = found
    assert (name, list(properties)) == (kind, ["title"])
    if title.isprintable() and message.isprintable():
        assert (properties["title"], told) == (title.rstrip(), message)


@pytest.mark.parametrize("evil", ["::error::x", "a,b=c", "100%", "%0A::error::x", "##[set-env a]b"])
def test_no_text_becomes_a_command_of_its_own(evil: str) -> None:
    line = command("notice", evil, evil)
    assert understood(line) == ("notice", {"title": evil}, evil)


@BRIEF
@given(checks)
def test_every_line_is_one_command_and_no_more_than_are_shown(check: Check) -> None:
    lines = list(annotations(check))
    assert len(lines) <= 30
    for line in lines:
        assert line.isprintable()
        found = understood(line)
        assert found is not None
        assert list(found[1]) == ["title"]


def test_evil_strings_stay_in_one_line() -> None:
    lines = list(annotations(check_of(*(checked(torch=evil) for evil in EVIL[:9]))))
    assert all(line.startswith("::notice title=torch ") and line.isprintable() for line in lines)
