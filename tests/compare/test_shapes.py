"""Batch sizes by lengths: which variants there are, and what becomes of their outcomes."""

import pytest

from matrix_capture.call import Call, Tensor, contiguous
from matrix_capture.experiment import Outcome
from matrix_compare.shapes import BATCHES, INTERMEDIATE, LENGTHS, shapes, variants


def call(op: str, *operands: tuple[int, ...]) -> Call:
    return Call(
        op=op,
        args=tuple(
            Tensor(digest="", dtype="float32", shape=shape, stride=contiguous(shape))
            for shape in operands
        ),
    )


@pytest.mark.parametrize(
    ("made", "sizes", "whole"),
    [
        (call("aten.norm.default", (32, 150, 96)), (1, 8), (32, 8)),
        (call("aten.softmax.default", (32, 12, 150, 150)), (1, 8), (32, 8)),
        (INTERMEDIATE, (8,), (256,)),
        (call("aten.bmm.default", (384, 9, 9), (384, 9, 9)), (8,), (256,)),
        (call("aten.div.Tensor", (1024, 96), (1024, 1)), (8,), (256,)),
    ],
    ids=lambda value: value.op if isinstance(value, Call) else None,
)
def test_rows_are_batches_by_tokens(
    made: Call, sizes: tuple[int, ...], whole: tuple[int, ...]
) -> None:
    found = variants(made)
    assert len(found) == len(BATCHES) * len(LENGTHS)
    assert (found[0].sizes, found[0].whole) == (sizes, whole)
    assert {variant.seed for variant in found} == {0}


@pytest.mark.parametrize("shape", [(), (33698,)])
def test_what_has_no_rows_is_not_swept(shape: tuple[int, ...]) -> None:
    assert variants(call("aten.sort.default", shape)) == []


def test_every_outcome_has_its_cell() -> None:
    made = variants(INTERMEDIATE)
    sound = [Outcome(inputs=("x",), outputs=(str(n),), leading=True) for n in range(len(made))]
    other = list(sound)
    batch, length = BATCHES.index(9), LENGTHS.index(83)
    at = length * len(BATCHES) + batch
    other[at] = Outcome(inputs=("x",), outputs=("!",), leading=False)
    other[at + 1] = Outcome(error="RuntimeError: no")
    other[at + 2] = Outcome(inputs=("y",), outputs=(str(at + 2),), leading=True)
    found = shapes(INTERMEDIATE, sound, other)
    assert found.equal[batch][length] is False
    assert found.equal[batch + 1][length] is None
    assert found.equal[batch + 2][length] is None  # not of the same numbers
    assert sum(cell is True for row in found.equal for cell in row) == len(made) - 3
    assert found.invariant[1][batch][length] is False
    assert all(cell is True for row in found.invariant[0] for cell in row)
