"""A script of plain torch that shows a difference: ten lines at most, and what to put into them."""

import base64
from collections.abc import Iterator, Sequence
from itertools import chain, product
from math import isfinite, prod

import numpy as np

from matrix_capture.call import (
    Argument,
    Call,
    Constant,
    Device,
    Float,
    Plain,
    Tensor,
    contiguous,
    extent_of,
)
from matrix_capture.call import Sequence as Items
from matrix_capture.digest import Snapshot
from matrix_capture.experiment import (
    Variant,
    rows_of,
    shape_of,
    stride_of,
    with_rows,
)
from matrix_capture.values import ValueStore

MOST_LINES = 10
_MOST_BYTES = 2**14  # of tensors in a script: lines that still can be copied
_SEEDS = 16
_MANY = 2**17  # elements of an operand, from which on few seeds are tried
_FEW_SEEDS = 3


def candidates(call: Call) -> list[Variant]:
    """Random inputs to try, the smallest first."""
    found = []
    for sizes in _ladder(_leading(call)):
        rows = (shape_of(call, number, Variant(sizes=sizes)) for number in with_rows(call))
        most = max(map(prod, rows), default=0)
        seeds = _SEEDS if most < _MANY else _FEW_SEEDS
        found += [Variant(sizes=sizes, seed=seed) for seed in range(seeds)]
    return found


def excerpts(call: Call, at: Sequence[int]) -> list[Variant]:
    """Parts of the captured input around an element of the result, the smallest first."""
    whole = _leading(call)
    found = []
    for sizes in _ladder(whole):
        start = tuple(
            min(place, size - part)
            for place, size, part in zip(at[: len(whole)], whole, sizes, strict=True)
        )
        found.append(Variant(sizes=sizes, start=start))
    return found


def script(call: Call, variant: Variant, *, results: int, threads: int, values: ValueStore) -> str:
    """The lines that make a call as a variant says and print the release and a hash.

    `results` is how many tensors the call gives. Empty if what must be written into it is too long,
    or if a tensor is in a list or named.

    Raises:
        MatrixError: a value is not in the store.
    """
    lists = (argument.items for argument in call.args if isinstance(argument, Items))
    if any(isinstance(argument, Tensor) for argument in chain(*lists, call.kwargs.values())):
        return ""
    tensors: dict[str, str] = {}
    embedded = 0
    texts = []
    for number, argument in enumerate(call.args):
        if not isinstance(argument, Tensor):
            texts.append(_source(argument))
            continue
        name = "abcdefgh"[len(tensors)]
        shape = shape_of(call, number, variant)
        if variant.seed is not None:
            tensors[name] = _random(argument, shape)
        else:
            snap = values.get(bytes.fromhex(argument.digest))
            rows = rows_of(variant) if number in with_rows(call) else ()
            data = _part(snap, argument, rows)
            embedded += len(data)
            tensors[name] = _literal(data, argument, shape)
        texts.append(name)
    texts += [f"{name}={_source(argument)}" for name, argument in call.kwargs.items()]
    each = "y" if results > 1 else "[y]"
    lines = [
        f"import {'base64, ' if embedded else ''}hashlib, torch",
        f"torch.set_num_threads({threads})",
        *([f"torch.manual_seed({variant.seed})"] if variant.seed is not None else []),
        *(f"{name} = {text}" for name, text in tensors.items()),
        f"y = torch.ops.{call.op}({', '.join(texts)})",
        f'data = b"".join(t.cpu().flatten().view(torch.uint8).numpy().tobytes() for t in {each})',
        "print(torch.__version__, hashlib.sha256(data).hexdigest()[:16])",
    ]
    if embedded > _MOST_BYTES or len(lines) > MOST_LINES:
        return ""
    return "\n".join([*lines, ""])


def _leading(call: Call) -> tuple[int, ...]:
    """The leading axes that may be shortened: all but the last, which most operations sum over."""
    numbers = with_rows(call)
    if not numbers:
        return ()
    first = call.args[numbers[0]]
    assert isinstance(first, Tensor)
    if len(first.shape) == 1 or call.op == "aten.bmm.default":
        return first.shape[:1]
    shared = [a.shape for n in numbers if isinstance(a := call.args[n], Tensor)]
    count = min(map(len, shared)) - 1
    return first.shape[:count] if all(s[:count] == shared[0][:count] for s in shared) else ()


def _ladder(whole: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Sizes from one to the whole, the last axis first, each twice the one before."""
    if not whole:
        yield ()
        return
    steps = [[*(2**n for n in range(size.bit_length()) if 2**n < size), size] for size in whole]
    # One for each number of rows: what matters is how many there are, not how they are arranged.
    found: dict[int, tuple[int, ...]] = {}
    for sizes in sorted(product(*steps), key=lambda sizes: (prod(sizes), sizes)):
        found.setdefault(prod(sizes), sizes)
    yield from found.values()


def _random(argument: Tensor, shape: tuple[int, ...]) -> str:
    """As `experiment` makes it."""
    stride = stride_of(argument, shape)
    size = extent_of(shape, stride)
    plain = stride == contiguous(shape)
    first = shape if plain else (size,)
    if "float" not in argument.dtype:
        text = f"torch.randint(0, {argument.above}, {first})"
        text += "" if argument.dtype == "int64" else f".to(torch.{argument.dtype})"
    else:
        text = f"torch.empty({first}).uniform_(-1, 1)"
        text += "" if argument.dtype == "float32" else f".to(torch.{argument.dtype})"
    text += "" if plain else f".as_strided({shape}, {stride})"
    return text + ("" if argument.device == "cpu" else f".to({argument.device!r})")


def _part(snap: Snapshot, argument: Tensor, rows: tuple[slice, ...]) -> bytes:
    """The bytes of a part of a captured tensor, its elements in order."""
    step = snap.data.itemsize
    strides = [stride * step for stride in argument.stride]
    whole = np.lib.stride_tricks.as_strided(snap.data, argument.shape, strides, writeable=False)
    return whole[rows].tobytes()


def _literal(data: bytes, argument: Tensor, shape: tuple[int, ...]) -> str:
    text = base64.b85encode(data).decode()
    where = "" if argument.device == "cpu" else f".to({argument.device!r})"
    return (
        f"torch.frombuffer(bytearray(base64.b85decode('{text}')), dtype=torch.{argument.dtype})"
        f".reshape({shape}){where}"
    )


def _source(argument: Argument) -> str:
    """An argument as Python."""
    match argument:
        case Constant(name=name):
            return f"torch.{name}"
        case Device(name=name):
            return f"torch.device({name!r})"
        case Float(hex=text):
            number = float.fromhex(text)
            return repr(number) if isfinite(number) else f"float('{number}')"
        case Items(items=items):
            return f"[{', '.join(map(_source, items))}]"
        case Plain(value=value):
            return repr(value)
        case Tensor():
            raise TypeError("a tensor within another argument")
