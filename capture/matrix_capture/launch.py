"""Starts colbert-ai from 0.2.15 on in one and the same way: in this process, where the taps are."""

import dataclasses
import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

# Settings that the first of those releases do not have. Any other they must take or fail.
_NEWER = (
    "index_bsize",  # since 0.2.19; before, an indexer encodes 64 passages at once
    "avoid_fork_if_possible",  # since 0.2.16; before, an indexer always starts a process
)


def configured(config: Any, **settings: Any) -> Any:
    """A config of that class, without the settings that came after this colbert-ai."""
    known = _fields(config)
    return config(**{k: v for k, v in settings.items() if k in known or k not in _NEWER})


@contextmanager
def in_this_process() -> Iterator[None]:
    """Let a colbert-ai that cannot but start a process for one rank call its function instead."""
    from colbert.infra import RunConfig, launcher  # noqa: PLC0415 - only a pipeline has it

    if "avoid_fork_if_possible" in _fields(RunConfig):
        yield
        return
    real = launcher.mp
    launcher.mp = SimpleNamespace(Process=_Call, Queue=queue.SimpleQueue)
    try:
        yield
    finally:
        launcher.mp = real


class _Call:
    """Has what the launcher uses of a process, and runs where it is started."""

    def __init__(self, target: Callable[..., None], args: tuple[Any, ...]) -> None:
        self._target, self._args = target, args

    def start(self) -> None:
        self._target(*self._args)

    def join(self) -> None:
        """It has ended."""


def _fields(config: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(config)}
