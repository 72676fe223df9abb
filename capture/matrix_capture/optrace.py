"""The operations of torch below one call of colbert-ai, with digests of what goes in and comes out.

Two releases may spell one computation differently, and a run has hundreds of operations; but where
the same operation takes the same tensors and gives others, there the releases part.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from matrix_capture.call import Call, encoded
from matrix_capture.digest import content_hash, snapshot
from matrix_capture.encoder import tensors
from matrix_capture.values import ValueStore


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """The call in which an occurrence of an artifact arises, and the operation in it to be kept."""

    artifact: str
    scope: str
    occurrence: int
    keep: int | None = None


class Operand(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor that an operation takes or gives, or a number that it gives.

    Without a digest it is memory that nothing was written to yet.
    """

    digest: str
    dtype: str
    shape: tuple[int, ...]


class Op(msgspec.Struct, frozen=True, kw_only=True):
    """One operation: its overload, the module it was called in, its operands and arguments."""

    name: str
    module: str
    arguments: str
    inputs: tuple[Operand, ...]
    outputs: tuple[Operand, ...]


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """The operations of one call in order; `kept` is that which was asked for, to be repeated."""

    ops: tuple[Op, ...]
    kept: Call | None = None
    refusal: str = ""


class Traced(BaseException):
    """The call that was to be traced has returned; the run need not go on."""


class Tracer:
    """Waits for one call among those that the taps see, and records the operations below it."""

    def __init__(self, site: Site, store: ValueStore) -> None:
        self._site = site
        self._store = store
        self._calls: Counter[tuple[tuple[str, ...], str]] = Counter()
        self._ops: list[Op] = []
        self._modules: list[str] = []
        self._kept: Call | None = None
        self._refusal = ""
        self._unwritten: set[int] = set()

    def comes(self, artifacts: tuple[str, ...], scope: str) -> bool:
        """Whether a call that is about to be made, and makes those artifacts, is the one."""
        number = self._calls[artifacts, scope]
        self._calls[artifacts, scope] += 1
        site = self._site
        return (site.artifact in artifacts) and (site.scope, site.occurrence) == (scope, number)

    @contextmanager
    def tracing(self, owner: Any) -> Iterator[None]:
        """Record every operation until the block ends; `owner` is whose method is called."""
        with ExitStack() as watching:
            self._follow_modules(owner, watching)
            watching.enter_context(self._mode())
            yield

    def write(self, path: Path) -> None:
        """Write what was recorded."""
        trace = Trace(ops=tuple(self._ops), kept=self._kept, refusal=self._refusal)
        path.write_bytes(msgspec.json.encode(trace))

    def _follow_modules(self, owner: Any, watching: ExitStack) -> None:
        """Keep the paths of the modules that are being called; a method of none has none."""
        for path, module in getattr(owner, "named_modules", list)() or ():
            before = module.register_forward_pre_hook(
                lambda _module, _arguments, path=path: self._modules.append(path)
            )
            after = module.register_forward_hook(self._leave_module)
            watching.callback(before.remove)
            watching.callback(after.remove)

    def _leave_module(self, *_: Any) -> None:
        self._modules.pop()  # and nothing returned, which would go on as the output

    def _mode(self) -> Any:
        from torch.utils._python_dispatch import TorchDispatchMode  # noqa: PLC0415

        tracer = self

        class Mode(TorchDispatchMode):  # type: ignore[misc]  # torch is untyped here
            def __torch_dispatch__(
                self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
            ) -> Any:
                kwargs = kwargs or {}
                # In inference mode an operation that is made of others comes whole.
                with self:
                    result = func.decompose(*args, **kwargs)
                if result is NotImplemented:
                    result = tracer._record(func, args, kwargs)
                return result

        return Mode()

    def _record(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = str(func)
        # Digested before: an operation may write to what it takes.
        inputs = self._operands([args, kwargs])
        if len(self._ops) == self._site.keep:
            try:
                self._kept = encoded(name, args, kwargs, self._store)
            except TypeError as error:
                self._refusal = str(error)
        result = func(*args, **kwargs)
        self._note_unwritten(func, [args, kwargs], result)
        self._ops.append(
            Op(
                name=name,
                module=self._modules[-1] if self._modules else "",
                arguments=_told([*args, kwargs] if kwargs else args),
                inputs=inputs,
                outputs=self._operands(result),
            )
        )
        return result

    def _note_unwritten(self, func: Any, given: Any, result: Any) -> None:
        """Follow memory that nothing was written to yet: what is in it says nothing."""
        found = {tensor.data_ptr() for _, tensor in tensors(result)}
        taken = {tensor.data_ptr() for _, tensor in tensors(given)}
        if "empty" in str(func).split(".")[1]:
            self._unwritten |= found
        elif any(a.alias_info and a.alias_info.is_write for a in func._schema.arguments):
            self._unwritten -= found | taken
        else:
            self._unwritten -= found - taken  # a view of such memory is no better than that

    def _operands(self, values: Any) -> tuple[Operand, ...]:
        if isinstance(values, bool | int | float):
            return (self._operand(values),)
        return tuple(self._operand(tensor) for _, tensor in tensors(values))

    def _operand(self, value: Any) -> Operand:
        snap = snapshot(value)
        written = isinstance(value, bool | int | float) or value.data_ptr() not in self._unwritten
        digest = content_hash(snap).hex() if written else ""
        return Operand(digest=digest, dtype=snap.dtype, shape=snap.shape)


def _told(value: Any) -> str:
    """Arguments in words, tensors left out."""
    if hasattr(value, "detach"):
        return "_"
    if isinstance(value, dict):
        return ", ".join(f"{name}={_told(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_told, value))}]"
    return str(value)
