"""The modules inside an encoder that are worth watching, found in its module tree.

BERT, ELECTRA, RoBERTa, XLM-R and DeBERTa differ in depth and in what their modules return, but all
of them are a list of layers of the same build.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from matrix_capture.catalogue import Depth

_SUBLAYERS = {
    "attention.self": "attention_self",
    "attention.output": "attention_output",
    "intermediate": "intermediate",
    "output": "output",
}

MODULES = ("embeddings", *_SUBLAYERS.values(), "layers", "bert", "linear")
"""The artifacts that are the output of a module."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """A module whose output is an artifact; `part` is its path inside the language model."""

    artifact: str
    part: str
    module: Any


def watched_modules(checkpoint: Any, depth: Depth) -> tuple[list[Watched], dict[str, str]]:
    """The modules of a checkpoint that a depth shows, and why an artifact has none."""
    model = checkpoint.bert
    found = [
        Watched(artifact="bert", part="", module=model),
        Watched(artifact="linear", part="", module=checkpoint.linear),
    ]
    modules = dict(model.named_modules())
    path = layers_path(model)
    if path is None:
        reason = f"{type(model).__name__} has no list of layers"
        return found, {name: reason for name in MODULES if name not in ("bert", "linear")}
    numbers = range(len(modules[path]))
    wanted = {f"{path}.{number}": "layers" for number in numbers}
    if depth == "sublayers":
        wanted["embeddings"] = "embeddings"
        for name, artifact in _SUBLAYERS.items():
            wanted |= {f"{path}.{number}.{name}": artifact for number in numbers}
    lacking = {
        artifact: f"{type(model).__name__} has no module {part}"
        for part, artifact in wanted.items()
        if part not in modules
    }
    found += [
        Watched(artifact=artifact, part=part, module=modules[part])
        for part, artifact in wanted.items()
        if part in modules
    ]
    return found, lacking


def layers_path(model: Any) -> str | None:
    """Where in the module tree of a model its list of layers is; None where it has none."""
    lists = {path: module for path, module in model.named_modules() if _is_list(module)}
    # The list with the most parameters, should there be others.
    return max(
        lists, key=lambda path: sum(p.numel() for p in lists[path].parameters()), default=None
    )


def tensors(output: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every tensor in what a module returned, with the keys and places that lead to it."""
    if hasattr(output, "detach"):
        yield path, output
    elif isinstance(output, Mapping):
        for key, value in output.items():
            yield from tensors(value, f"{path}#{key}")
    elif isinstance(output, list | tuple):
        for place, value in enumerate(output):
            yield from tensors(value, f"{path}#{place}")


def _is_list(module: Any) -> bool:
    import torch  # noqa: PLC0415 - only a pipeline has torch

    return isinstance(module, torch.nn.ModuleList) and len(module) > 0
