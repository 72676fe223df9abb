"""An explanation in words."""

from collections.abc import Iterator, Sequence

from matrix_compare.explanation import Cause, Control, Explanation, Reference, Shapes, Swap
from matrix_compare.schema import spans


def conclusion(found: Explanation) -> str:
    """The whole in one sentence."""
    if not found.causes and not found.residue:
        return f"nothing differs between torch {found.a} and {found.b}: there is nothing to explain"
    what = _and([_place(cause) for cause in found.causes]) or "a place that was not found"
    proof = next((swap for swap in found.swaps if swap.source == found.a and swap.sufficient), None)
    if proof is None:
        left = _and(list(found.residue)) or "what no swap reaches"
        return f"torch {found.b} parts from {found.a} at {what}; not explained: {left}"
    return (
        f"torch {found.b} parts from {found.a} at {what}: with {_and(proof.injected)} of {found.a} "
        "everything downstream is identical"
    )


def swap_line(swap: Swap) -> str:
    """One swap: what went where, and what came of it."""
    left = _and([f"{name} {verdict}" for name, verdict in swap.remains.items()])
    outcome = f"still {left}" if left else "everything downstream is identical"
    return f"{_and(swap.injected)} of {swap.source} in {swap.target}: {outcome}"


def where(cause: Cause) -> str:
    """The passes and occurrences in which a cause shows: `sample 0-2, chunk.0 1`."""
    return ", ".join(f"{scope} {spans(numbers)}" for scope, numbers in cause.scopes.items())


def cause_lines(found: Explanation, cause: Cause) -> Iterator[str]:
    """All that is known of one cause, a sentence each."""
    divergence = cause.divergence
    if divergence:
        yield _divergence(cause)
        if not divergence.faithful:
            yield "the traced runs did not make what the captures have, so the trace may mislead"
    if cause.alone:
        both = all(cause.alone)
        yield (
            "called alone with the captured tensors it gives the same as in the run"
            if both
            else "called alone with the captured tensors it gives something else than in the run"
        )
    if cause.reference:
        yield _reference(found, cause.reference)
    if cause.controls:
        yield _controls(found, cause.controls)
    if cause.reproduction:
        a, b = cause.reproduction.printed
        yield f"{cause.reproduction.name} prints {a} and {b}"
    if cause.shapes:
        yield from _shapes(found, cause.shapes)
    yield from cause.gaps


def _place(cause: Cause) -> str:
    op = cause.divergence.op if cause.divergence and cause.divergence.kind == "operation" else ""
    return f"{cause.artifact} ({op})" if op else cause.artifact


def _divergence(cause: Cause) -> str:
    found = cause.divergence
    assert found is not None
    within = f" in {found.module}" if found.module else ""
    aligned = f"{_both(found.ops)} operations, aligned {_ALIGNED[found.matched]}"
    if any(found.unmatched):
        aligned += f", {found.unmatched[0]} and {found.unmatched[1]} without a partner"
    if found.kind == "operation":
        assert found.number is not None
        return (
            f"{found.op}{within} takes {', '.join(found.operands)}, as {found.arguments}, alike "
            "and gives something else "
            f"(number {_both(found.number)} of {aligned})"
        )
    if found.kind == "replaced":
        a, b = (_and(names) or "nothing" for names in found.replaced)
        return f"other operations stand in between: {a} became {b} ({aligned})"
    if found.kind == "outside":
        return f"a tensor changed before {found.op}{within}, by no operation of torch ({aligned})"
    return f"no operation differs, so the cause lies outside torch ({aligned})"


def _both(numbers: tuple[int, int]) -> str:
    """A number for either side, once if it is the same."""
    return f"{numbers[0]}" if numbers[0] == numbers[1] else f"{numbers[0]} and {numbers[1]}"


def _reference(found: Explanation, reference: Reference) -> str:
    a, b, neither = reference.nearer
    return (
        f"against float64, {found.a} is off by {reference.max_a:.3g} at most, {found.b} by "
        f"{reference.max_b:.3g}; of {reference.elements:,} elements that differ, {found.a} is "
        f"nearer in {a:,}, {found.b} in {b:,}, neither in {neither:,}"
    )


def _controls(found: Explanation, controls: Sequence[Control]) -> str:
    gone = [_control(found, control) for control in controls if control.same]
    if gone:
        return f"the difference disappears with {_and(gone)}"
    moved = [_control(found, control) for control in controls if any(control.moved)]
    more = f"; it is another one with {_and(moved)}" if moved else ""
    return f"the difference stays with {_and([control.name for control in controls])}{more}"


def _control(found: Explanation, control: Control) -> str:
    """A factor, and which release it gives another result."""
    moved = [name for name, it in zip((found.a, found.b), control.moved, strict=True) if it]
    alone = f" (which changes {moved[0]} alone)" if len(moved) == 1 else ""
    return f"{control.name}{alone}"


def _shapes(found: Explanation, shapes: Shapes) -> Iterator[str]:
    cells = [cell for row in shapes.equal for cell in row if cell is not None]
    yield (
        f"{shapes.op} on random inputs: equal in {sum(cells)} of {len(cells)} batch sizes and "
        "lengths"
    )
    for release, rows in zip((found.a, found.b), shapes.invariant, strict=True):
        known = [cell for row in rows for cell in row if cell is not None]
        if known and not all(known):
            yield (
                f"in {release} a row depends on its batch in {len(known) - sum(known)} of "
                f"{len(known)} cases"
            )


_ALIGNED = {
    "exact": "each in its place",
    "without numbers": "each in its place but for numbers in names",
    "edit distance": "by what they have in common",
}
_MOST = 5


def _and(names: Sequence[str]) -> str:
    """The first names and how many more there are."""
    shown = (
        list(names)
        if len(names) <= _MOST
        else [*names[: _MOST - 1], f"{len(names) - _MOST + 1} more"]
    )
    return " and ".join(filter(None, (", ".join(shown[:-1]), *shown[-1:])))
