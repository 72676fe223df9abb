"""The commands that make a pair's page again, part by part."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matrix_capture.schema import Record
from matrix_site.comparison import Pair
from matrix_site.sides import Records
from matrix_site.snapshot import LaneData
from matrix_site.text import clean


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """A command and what it does."""

    does: str
    text: str


def reproduction(lane: LaneData, pair: Pair, records: Records) -> tuple[Command, ...]:
    """All of it, in the order in which it is run."""
    steps = {
        "matrix": "captures both, compares them, searches, advises and makes this page",
        "compare": "compares the two captures on record, in a terminal",
        "search": "searches each index with both releases",
        "advise": "advises, and holds the searches against each other",
        "explain": "finds the cause",
    }
    if injected(records):
        del steps["explain"]
    return tuple(
        Command(does=does, text=command(session, lane, pair, records))
        for session, does in steps.items()
    )


def command(
    session: str, lane: LaneData, releases: Sequence[str], records: Iterable[Record | None]
) -> str:
    """What runs a session on these releases; options come from the data, so they are quoted."""
    base = lane.name.partition("+")[0]
    words = ["nox", "-s", session, "--", *releases, "--lane", base]
    options = next((record.options for record in records if record), {}) if lane.quick else {}
    for name, value in sorted(options.items()):
        words += [f"--{clean(name, 40)}", clean(value, 80)]
    return shlex.join(words)


def injected(records: Records) -> bool:
    """Were values of another capture put into either, so that nothing explains the pair?"""
    return any(record and "inject" in record.options for record in records)
