"""Scripts of ten lines: what is tried, in which order, and how it is written."""

import ast
import base64
from math import prod
from typing import Any

import numpy as np
import pytest

from matrix_capture.call import (
    Argument,
    Call,
    Constant,
    Device,
    Float,
    Plain,
    Sequence,
    Tensor,
    contiguous,
)
from matrix_capture.digest import content_hash, snapshot
from matrix_capture.experiment import Variant
from matrix_capture.values import ValueStore
from matrix_compare.reproduction import MOST_LINES, candidates, excerpts, script


def tensor(*shape: int, dtype: str = "float32", **changes: Any) -> Tensor:
    given = {"digest": "", "dtype": dtype, "shape": shape, "stride": contiguous(shape)}
    return Tensor(**(given | changes))


NORM = Call(
    op="aten.linalg_vector_norm.default",
    args=(
        tensor(32, 150, 96),
        Plain(value=2),
        Sequence(items=(Plain(value=2),)),
        Plain(value=True),
    ),
)
ADDMM = Call(
    op="aten.addmm.default",
    args=(tensor(1536), tensor(4800, 384), tensor(384, 1536, stride=(1, 384))),
)
SORT = Call(op="aten.sort.default", args=(tensor(33698, dtype="int64", above=2048),))


def lines(call: Call, variant: Variant, store: ValueStore, results: int = 1) -> list[str]:
    text = script(call, variant, results=results, threads=2, values=store)
    ast.parse(text)
    return text.splitlines()


@pytest.mark.parametrize("call", [NORM, ADDMM, SORT], ids=lambda call: call.op)
def test_candidates_grow_from_one_row_to_the_whole(call: Call) -> None:
    sizes = [variant.sizes for variant in candidates(call)]
    rows = [prod(size) for size in sizes]
    assert rows == sorted(rows)
    whole = {"aten.addmm.default": (4800,), "aten.sort.default": (33698,)}
    assert sizes[-1] == whole.get(call.op, (32, 150))
    assert rows[0] == 1


def test_an_excerpt_lies_within_the_operand_and_has_the_element() -> None:
    for variant in excerpts(NORM, [31, 149, 0]):
        for start, size, at, whole in zip(
            variant.start, variant.sizes, (31, 149), (32, 150), strict=True
        ):
            assert 0 <= start <= at < start + size <= whole


def test_a_script_of_random_numbers(store: ValueStore) -> None:
    assert lines(NORM, Variant(sizes=(1, 4), seed=7), store) == [
        "import hashlib, torch",
        "torch.set_num_threads(2)",
        "torch.manual_seed(7)",
        "a = torch.empty((1, 4, 96)).uniform_(-1, 1)",
        "y = torch.ops.aten.linalg_vector_norm.default(a, 2, [2], True)",
        'data = b"".join(t.cpu().flatten().view(torch.uint8).numpy().tobytes() for t in [y])',
        "print(torch.__version__, hashlib.sha256(data).hexdigest()[:16])",
    ]


def test_a_transposed_operand_is_transposed_again(store: ValueStore) -> None:
    found = lines(ADDMM, Variant(sizes=(2,), seed=0), store)
    assert "b = torch.empty((2, 384)).uniform_(-1, 1)" in found
    assert "c = torch.empty((589824,)).uniform_(-1, 1).as_strided((384, 1536), (1, 384))" in found
    assert len(found) <= MOST_LINES


def test_integers_and_several_results(store: ValueStore) -> None:
    found = lines(SORT, Variant(sizes=(64,), seed=0), store, results=2)
    assert "a = torch.randint(0, 2048, (64,))" in found
    assert found[-2].endswith("for t in y)")


def test_a_script_of_captured_numbers_has_their_very_bits(store: ValueStore) -> None:
    value = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    snap = snapshot(value)
    digest = content_hash(snap)
    store.put(snapshot(value.ravel()), content_hash(snapshot(value.ravel())))
    flat = content_hash(snapshot(value.ravel())).hex()
    assert flat != digest.hex()
    call = Call(op="aten.neg.default", args=(tensor(2, 3, 4, digest=flat),))
    found = lines(call, Variant(sizes=(1, 2), start=(1, 1)), store)
    (line,) = (line for line in found if line.startswith("a = "))
    text = line.split("'")[1]
    assert base64.b85decode(text) == value[1:2, 1:3].tobytes()
    assert line.endswith(".reshape((1, 2, 4))")
    assert not any("manual_seed" in line for line in found)


def test_what_is_too_long_to_copy_is_no_script(store: ValueStore) -> None:
    value = snapshot(np.zeros(5000, np.float32))
    store.put(value, content_hash(value))
    call = Call(op="aten.neg.default", args=(tensor(5000, digest=content_hash(value).hex()),))
    assert script(call, Variant(sizes=(5000,)), results=1, threads=2, values=store) == ""


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        (Constant(name="float16"), "torch.float16"),
        (Device(name="cpu"), "torch.device('cpu')"),
        (Float(hex=(0.1).hex()), "0.1"),
        (Float(hex="-inf"), "float('-inf')"),
        (Plain(value=None), "None"),
        (Sequence(items=(Plain(value=1), Float(hex="nan"))), "[1, float('nan')]"),
    ],
)
def test_other_arguments(argument: Argument, text: str, store: ValueStore) -> None:
    call = Call(op="aten.x.default", args=(tensor(2, 2), argument), kwargs={"k": argument})
    assert f"y = torch.ops.aten.x.default(a, {text}, k={text})" in lines(
        call, Variant(sizes=(1,), seed=0), store
    )
