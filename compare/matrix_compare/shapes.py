"""One operation at many batch sizes and lengths: where releases differ, where a batch matters."""

from collections.abc import Sequence

from matrix_capture.call import Call, Plain, Tensor
from matrix_capture.experiment import Outcome, Variant, with_rows
from matrix_compare.divergence import told
from matrix_compare.explanation import Shapes

BATCHES = (1, 2, 3, 4, 6, 8, 9, 10, 12, 16, 24, 32)
LENGTHS = (8, 16, 32, 48, 61, 64, 73, 77, 80, 83, 86, 90, 96, 115, 128, 150, 180, 194, 220)
_SEED = 0

INTERMEDIATE = Call(
    op="aten.addmm.default",
    args=(
        Tensor(digest="", dtype="float16", shape=(1536,), stride=(1,), device="cuda"),
        Tensor(digest="", dtype="float16", shape=(1, 384), stride=(384, 1), device="cuda"),
        Tensor(digest="", dtype="float16", shape=(384, 1536), stride=(1, 384), device="cuda"),
    ),
    kwargs={"beta": Plain(value=1), "alpha": Plain(value=1)},
)
"""`Linear(384, 1536)` under autocast, whose shapes the published study swept on a GPU."""


def variants(call: Call) -> list[Variant]:
    """The call for every batch size and length, lengths first; none if it has no rows."""
    axes = _axes(call)
    return [
        Variant(
            sizes=_sizes(batch, length, axes),
            whole=_sizes(BATCHES[-1], length, axes),
            seed=_SEED,
        )
        for length in LENGTHS
        for batch in BATCHES
        if axes
    ]


def shapes(call: Call, a: Sequence[Outcome], b: Sequence[Outcome]) -> Shapes:
    """What the variants of a call gave on both sides."""
    height = len(BATCHES)
    cells = [_cell(one, other) for one, other in zip(a, b, strict=True)]
    found = [cells[at : at + height] for at in range(0, len(cells), height)]
    equal, first, second = (
        tuple(tuple(column[row][part] for column in found) for row in range(height))
        for part in range(3)
    )
    return Shapes(
        op=call.op,
        operands=tuple(told(argument) for argument in call.args if isinstance(argument, Tensor)),
        batches=BATCHES,
        lengths=LENGTHS,
        equal=equal,
        invariant=(first, second),
    )


def _cell(one: Outcome, other: Outcome) -> tuple[bool | None, bool | None, bool | None]:
    """Whether two outcomes are equal, and whether either is part of its whole."""
    if one.error or other.error or one.inputs != other.inputs:
        return None, one.leading, other.leading
    return one.outputs == other.outputs, one.leading, other.leading


def _axes(call: Call) -> int:
    """How many leading axes stand for batch and length: two, or one that is both, or none.

    What has one axis only, as a sort, is not made of rows.
    """
    if call.op == "aten.bmm.default":
        return 1
    rows = [a for n in with_rows(call) if isinstance(a := call.args[n], Tensor)]
    return max(0, min(2, min((len(a.shape) for a in rows), default=0) - 1))


def _sizes(batch: int, length: int, axes: int) -> tuple[int, ...]:
    return (batch * length,) if axes == 1 else (batch, length)
