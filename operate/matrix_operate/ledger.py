"""The issues that we keep in a repository, each found again by a marker at the top of its text.

What makes an issue ours is who opened it: a marker can be copied by anyone, a label be set or taken
away. Each step may be repeated, so that the next run makes good what one that was killed left.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from github import Github
from github.Issue import Issue
from github.NamedUser import NamedUser

from matrix_operate.github import account, login, repository_name

LABEL = "colbert-matrix"
MOST_NEW = 10
"""So many issues are opened in one run at most; what is wrong with more is wrong with us."""

_LIMIT = 60_000
"""Bytes of a text: GitHub takes no more than 65,536 characters."""

_GONE = "gone"
_MARKER = re.compile(
    r"<!-- colbert-matrix (?P<kind>[a-z]+) (?P<fingerprint>[0-9a-f]{32}) (?P<state>[a-z]+) "
    r"(?P<subject>[\w./+ -]+) -->",
    re.ASCII,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What one issue should say.

    `kind` and `fingerprint` (32 hexadecimal digits) tell it from every other, `subject` names what
    it is about in letters, digits and `./+-_`, `state` is one word; when that changes, a comment
    says so. `sections` are Markdown, the most important first.
    """

    kind: str
    fingerprint: str
    subject: str
    state: str
    title: str
    sections: Sequence[str]

    @property
    def text(self) -> str:
        """The marker and as many sections as there is room for."""
        marker = (
            f"<!-- colbert-matrix {self.kind} {self.fingerprint} {self.state} {self.subject} -->"
        )
        told, room = [f"{marker}\n"], _LIMIT
        for number, section in enumerate(self.sections):
            room -= len(section.encode()) + 1
            if room < 0:
                left = len(self.sections) - number
                told.append(f"Left out here, for GitHub takes no more: the last {left} sections.\n")
                break
            told.append(section)
        return "\n".join(told)


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """An issue of ours: what its marker says, and whether it is open."""

    issue: Issue
    kind: str
    fingerprint: str
    state: str
    subject: str

    @property
    def number(self) -> int:
        """Its number in the repository."""
        return self.issue.number

    @property
    def open(self) -> bool:
        """Whether it is open."""
        return self.issue.state == "open"

    @property
    def gone(self) -> bool:
        """Whether what it is about has gone, as far as we know."""
        return self.state == _GONE

    @property
    def text(self) -> str:
        """Its text, with the ends of lines as we write them."""
        return (self.issue.body or "").replace("\r\n", "\n")


class Ledger:
    """Our issues in one repository, and what was done with them: `told`, one line each.

    With `dry_run` nothing is done, but told and the texts printed.
    """

    def __init__(self, client: Github, repository: str, *, dry_run: bool = False) -> None:
        self._repository = client.get_repo(repository_name(repository))
        self._requester = client.requester
        self._account = account(client)
        self._dry_run = dry_run
        self._opened = 0
        self.told: list[str] = []
        self._kept = self._read()

    def of(self, kind: str) -> tuple[Kept, ...]:
        """Our issues of one kind, the oldest first."""
        return tuple(kept for kept in self._kept.values() if kept.kind == kind)

    def keep(self, entry: Entry) -> None:
        """Have one issue say this, be it new or not; if all is as it should be, nothing is written.

        What a person has closed stays closed until what it is about has gone and come back.
        """
        kept = self._kept.get((entry.kind, entry.fingerprint))
        text = entry.text
        assert _MARKER.match(text), "what is not found again is opened again"
        if kept is None:
            self._open(entry, text)
        elif not (kept.open or kept.gone):
            self.told.append(f"left #{kept.number}, which somebody has closed: {entry.title}")
        elif not kept.open or kept.text != text:
            if kept.gone:
                self._comment(kept, "back", "This is back.")
            elif kept.state != entry.state:
                self._comment(kept, entry.state, f"Now **{entry.state}**, before {kept.state}.")
            done = "edited" if kept.open else "reopened"
            self._edit(kept, body=text, state="open")
            self.told.append(f"{done} #{kept.number}: {entry.title}")

    def close(self, kept: Kept, why: str) -> None:
        """Close an issue with a comment that says why; one that a person has closed stays so."""
        if kept.gone:
            return
        if kept.open:
            self._comment(kept, _GONE, why)
        marker = _MARKER.match(kept.text)
        assert marker, "only what has a marker is kept"
        start, end = marker.span("state")
        self._edit(kept, body=f"{kept.text[:start]}{_GONE}{kept.text[end:]}", state="closed")
        self.told.append(f"closed #{kept.number}: {kept.issue.title}")

    def settle(self) -> None:
        """If anything was opened, see whether another run has opened the same meanwhile."""
        if self._opened and not self._dry_run:
            self._kept = self._read()

    def _open(self, entry: Entry, text: str) -> None:
        if self._opened == MOST_NEW:
            self.told.append(f"not opened, {MOST_NEW} in one run are enough: {entry.title}")
            return
        self._opened += 1
        if self._dry_run:
            print(text)
            self.told.append(f"opened: {entry.title}")
            return
        issue = self._repository.create_issue(entry.title, body=text, labels=[LABEL])
        self.told.append(f"opened #{issue.number}: {entry.title}")

    def _read(self) -> dict[tuple[str, str], Kept]:
        """Our issues, of those that tell the same the oldest; the others are closed."""
        found: dict[tuple[str, str], Kept] = {}
        # Only the server's word counts for who opened one. In this order nothing that is opened
        # meanwhile moves another to a page that was read already.
        author = NamedUser(self._requester, {}, {"login": self._account})
        for issue in self._repository.get_issues(
            state="all", creator=author, sort="created", direction="asc"
        ):
            marker = _MARKER.match(issue.body or "")
            if not marker or login(issue.user) != self._account:
                continue
            kept = Kept(issue=issue, **marker.groupdict())
            first = found.setdefault((kept.kind, kept.fingerprint), kept)
            if first is not kept and kept.open:
                self.close(kept, f"The same as #{first.number}.")
        return found

    def _comment(self, kept: Kept, event: str, text: str) -> None:
        """Comment on what happened, unless a run that was killed has just done so."""
        if self._dry_run:
            return
        mark = f"<!-- colbert-matrix {event} -->"
        ours = [one for one in kept.issue.get_comments() if login(one.user) == self._account]
        if not (ours and (ours[-1].body or "").startswith(mark)):
            kept.issue.create_comment(f"{mark}\n{text}")

    def _edit(self, kept: Kept, *, body: str, state: str) -> None:
        if self._dry_run:
            print(body)
        else:
            kept.issue.edit(body=body, state=state)
