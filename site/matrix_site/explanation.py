"""The view of an explanation: what was swapped, where each difference starts, how to see it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from markupsafe import Markup

from matrix_compare.explained import cause_lines, conclusion
from matrix_compare.explanation import Cause, Explanation, Reference, Reproduction, Shapes, Swap
from matrix_compare.schema import Verdict, spans
from matrix_site.summary import SEVERITY
from matrix_site.text import clean, day, duration, moment, number, plural, script

T = TypeVar("T")

# A pair has one cause per artifact at most and little more swaps; a file may claim anything.
_MOST_CAUSES = 30
_MOST_SWAPS = 60
_MOST_NAMES = 8
_MOST_LINES = 12
_MOST_CONTROLS = 20
_MOST_SIZES = 40
_MOST_SWEEPS = 4
_MOST_CHARACTERS = 8000

_OPEN = 3
"""So many causes are told in full at once; the others are a click away."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Some(Generic[T]):
    """The first of several, and how many there are besides."""

    shown: tuple[T, ...]
    more: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Left:
    """Artifacts that a swap leaves different, all with one verdict."""

    verdict: Verdict
    names: Some[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class SwapLine:
    """One swap: what went from where into where, and what came of it."""

    injected: Some[str]
    source: str
    target: str
    left: tuple[Left, ...]
    identical: int
    sufficient: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """The operation again with one factor held: does either side move, do both agree then?"""

    name: str
    environ: str
    moved: tuple[bool, bool]
    same: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Distance:
    """How far two results are from each other, and in how many elements which of them is nearer."""

    name: str
    largest: str
    mean: str
    nearer: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Script:
    """A script, how many characters of it are not shown, and what it printed on either side."""

    name: str
    text: Markup
    more: int
    printed: tuple[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """One cell for each batch size, a row of them, and length."""

    caption: str
    lengths: Some[int]
    rows: Some[tuple[int, tuple[Verdict, ...]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class CauseView:
    """One cause; `told` says that its operation is one of a cause before it.

    `anchor` is that of its script, if it is the first that has one.
    """

    artifact: str
    op: str
    told: bool
    open: bool
    places: Some[str]
    stand_in: Some[str]
    necessary: bool
    lines: Some[str]
    controls: Some[Held]
    distances: tuple[Distance, ...]
    script: Script | None
    anchor: str
    grids: tuple[Grid, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """An operation that is of interest whether it is a cause or not."""

    op: str
    operands: str
    grids: tuple[Grid, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExplanationView:
    """Why two releases differ; `other_builds` are those explained, where the captures have others.

    `residue` is what no swap explains.
    """

    conclusion: str
    made: str
    other_builds: str
    swaps: Some[SwapLine]
    causes: Some[CauseView]
    residue: tuple[Left, ...]
    sweeps: Some[Sweep]

    @property
    def script(self) -> bool:
        """Is there a script to be run?"""
        return any(cause.script for cause in self.causes.shown)


def explanation_view(found: Explanation, builds: tuple[str, str]) -> ExplanationView:
    """Lay out an explanation; `builds` are those of the captures, empty where there is none."""
    differ = any(build and build != own for build, own in zip(builds, found.builds, strict=True))
    return ExplanationView(
        conclusion=conclusion(found),
        made=_made(found),
        other_builds=" and ".join(clean(own, 60) for own in found.builds) if differ else "",
        swaps=_some([_swap(swap) for swap in found.swaps], _MOST_SWAPS),
        causes=_some(list(_causes(found)), _MOST_CAUSES),
        residue=_left(found.residue),
        sweeps=_some(
            [
                Sweep(op=sweep.op, operands=", ".join(sweep.operands), grids=_grids(found, sweep))
                for sweep in found.sweeps
            ],
            _MOST_SWEEPS,
        ),
    )


def _some(values: Sequence[T], most: int) -> Some[T]:
    return Some(shown=tuple(values[:most]), more=max(0, len(values) - most))


def _made(found: Explanation) -> str:
    """When it was found out, and how long that took."""
    time = moment(found.started)
    when = f"Found out on {day(time)}" if time else "Found out"
    return f"{when} in {duration(found.seconds)}, installing and capturing not counted."


def _swap(swap: Swap) -> SwapLine:
    return SwapLine(
        injected=_some(swap.injected, _MOST_NAMES),
        source=swap.source,
        target=swap.target,
        left=_left(swap.remains),
        identical=swap.identical,
        sufficient=swap.sufficient,
    )


def _left(remains: Mapping[str, Verdict]) -> tuple[Left, ...]:
    """What remains, the worst verdict first."""
    names = {verdict: [n for n, word in remains.items() if word == verdict] for verdict in SEVERITY}
    return tuple(
        Left(verdict=verdict, names=_some(found, _MOST_NAMES))
        for verdict, found in names.items()
        if found
    )


def _causes(found: Explanation) -> Iterable[CauseView]:
    told: set[str] = set()
    first = next((cause for cause in found.causes if cause.reproduction), None)
    for place, cause in enumerate(found.causes):
        divergence = cause.divergence
        op = divergence.op if divergence and divergence.kind == "operation" else ""
        yield CauseView(
            artifact=cause.artifact,
            op=op,
            told=op in told,
            open=op not in told and place < _OPEN,
            places=_some(list(_places(cause)), _MOST_NAMES),
            stand_in=_some(
                cause.injected if cause.injected != (cause.artifact,) else (), _MOST_NAMES
            ),
            necessary=cause.necessary,
            lines=_some(list(cause_lines(found, cause)), _MOST_LINES),
            controls=_some(list(_held(cause)), _MOST_CONTROLS),
            distances=_distances(found, cause.reference) if cause.reference else (),
            script=_script(cause.reproduction) if cause.reproduction else None,
            anchor="script" if cause is first else "",
            grids=_grids(found, cause.shapes) if cause.shapes else (),
        )
        told |= {op} - {""}


def _places(cause: Cause) -> Iterable[str]:
    """Each pass, and which of its occurrences differ: `sample (occurrences 0-2)`."""
    for scope, numbers in cause.scopes.items():
        noun = "occurrence" if len(numbers) == 1 else "occurrences"
        which = f" ({noun} {clean(spans(numbers), 60)})" if numbers else ""
        yield f"{clean(scope, 80)}{which}"


def _held(cause: Cause) -> Iterable[Held]:
    for control in cause.controls:
        yield Held(
            name=control.name,
            environ=" ".join(f"{name}={value}" for name, value in control.environ.items()),
            moved=control.moved,
            same=control.same,
        )


def _distances(found: Explanation, reference: Reference) -> tuple[Distance, ...]:
    a, b, neither = reference.nearer
    rows = (
        (f"{found.a} to float64", reference.max_a, reference.mean_a, a),
        (f"{found.b} to float64", reference.max_b, reference.mean_b, b),
        (f"{found.a} to {found.b}", reference.max_ab, reference.mean_ab, None),
    )
    return tuple(
        Distance(
            name=name,
            largest=number(largest),
            mean=number(mean),
            nearer=f"neither: {neither:,}" if nearer is None else f"{nearer:,}",
        )
        for name, largest, mean, nearer in rows
    )


def _script(found: Reproduction) -> Script:
    return Script(
        name=found.name,
        text=script(found.script, _MOST_CHARACTERS),
        more=max(0, len(found.script) - _MOST_CHARACTERS),
        printed=found.printed,
    )


def _grids(found: Explanation, shapes: Shapes) -> tuple[Grid, ...]:
    """Where a and b agree, and for either the batches that matter, if there is one."""
    agree = _grid(shapes, shapes.equal, f"{found.a} and {found.b} agree", "equal", "differs")
    apart = (
        _grid(shapes, rows, f"{release}: rows are as in the largest batch", "as there", "other")
        for release, rows in zip((found.a, found.b), shapes.invariant, strict=True)
        if any(cell is False for row in rows for cell in row)
    )
    return (agree, *apart) if shapes.batches and shapes.lengths else ()


def _grid(
    shapes: Shapes, rows: tuple[tuple[bool | None, ...], ...], what: str, yes: str, no: str
) -> Grid:
    cells = [_VERDICTS[cell] for row in rows for cell in row]
    equal, rest = cells.count(Verdict.IDENTICAL), cells.count(Verdict.NOT_RUN)
    legend = {Verdict.IDENTICAL: yes, Verdict.DIFFERS: no, Verdict.NOT_RUN: "not run"}
    words = ", ".join(f"{mark.glyph} {word}" for mark, word in legend.items() if mark in cells)
    return Grid(
        caption=f"{what} in {equal:,} of {plural(len(cells) - rest, 'case')}: {words}",
        lengths=_some(shapes.lengths, _MOST_SIZES),
        rows=_some(
            [
                (batch, tuple(_VERDICTS[cell] for cell in row[:_MOST_SIZES]))
                for batch, row in zip(shapes.batches, rows, strict=True)
            ],
            _MOST_SIZES,
        ),
    )


_VERDICTS = {True: Verdict.IDENTICAL, False: Verdict.DIFFERS, None: Verdict.NOT_RUN}
