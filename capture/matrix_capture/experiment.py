"""`python -m matrix_capture.experiment FOLDER`: make one call of a torch operation in many ways.

Reads `request.json` in the folder and leaves `answer.json` there. The same request in two releases
tells for which inputs they differ.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from matrix_capture.call import (
    Argument,
    Call,
    Tensor,
    contiguous,
    decoded,
    extent_of,
    operation,
)
from matrix_capture.digest import content_hash, snapshot
from matrix_capture.encoder import tensors
from matrix_capture.values import ValueStore


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """One way to make the call.

    `sizes` are those of the leading axes of the operands that have rows, as captured if empty;
    `start` is where they begin on each. With a seed all tensors are random. `whole` are sizes of
    random operands that these are the leading part of, and it is asked whether the result is a
    leading part too. `double` computes in float64.
    """

    sizes: tuple[int, ...] = ()
    start: tuple[int, ...] = ()
    seed: int | None = None
    whole: tuple[int, ...] = ()
    double: bool = False


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A call and the ways to make it; `keep` stores what comes out."""

    call: Call
    values: str
    threads: int
    variants: tuple[Variant, ...]
    keep: bool = False


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a variant took and gave, by digests; `leading` says whether it is part of the whole."""

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
    "aten.embedding.default": (1,),
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


def rows_of(variant: Variant) -> tuple[slice, ...]:
    """Which part of an operand with rows a variant takes."""
    start = variant.start or (0,) * len(variant.sizes)
    return tuple(slice(at, at + size) for at, size in zip(start, variant.sizes, strict=True))


def stride_of(argument: Tensor, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of a random tensor: in order if the captured one is, else as that one's."""
    plain = argument.stride == contiguous(argument.shape)
    return contiguous(shape) if plain else argument.stride


def main(folder: Path) -> None:
    """Answer the request in a folder."""
    import torch  # noqa: PLC0415 - after the arguments

    request = msgspec.json.decode((folder / "request.json").read_bytes(), type=Request)
    torch.set_num_threads(request.threads)
    answer = Answer(torch=str(torch.__version__), outcomes=tuple(_outcomes(request)))
    (folder / "answer.json").write_bytes(msgspec.json.encode(answer))


def _outcomes(request: Request) -> Iterator[Outcome]:
    import torch  # noqa: PLC0415

    making = _Making(request.call, ValueStore(request.values))
    with torch.inference_mode():
        for variant in request.variants:
            try:
                yield making.outcome(variant, keep=request.keep)
            except (RuntimeError, TypeError, IndexError) as error:
                yield Outcome(error=f"{type(error).__name__}: {error}".splitlines()[0])


@dataclass(frozen=True, kw_only=True, slots=True)
class _Made:
    """A call that was made: its arguments, the digests of the tensors in them, what came out."""

    args: list[Any]
    inputs: tuple[str, ...]
    results: list[Any]


class _Making:
    """Makes a call with other inputs."""

    def __init__(self, call: Call, store: ValueStore) -> None:
        self._call = call
        self._store = store
        self._operation = operation(call.op)
        self._kwargs = {name: decoded(a, store) for name, a in call.kwargs.items()}
        self._drawn: tuple[Variant, _Made] | None = None

    def outcome(self, variant: Variant, *, keep: bool) -> Outcome:
        """What a variant takes and gives."""
        import torch  # noqa: PLC0415

        if not variant.whole:
            made = self._made(variant)
            outputs = tuple(self._digest(tensor, keep=keep) for tensor in made.results)
            return Outcome(inputs=made.inputs, outputs=outputs)
        whole = self._whole(variant)
        args = [self._rows(n, value, variant) for n, value in enumerate(whole.args)]
        found = self._results(args)
        leading = all(
            torch.equal(part, rows[rows_of(variant)])
            for part, rows in zip(found, whole.results, strict=True)
        )
        outputs = tuple(map(self._digest, found))
        return Outcome(inputs=whole.inputs, outputs=outputs, leading=leading)

    def _whole(self, variant: Variant) -> _Made:
        """What a variant is the leading part of; the last one is kept."""
        whole = Variant(sizes=variant.whole, seed=variant.seed)
        if self._drawn is None or self._drawn[0] != whole:
            self._drawn = whole, self._made(whole)
        return self._drawn[1]

    def _made(self, variant: Variant) -> _Made:
        import torch  # noqa: PLC0415

        if variant.seed is not None:
            torch.manual_seed(variant.seed)
        args = [self._argument(n, a, variant) for n, a in enumerate(self._call.args)]
        # Digested before: the operation may write to what it takes.
        inputs = tuple(self._digest(tensor) for _, tensor in tensors(args))
        return _Made(args=args, inputs=inputs, results=self._results(args))

    def _results(self, args: list[Any]) -> list[Any]:
        return [tensor for _, tensor in tensors(self._operation(*args, **self._kwargs))]

    def _digest(self, tensor: Any, *, keep: bool = False) -> str:
        """The content hash of a tensor, which is stored if it is to be kept."""
        snap = snapshot(tensor)
        digest = content_hash(snap)
        if keep:
            self._store.put(snap, digest)
        return digest.hex()

    def _rows(self, number: int, value: Any, variant: Variant) -> Any:
        return value[rows_of(variant)] if number in with_rows(self._call) else value

    def _argument(self, number: int, argument: Argument, variant: Variant) -> Any:
        if not isinstance(argument, Tensor):
            return decoded(argument, self._store)
        shape = shape_of(self._call, number, variant)
        if variant.seed is not None:
            value = self._random(argument, shape)
        else:
            value = self._rows(number, decoded(argument, self._store), variant)
        return value.double() if variant.double and value.is_floating_point() else value

    def _random(self, argument: Tensor, shape: tuple[int, ...]) -> Any:
        """A random tensor; the lines of a reproduction make the very same."""
        import torch  # noqa: PLC0415

        dtype = getattr(torch, argument.dtype)
        stride = stride_of(argument, shape)
        size = extent_of(shape, stride)
        if dtype.is_floating_point:
            flat = torch.empty(size).uniform_(-1, 1).to(dtype)
        else:
            flat = torch.randint(0, argument.above, (size,)).to(dtype)
        return flat.as_strided(shape, stride).to(argument.device)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
