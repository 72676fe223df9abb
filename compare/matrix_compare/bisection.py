"""Where to look next for a change in an ordered history, whatever the history is of."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """What is known of a candidate, held against the first of the history."""

    SAME = "same"
    DIFFERS = "differs"
    SKIP = "skip"  # looked at, but nothing can be told of it
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """How far a search has come; candidates are given by their places in the history.

    `next` is where to look, None when the search is over. `good` and `bad` enclose a change as
    closely as is known: one is the same, the other differs, and of none in between this is known.
    `bad` is None while none differs, and `good` is then the last that is the same, if there is one.
    `left` is how many looks it takes at most, that at `next` included, unless some must be skipped.
    """

    good: int | None
    bad: int | None
    next: int | None
    left: int


def step(states: Sequence[State]) -> Step:
    """What to do in a history of which this is known; the first never differs and is no skip.

    The ends come first, where they are needed: with one that differs on record, the last is not.
    Whatever else is on record is used before anything is looked at. Of several changes the search
    closes in on one at or before the first that is known to differ.
    """
    bad = next((n for n, state in enumerate(states) if state is State.DIFFERS), None)
    end = bad
    if end is None:  # the last of which anything can be told stands in for it
        end = max(n for n, state in enumerate(states) if state is not State.SKIP)
    same = [n for n in range(end + 1) if states[n] is State.SAME]
    good = max(same, default=None)
    start = good or 0
    inside = [n for n in range(start + 1, end) if states[n] is State.UNKNOWN]
    ends = [n for n in (0, end) if states[n] is State.UNKNOWN]
    if ends:
        left = len({*ends}) + len(inside).bit_length()
        return Step(good=good, bad=bad, next=ends[0], left=left)
    if bad is None or not inside:
        return Step(good=good, bad=bad, next=None, left=0)
    skipped = [n for n in range(start + 1, end) if states[n] is State.SKIP]
    return Step(good=good, bad=bad, next=_choice(inside, skipped), left=len(inside).bit_length())


def _choice(unknown: Sequence[int], skipped: Sequence[int]) -> int:
    """The one near the middle and far from what was skipped: neighbours tend to fail alike."""

    def worth(place: int) -> int:
        rank = unknown.index(place)
        balance = min(rank + 1, len(unknown) - rank)
        return balance * min((abs(place - other) for other in skipped), default=1)

    return max(unknown, key=worth)
