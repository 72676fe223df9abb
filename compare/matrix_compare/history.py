"""What the captures of a lane say of one artifact, each held against that of one release."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from matrix_capture.catalogue import BY_NAME
from matrix_capture.environment import pins
from matrix_capture.errors import MatrixError
from matrix_capture.schema import Capture, Record, digest_path, read_capture
from matrix_capture.settings import Lane
from matrix_capture.values import ValueStore
from matrix_compare.bisection import State
from matrix_compare.pairs import compare
from matrix_compare.report import listed, plain
from matrix_compare.schema import NO_VALUES, Verdict
from matrix_compare.verdict import Occurrence

_NEEDED = ("artifact", "part", "scope", "verdict", "reason")
_SAME = (Verdict.IDENTICAL, Verdict.REORDERED)


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A build, and what its capture says of the artifact; `reason` says why it says nothing."""

    torch: str
    state: State
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """An artifact, or what of it is of the part, the pass or both that `words` name."""

    artifact: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join((self.artifact, *self.words))

    def __contains__(self, row: Mapping[str, Any]) -> bool:
        place = row["part"], row["scope"]
        return row["artifact"] == self.artifact and all(word in place for word in self.words)


def read_wanted(text: str) -> Wanted:
    """Read `centroids`, `embs chunk.0` or `layers encoder.layer.3 sample`.

    Raises:
        MatrixError: the catalogue has no such artifact; the message names the nearest.
    """
    name, *words = text.split() or [""]
    if name not in BY_NAME:
        (near,) = get_close_matches(name, BY_NAME, n=1, cutoff=0)
        raise MatrixError(f"no artifact {name!r} in the catalogue; the nearest is {near}")
    return Wanted(artifact=name, words=tuple(words))


class History:
    """Builds of a lane in order; the first is what the others are held against.

    `changes` are neighbours among the captures that count of which the second has another artifact.
    A capture counts if it was made as that of the first was: by the same code, of the same inputs,
    on the same host, with the same pins. Any other is as good as none, for it can be made anew.

    Raises:
        MatrixError: the first is on record without the artifact, or not twice with the same.
    """

    def __init__(
        self, data: Path, lane: str, fixed: Lane, wanted: Wanted, builds: Sequence[str]
    ) -> None:
        self._wanted = wanted
        pinned = pins(fixed)
        self._pinned = {*pinned, "colbert-ai"} if pinned else set()
        self._store = ValueStore(data / "values")
        self._captures: dict[str, Capture] = {}
        self._unreadable: dict[str, str] = {}
        for torch in builds:
            try:
                if capture := _read(data, lane, torch):
                    self._captures[torch] = capture
            except MatrixError as error:
                self._unreadable[torch] = str(error)
        self.first = self._captures.get(builds[0])
        if self.first:
            self._check(self.first)
        self.candidates = tuple(map(self._candidate, builds))
        told = [one for one in self.candidates if one.state in (State.SAME, State.DIFFERS)]
        self.changes = tuple((a.torch, b.torch) for a, b in pairwise(told) if self._turns(a, b))

    def _turns(self, a: Candidate, b: Candidate) -> bool:
        if a.state is b.state is State.DIFFERS:
            return self._held(self._captures[a.torch], self._captures[b.torch])[0] is State.DIFFERS
        return a.state is not b.state

    def _candidate(self, torch: str) -> Candidate:
        capture = self._captures.get(torch)
        state, reason = State.UNKNOWN, self._unreadable.get(torch, "")
        if self.first and capture:
            reason = self._outdated(capture.record, self.first.record)
            if not reason:
                state, reason = self._held(self.first, capture)
        return Candidate(torch=torch, state=state, reason=plain(reason))

    def _outdated(self, record: Record, first: Record) -> str:
        """Why a capture is to be made anew before it is held against the first; empty if not."""
        # A release that was not installed has few of the packages, an old torch asks for fewer.
        moved = [
            name
            for name in self._pinned & record.packages.keys() & first.packages.keys()
            if record.packages[name] != first.packages[name]
        ]
        reasons = {
            "by other code": record.capture_code != first.capture_code,
            "of other inputs": record.inputs != first.inputs,
            "on another host": record.fingerprint != first.fingerprint,
            f"with another {listed(sorted(moved))}": bool(moved),
        }
        why = next((reason for reason, holds in reasons.items() if holds), "")
        return why and f"captured {why} than {first.torch}"

    def _held(self, a: Capture, b: Capture) -> tuple[State, str]:
        """Whether the artifact is in the second what it is in the first, or why nobody can tell."""
        changed = {Verdict.DIFFERS}
        if self._wanted.artifact not in a.record.missing | b.record.missing:
            changed.add(Verdict.MISSING)  # what a whole run did not make, and not what was not seen
        rows = self._rows(a, b)
        if any(row["verdict"] in changed for row in rows):
            return State.DIFFERS, ""
        untold = [row["reason"] for row in rows if row["verdict"] not in _SAME]
        return (State.SKIP, untold[0]) if untold else (State.SAME, "")

    def _rows(self, a: Capture, b: Capture) -> list[dict[str, Any]]:
        verdicts = compare((a, b), _unmeasured, self._store)
        rows = verdicts.of(a.record.torch, b.record.torch, _NEEDED)
        return [row for row in rows if row in self._wanted]

    def _check(self, first: Capture) -> None:
        """Refuse a first build that says nothing, by holding it against itself."""
        torch = first.record.torch
        rows = self._rows(first, first)
        for row in rows:
            if row["verdict"] == Verdict.UNSTABLE:
                raise MatrixError(
                    f"{self._wanted} differs between two runs of torch {torch} in one environment; "
                    "comparing bits finds nothing, so name what it is made from"
                )
        why = next((row["reason"] for row in rows if row["verdict"] != Verdict.IDENTICAL), "")
        if why or not rows:
            found = f"torch {torch} has no {self._wanted} on record"
            raise MatrixError(f"{found}{why and ': '}{why}; begin with a release that has it")


def _read(data: Path, lane: str, torch: str) -> Capture | None:
    path = digest_path(data, lane, torch)
    if not path.exists():
        return None
    capture = read_capture(path)
    if (capture.record.lane, capture.record.torch) != (lane, torch):
        raise MatrixError(
            f"{path}: its record says torch {capture.record.torch} of lane {capture.record.lane}; "
            "move it where it belongs"
        )
    return capture


def _unmeasured(_a: Occurrence, _b: Occurrence) -> str:
    """It is enough to know that two values differ: what is close has other bits, too."""
    return NO_VALUES
