"""One call of a torch operation, kept so that it can be made again, alone and elsewhere.

Tensors go to the store of values as the run of memory that they span, so that they come back with
their strides: an operation may take another path for a transposed matrix.
"""

from collections.abc import Collection, Iterable
from typing import Any

import msgspec

from matrix_capture.digest import content_hash, snapshot
from matrix_capture.inject import tensor_of
from matrix_capture.values import ValueStore


class Tensor(msgspec.Struct, frozen=True, kw_only=True, tag="tensor"):
    """A tensor by the digest of the memory it spans; integers in it are below `above`."""

    digest: str
    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    device: str = "cpu"
    above: int = 0


class Constant(msgspec.Struct, frozen=True, kw_only=True, tag="torch"):
    """A dtype, layout or memory format: an attribute of torch."""

    name: str


class Device(msgspec.Struct, frozen=True, kw_only=True, tag="device"):
    """Where tensors live."""

    name: str


class Float(msgspec.Struct, frozen=True, kw_only=True, tag="float"):
    """A float in hexadecimal: JSON knows neither infinities nor what is no number."""

    hex: str


class Sequence(msgspec.Struct, frozen=True, kw_only=True, tag="list"):
    """A list of arguments."""

    items: tuple["Argument", ...]


class Plain(msgspec.Struct, frozen=True, kw_only=True, tag="plain"):
    """What JSON can say."""

    value: bool | int | str | None


Argument = Tensor | Constant | Device | Float | Sequence | Plain


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """An overload such as `aten.addmm.default` and all its arguments."""

    op: str
    args: tuple[Argument, ...]
    kwargs: dict[str, Argument] = {}


def encoded(op: str, args: Any, kwargs: Any, store: ValueStore) -> Call:
    """A call as it is about to be made, its tensors stored.

    Raises:
        TypeError: an argument cannot be kept.
    """
    return Call(
        op=op,
        args=tuple(_encoded(value, store) for value in args),
        kwargs={name: _encoded(value, store) for name, value in kwargs.items()},
    )


def operation(name: str) -> Any:
    """The overload of that name."""
    import torch  # noqa: PLC0415 - only an environment of a release has it

    found = torch.ops
    for part in name.split("."):
        found = getattr(found, part)
    return found


def decoded(argument: Argument, store: ValueStore) -> Any:
    """An argument as it was.

    Raises:
        MatrixError: a tensor is not in the store.
    """
    import torch  # noqa: PLC0415 - only an environment of a release has it

    match argument:
        case Tensor(digest=digest, shape=shape, stride=stride, device=device):
            flat = tensor_of(store.get(bytes.fromhex(digest))).to(device)
            return flat.as_strided(shape, stride)
        case Constant(name=name):
            return getattr(torch, name)
        case Device(name=name):
            return torch.device(name)
        case Float(hex=text):
            return float.fromhex(text)
        case Sequence(items=items):
            return [decoded(item, store) for item in items]
        case Plain(value=value):
            return value


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of a tensor whose elements lie in order."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(1, size)
    return tuple(reversed(strides))


def extent_of(shape: Collection[int], stride: Iterable[int]) -> int:
    """How many elements of memory a tensor spans."""
    if 0 in shape:
        return 0
    return 1 + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))


def _encoded(value: Any, store: ValueStore) -> Argument:
    import torch  # noqa: PLC0415 - only an environment of a release has it

    if isinstance(value, torch.Tensor):
        return _stored(value.detach(), store)
    if isinstance(value, torch.dtype | torch.layout | torch.memory_format):
        return Constant(name=str(value).removeprefix("torch."))
    if isinstance(value, torch.device):
        return Device(name=str(value))
    if isinstance(value, float):
        return Float(hex=value.hex())
    if isinstance(value, list | tuple):
        return Sequence(items=tuple(_encoded(item, store) for item in value))
    if value is None or isinstance(value, bool | int | str):
        return Plain(value=value)
    raise TypeError(f"an argument is a {type(value).__name__}")


def _stored(tensor: Any, store: ValueStore) -> Tensor:
    shape, stride = tuple(tensor.shape), tuple(tensor.stride())
    flat = tensor.as_strided((extent_of(shape, stride),), (1,))
    snap = snapshot(flat)
    digest = content_hash(snap)
    store.put(snap, digest)
    return Tensor(
        digest=digest.hex(),
        dtype=snap.dtype,
        shape=shape,
        stride=stride,
        device=tensor.device.type,
        above=int(snap.numbers().max()) + 1 if snap.data.dtype.kind in "iu" and snap.numel else 1,
    )
