"""One call made in many ways, and the script that makes it as a variant says."""

import contextlib
import hashlib
import io
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from matrix_capture import experiment
from matrix_capture.call import Call, Tensor, decoded, encoded
from matrix_capture.digest import content_hash, snapshot
from matrix_capture.experiment import Answer, Outcome, Request, Variant
from matrix_capture.values import ValueStore
from matrix_compare.reproduction import script

DTYPES = ("float32", "float16", "bfloat16", "int64", "bool")
THREADS = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("experiment")


@pytest.fixture(scope="module")
def store(folder: Path) -> ValueStore:
    return ValueStore(folder / "values")


@pytest.fixture(scope="module", autouse=True)
def threads() -> Iterator[None]:
    """An experiment sets how many there are."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def planted() -> Iterator[None]:
    """Operations of our own whose rows depend on others."""
    library = torch.library.Library("planted", "DEF")
    for name, kernel in {
        # As a library may: another algorithm from so many rows on.
        "by_size": lambda x: x + (x.shape[0] > 2) * 2**-20,
        "by_place": lambda x: x + torch.arange(x.shape[0])[:, None],
        "none": lambda x: x + 1,
    }.items():
        library.define(f"{name}(Tensor x) -> Tensor")
        library.impl(name, kernel, "CPU")
    yield
    library._destroy()


def outcomes(
    call: Call, folder: Path, *variants: Variant, keep: bool = False
) -> tuple[Outcome, ...]:
    request = Request(
        call=call,
        values=str(folder / "values"),
        threads=THREADS,
        variants=variants,
        keep=keep,
    )
    (folder / "request.json").write_bytes(msgspec.json.encode(request))
    experiment.main(folder)
    answer = msgspec.json.decode((folder / "answer.json").read_bytes(), type=Answer)
    assert answer.torch == torch.__version__
    return answer.outcomes


def digest(tensor: Any) -> str:
    return content_hash(snapshot(tensor)).hex()


def filled(dtype: str, shape: Sequence[int], above: int = 50) -> Any:
    """The same numbers every time."""
    generator = torch.Generator().manual_seed(prod(shape))
    if dtype.startswith(("float", "bfloat")):
        return torch.randn(shape, generator=generator).to(getattr(torch, dtype))
    bits = torch.randint(0, 2 if dtype == "bool" else above, shape, generator=generator)
    return bits.to(getattr(torch, dtype))


# Variants.


def test_as_captured(folder: Path, store: ValueStore) -> None:
    value = filled("float32", (4, 3))
    call = encoded("aten.neg.default", [value], {}, store)
    (found,) = outcomes(call, folder, Variant(), keep=True)
    assert found == Outcome(inputs=(digest(value),), outputs=(digest(-value),))
    assert store.get(bytes.fromhex(found.outputs[0])).shape == (4, 3)


def test_sizes_and_start_take_a_part(folder: Path, store: ValueStore) -> None:
    value = filled("float32", (6, 5, 3))
    call = encoded("aten.neg.default", [value], {}, store)
    first, inner = outcomes(call, folder, Variant(sizes=(2,)), Variant(sizes=(2, 1), start=(3, 4)))
    assert first.outputs == (digest(-value[:2]),)
    assert inner.inputs == (digest(value[3:5, 4:5]),)
    assert inner.outputs == (digest(-value[3:5, 4:5]),)


def test_only_operands_with_rows_are_shortened(folder: Path, store: ValueStore) -> None:
    bias, rows, weight = (filled("float32", shape) for shape in [(7,), (5, 4), (4, 7)])
    call = encoded("aten.addmm.default", [bias, rows, weight], {"beta": 1, "alpha": 2}, store)
    (found,) = outcomes(call, folder, Variant(sizes=(1,), start=(4,)))
    assert found.inputs == (digest(bias), digest(rows[4:]), digest(weight))
    assert found.outputs == (digest(torch.addmm(bias, rows[4:], weight, alpha=2)),)


def test_a_seed_makes_the_same_random_numbers(folder: Path, store: ValueStore) -> None:
    call = encoded("aten.neg.default", [filled("float32", (4, 3))], {}, store)
    one, again, other, taller = outcomes(
        call,
        folder,
        Variant(seed=1),
        Variant(seed=1),
        Variant(seed=2),
        Variant(seed=1, sizes=(9,)),
    )
    assert one == again
    assert len({one.inputs, other.inputs, taller.inputs}) == 3
    assert one.inputs != (digest(filled("float32", (4, 3))),)


def test_random_integers_stay_below_the_greatest(folder: Path, store: ValueStore) -> None:
    table, places = filled("float32", (6, 2)), torch.tensor([1, 5, 0, 2])
    call = encoded("aten.embedding.default", [table, places], {}, store)
    found = outcomes(call, folder, *(Variant(seed=seed) for seed in range(8)))
    assert [outcome.error for outcome in found] == [""] * 8
    assert isinstance(call.args[1], Tensor)
    assert call.args[1].above == 6


def test_double_computes_in_float64(folder: Path, store: ValueStore) -> None:
    value = filled("float16", (3, 3))
    call = encoded("aten.mm.default", [value, value.T], {}, store)
    (found,) = outcomes(call, folder, Variant(double=True))
    assert found.outputs == (digest(value.double() @ value.double().T),)
    counted = encoded("aten.neg.default", [torch.arange(3)], {}, store)
    (found,) = outcomes(counted, folder, Variant(double=True))
    assert found.outputs == (digest(-torch.arange(3)),)


def test_what_cannot_be_made_says_why(folder: Path, store: ValueStore) -> None:
    call = encoded("aten.mm.default", [torch.ones(2, 3), torch.ones(2, 3)], {}, store)
    bad, _ = outcomes(call, folder, Variant(), Variant(seed=0))
    assert bad.error.startswith("RuntimeError: mat1 and mat2 shapes cannot be multiplied")
    assert bad.outputs == ()


def test_several_results_are_all_seen(folder: Path, store: ValueStore) -> None:
    value = torch.tensor([3, 1, 2])
    call = encoded("aten.sort.stable", [value], {"stable": True, "dim": 0}, store)
    (found,) = outcomes(call, folder, Variant())
    assert found.outputs == (digest(torch.tensor([1, 2, 3])), digest(torch.tensor([1, 2, 0])))


# Strides.


@pytest.mark.parametrize(
    "value",
    [
        torch.arange(12.0).reshape(3, 4).T,
        torch.arange(24.0).reshape(2, 3, 4).permute(2, 0, 1),
        torch.arange(12.0).reshape(3, 4)[:, 1:3],
        torch.arange(12.0).reshape(3, 4)[1:, ::2],
        torch.arange(3.0)[:, None].expand(3, 4),
        torch.arange(12.0)[3],
        torch.zeros(0, 4).T,
    ],
    ids=lambda value: f"{list(value.shape)}{list(value.stride())}",
)
def test_an_operand_comes_back_with_its_strides(value: Any, store: ValueStore) -> None:
    call = encoded("aten.neg.default", [value], {}, store)
    again = decoded(call.args[0], store)
    assert (again.shape, again.stride()) == (value.shape, value.stride())
    assert torch.equal(again, value)


def test_a_random_operand_is_laid_out_as_the_captured_one(folder: Path, store: ValueStore) -> None:
    seen = []

    def spy(x: Any) -> Any:
        seen.append((tuple(x.shape), x.stride()))
        return x + 1

    library = torch.library.Library("spying", "DEF")
    library.define("on(Tensor x) -> Tensor")
    library.impl("on", spy, "CPU")
    for value in (torch.rand(5, 3), torch.rand(3, 5).T):
        call = encoded("spying.on.default", [value], {}, store)
        assert not outcomes(call, folder, Variant(seed=0), Variant(seed=0, sizes=(2,)))[1].error
    assert seen == [
        ((5, 3), (3, 1)),
        ((2, 3), (3, 1)),
        ((5, 3), (1, 5)),
        ((2, 3), (1, 5)),
    ]
    library._destroy()


# Rows and their batch.


@pytest.mark.parametrize(
    ("op", "arguments", "leading"),
    [
        ("planted.none.default", [], True),
        ("planted.by_place.default", [], True),  # the leading rows are the same in any batch
        ("planted.by_size.default", [], False),
        ("aten.cumsum.default", [0], True),
        ("aten.flip.default", [[0]], False),
        ("aten._softmax.default", [1, False], True),
        ("aten._softmax.default", [0, False], False),
    ],
)
def test_a_row_that_depends_on_its_batch_is_found(
    op: str, arguments: list[Any], leading: bool, folder: Path, store: ValueStore
) -> None:
    call = encoded(op, [filled("float32", (8, 3)), *arguments], {}, store)
    part, whole = outcomes(
        call,
        folder,
        Variant(sizes=(2,), whole=(8,), seed=0),
        Variant(sizes=(8,), whole=(8,), seed=0),
    )
    assert (part.error, whole.error) == ("", "")
    assert (part.leading, whole.leading) == (leading, True)


def test_every_part_is_of_the_same_whole(folder: Path, store: ValueStore) -> None:
    call = encoded("planted.none.default", [filled("float32", (2, 3))], {}, store)
    apart = [outcomes(call, folder, Variant(sizes=(n,), whole=(8,), seed=4))[0] for n in (1, 2, 8)]
    together = outcomes(call, folder, *(Variant(sizes=(n,), whole=(8,), seed=4) for n in (1, 2, 8)))
    assert list(together) == apart
    assert len({outcome.outputs for outcome in together}) == 3


def test_without_a_whole_nothing_is_said_of_it(folder: Path, store: ValueStore) -> None:
    call = encoded("planted.by_size.default", [filled("float32", (8, 3))], {}, store)
    (found,) = outcomes(call, folder, Variant(sizes=(2,), seed=0))
    assert found.leading is None


# The script.


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, list[Any], dict[str, Any]]:
    """An operation and its arguments."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.sampled_from([(4,), (3, 5), (2, 3, 4)]))
    value = filled(dtype, shape)
    if draw(st.booleans()):
        value = filled(dtype, shape[::-1]).permute(*range(len(shape))[::-1])
    found: list[tuple[str, list[Any], dict[str, Any]]] = [
        ("aten.clone.default", [value], {}),
        ("aten.sort.stable", [value], {"stable": True, "dim": -1}),
        ("aten._to_copy.default", [value], {"dtype": torch.float64}),
    ]
    if dtype != "bool":
        found.append(("aten.sub.Tensor", [value, filled(dtype, shape)], {"alpha": 2}))
    if value.is_floating_point():
        found.append(("aten.linalg_vector_norm.default", [value, 2, [-1], True], {}))
        found.append(("aten.clamp.default", [value, -0.25], {"max": float("inf")}))
    if value.is_floating_point() and len(shape) == 2:
        found.append(("aten.addmm.default", [value[0], value.T.contiguous(), value], {}))
        found.append(("aten.mm.default", [filled(dtype, (6, shape[0])), value], {}))
    if dtype == "int64":
        found.append(("aten.embedding.default", [filled("float32", (50, 3)), value], {}))
    case: tuple[str, list[Any], dict[str, Any]] = draw(st.sampled_from(found))
    return case


@settings(max_examples=300, deadline=None)
@given(case=cases(), data=st.data())
def test_a_script_gives_what_the_experiment_gives(
    case: tuple[str, list[Any], dict[str, Any]], data: st.DataObject, folder: Path
) -> None:
    op, args, kwargs = case
    store = ValueStore(folder / "values")
    call = encoded(op, args, kwargs, store)
    seed = data.draw(st.none() | st.integers(0, 2**32))
    sizes: tuple[int, ...] = ()
    start: tuple[int, ...] = ()
    if op != "aten.embedding.default":  # whose rows are those of no table
        first = call.args[experiment.with_rows(call)[0]]
        assert isinstance(first, Tensor)
        size = data.draw(st.integers(1, first.shape[0]))
        sizes = data.draw(st.sampled_from([(), (size,)]))
        if sizes and seed is None:
            start = (data.draw(st.integers(0, first.shape[0] - size)),)
    variant = Variant(sizes=sizes, start=start, seed=seed)
    (outcome,) = outcomes(call, folder, variant)
    assert outcome.error == ""
    text = script(call, variant, results=len(outcome.outputs), threads=THREADS, values=store)
    made, printed = ran(text)
    assert [digest(tensor) for tensor in made] == list(outcome.outputs)
    raw = b"".join(snapshot(tensor).raw for tensor in made)
    assert printed == f"{torch.__version__} {hashlib.sha256(raw).hexdigest()[:16]}\n"


@pytest.mark.parametrize(
    ("op", "args", "kwargs"),
    [
        ("aten.cat.default", [[torch.ones(2), torch.ones(2)]], {}),
        ("aten.index.Tensor", [torch.ones(3), [torch.tensor([2])]], {}),
        ("aten.bucketize.Tensor", [torch.ones(3)], {"boundaries": torch.ones(2)}),
    ],
)
def test_a_tensor_that_is_in_a_list_or_named_is_in_no_script(
    op: str, args: list[Any], kwargs: dict[str, Any], folder: Path, store: ValueStore
) -> None:
    call = encoded(op, args, kwargs, store)
    for variant in (Variant(), Variant(seed=0)):
        (outcome,) = outcomes(call, folder, variant)
        assert outcome.error == ""
        assert script(call, variant, results=1, threads=THREADS, values=store) == ""


def ran(text: str) -> tuple[list[Any], str]:
    """What a script makes and prints."""
    names: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()) as output, torch.inference_mode():
        exec(text, names)  # noqa: S102 - it is what is tested
    made = names["y"]
    return list(made) if isinstance(made, tuple) else [made], output.getvalue()
