"""What is watched inside the encoders that colbert-ai loads, each small and of random weights."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from matrix_capture.catalogue import DEPTHS, Depth
from matrix_capture.digest import content_hash, snapshot
from matrix_capture.encoder import MODULES, tensors, watched_modules
from matrix_capture.index_taps import INDEX
from matrix_capture.job import Job
from matrix_capture.launch import configured
from matrix_capture.recorder import Recorder
from matrix_capture.taps import tapped

RELATIVE = {"relative_attention": True, "position_buckets": 16, "pos_att_type": ["p2c", "c2p"]}

# The encoders of the kind that colbert-ai is meant for, with their settings beyond a small size.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert-1": ("bert", {"num_hidden_layers": 1}),
    "bert-6": ("bert", {"num_hidden_layers": 6}),
    "bert-12": ("bert", {"num_hidden_layers": 12}),
    "electra": ("electra", {"num_hidden_layers": 3, "embedding_size": 16}),
    "roberta": ("roberta", {"num_hidden_layers": 3}),
    "xlm-r": ("xlm-roberta", {"num_hidden_layers": 3}),
    "deberta-v2": ("deberta-v2", {"num_hidden_layers": 3, **RELATIVE, "conv_kernel_size": 3}),
    "deberta-v3": (
        "deberta-v2",
        {
            "num_hidden_layers": 3,
            **RELATIVE,
            "position_biased_input": False,
            "share_att_key": True,
            "norm_rel_ebd": "layer_norm",
            "type_vocab_size": 0,
        },
    ),
}
PARTS = {
    "attention_self": "attention.self",
    "attention_output": "attention.output",
    "intermediate": "intermediate",
    "output": "output",
}
PASSAGES = ["nodea edgeb, pathc", "treed", "cute flowf nodeb edgeb", "patha (flowb)", "nodec"]
BATCHES = 3  # of two passages each, the last of one

Write = Callable[[str, dict[str, Any]], Path]
Load = Callable[[str, dict[str, Any]], Any]


@pytest.fixture
def load(imported: Job, write_checkpoint: Write) -> Load:
    """Writes a ColBERT checkpoint of an architecture and loads it as colbert-ai does."""
    from colbert.infra import ColBERTConfig
    from colbert.modeling.checkpoint import Checkpoint

    def write_and_load(kind: str, settings: dict[str, Any]) -> Any:
        folder = str(write_checkpoint(kind, settings))
        ours = configured(ColBERTConfig, checkpoint=folder, **imported.config)
        return Checkpoint(folder, colbert_config=ours)

    return write_and_load


@pytest.fixture(params=FAMILIES)
def checkpoint(request: pytest.FixtureRequest, load: Load) -> Any:
    return load(*FAMILIES[request.param])


def encoded(checkpoint: Any, recorder: Recorder) -> None:
    """Encode the passages under taps, as an indexer does."""
    with tapped(recorder, INDEX), recorder.within("sample"), torch.inference_mode():
        checkpoint.docFromText(PASSAGES, bsize=2, keep_dims="flatten")


def rows(recorder: Recorder) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The rows of each artifact and part in the order of their occurrence."""
    found = defaultdict(list)
    for row in recorder.table().to_pylist():
        found[row["artifact"], row["part"]].append(row)
    return dict(found)


def digests(found: list[dict[str, Any]]) -> list[bytes]:
    return [row["digest"] for row in found]


# Which modules are found.


@pytest.mark.parametrize("depth", DEPTHS)
def test_every_layer_is_found_in_order(checkpoint: Any, depth: Depth) -> None:
    layers = checkpoint.bert.encoder.layer
    wanted = [("bert", "", checkpoint.bert), ("linear", "", checkpoint.linear)]
    wanted += [("layers", f"encoder.layer.{n}", layer) for n, layer in enumerate(layers)]
    if depth == "sublayers":
        wanted.append(("embeddings", "embeddings", checkpoint.bert.embeddings))
        for artifact, name in PARTS.items():
            for n, layer in enumerate(layers):
                part = f"encoder.layer.{n}.{name}"
                wanted.append((artifact, part, layer.get_submodule(name)))
    found, lacking = watched_modules(checkpoint, depth)
    assert [(watched.artifact, watched.part) for watched in found] == [w[:2] for w in wanted]
    assert all(watched.module is w[2] for watched, w in zip(found, wanted, strict=True))
    assert len(layers) == checkpoint.bert.config.num_hidden_layers
    assert lacking == {}


# What is recorded of them.


@pytest.mark.parametrize("depth", DEPTHS)
def test_every_module_is_recorded_for_each_batch(checkpoint: Any, depth: Depth) -> None:
    recorder = Recorder(depth=depth)
    encoded(checkpoint, recorder)
    found = rows(recorder)
    layers = [f"encoder.layer.{n}" for n in range(len(checkpoint.bert.encoder.layer))]
    parts = {
        **{artifact: [f"{layer}.{name}" for layer in layers] for artifact, name in PARTS.items()},
        "layers": layers,
        "embeddings": ["embeddings"],
    }
    wanted = {(artifact, part) for artifact in parts for part in parts[artifact]}
    if depth == "default":
        wanted = {("layers", layer) for layer in layers}
    wanted |= {(name, "") for name in ("bert", "linear", "masked", "normalized", "batches")}
    assert wanted <= found.keys()
    # Nothing beside them but what some modules return behind their first tensor.
    others = [(a, part) for a, part in found.keys() - wanted if a in MODULES]
    assert all("#" in part for _, part in others), others
    for place in [*wanted, *others]:
        assert [row["occurrence"] for row in found[place]] == list(range(BATCHES)), place
        assert {row["scope"] for row in found[place]} == {"sample"}
    assert recorder.missing == {}


def test_what_is_recorded_is_what_the_model_computes(checkpoint: Any) -> None:
    recorder = Recorder(depth="sublayers")
    encoded(checkpoint, recorder)
    found = rows(recorder)
    batches, _ = checkpoint.doc_tokenizer.tensorize(PASSAGES, bsize=2)
    for n, (input_ids, attention_mask) in enumerate(batches):
        with torch.inference_mode():
            answer = checkpoint.bert(input_ids, attention_mask, output_hidden_states=True)
            projected = checkpoint.linear(answer.last_hidden_state)
        wanted = {("bert", ""): answer.last_hidden_state, ("linear", ""): projected}
        for layer, hidden in enumerate(answer.hidden_states[1:]):
            # DeBERTa-v2 may have a convolution behind its first layer, which belongs to none.
            if layer or getattr(checkpoint.bert.encoder, "conv", None) is None:
                wanted["layers", f"encoder.layer.{layer}"] = hidden
        for place, tensor in wanted.items():
            assert found[place][n]["digest"] == content_hash(snapshot(tensor)), place
    shapes = {tuple(row["shape"]) for row in found["layers", "encoder.layer.0"]}
    assert shapes == {(*ids.shape, 32) for ids, _ in batches}
    assert digests(found["normalized", ""]) == digests(found["batches", ""])
    assert digests(found["masked", ""]) != digests(found["normalized", ""])


def test_the_pooled_output_of_a_model_is_a_part_of_its_own(load: Load) -> None:
    recorder = Recorder()
    encoded(load("bert", {"num_hidden_layers": 1}), recorder)
    found = rows(recorder)
    assert {part for artifact, part in found if artifact == "bert"} == {"", "#pooler_output"}
    assert [row["shape"] for row in found["bert", "#pooler_output"]] == [[2, 32], [2, 32], [1, 32]]


def test_every_tensor_that_a_module_returns_is_recorded(load: Load) -> None:
    recorder = Recorder(depth="sublayers")
    encoded(load("bert", {"num_hidden_layers": 2, "output_attentions": True}), recorder)
    found = rows(recorder)
    assert {part for artifact, part in found if artifact == "attention_self"} == {
        f"encoder.layer.{n}.attention.self{suffix}" for n in range(2) for suffix in ("", "#1")
    }
    layers = [f"encoder.layer.{n}" for n in range(2)]
    assert {part for artifact, part in found if artifact == "layers"} == {
        *layers,
        *(f"{layer}#1" for layer in layers),
    }
    # The model hands on what its layers returned.
    assert digests(found["bert", "#attentions#1"]) == digests(found["layers", f"{layers[1]}#1"])


def test_of_the_first_passages_the_outputs_of_the_layers_are_kept(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("matrix_capture.index_taps._PASSAGES", 1)
    recorder = Recorder()
    checkpoint = load("bert", {"num_hidden_layers": 2})
    encoded(checkpoint, recorder)
    with tapped(recorder, INDEX), recorder.within("chunk.0"), torch.inference_mode():
        checkpoint.docFromText(PASSAGES, bsize=2, keep_dims="flatten")
    found = rows(recorder)
    for layer in ("encoder.layer.0", "encoder.layer.1"):
        [kept] = found["layer_outputs", layer]
        whole = found["layers", layer][0]
        assert (kept["scope"], kept["shape"]) == ("sample", [1, *whole["shape"][1:]])
        assert (kept["occurrence"], whole["shape"][0]) == (0, 2)


ONE, TWO, THREE = torch.ones(1), torch.zeros(2), torch.ones(3)


class _Mapped(Mapping[str, Any]):
    """Maps names to what it was given, and is no dict."""

    def __init__(self, **named: Any) -> None:
        self._named = named

    def __getitem__(self, name: str) -> Any:
        return self._named[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._named)

    def __len__(self) -> int:
        return len(self._named)


@pytest.mark.parametrize(
    ("output", "found"),
    [
        (ONE, {"": ONE}),
        ((ONE,), {"#0": ONE}),
        ((ONE, None, TWO), {"#0": ONE, "#2": TWO}),
        ([ONE, (TWO, THREE)], {"#0": ONE, "#1#0": TWO, "#1#1": THREE}),
        ({"a": ONE, "b": {"c": (TWO,)}}, {"#a": ONE, "#b#c#0": TWO}),
        (_Mapped(hidden=TWO, none=None), {"#hidden": TWO}),
        (
            transformers.modeling_outputs.BaseModelOutput(
                last_hidden_state=ONE, hidden_states=(TWO, THREE)
            ),
            {"#last_hidden_state": ONE, "#hidden_states#0": TWO, "#hidden_states#1": THREE},
        ),
        (None, {}),
        ((), {}),
        ("text", {}),
    ],
)
def test_tensors_are_found_wherever_they_are(output: Any, found: dict[str, Any]) -> None:
    seen = list(tensors(output))
    assert [path for path, _ in seen] == list(found)
    assert all(tensor is found[path] for path, tensor in seen)


# What is not there.


def test_an_encoder_without_a_list_of_layers_is_noted(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Flat(nn.Module):  # type: ignore[misc]  # torch is untyped here
        """One layer that is not in a list."""

        def __init__(self, model: Any) -> None:
            super().__init__()
            self.embeddings, self.only = model.embeddings, model.encoder.layer[0]

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.only(self.embeddings(input_ids))

    checkpoint = load("bert", {"num_hidden_layers": 1})
    checkpoint.model.bert = Flat(checkpoint.bert)
    recorder = Recorder(depth="sublayers")
    encoded(checkpoint, recorder)
    inner = set(MODULES) - {"bert", "linear"}
    assert recorder.missing == dict.fromkeys(inner, "Flat has no list of layers")
    assert {"bert", "linear", "masked", "normalized", "D"} <= {name for name, _ in rows(recorder)}
    assert not inner & {name for name, _ in rows(recorder)}


def test_an_empty_list_of_layers_is_none() -> None:
    model = nn.Module()
    model.layer = nn.ModuleList()
    found, lacking = watched_modules(SimpleNamespace(bert=model, linear=nn.Linear(1, 1)), "default")
    assert [watched.artifact for watched in found] == ["bert", "linear"]
    assert lacking["layers"] == "Module has no list of layers"


def test_the_layers_are_the_list_with_the_most_parameters() -> None:
    model = nn.Module()
    model.heads = nn.ModuleList(nn.Linear(2, 2) for _ in range(5))
    model.blocks = nn.ModuleList(nn.Linear(9, 9) for _ in range(2))
    found, _ = watched_modules(SimpleNamespace(bert=model, linear=nn.Linear(1, 1)), "default")
    assert [watched.part for watched in found] == ["", "", "blocks.0", "blocks.1"]


def test_a_layer_that_lacks_a_part_costs_that_part(load: Load) -> None:
    checkpoint = load("bert", {"num_hidden_layers": 3})
    layer = checkpoint.bert.encoder.layer[1]
    feed_forward = layer.intermediate
    del layer.intermediate
    # An attribute that the layer calls as before, and no module of it.
    object.__setattr__(layer, "intermediate", feed_forward)
    recorder = Recorder(depth="sublayers")
    encoded(checkpoint, recorder)
    reason = "BertModel has no module encoder.layer.1.intermediate"
    assert recorder.missing == {"intermediate": reason}
    found = rows(recorder)
    assert {part for artifact, part in found if artifact == "intermediate"} == {
        f"encoder.layer.{n}.intermediate" for n in (0, 2)
    }
    for artifact, name in (("output", "output"), ("attention_self", "attention.self")):
        assert {part for found_as, part in found if found_as == artifact} == {
            f"encoder.layer.{n}.{name}" for n in range(3)
        }


def test_an_encoder_of_another_build_has_its_layers_recorded(load: Load) -> None:
    recorder = Recorder(depth="sublayers")
    encoded(
        load("distilbert", {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}), recorder
    )
    assert recorder.missing == {
        artifact: f"DistilBertModel has no module transformer.layer.1.{name}"
        for artifact, name in PARTS.items()
    }
    found = rows(recorder)
    assert {part for artifact, part in found if artifact == "layers"} == {
        "transformer.layer.0",
        "transformer.layer.1",
    }
    assert ("embeddings", "embeddings") in found


def test_layers_that_share_their_weights_are_occurrences_of_one(load: Load) -> None:
    recorder = Recorder()
    encoded(load("albert", {"num_hidden_layers": 4, "embedding_size": 16}), recorder)
    found = rows(recorder)
    (part,) = {part for artifact, part in found if artifact == "layers" and "#" not in part}
    assert len(found["layers", part]) == 4 * BATCHES
