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
from typing import Any

from matrix_capture.encoder import MODULES, Watched, tensors, watched_modules
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

    @property
    def lost_without(self) -> tuple[str, ...]:
        """The artifacts that are lost, at least in one pass, with the target."""
        inside = (tap for tap in TAPS if self.opens in tap.within)
        return (*self.artifacts, *(artifact for tap in inside for artifact in tap.artifacts))


@contextmanager
def tapped(recorder: Recorder) -> Iterator[None]:
    """Install every tap, and put colbert-ai back as it was when the block ends."""
    with ExitStack() as undo:
        for tap in TAPS:
            try:
                owner, name = _find(tap.target)
                # Not what a class inherits: that is another function, which a renamed one may call.
                original = vars(owner)[name]
            except (ImportError, AttributeError, KeyError):
                _note(recorder, tap, f"tap target not found: {tap.target}")
                continue
            undo.callback(setattr, owner, name, original)
            if isinstance(original, classmethod | staticmethod):
                wrapper = _wrap(original.__func__, tap, recorder)
                setattr(owner, name, type(original)(wrapper))
            else:
                setattr(owner, name, _wrap(original, tap, recorder))
        yield


TAPS: list[Tap] = []


def _find(target: str) -> tuple[Any, str]:
    """The object that holds the target, and the target's name in it."""
    module, _, path = target.partition(":")
    *owners, name = path.split(".")
    return functools.reduce(getattr, owners, importlib.import_module(module)), name


def _note(recorder: Recorder, tap: Tap, reason: str) -> None:
    for artifact in tap.lost_without:
        recorder.note(artifact, reason)


def _pass(recorder: Recorder) -> str:
    """The name of the pass that the recorder is in, without its number."""
    return recorder.scope.partition(".")[0]


def _wrap(original: Callable[..., Any], tap: Tap, recorder: Recorder) -> Callable[..., Any]:
    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if tap.within and _pass(recorder) not in tap.within:
            return original(*args, **kwargs)
        observation = _observed(tap, recorder, args, kwargs)
        watching, handed_on = _advance(observation, tap, recorder)
        tracer = recorder.tracer
        traced = tracer is not None and tracer.comes(tap.artifacts, recorder.scope)
        try:
            with tracer.tracing(args[0]) if tracer and traced else nullcontext():
                result = original(*handed_on) if handed_on else original(*args, **kwargs)
        except BaseException:
            observation.close()
            raise
        if watching:
            _, handed_on = _advance(observation, tap, recorder, result)
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
    observation: Observation, tap: Tap, recorder: Recorder, result: Any = None
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
        _note(recorder, tap, f"tap on {tap.target} failed: {type(error).__name__}: {error}")
        return False, None


def _tap(
    target: str, *artifacts: str, opens: str = "", within: tuple[str, ...] = ()
) -> Callable[[Callable[..., Observation]], Callable[..., Observation]]:
    def register(observe: Callable[..., Observation]) -> Callable[..., Observation]:
        TAPS.append(
            Tap(target=target, artifacts=artifacts, observe=observe, opens=opens, within=within)
        )
        return observe

    return register


_INDEXER = "colbert.indexing.collection_indexer:CollectionIndexer"
_ENCODER = "colbert.indexing.collection_encoder:CollectionEncoder"
_CODEC = "colbert.indexing.codecs.residual:ResidualCodec"


# Which pass a value belongs to. The tokenizer, the encoder and the codec serve several.

_ENCODED = ("sample", "chunk")


@_tap(f"{_INDEXER}._sample_embeddings", opens="sample")
def _sample_pass(recorder: Recorder, *_: Any) -> Observation:
    with recorder.within("sample"):
        yield


@_tap(f"{_INDEXER}.index", opens="chunk")
def _chunk_pass(recorder: Recorder, *_: Any) -> Observation:
    with recorder.within("chunk.0"):
        yield


def _next_chunk(recorder: Recorder) -> None:
    """Go on to the next chunk, where the recorder is in one.

    A chunk is encoded, then compressed. Either of the two tells where it ends, should colbert-ai
    rename the function that does the other.
    """
    name, _, number = recorder.scope.partition(".")
    if name == "chunk":
        recorder.scope = f"chunk.{int(number) + 1}"


# Encoding.


@_tap(f"{_INDEXER}._sample_pids", "sample_pids")
def _sample_pids(recorder: Recorder, *_: Any) -> Observation:
    with recorder.within("sample"):
        pids = yield
        recorder.record("sample_pids", pids)


@_tap(f"{_ENCODER}.encode_passages", "num_passages", "doclens", within=_ENCODED)
def _encode_passages(recorder: Recorder, encoder: Any, passages: list[str]) -> Observation:
    if recorder.has("num_passages"):
        _next_chunk(recorder)
    recorder.record("num_passages", len(passages))
    _embs, doclens = yield
    recorder.record("doclens", doclens)


@_tap(f"{_ENCODER}.encode_passages", "local_sample_embs", within=("sample",))
def _encode_sample(recorder: Recorder, *_: Any) -> Observation:
    embs, doclens = yield
    return recorder.record("local_sample_embs", embs), doclens


@_tap(
    "colbert.modeling.tokenization.doc_tokenization:DocTokenizer.tensorize",
    "reverse_indices",
    "input_ids",
    "attention_mask",
    within=_ENCODED,
)
def _tensorize(
    recorder: Recorder, tokenizer: Any, texts: list[str], bsize: int | None = None
) -> Observation:
    result = yield
    if bsize:
        batches, reverse_indices = result
        recorder.record("reverse_indices", reverse_indices)
        for input_ids, attention_mask in batches:
            recorder.record("input_ids", input_ids)
            recorder.record("attention_mask", attention_mask)


@_tap(
    "colbert.modeling.checkpoint:Checkpoint.doc",
    *MODULES,
    "masked",
    "normalized",
    "half",
    "batches",
    "batch_masks",
    within=_ENCODED,
)
def _doc(recorder: Recorder, checkpoint: Any, *_: Any, **__: Any) -> Observation:
    with ExitStack() as watching:
        _watch_encoder(recorder, checkpoint, watching)
        embeddings, mask = yield
    embeddings = recorder.record("batches", embeddings)
    recorder.record("batch_masks", mask)
    return embeddings, mask


def _watch_encoder(recorder: Recorder, checkpoint: Any, watching: ExitStack) -> None:
    """Record what the modules of a checkpoint return, and what is done after the last of them."""

    def normalized(arguments: tuple[Any, ...], result: Any) -> Any:
        with _noting(recorder, "masked", "normalized"):
            recorder.record("masked", arguments[0])
            return recorder.record("normalized", result)

    def half(_arguments: tuple[Any, ...], result: Any) -> Any:
        with _noting(recorder, "half"):
            return recorder.record("half", result)

    def hook(watched: Watched, output: Any) -> None:
        with _noting(recorder, watched.artifact):
            for place, (path, tensor) in enumerate(tensors(output)):
                recorder.record(watched.artifact, tensor, watched.part + (path if place else ""))
        if watched.artifact == "linear":
            # No sooner: a mode costs time with every call of torch that the encoder makes.
            watching.enter_context(_torch_calls(normalize=normalized, half=half))

    modules, lacking = watched_modules(checkpoint, recorder.depth)
    for artifact, reason in lacking.items():
        recorder.note(artifact, reason)
    for watched in modules:
        handle = watched.module.register_forward_hook(
            lambda _module, _arguments, output, watched=watched: hook(watched, output)
        )
        watching.callback(handle.remove)


@_tap("colbert.modeling.checkpoint:Checkpoint.docFromText", "D", within=_ENCODED)
def _doc_from_text(recorder: Recorder, *_: Any, **__: Any) -> Observation:
    embeddings, *rest = yield
    return recorder.record("D", embeddings), *rest


# k-means and codec.


@_tap(f"{_INDEXER}._concatenate_and_split_sample", "sample", "sample_heldout")
def _split_sample(recorder: Recorder, *_: Any) -> Observation:
    with recorder.within("sample"):
        sample, heldout = yield
        return recorder.record("sample", sample), recorder.record("sample_heldout", heldout)


@_tap("colbert.indexing.collection_indexer:compute_faiss_kmeans", "prenorm_centroids")
def _kmeans(recorder: Recorder, *_: Any, **__: Any) -> Observation:
    with recorder.within("sample"):
        centroids = yield
        return recorder.record("prenorm_centroids", centroids)


@_tap(f"{_INDEXER}._train_kmeans", "postnorm_centroids", "centroids")
def _train_kmeans(recorder: Recorder, *_: Any) -> Observation:
    def normalized(_arguments: tuple[Any, ...], result: Any) -> Any:
        return recorder.record("postnorm_centroids", result)

    with recorder.within("sample"):
        with _torch_calls(normalize=normalized):
            centroids = yield
        return recorder.record("centroids", centroids)


@_tap(
    f"{_INDEXER}._compute_avg_residual",
    "bucket_cutoffs",
    "bucket_weights",
    "avg_residual",
    opens="heldout",
)
def _avg_residual(recorder: Recorder, *_: Any) -> Observation:
    with recorder.within("heldout"):
        bucket_cutoffs, bucket_weights, avg_residual = yield
        avg_residual = recorder.record("avg_residual", avg_residual)
        bucket_cutoffs = recorder.record("bucket_cutoffs", bucket_cutoffs)
        bucket_weights = recorder.record("bucket_weights", bucket_weights)
        return bucket_cutoffs, bucket_weights, avg_residual


@_tap(f"{_CODEC}.compress_into_codes", "heldout_codes", within=("heldout",))
@_tap(f"{_CODEC}.compress_into_codes", "codes", within=("chunk",))
def _compress_into_codes(recorder: Recorder, *_: Any, **__: Any) -> Observation:
    codes = yield
    return recorder.record("heldout_codes" if recorder.scope == "heldout" else "codes", codes)


@_tap(f"{_CODEC}.lookup_centroids", "heldout_centroids", within=("heldout",))
@_tap(f"{_CODEC}.lookup_centroids", "centroids_of_codes", within=("chunk",))
def _lookup_centroids(recorder: Recorder, *_: Any, **__: Any) -> Observation:
    centroids = yield
    heldout = recorder.scope == "heldout"
    return recorder.record("heldout_centroids" if heldout else "centroids_of_codes", centroids)


# Compression and the inverted file.


@_tap(f"{_CODEC}.compress", "embs", "residuals", within=("chunk",))
def _compress(recorder: Recorder, codec: Any, embs: Any) -> Observation:
    compressed = yield codec, recorder.record("embs", embs)
    compressed.residuals = recorder.record("residuals", compressed.residuals)
    _next_chunk(recorder)


@_tap(f"{_CODEC}.binarize", "raw_residuals", within=("chunk",))
def _binarize(recorder: Recorder, codec: Any, residuals: Any) -> Observation:
    yield codec, recorder.record("raw_residuals", residuals)


@_tap(
    f"{_INDEXER}._build_ivf",
    "codes_before_sort",
    "codes_sorted_values",
    "codes_sorted_indices",
)
def _build_ivf(recorder: Recorder, *_: Any) -> Observation:
    def sorted_codes(arguments: tuple[Any, ...], result: Any) -> Any:
        recorder.record("codes_before_sort", arguments[0])
        values = recorder.record("codes_sorted_values", result.values)
        indices = recorder.record("codes_sorted_indices", result.indices, key=result.values)
        return type(result)((values, indices))

    with recorder.within("index"), _torch_calls(sort=sorted_codes):
        yield


@_tap("colbert.indexing.collection_indexer:optimize_ivf", "ivf", "ivf_lengths")
def _optimize_ivf(recorder: Recorder, *_: Any, **__: Any) -> Observation:
    with recorder.within("index"):
        ivf, ivf_lengths = yield
        recorder.record("ivf_lengths", ivf_lengths)
        recorder.record("ivf", ivf, key=ivf_lengths)


@contextmanager
def _noting(recorder: Recorder, *artifacts: str) -> Iterator[None]:
    """A failure to record is noted for its artifacts and goes no further: colbert-ai runs on."""
    try:
        yield
    except MatrixError:
        raise
    except Exception as error:
        for artifact in artifacts:
            recorder.note(artifact, f"{type(error).__name__}: {error}")


@contextmanager
def _torch_calls(**watched: Callable[[tuple[Any, ...], Any], Any]) -> Iterator[None]:
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
