"""Where two traces of one call part: aligns the operations, then finds the first that diverges."""

import re
from collections.abc import Callable, Container, Hashable, Sequence
from difflib import SequenceMatcher
from typing import Any, Literal

from matrix_capture.call import Tensor
from matrix_capture.optrace import Op, Operand, Trace
from matrix_compare.explanation import Divergence

Matched = Literal["exact", "without numbers", "edit distance"]
Pair = tuple[int, int]


def align(a: Sequence[Op], b: Sequence[Op]) -> tuple[Matched, list[Pair]]:
    """Which operations of a and b are the same, in order, and which pass found that.

    First each in its place; then each in its place with the numbers in names left out; then the
    longest runs that agree in operation and module.
    """
    passes: tuple[tuple[Matched, Callable[[Op], Hashable]], ...] = (
        ("exact", _exactly),
        ("without numbers", _without_numbers),
    )
    for name, key in passes:
        if [key(op) for op in a] == [key(op) for op in b]:
            return name, [(place, place) for place in range(len(a))]
    left, right = ([_roughly(op) for op in ops] for ops in (a, b))
    blocks = SequenceMatcher(None, left, right, autojunk=False).get_matching_blocks()
    return "edit distance", [(i + n, j + n) for i, j, size in blocks for n in range(size)]


def diverge(a: Trace, b: Trace, *, faithful: bool) -> Divergence:
    """The first operation that takes the same and gives something else, or what stands for it.

    `faithful` says whether the traced runs made what the captures have.
    """
    matched, pairs = align(a.ops, b.ops)
    common: dict[str, Any] = {
        "faithful": faithful,
        "matched": matched,
        "ops": (len(a.ops), len(b.ops)),
        "unmatched": (len(a.ops) - len(pairs), len(b.ops) - len(pairs)),
    }
    aligned = {i for i, _ in pairs}, {j for _, j in pairs}
    for i, j in pairs:
        one, other = a.ops[i], b.ops[j]
        if _digests(one.outputs) == _digests(other.outputs):
            continue
        found: dict[str, Any] = {
            "number": (i, j),
            "op": one.name,
            "module": one.module,
            "arguments": one.arguments,
            "operands": tuple(map(told, one.inputs)),
        }
        if _digests(one.inputs) == _digests(other.inputs):
            return Divergence(kind="operation", **common, **found)
        other_ops = _alone(a.ops[:i], aligned[0]), _alone(b.ops[:j], aligned[1])
        kind: Literal["replaced", "outside"] = "replaced" if any(other_ops) else "outside"
        return Divergence(kind=kind, **common, **found, replaced=other_ops)
    rest = _alone(a.ops, aligned[0]), _alone(b.ops, aligned[1])
    return Divergence(kind="replaced" if any(rest) else "none", **common, replaced=rest)


def told(operand: Operand | Tensor) -> str:
    """An operand in words: `float32[32, 96]`."""
    return f"{operand.dtype}[{', '.join(map(str, operand.shape))}]"


def _digests(operands: Sequence[Operand]) -> list[str]:
    return [operand.digest for operand in operands]


def _alone(ops: Sequence[Op], aligned: Container[int]) -> tuple[str, ...]:
    """The names of operations without a partner, but for those that only hand on what they take."""
    return tuple(
        op.name
        for place, op in enumerate(ops)
        if place not in aligned and not set(_digests(op.outputs)) <= set(_digests(op.inputs))
    )


def _exactly(op: Op) -> Hashable:
    return op.name, op.module, op.arguments, tuple(map(told, op.inputs))


def _without_numbers(op: Op) -> Hashable:
    return op.name, re.sub(r"[0-9]+", "", op.module), tuple(map(told, op.inputs))


def _roughly(op: Op) -> Hashable:
    return op.name, op.module
