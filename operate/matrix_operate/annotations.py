"""A check as annotations: commands that a step prints and GitHub shows beside the run.

The grammar is `::name title=…::message`; what would end a part of it is spelled with a percent sign
as the toolkit of GitHub does it (`@actions/core`, command.ts).
"""

from collections import Counter
from collections.abc import Iterator

from matrix_compare.check import Check
from matrix_compare.finding import outcome
from matrix_compare.policy import Level
from matrix_compare.report import plain

KINDS = {Level.FAILURE: "error", Level.ALERT: "warning", Level.PASS: "notice"}

_MOST = 10
"""GitHub shows so many of one kind in a step."""

_LETTERS = 1_000
"""What one message may take; the summary has the rest."""


def annotations(check: Check) -> Iterator[str]:
    """A command for each release, the last of a kind one for all that have no room."""
    kinds = Counter(KINDS[release.level] for release in check.releases)
    shown: Counter[str] = Counter()
    for release in check.releases:
        kind = KINDS[release.level]
        shown[kind] += 1
        if shown[kind] < _MOST or kinds[kind] == _MOST:
            doubts = f" ({len(release.doubts)} doubts)" if release.doubts else ""
            yield command(kind, f"torch {release.torch}", outcome(release) + doubts)
        elif shown[kind] == _MOST:
            yield command(kind, "more releases", f"{kinds[kind] - _MOST + 1} more are not shown")


def command(kind: str, title: str, message: str) -> str:
    """One command, in one line; `title` and `message` may be anybody's."""
    title, message = (escaped(plain(text)[:_LETTERS]) for text in (title, message))
    title = title.replace(":", "%3A").replace(",", "%2C")
    return f"::{kind} title={title}::{message}"


def escaped(text: str) -> str:
    """Text as the message of a workflow command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
