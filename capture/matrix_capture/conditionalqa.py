"""The inputs of the published studies: ConditionalQA of `UKPLab/dapr`, a ColBERT of answer.ai.

What the two repositories hold is data and nothing else: no script is run, no pickle opened, no path
taken from it.
"""

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError, safe_open

from matrix_capture.collection import Query
from matrix_capture.errors import MatrixError
from matrix_capture.hub import Repository, obtain
from matrix_capture.inputs import TOKENIZER_FILES, Inputs, assemble, canonical_json

CONFIG = {"doc_maxlen": 256, "nbits": 4, "dim": 96, "kmeans_niters": 20, "index_bsize": 32}
"""What ColBERTConfig is given."""

DATASET = Repository(
    kind="dataset",
    name="UKPLab/dapr",
    revision="67ae3daa13596700976d20605630f5f9db3bd732",
    files=(
        "ConditionalQA/corpus/*.parquet",
        "ConditionalQA/queries/test.parquet",
        "ConditionalQA/qrels/test.parquet",
    ),
)
CHECKPOINT = Repository(
    kind="model",
    name="answerdotai/answerai-colbert-small-v1",
    revision="be1703c55532145a844da800eea4c9a692d7e267",
    files=("artifact.metadata", "config.json", "model.safetensors", *TOKENIZER_FILES),
)

_PASSAGES = pa.schema({"_id": pa.string(), "text": pa.string()})
_QUERIES = _PASSAGES
_QRELS = pa.schema({"query_id": pa.string(), "corpus_id": pa.string(), "score": pa.float64()})

# What colbert-ai may know from the checkpoint: how the model was trained to read. The rest of
# artifact.metadata is how somebody once ran it, paths to write to among it.
_MODEL_SETTINGS = (
    "attend_to_mask_tokens",
    "dim",
    "doc_maxlen",
    "doc_token",
    "doc_token_id",
    "interaction",
    "mask_punctuation",
    "query_maxlen",
    "query_token",
    "query_token_id",
    "similarity",
)


def prepare(copy: Path | None, cache: Path, passages: int | None = None) -> Inputs:
    """Make the inputs from a `copy` of both repositories, or from the hub; all passages or some.

    What the hub sends is kept below `cache`, as is the checkpoint.

    Raises:
        MatrixError: the hub cannot be reached, or a file is missing or not what it should be.
    """
    data, model = (obtain(repository, copy, cache) for repository in (DATASET, CHECKPOINT))
    collection, queries = _read_collection(data, passages)

    def write(folder: Path) -> None:
        _write_checkpoint(model, folder)

    return assemble(write, cache, collection=collection, queries=queries, config=CONFIG)


def _read_collection(
    folder: Path, passages: int | None
) -> tuple[tuple[str, ...], tuple[Query, ...]]:
    """The first passages in the order of the corpus, and the queries that they answer."""
    corpus, queries, qrels = (
        _read(folder, pattern, columns)
        for pattern, columns in zip(DATASET.files, (_PASSAGES, _QUERIES, _QRELS), strict=True)
    )
    wanted = corpus.num_rows if passages is None else passages
    if not 1 <= wanted <= corpus.num_rows:
        raise MatrixError(
            f"{folder} has {corpus.num_rows} passages, not {wanted}; choose another --passages"
        )
    places = {name: place for place, name in enumerate(corpus["_id"].to_pylist())}
    relevant: dict[str, set[int]] = {}
    for judged in qrels.to_pylist():
        place = places.get(judged["corpus_id"])
        if place is not None and judged["score"] > 0:
            relevant.setdefault(judged["query_id"], set()).add(place)
    if not relevant:
        raise MatrixError(f"{folder / DATASET.files[2]} names no passage of the corpus")
    asked = (
        Query(text=query["text"], relevant=tuple(sorted(found)))
        for query in queries.to_pylist()
        if (found := {place for place in relevant.get(query["_id"], ()) if place < wanted})
    )
    return tuple(corpus["text"][:wanted].to_pylist()), tuple(asked)


def _read(folder: Path, pattern: str, columns: pa.Schema) -> pa.Table:
    """These columns of all files of a pattern, in order of name; there is a row, and no nulls."""
    tables = []
    for file in sorted(folder.glob(pattern)):
        try:
            with pq.ParquetFile(file) as opened:
                there = opened.schema_arrow.names
                if absent := [name for name in columns.names if name not in there]:
                    raise MatrixError(
                        f"{file}: no column {', '.join(absent)}; it has {', '.join(there)}"
                    )
                table = opened.read(columns.names).select(columns.names).cast(columns)
            table.validate(full=True)
        except (OSError, pa.ArrowException) as error:
            raise MatrixError(f"{file}: {error}") from None
        for name in columns.names:
            if table[name].null_count:
                raise MatrixError(f"{file}: column {name} has {table[name].null_count} nulls")
        tables.append(table)
    whole = pa.concat_tables(tables)
    if not whole.num_rows:
        raise MatrixError(f"{folder / pattern}: no rows")
    return whole


def _write_checkpoint(model: Path, folder: Path) -> None:
    """Copy what is read of a checkpoint; of `artifact.metadata` the settings of the model."""
    weights = model / "model.safetensors"
    try:
        with safe_open(weights, "numpy") as opened:
            shape = opened.get_tensor("linear.weight").shape
    except (SafetensorError, TypeError) as error:  # of types that numpy lacks
        raise MatrixError(f"{weights}: {error}") from None
    if shape[0] != CONFIG["dim"]:
        raise MatrixError(f"{weights}: embeddings of {shape[0]} numbers, not {CONFIG['dim']}")
    # colbert-ai would follow it to code in the checkpoint and run that.
    if "auto_map" in _json(model / "config.json"):
        raise MatrixError(f"{model / 'config.json'}: asks for code of its own (auto_map)")
    for name in CHECKPOINT.files:
        shutil.copyfile(model / name, folder / name)
    settings = _json(model / "artifact.metadata")
    kept = {name: settings[name] for name in _MODEL_SETTINGS if name in settings}
    (folder / "artifact.metadata").write_bytes(canonical_json(kept))


def _json(file: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise MatrixError(f"{file}: {error}") from None
