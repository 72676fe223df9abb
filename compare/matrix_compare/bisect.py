"""`python -m matrix_compare.bisect`: which build of torch is the first to change an artifact?"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from rich.columns import Columns
from rich.console import Console
from rich.text import Text

from matrix_capture.errors import MatrixError
from matrix_capture.names import release_order
from matrix_capture.schema import recorded, replacing
from matrix_capture.settings import Settings, read_settings
from matrix_capture.torch_index import builds
from matrix_compare.bisection import State, step
from matrix_compare.evidence import session_options
from matrix_compare.history import Candidate, History, read_wanted
from matrix_compare.report import listed, plain
from matrix_compare.terminal import say

SCHEMA_VERSION = 1

GLYPHS = {State.SAME: "=", State.DIFFERS: "≠", State.SKIP: "!", State.UNKNOWN: "\N{EN DASH}"}


class Bisection(msgspec.Struct, frozen=True, kw_only=True):
    """How far the search for the first build between `a` and `b` with another artifact has come.

    `next` is the build to capture, empty when the search is over; `left` is how many captures it
    takes at most, unless some tell nothing. In `good` the artifact is what it is in `a`, in `bad`
    it is not; both are empty while no such build is known. Of `untestable`, which lie between (or
    behind `good`), nothing can be told. `changes` are neighbours on record of which the second has
    another artifact. `notes` go with `sentence`, `commands` go on from the answer.
    """

    schema_version: int
    lane: str
    artifact: str
    a: str
    b: str
    candidates: tuple[Candidate, ...]
    good: str
    bad: str
    untestable: tuple[str, ...]
    next: str
    left: int
    changes: tuple[tuple[str, str], ...]
    sentence: str
    notes: tuple[str, ...]
    commands: tuple[str, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, or 2 for bad input."""
    options = _parser().parse_args(arguments)
    try:
        found = bisect(options.data, options.lane, (options.a, options.b), options.artifact)
        console = Console(highlight=False)
        print_bisection(console, found)
        if options.json:
            with replacing(options.json) as file:
                file.write(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    except (MatrixError, OSError) as error:
        print(plain(f"error: {error}"), file=sys.stderr)
        return 2
    return 0


def bisect(data: Path, lane: str, ends: Sequence[str], artifact: str) -> Bisection:
    """How far the search has come, from what is on record alone; the older of the ends is `a`.

    Nightly builds are looked for once the releases are done with.

    Raises:
        MatrixError: there is no such question; or no answer, because `a` is on record without the
            artifact or not twice with the same.
    """
    settings = read_settings()
    a, b = sorted((settings.release(name, lane) for name in ends), key=release_order)
    if a == b:
        raise MatrixError(f"one release makes no pair; name another beside {a}")
    wanted = read_wanted(artifact)
    names = (a, *_between(a, b, [*settings.releases, *recorded(data, lane)]), b)
    history = History(data, lane, settings.lane(lane), wanted, names)
    candidates, notes = history.candidates, []
    found = step([one.state for one in candidates])
    if found.next is None and found.good is not None and found.bad is not None:
        ends = candidates[found.good].torch, candidates[found.bad].torch
        nightly, why = _nightly(*ends, lane, settings)
        notes += [why] if why else []
        new = [Candidate(torch=n, state=State.UNKNOWN) for n in nightly if n not in names]
        candidates = tuple(sorted((*candidates, *new), key=lambda one: release_order(one.torch)))
        found = step([one.state for one in candidates])
    if len(history.changes) > 1:
        often = listed([f"{x}...{y}" for x, y in history.changes])
        notes.append(f"on record it changes more than once: {often}")
    good, bad, following = (
        "" if place is None else candidates[place].torch
        for place in (found.good, found.bad, found.next)
    )
    between = candidates[(found.good or 0) + 1 : found.bad]
    commands = []
    if history.first and bad and not following:
        pair = f"{good} {bad}{session_options(history.first.record, settings)}"
        commands = [f"nox -s {name} -- {pair}" for name in ("compare", "explain")]
    bisection = Bisection(
        schema_version=SCHEMA_VERSION,
        lane=lane,
        artifact=str(wanted),
        a=a,
        b=b,
        candidates=candidates,
        good=good,
        bad=bad,
        untestable=tuple(one.torch for one in between if one.state is State.SKIP),
        next=following,
        left=found.left,
        changes=history.changes,
        sentence="",
        notes=tuple(notes),
        commands=tuple(commands),
    )
    return msgspec.structs.replace(bisection, sentence=_sentence(bisection))


def _between(a: str, b: str, names: Iterable[str]) -> list[str]:
    """The names between two, in order."""
    first, last = release_order(a), release_order(b)
    return sorted({n for n in names if first < release_order(n) < last}, key=release_order)


def _nightly(a: str, b: str, lane: str, settings: Settings) -> tuple[list[str], str]:
    """The nightly builds between two that can be had, or why there are none."""
    fixed = settings.lane(lane)
    if fixed.nightly is None:
        others = [
            name
            for name, other in settings.lanes.items()
            if other.nightly and other.device == fixed.device
        ]
        hint = f"; lane {' or '.join(others)} does" if others else ""
        return [], f"lane {lane} takes no nightly builds, so the answer is a release{hint}"
    try:
        found = _between(a, b, builds(fixed.nightly, fixed.python))
    except MatrixError as error:
        return [], f"nightly builds are out of reach, so the answer is what is on record: {error}"
    return found, "" if found else f"the index has no nightly build between {a} and {b}"


def _sentence(found: Bisection) -> str:
    """The answer, or what is next, in one sentence."""
    if found.next:
        many = "1 capture" if found.left == 1 else f"{found.left} captures"
        return f"next is torch {found.next}; {many} left at most, more if some tell nothing"
    untold = f"nothing can be told of {listed(found.untestable)}" if found.untestable else ""
    if found.bad:
        still = "" if found.good == found.a else f", {found.good} still makes"
        told = f"what torch {found.a} makes{still}{' and' if still else ','} {found.bad} does not"
        untold = f"{untold}, in between" if untold else ""
    else:
        told = f"torch {found.good} makes what {found.a} makes" if found.good != found.a else ""
    return f"{found.artifact}: {'; '.join(filter(None, (told, untold)))}"


def print_bisection(console: Console, found: Bisection) -> None:
    """Print every candidate with its state, why some tell nothing, and the sentence."""
    say(console, f"{found.artifact} from torch {found.a} to {found.b}, lane {found.lane}")
    strip = [f"{GLYPHS[one.state]} {one.torch}" for one in found.candidates]
    console.print(Columns([Text(item) for item in strip], padding=(0, 2)))
    meanings = {
        State.SAME: f"as in {found.a}",
        State.DIFFERS: "not so",
        State.SKIP: "tells nothing",
        State.UNKNOWN: "no capture that counts",
    }
    states = {one.state for one in found.candidates}
    say(console, "   ".join(f"{GLYPHS[s]} {told}" for s, told in meanings.items() if s in states))
    for one in found.candidates:
        if one.reason:
            say(console, f"{GLYPHS[one.state]} {one.torch}: {one.reason}")
    console.print(Text(plain(found.sentence), style="bold"), soft_wrap=True)
    for line in (*found.notes, *found.commands):
        say(console, line)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m matrix_compare.bisect",
        description="Say which build between two is the first that changes an artifact, as far as "
        "captures on record tell, and which build to capture next.",
    )
    parser.add_argument("a", metavar="A", help="a release or nightly build")
    parser.add_argument("b", metavar="B", help="another")
    parser.add_argument(
        "--artifact", required=True, metavar="NAME", help="a part, a pass may follow"
    )
    parser.add_argument("--lane", required=True, help="a lane of matrix.toml, e.g. cpu-pinned")
    parser.add_argument("--data", type=Path, default=Path("_data"), help="where records are kept")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found there too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
