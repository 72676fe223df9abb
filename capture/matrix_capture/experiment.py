"""`python -m matrix_capture.experiment FOLDER`: make one call of a torch operation in many ways.

Reads `request.json` in the folder and leaves `answer.json` there. The same request in two releases
tells for which inputs they differ.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from matrix_capture.call import Argument, Call, Tensor, decoded, operation
from matrix_capture.digest import content_hash, snapshot
from matrix_capture.encoder import tensors
from matrix_capture.values import ValueStore


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """One way to make the call.

    `sizes` are those of the leading axes of the operands that have rows, as captured if empty;
    `start` is the first row. With a seed all tensors are random. `double` computes in float64.
    """

    sizes: tuple[int, ...] = ()
    start: int = 0
    seed: int | None = None
    double: bool = False


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A call and the ways to make it; `keep` stores what comes out.

    With `whole`, another variant, it is also asked whether each variant gives the leading rows of
    what that one gives.
    """

    call: Call
    values: str
    threads: int
    variants: tuple[Variant, ...]
    keep: bool = False
    whole: Variant | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a variant gave, by digests; `leading` says whether those are rows of the whole."""

    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    leading: bool | None = None
    error: str = ""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The outcomes in the order of the variants."""

    torch: str
    outcomes: tuple[Outcome, ...]


_ROWS = {
    "aten.addmm.default": (1,),
    "aten.mm.default": (0,),
    "aten.linear.default": (0,),
    "aten.bmm.default": (0, 1),
}
"""Which arguments have the rows of the result, where their shapes do not tell it."""


def with_rows(call: Call) -> tuple[int, ...]:
    """The numbers of the arguments that share the leading axis of the first tensor."""
    if call.op in _ROWS:
        return _ROWS[call.op]
    found = {n: a for n, a in enumerate(call.args) if isinstance(a, Tensor) and a.shape}
    first = next(iter(found.values()), None)
    return tuple(n for n, a in found.items() if first and a.shape[0] == first.shape[0])


def shape_of(call: Call, number: int, variant: Variant) -> tuple[int, ...]:
    """The shape that an argument has in a variant."""
    argument = call.args[number]
    assert isinstance(argument, Tensor)
    if number not in with_rows(call):
        return argument.shape
    return (*variant.sizes, *argument.shape[len(variant.sizes) :])


def contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    """The strides of a tensor whose elements lie in order."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(1, size)
    return tuple(reversed(strides))


def extent_of(shape: Sequence[int], stride: Sequence[int]) -> int:
    """How many elements of memory a tensor spans."""
    if 0 in shape:
        return 0
    return 1 + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))


def main(folder: Path) -> None:
    """Answer the request in a folder."""
    import torch  # noqa: PLC0415 - after the arguments

    request = msgspec.json.decode((folder / "request.json").read_bytes(), type=Request)
    torch.set_num_threads(request.threads)
    answer = Answer(torch=torch.__version__, outcomes=tuple(_outcomes(request)))
    (folder / "answer.json").write_bytes(msgspec.json.encode(answer))


def _outcomes(request: Request) -> Iterator[Outcome]:
    import torch  # noqa: PLC0415

    making = _Making(request.call, ValueStore(request.values))
    with torch.inference_mode():
        whole = making.results(request.whole)[1] if request.whole else ()
        for variant in request.variants:
            try:
                given, found = making.results(variant)
            except (RuntimeError, TypeError, IndexError) as error:
                yield Outcome(error=f"{type(error).__name__}: {error}".splitlines()[0])
                continue
            leading = None
            if request.whole:
                leading = all(
                    torch.equal(part, rows[tuple(map(slice, variant.sizes))])
                    for part, rows in zip(found, whole, strict=True)
                )
            yield Outcome(
                inputs=tuple(making.digest(tensor) for tensor in given),
                outputs=tuple(making.digest(tensor, keep=request.keep) for tensor in found),
                leading=leading,
            )


class _Making:
    """Makes a call with other inputs."""

    def __init__(self, call: Call, store: ValueStore) -> None:
        self._call = call
        self._store = store
        self._operation = operation(call.op)

    def results(self, variant: Variant) -> tuple[list[Any], list[Any]]:
        """The tensors that go in, and those that come out."""
        import torch  # noqa: PLC0415

        if variant.seed is not None:
            torch.manual_seed(variant.seed)
        args = [self._argument(n, a, variant) for n, a in enumerate(self._call.args)]
        kwargs = {name: decoded(a, self._store) for name, a in self._call.kwargs.items()}
        given = [tensor.clone() for _, tensor in tensors([args, kwargs])]
        return given, [tensor for _, tensor in tensors(self._operation(*args, **kwargs))]

    def digest(self, tensor: Any, *, keep: bool = False) -> str:
        """The content hash of a tensor, which is stored if it is to be kept."""
        snap = snapshot(tensor)
        digest = content_hash(snap)
        if keep:
            self._store.put(snap, digest)
        return digest.hex()

    def _argument(self, number: int, argument: Argument, variant: Variant) -> Any:
        value = decoded(argument, self._store)
        if not isinstance(argument, Tensor):
            return value
        rows = number in with_rows(self._call) and variant.sizes
        shape = shape_of(self._call, number, variant) if rows else argument.shape
        if variant.seed is not None:
            value = self._random(argument, shape, value)
        elif rows:
            value = value[variant.start :][tuple(map(slice, variant.sizes))]
        return value.double() if variant.double and value.is_floating_point() else value

    def _random(self, argument: Tensor, shape: tuple[int, ...], captured: Any) -> Any:
        """A random tensor; the lines of a reproduction make the very same."""
        import torch  # noqa: PLC0415

        plain = argument.stride == contiguous(argument.shape)
        stride = contiguous(shape) if plain else argument.stride
        size = extent_of(shape, stride)
        if captured.is_floating_point():
            flat = torch.empty(size).uniform_(-1, 1).to(captured.dtype)
        else:
            flat = torch.randint(0, int(captured.max()) + 1, (size,)).to(captured.dtype)
        return flat.as_strided(shape, stride).to(captured.device)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
