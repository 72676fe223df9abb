"""An explanation in words, and its file."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from matrix_capture.errors import MatrixError
from matrix_compare.explained import cause_lines, conclusion, swap_line, where
from matrix_compare.explanation import (
    SCHEMA_VERSION,
    Cause,
    Control,
    Divergence,
    Explanation,
    Reference,
    Shapes,
    Swap,
    explanation_path,
    read_explanation,
)
from matrix_compare.schema import Verdict

DIVERGENCE = Divergence(
    kind="operation",
    matched="exact",
    ops=(420, 420),
    unmatched=(0, 0),
    number=(7, 8),
    op="aten.addmm.default",
    module="model.bert.encoder.layer.3.output.dense",
    operands=("float32[96]", "float32[32, 96]"),
    arguments="[_, _]",
)
CAUSE = Cause(
    artifact="layers",
    scopes={"sample": (0, 1, 2, 5), "chunk.0": (2,)},
    injected=("batches",),
    necessary=True,
    divergence=DIVERGENCE,
)
PROOF = Swap(source="2.7.1", target="2.8.0", injected=("batches",), remains={}, identical=9)


def explanation(**changes: Any) -> Explanation:
    given: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "lane": "cpu-pinned",
        "a": "2.7.1",
        "b": "2.8.0",
        "started": "2026-01-01T00:00:00+00:00",
        "seconds": 60.0,
        "command": "nox -s explain -- 2.7.1 2.8.0",
        "builds": ("2.7.1+cu126", "2.8.0+cu128"),
        "swaps": (PROOF,),
        "causes": (CAUSE,),
        "residue": {},
    }
    return Explanation(**(given | changes))


def told(**changes: Any) -> list[str]:
    cause = msgspec.structs.replace(CAUSE, **({"divergence": None} | changes))
    return list(cause_lines(explanation(), cause))


def shapes(equal: bool, first: bool | None, second: bool | None) -> Shapes:
    return Shapes(
        op="aten.x.default",
        operands=(),
        batches=(1,),
        lengths=(8, 16),
        equal=((True, equal),),
        invariant=(((True, first),), ((True, second),)),
    )


def test_a_proof_is_the_conclusion() -> None:
    assert conclusion(explanation()) == (
        "torch 2.8.0 parts from 2.7.1 at layers (aten.addmm.default): "
        "with batches of 2.7.1 everything downstream is identical"
    )


def test_without_a_proof_nothing_is_claimed() -> None:
    back = Swap(source="2.8.0", target="2.7.1", injected=("batches",), remains={}, identical=9)
    found = explanation(swaps=(back,), residue={"ivf": Verdict.DIFFERS})
    assert conclusion(found).endswith("not explained: ivf")


def test_nothing_to_explain() -> None:
    assert "nothing differs" in conclusion(explanation(causes=(), swaps=()))


def test_what_differs_without_an_origin_is_not_nothing() -> None:
    # As where an artifact is missing on one side: what is made from it has no parent to compare.
    found = explanation(causes=(), swaps=(), residue={"D": Verdict.CLOSE})
    assert conclusion(found) == (
        "torch 2.8.0 parts from 2.7.1 at a place that was not found; not explained: D"
    )


def test_a_swap_that_is_not_enough_says_what_is_left() -> None:
    names = [f"a{n}" for n in range(7)]
    swap = msgspec.structs.replace(PROOF, remains=dict.fromkeys(names, Verdict.CLOSE))
    assert swap_line(swap) == (
        "batches of 2.7.1 in 2.8.0: still a0 close, a1 close, a2 close, a3 close and 3 more"
    )


def test_where_is_told_in_runs() -> None:
    assert where(CAUSE) == "sample 0-2, 5, chunk.0 2"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "alike and gives something else"),
        ({"kind": "replaced", "replaced": (("aten.bmm",), ())}, "aten.bmm became nothing"),
        ({"kind": "outside"}, "by no operation of torch"),
        ({"kind": "none"}, "the cause lies outside torch"),
        ({"unmatched": (3, 1)}, "3 and 1 without a partner"),
        ({"faithful": False}, "the trace may mislead"),
    ],
)
def test_where_two_traces_part(changes: dict[str, Any], words: str) -> None:
    assert words in "; ".join(told(divergence=msgspec.structs.replace(DIVERGENCE, **changes)))


@pytest.mark.parametrize(
    ("same", "moved", "words"),
    [
        (True, (True, False), "disappears with AVX2 (which changes 2.7.1 alone)"),
        (True, (True, True), "disappears with AVX2"),
        (False, (False, True), "stays with AVX2; it is another one with AVX2 (which changes 2.8.0"),
        (False, (False, False), "stays with AVX2"),
    ],
)
def test_what_a_difference_hangs_on(same: bool, moved: tuple[bool, bool], words: str) -> None:
    (line,) = told(controls=(Control(name="AVX2", environ={}, same=same, moved=moved),))
    assert words in line


@pytest.mark.parametrize(("alone", "words"), [((True, True), "the same"), ((True, False), "else")])
def test_an_operation_alone(alone: tuple[bool, bool], words: str) -> None:
    (line,) = told(alone=alone)
    assert words in line


def test_who_moved() -> None:
    reference = Reference(
        max_a=1e-7,
        max_b=2e-7,
        max_ab=3e-7,
        mean_a=0,
        mean_b=0,
        mean_ab=0,
        elements=1760,
        nearer=(1083, 676, 1),
    )
    (line,) = told(reference=reference)
    assert "2.7.1 is nearer in 1,083, 2.8.0 in 676, neither in 1" in line


@pytest.mark.parametrize(
    ("swept", "count"),
    [
        (shapes(True, True, True), 1),
        (shapes(False, True, None), 1),
        (shapes(False, False, True), 2),
    ],
)
def test_a_batch_that_matters_is_told(swept: Shapes, count: int) -> None:
    lines = told(shapes=swept)
    assert len(lines) == count
    assert ("2.7.1 a row depends on its batch in 1 of 2" in lines[-1]) == (count == 2)


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = explanation_path(tmp_path, "cpu-pinned", "2.7.1", "2.8.0")
    path.parent.mkdir(parents=True)
    path.write_bytes(msgspec.json.encode(explanation()))
    assert read_explanation(path) == explanation()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such explanation"),
        (b"{", "not a readable explanation"),
        (msgspec.json.encode(explanation(schema_version=7)), "schema version 7"),
        (msgspec.json.encode(explanation()).replace(b'"number":[7,8]', b'"number":null'), "number"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(
    content: bytes | None, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MatrixError, match=words) as error:
        read_explanation(path)
    assert "\n" not in str(error.value)
