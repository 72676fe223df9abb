"""Where two traces part: planted at one operation, between two, and in none."""

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_capture.optrace import Op, Operand, Trace
from matrix_compare.divergence import align, diverge


def operand(digest: str) -> Operand:
    return Operand(digest=digest, dtype="float32", shape=(2, 3))


def op(name: str, takes: str, gives: str, module: str = "") -> Op:
    """An operation whose operands have one-letter digests."""
    return Op(
        name=f"aten.{name}.default",
        module=module,
        arguments="[_]",
        inputs=tuple(map(operand, takes)),
        outputs=tuple(map(operand, gives)),
    )


def trace(*ops: Op) -> Trace:
    return Trace(ops=ops)


def parting(a: Trace, b: Trace) -> dict[str, Any]:
    """What is found, as plain data."""
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(diverge(a, b, faithful=True)))
    return found


LINEAR = op("addmm", "wx", "y", "layer.3.dense")
GELU = op("gelu", "y", "z", "layer.3.act")
NORM = op("norm", "z", "n")


def test_traces_that_agree() -> None:
    found = parting(trace(LINEAR, GELU), trace(LINEAR, GELU))
    assert (found["kind"], found["matched"], found["unmatched"]) == ("none", "exact", [0, 0])


@pytest.mark.parametrize("place", range(3))
def test_the_first_operation_that_takes_the_same_and_gives_something_else(place: int) -> None:
    sound = [LINEAR, GELU, NORM]
    planted = list(sound)
    planted[place] = msgspec.structs.replace(sound[place], outputs=(operand("!"),))
    for later in range(place + 1, 3):  # what comes of it differs too
        planted[later] = msgspec.structs.replace(
            sound[later], inputs=(operand("?"),), outputs=(operand("?"),)
        )
    found = parting(trace(*sound), trace(*planted))
    assert (found["kind"], found["number"]) == ("operation", [place, place])
    assert (found["op"], found["module"]) == (sound[place].name, sound[place].module)


def test_one_operation_in_place_of_several_is_no_cause_but_a_replacement() -> None:
    eager = [op("bmm", "qk", "s"), op("softmax", "s", "p"), op("bmm2", "pv", "o")]
    fused = [op("sdpa", "qkv", "O")]
    a = trace(LINEAR, *eager, op("view", "o", "h"))
    b = trace(LINEAR, *fused, op("view", "O", "H"))
    found = parting(a, b)
    assert (found["kind"], found["matched"], found["unmatched"]) == (
        "replaced",
        "edit distance",
        [3, 1],
    )
    assert found["replaced"] == [
        ["aten.bmm.default", "aten.softmax.default", "aten.bmm2.default"],
        ["aten.sdpa.default"],
    ]


def test_what_only_hands_a_tensor_on_replaces_nothing() -> None:
    a = trace(LINEAR, op("detach", "y", "y"), op("gelu", "y", "z"))
    b = trace(LINEAR, op("gelu", "y", "Z"))
    assert parting(a, b)["kind"] == "operation"


def test_a_tensor_that_no_operation_changed() -> None:
    changed = op("norm", "Z", "N")
    assert parting(trace(GELU, NORM), trace(GELU, changed))["kind"] == "outside"


def test_memory_that_nothing_was_written_to_says_nothing() -> None:
    empty = Operand(digest="", dtype="float32", shape=(2, 3))
    allocated = msgspec.structs.replace(LINEAR, name="aten.empty.default", outputs=(empty,))
    filled = msgspec.structs.replace(GELU, inputs=(empty,))
    wrong = msgspec.structs.replace(filled, outputs=(operand("!"),))
    found = parting(trace(allocated, filled), trace(allocated, wrong))
    assert (found["kind"], found["op"]) == ("operation", "aten.gelu.default")


def test_another_numbering_of_modules_is_seen_through() -> None:
    moved = msgspec.structs.replace(LINEAR, module="layer.4.dense")
    found = parting(trace(LINEAR, GELU), trace(moved, GELU))
    assert (found["kind"], found["matched"]) == ("none", "without numbers")


def test_operations_at_the_end_that_only_one_side_has() -> None:
    found = parting(trace(LINEAR), trace(LINEAR, GELU))
    assert (found["kind"], found["replaced"]) == ("replaced", [[], ["aten.gelu.default"]])


@given(st.text("abc", max_size=12), st.text("abc", max_size=12))
def test_an_alignment_is_in_order_and_pairs_the_same(first: str, second: str) -> None:
    a, b = ([op(letter, "x", "y") for letter in text] for text in (first, second))
    _, pairs = align(a, b)
    assert all(first[i] == second[j] for i, j in pairs)
    assert all(i < k and j < m for (i, j), (k, m) in pairwise(pairs))
    if first == second:
        assert len(pairs) == len(first)
