"""Taps: wrappers around functions of colbert-ai that record what passes through them.

colbert-ai is never edited. Each tap names its target and is a generator: what comes before its
`yield` sees the arguments, what comes after sees the result. What it yields goes on in place of all
arguments, what it returns in place of the result; both are the same, unless a value is injected. A
tap that fails, or whose target was renamed, makes its artifacts `missing` with the reason; the
pipeline runs on, unchanged. Where the target is what tells one pass from another, so does it make
everything that is seen in that pass.
"""

import functools
import importlib
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from matrix_capture.errors import MatrixError
from matrix_capture.optrace import Traced
from matrix_capture.recorder import Recorder

Observation = Generator[Any, Any, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tap:
    """A function of colbert-ai (`module:qualified.name`), what observes it and what it yields.

    `opens` names the pass that lasts as long as a call of it, `within` the only passes in which it
    is observed; without any it always is.
    """

    target: str
    artifacts: tuple[str, ...]
    observe: Callable[..., Observation]
    opens: str = ""
    within: tuple[str, ...] = ()


class Taps(list[Tap]):
    """The taps of one part of the run, in the order in which they are installed."""

    def tap(
        self, target: str, *artifacts: str, opens: str = "", within: tuple[str, ...] = ()
    ) -> Callable[[Callable[..., Observation]], Callable[..., Observation]]:
        """Register what it decorates to observe a target; the arguments are those of `Tap`."""

        def register(observe: Callable[..., Observation]) -> Callable[..., Observation]:
            self.append(
                Tap(target=target, artifacts=artifacts, observe=observe, opens=opens, within=within)
            )
            return observe

        return register

    def lost_without(self, tap: Tap) -> tuple[str, ...]:
        """The artifacts that are lost, at least in one pass, with the target of a tap."""
        inside = (other for other in self if tap.opens in other.within)
        return (*tap.artifacts, *(artifact for other in inside for artifact in other.artifacts))


@contextmanager
def tapped(recorder: Recorder, taps: Taps) -> Iterator[None]:
    """Install some taps, and put colbert-ai back as it was when the block ends."""
    with ExitStack() as undo:
        for tap in taps:
            note = partial(_note, recorder, taps.lost_without(tap))
            try:
                owner, name = _find(tap.target)
                # Not what a class inherits: that is another function, which a renamed one may call.
                original = vars(owner)[name]
            except (ImportError, AttributeError, KeyError):
                note(f"tap target not found: {tap.target}")
                continue
            undo.callback(setattr, owner, name, original)
            if isinstance(original, classmethod | staticmethod):
                wrapper = _wrap(original.__func__, tap, recorder, note)
                setattr(owner, name, type(original)(wrapper))
            else:
                setattr(owner, name, _wrap(original, tap, recorder, note))
        yield


def _find(target: str) -> tuple[Any, str]:
    """The object that holds the target, and the target's name in it."""
    module, _, path = target.partition(":")
    *owners, name = path.split(".")
    return functools.reduce(getattr, owners, importlib.import_module(module)), name


def _note(recorder: Recorder, artifacts: tuple[str, ...], reason: str) -> None:
    for artifact in artifacts:
        recorder.note(artifact, reason)


def _pass(recorder: Recorder) -> str:
    """The name of the pass that the recorder is in, without its number."""
    return recorder.scope.partition(".")[0]


def _wrap(
    original: Callable[..., Any], tap: Tap, recorder: Recorder, note: Callable[[str], None]
) -> Callable[..., Any]:
    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if tap.within and _pass(recorder) not in tap.within:
            return original(*args, **kwargs)
        observation = _observed(tap, recorder, args, kwargs)
        watching, handed_on = _advance(observation, tap, note)
        tracer = recorder.tracer
        traced = tracer is not None and tracer.comes(tap.artifacts, recorder.scope)
        try:
            with tracer.tracing(args[0]) if tracer and traced else nullcontext():
                result = original(*handed_on) if handed_on else original(*args, **kwargs)
        except BaseException:
            observation.close()
            raise
        if watching:
            _, handed_on = _advance(observation, tap, note, result)
            if handed_on is not None:
                result = handed_on
        if traced:
            raise Traced
        return result

    return wrapper


def _observed(
    tap: Tap, recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Observation:
    """What the tap sees of one call.

    The arguments are bound when it is first advanced: a tap whose target takes others by now fails
    where failures are noted.
    """
    return (yield from tap.observe(recorder, *args, **kwargs))


def _advance(
    observation: Observation, tap: Tap, note: Callable[[str], None], result: Any = None
) -> tuple[bool, Any]:
    """Run a tap to its next stop: whether it has one, and what it hands on there.

    Its own failure is noted, never raised.
    """
    try:
        return True, observation.send(result)
    except StopIteration as stop:
        return False, stop.value
    except MatrixError:
        # No store, no record: that is not for colbert-ai to survive.
        raise
    except Exception as error:
        note(f"tap on {tap.target} failed: {type(error).__name__}: {error}")
        return False, None


@contextmanager
def noting(recorder: Recorder, *artifacts: str) -> Iterator[None]:
    """A failure to record is noted for its artifacts and goes no further: colbert-ai runs on."""
    try:
        yield
    except MatrixError:
        raise
    except Exception as error:
        for artifact in artifacts:
            recorder.note(artifact, f"{type(error).__name__}: {error}")


@contextmanager
def torch_calls(**watched: Callable[[tuple[Any, ...], Any], Any]) -> Iterator[None]:
    """Show each function the arguments and the result of every call of the torch function it names.

    What the function returns goes on as the result, unless it is None. The value is a local of
    colbert-ai, out of reach of a wrapper around one of its own functions.
    A failure of what watches is raised when the block ends, where the tap that opened it is
    forgiven.
    """
    from torch.overrides import TorchFunctionMode  # noqa: PLC0415 - only a pipeline has torch

    failures: list[Exception] = []

    class Calls(TorchFunctionMode):  # type: ignore[misc]  # torch is untyped here
        def __torch_function__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
        ) -> Any:
            result = func(*args, **(kwargs or {}))
            if seen := watched.get(getattr(func, "__name__", "")):
                try:
                    handed_on = seen(args, result)
                    return result if handed_on is None else handed_on
                except MatrixError:
                    raise
                except Exception as error:
                    failures.append(error)
            return result

    with Calls():
        yield
    if failures:
        raise failures[0]
