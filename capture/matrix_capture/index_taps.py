"""What is seen of an indexing run: the taps on colbert-ai's encoder, k-means, codec and indexer."""

from contextlib import ExitStack
from typing import Any

from matrix_capture.encoder import MODULES, Watched, tensors, watched_modules
from matrix_capture.recorder import Recorder
from matrix_capture.taps import Observation, Taps, noting, torch_calls

INDEX = Taps()
"""The taps in force while an index is built."""

_INDEXER = "colbert.indexing.collection_indexer:CollectionIndexer"
_ENCODER = "colbert.indexing.collection_encoder:CollectionEncoder"
_CODEC = "colbert.indexing.codecs.residual:ResidualCodec"


# Which pass a value belongs to. The tokenizer, the encoder and the codec serve several.

_ENCODED = ("sample", "chunk")

_PASSAGES = 4
"""Of so many passages the outputs of the layers are kept: some 250 kB each in the small encoder."""


@INDEX.tap(f"{_INDEXER}._sample_embeddings", opens="sample")
def _sample_pass(recorder: Recorder, *_: Any) -> Observation:
    with recorder.within("sample"):
        yield


@INDEX.tap(f"{_INDEXER}.index", opens="chunk")
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


@INDEX.tap(f"{_INDEXER}._sample_pids", "sample_pids")
def _sample_pids(recorder: Recorder, *_: Any) -> Observation:
    with recorder.within("sample"):
        pids = yield
        recorder.record("sample_pids", pids)


@INDEX.tap(f"{_ENCODER}.encode_passages", "num_passages", "doclens", within=_ENCODED)
def _encode_passages(recorder: Recorder, encoder: Any, passages: list[str]) -> Observation:
    if recorder.has("num_passages"):
        _next_chunk(recorder)
    recorder.record("num_passages", len(passages))
    _embs, doclens = yield
    recorder.record("doclens", doclens)


@INDEX.tap(f"{_ENCODER}.encode_passages", "local_sample_embs", within=("sample",))
def _encode_sample(recorder: Recorder, *_: Any) -> Observation:
    embs, doclens = yield
    return recorder.record("local_sample_embs", embs), doclens


@INDEX.tap(
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


@INDEX.tap(
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


@INDEX.tap("colbert.modeling.checkpoint:Checkpoint.doc", "layer_outputs", within=("sample",))
def _first_doc(recorder: Recorder, checkpoint: Any, *_: Any, **__: Any) -> Observation:
    """Keep what each layer makes of the first passages of the first batch."""

    def hook(layer: str, output: Any) -> None:
        with noting(recorder, "layer_outputs"):
            for _, first in list(tensors(output))[:1]:
                recorder.record("layer_outputs", first[:_PASSAGES], layer)

    with ExitStack() as watching:
        for watched in watched_modules(checkpoint, recorder.depth)[0]:
            if watched.artifact == "layers" and not recorder.has("layer_outputs", watched.part):
                handle = watched.module.register_forward_hook(
                    lambda _module, _arguments, output, layer=watched.part: hook(layer, output)
                )
                watching.callback(handle.remove)
        yield


def _watch_encoder(recorder: Recorder, checkpoint: Any, watching: ExitStack) -> None:
    """Record what the modules of a checkpoint return, and what is done after the last of them."""

    def normalized(arguments: tuple[Any, ...], result: Any) -> Any:
        with noting(recorder, "masked", "normalized"):
            recorder.record("masked", arguments[0])
            return recorder.record("normalized", result)

    def half(_arguments: tuple[Any, ...], result: Any) -> Any:
        with noting(recorder, "half"):
            return recorder.record("half", result)

    def hook(watched: Watched, output: Any) -> None:
        with noting(recorder, watched.artifact):
            for place, (path, tensor) in enumerate(tensors(output)):
                recorder.record(watched.artifact, tensor, watched.part + (path if place else ""))
        if watched.artifact == "linear":
            # No sooner: a mode costs time with every call of torch that the encoder makes.
            watching.enter_context(torch_calls(normalize=normalized, half=half))

    modules, lacking = watched_modules(checkpoint, recorder.depth)
    for artifact, reason in lacking.items():
        recorder.note(artifact, reason)
    for watched in modules:
        handle = watched.module.register_forward_hook(
            lambda _module, _arguments, output, watched=watched: hook(watched, output)
        )
        watching.callback(handle.remove)


@INDEX.tap("colbert.modeling.checkpoint:Checkpoint.docFromText", "D", within=_ENCODED)
def _doc_from_text(recorder: Recorder, *_: Any, **__: Any) -> Observation:
    embeddings, *rest = yield
    return recorder.record("D", embeddings), *rest


# k-means and codec.


@INDEX.tap(f"{_INDEXER}._concatenate_and_split_sample", "sample", "sample_heldout")
def _split_sample(recorder: Recorder, *_: Any) -> Observation:
    with recorder.within("sample"):
        sample, heldout = yield
        return recorder.record("sample", sample), recorder.record("sample_heldout", heldout)


@INDEX.tap("colbert.indexing.collection_indexer:compute_faiss_kmeans", "prenorm_centroids")
def _kmeans(recorder: Recorder, *_: Any, **__: Any) -> Observation:
    with recorder.within("sample"):
        centroids = yield
        return recorder.record("prenorm_centroids", centroids)


@INDEX.tap(f"{_INDEXER}._train_kmeans", "postnorm_centroids", "centroids")
def _train_kmeans(recorder: Recorder, *_: Any) -> Observation:
    def normalized(_arguments: tuple[Any, ...], result: Any) -> Any:
        return recorder.record("postnorm_centroids", result)

    with recorder.within("sample"):
        with torch_calls(normalize=normalized):
            centroids = yield
        return recorder.record("centroids", centroids)


@INDEX.tap(
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


@INDEX.tap(f"{_CODEC}.compress_into_codes", "heldout_codes", within=("heldout",))
@INDEX.tap(f"{_CODEC}.compress_into_codes", "codes", within=("chunk",))
def _compress_into_codes(recorder: Recorder, *_: Any, **__: Any) -> Observation:
    codes = yield
    return recorder.record("heldout_codes" if recorder.scope == "heldout" else "codes", codes)


@INDEX.tap(f"{_CODEC}.lookup_centroids", "heldout_centroids", within=("heldout",))
@INDEX.tap(f"{_CODEC}.lookup_centroids", "centroids_of_codes", within=("chunk",))
def _lookup_centroids(recorder: Recorder, *_: Any, **__: Any) -> Observation:
    centroids = yield
    heldout = recorder.scope == "heldout"
    return recorder.record("heldout_centroids" if heldout else "centroids_of_codes", centroids)


# Compression and the inverted file.


@INDEX.tap(f"{_CODEC}.compress", "embs", "residuals", within=("chunk",))
def _compress(recorder: Recorder, codec: Any, embs: Any) -> Observation:
    compressed = yield codec, recorder.record("embs", embs)
    compressed.residuals = recorder.record("residuals", compressed.residuals)
    _next_chunk(recorder)


@INDEX.tap(f"{_CODEC}.binarize", "raw_residuals", within=("chunk",))
def _binarize(recorder: Recorder, codec: Any, residuals: Any) -> Observation:
    yield codec, recorder.record("raw_residuals", residuals)


@INDEX.tap(
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

    with recorder.within("index"), torch_calls(sort=sorted_codes):
        yield


@INDEX.tap("colbert.indexing.collection_indexer:optimize_ivf", "ivf", "ivf_lengths")
def _optimize_ivf(recorder: Recorder, *_: Any, **__: Any) -> Observation:
    with recorder.within("index"):
        ivf, ivf_lengths = yield
        recorder.record("ivf_lengths", ivf_lengths)
        recorder.record("ivf", ivf, key=ivf_lengths)
