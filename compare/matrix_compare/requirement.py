"""Which releases of torch colbert-ai could allow, from the captures of a lane."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matrix_capture.schema import Capture
from matrix_compare.schema import Verdict

Row = Mapping[str, Any]

SAME = (Verdict.IDENTICAL, Verdict.REORDERED)
"""The verdicts that leave the meaning of an artifact as it was."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """Captured releases in a row that make the same finished index and search it.

    `gaps` are the releases of the matrix between the first and the last that have no capture.
    """

    releases: tuple[str, ...]
    gaps: tuple[str, ...]

    @property
    def requirement(self) -> str:
        """The releases as a specifier of torch."""
        first, last = self.releases[0], self.releases[-1]
        return f"torch=={first}" if first == last else f"torch>={first},<={last}"


def finished(rows: Iterable[Row]) -> tuple[Row, ...]:
    """The verdict rows of the finished index; how its files are laid out is not among them."""
    return tuple(row for row in rows if row["artifact"].startswith("index_"))


def same_index(rows: Iterable[Row]) -> bool:
    """Whether the finished index was compared and every tensor of it means the same."""
    found = finished(rows)
    return bool(found) and all(row["verdict"] in SAME for row in found)


def run_around(
    torch: str,
    captures: Sequence[Capture],
    releases: Sequence[str],
    same: Callable[[Capture, Capture], bool],
) -> Run | None:
    """The widest run of captures around one that are each the same as the next and can search.

    Captures come in the order of `releases`, which are those of the matrix. None where the release
    in question does not search, or its search was not captured.
    """
    at = [capture.record.torch for capture in captures].index(torch)
    if not _searches(captures[at]):
        return None
    first = last = at
    while first > 0 and _joined(captures[first - 1], captures[first], captures[first - 1], same):
        first -= 1
    end = len(captures) - 1
    while last < end and _joined(captures[last], captures[last + 1], captures[last + 1], same):
        last += 1
    held = tuple(capture.record.torch for capture in captures[first : last + 1])
    between = releases[releases.index(held[0]) : releases.index(held[-1])]
    return Run(releases=held, gaps=tuple(name for name in between if name not in held))


def _joined(
    earlier: Capture, later: Capture, new: Capture, same: Callable[[Capture, Capture], bool]
) -> bool:
    return _searches(new) and same(earlier, later)


def _searches(capture: Capture) -> bool:
    return capture.record.state("search") == "ok"
