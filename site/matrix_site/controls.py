"""The controls of both captures of a pair: does each equal itself, and did watching change it?"""

from collections.abc import Iterable
from dataclasses import dataclass

from matrix_capture.schema import Control, Observer
from matrix_compare.schema import Verdict
from matrix_site.comparison import Pair
from matrix_site.sides import Records
from matrix_site.summary import Tally
from matrix_site.text import clean, listed, plural


@dataclass(frozen=True, kw_only=True, slots=True)
class Unstable:
    """The tensors of one release that do not equal themselves, or the first of them."""

    release: str
    total: int
    names: tuple[str, ...]


def controls(pair: Pair, records: Records, counts: Tally) -> tuple[str, ...]:
    """The A/A control and the observer certificate of both sides, one sentence each."""
    lines = []
    for release, record in zip(pair, records, strict=True):
        if record is None:
            lines.append(f"torch {release}: no readable capture, so no control.")
            continue
        repeats = _repeats(record.repeats, record.control)
        lines.append(f"torch {release}: {repeats}; {_certificate(record.observer)}.")
    noisy = counts.of(Verdict.UNSTABLE)
    lines.append(
        f"{plural(noisy, 'comparison')} unstable: two runs of one environment disagree."
        if noisy
        else "No comparison is unstable."
    )
    return tuple(lines)


def unstable(pair: Pair, records: Records) -> Iterable[Unstable]:
    """What did not pass the A/A control."""
    for release, record in zip(pair, records, strict=True):
        control = record.control if record else None
        if control and not control.identical:
            names = tuple(clean(name, 120) for name in control.unstable)
            yield Unstable(release=release, total=control.unstable_tensors, names=names)


def _repeats(runs: int, control: Control | None) -> str:
    if control is None or runs < 2:
        if runs > 1:
            return f"A/A control of {runs} runs, its outcome not on record"
        return "no A/A control, so nothing tells a difference from noise"
    if control.identical:
        return f"A/A control: {plural(control.tensors, 'tensor')} the same in {runs} runs"
    many = f"{control.unstable_tensors:,} of {plural(control.tensors, 'tensor')}"
    return f"A/A control not passed: {many} not the same in {runs} runs"


def _certificate(observer: Observer | None) -> str:
    if observer is None:
        return "no observer certificate"
    if observer.identical:
        tensors = plural(observer.tensors, "tensor")
        return f"observer certificate: {tensors} of the index identical with and without taps"
    names = listed(observer.differing) or "tensors not named"
    return f"observer certificate refused: taps change {names}"
