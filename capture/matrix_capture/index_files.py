"""Reads a finished index back from disk and records every tensor in it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from matrix_capture.catalogue import BY_NAME, POSITION
from matrix_capture.recorder import Recorder

# Artifacts of each file, in the order of the tensors in it; files of paths and times are left out.
_FILES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"centroids\.pt", ("index_centroids",)),
    (r"avg_residual\.pt", ("index_avg_residual",)),
    (r"buckets\.pt", ("index_bucket_cutoffs", "index_bucket_weights")),
    (r"\d+\.codes\.pt", ("index_codes",)),
    (r"\d+\.residuals\.pt", ("index_residuals",)),
    (r"doclens\.\d+\.json", ("index_doclens",)),
    (r"\d+\.metadata\.json", ("index_chunk_metadata",)),
    (r"ivf\.pid\.pt", ("index_ivf", "index_ivf_lengths")),
)
_CHUNK_METADATA = ("passage_offset", "num_passages", "num_embeddings", "embedding_offset")
_LEFT_OUT = {"plan.json", "metadata.json"}


def record_index(recorder: Recorder, folder: Path) -> None:
    """Record the tensors of the index in `folder` under scope `disk`, part `<file>#<place>`.

    Raises:
        LookupError: colbert-ai wrote a file that this module does not know.
    """
    with recorder.within("disk"):
        for file in sorted(folder.iterdir()):
            if file.name in _LEFT_OUT:
                continue
            tensors = list(_tensors(file))
            by_name = {artifact: tensor for artifact, _, tensor in tensors}
            for artifact, place, tensor in sorted(tensors, key=lambda t: POSITION[t[0]]):
                key = by_name.get(BY_NAME[artifact].order_key or "")
                recorder.record(artifact, tensor, part=f"{file.name}#{place}", key=key)


def _tensors(file: Path) -> Iterator[tuple[str, int, Any]]:
    for pattern, artifacts in _FILES:
        if re.fullmatch(pattern, file.name):
            loaded = _load(file)
            values = loaded if isinstance(loaded, tuple) else (loaded,)
            for place, (artifact, value) in enumerate(zip(artifacts, values, strict=True)):
                yield artifact, place, value
            return
    raise LookupError(f"the index holds {file.name}, which the catalogue does not know")


def _load(file: Path) -> Any:
    if file.suffix == ".json":
        content = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return [content[name] for name in _CHUNK_METADATA]
        return content
    import torch  # noqa: PLC0415 - only a pipeline has torch

    return torch.load(file, map_location="cpu")
