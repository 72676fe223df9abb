"""The inputs of the published studies, from a copy of what the hub has."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save_file

from matrix_capture.conditionalqa import CHECKPOINT, CONFIG, DATASET, prepare
from matrix_capture.errors import MatrixError

CORPUS = Path("UKPLab/dapr/ConditionalQA/corpus/0000.parquet")
QUERIES = Path("UKPLab/dapr/ConditionalQA/queries/test.parquet")
QRELS = Path("UKPLab/dapr/ConditionalQA/qrels/test.parquet")
MODEL = Path("answerdotai/answerai-colbert-small-v1")


def rewrite(file: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(file)), file)


# A copy.


def test_passages_come_in_order_and_queries_with_what_answers_them(
    hub_copy: Path, tmp_path: Path
) -> None:
    made = prepare(hub_copy, tmp_path / "cache")
    corpus = pq.read_table(hub_copy / CORPUS)
    assert list(made.collection) == corpus["text"].to_pylist()
    assert made.collection[0] == ""  # the hub has such, and colbert-ai takes them
    assert [query.text for query in made.queries] == pq.read_table(hub_copy / QUERIES)[
        "text"
    ].to_pylist()
    ids = corpus["_id"].to_pylist()
    answers = [tuple(ids[place] for place in query.relevant) for query in made.queries]
    assert answers[:2] == [("0-2", "0-5"), ("1-2", "1-5")]
    assert made.config == CONFIG
    assert set(made.hashes) == {"checkpoint", "collection", "queries", "config"}


@pytest.mark.parametrize(
    ("part", "column"), [("corpus", "text"), ("queries", "text"), ("qrels", "corpus_id")]
)
def test_the_copy_is_in_the_format_of_the_hub(
    part: str, column: str, hub_copy: Path, tmp_path: Path
) -> None:
    """The library that the hub is made for reads the same from the same files."""
    card = hub_copy / DATASET.name
    theirs = datasets.load_dataset(
        str(card), f"ConditionalQA-{part}", split="test", cache_dir=str(tmp_path / "theirs")
    )
    made = prepare(hub_copy, tmp_path / "cache")
    if part == "corpus":
        assert theirs[column] == list(made.collection)
    elif part == "queries":
        assert theirs[column] == [query.text for query in made.queries]
    else:
        ids = pq.read_table(hub_copy / CORPUS)["_id"].to_pylist()
        relevant = {ids[place] for query in made.queries for place in query.relevant}
        assert relevant == set(theirs[column])


def test_the_same_inputs_have_the_same_hashes_wherever_and_however_they_lie(
    hub_copy: Path, tmp_path: Path
) -> None:
    first = prepare(hub_copy, tmp_path / "cache")
    # The hub's own cache is made of links, and its corpora of several files.
    linked = tmp_path / "linked"
    for file in (path for path in hub_copy.rglob("*") if path.is_file()):
        link = linked / file.relative_to(hub_copy)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)
    (linked / CORPUS).unlink()
    corpus = pq.read_table(hub_copy / CORPUS)
    pq.write_table(corpus[:20], linked / CORPUS)
    pq.write_table(corpus[20:], (linked / CORPUS).with_name("0001.parquet"))
    assert prepare(linked, tmp_path / "other").hashes == first.hashes


def test_a_slice_is_the_first_passages_and_the_queries_they_answer(
    hub_copy: Path, tmp_path: Path
) -> None:
    whole = prepare(hub_copy, tmp_path / "cache")
    few = prepare(hub_copy, tmp_path / "cache", 11)
    assert few.collection == whole.collection[:11]
    assert [query.relevant for query in few.queries] == [(2, 5), (10,), (2, 5), (10,)]
    assert few.hashes["checkpoint"] == whole.hashes["checkpoint"]
    assert few.hashes["collection"] != whole.hashes["collection"]
    assert prepare(hub_copy, tmp_path / "cache", 48).hashes == whole.hashes


def test_a_passage_that_was_judged_irrelevant_answers_nothing(
    hub_copy: Path, tmp_path: Path
) -> None:
    def judge(qrels: pa.Table) -> pa.Table:
        scores = pa.array([0, 0, 0, 2, *[1] * (qrels.num_rows - 4)])
        return qrels.set_column(qrels.schema.get_field_index("score"), "score", scores)

    rewrite(hub_copy / QRELS, judge)
    made = prepare(hub_copy, tmp_path / "cache")
    assert [query.relevant for query in made.queries][:1] == [(10,)]
    assert len(made.queries) == 7


def test_the_checkpoint_holds_what_is_read_and_no_more(hub_copy: Path, tmp_path: Path) -> None:
    model = hub_copy / MODEL
    for name in ("pytorch_model.bin", "modeling.py", "model.onnx"):
        (model / name).write_bytes(b"never read")
    made = prepare(hub_copy, tmp_path / "cache").checkpoint
    assert sorted(path.name for path in made.iterdir()) == sorted(CHECKPOINT.files)
    for name in set(CHECKPOINT.files) - {"artifact.metadata"}:
        assert (made / name).read_bytes() == (model / name).read_bytes()


def test_of_the_metadata_only_how_the_model_reads_is_kept(hub_copy: Path, tmp_path: Path) -> None:
    """The rest would tell colbert-ai where to write and which other model to ask for."""
    made = prepare(hub_copy, tmp_path / "cache").checkpoint
    text = (made / "artifact.metadata").read_text()
    assert json.loads(text) == {
        "attend_to_mask_tokens": False,
        "dim": 96,
        "doc_maxlen": 300,
        "doc_token": "[D]",
        "doc_token_id": "[unused1]",
        "interaction": "colbert",
        "mask_punctuation": True,
        "query_maxlen": 32,
        "query_token": "[Q]",
        "query_token_id": "[unused0]",
        "similarity": "cosine",
    }


def test_a_script_in_the_repository_is_never_run(hub_copy: Path, tmp_path: Path) -> None:
    """The library's older releases run one that is named after its folder."""
    trap = f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\n"
    for folder in (hub_copy / DATASET.name, hub_copy / MODEL):
        for name in (f"{folder.name}.py", "__init__.py", "modeling.py"):
            (folder / name).write_text(trap)
    prepare(hub_copy, tmp_path / "cache")
    assert not (tmp_path / "ran").exists()


def test_what_the_card_points_to_is_not_followed(hub_copy: Path, tmp_path: Path) -> None:
    before = prepare(hub_copy, tmp_path / "cache").hashes
    outside = tmp_path / "outside.parquet"
    rewrite(hub_copy / CORPUS, lambda table: table)
    pq.write_table(pq.read_table(hub_copy / CORPUS)[:3], outside)
    card = hub_copy / DATASET.name / "README.md"
    for path in (outside.as_posix(), "../../../outside.parquet"):
        card.write_text(card.read_text().replace("ConditionalQA/corpus/*", path))
        assert prepare(hub_copy, tmp_path / "cache").hashes == before


# What is refused.


def without(column: str) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.drop_columns([column])


def renamed(column: str, to: str) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.rename_columns(
        [to if name == column else name for name in table.column_names]
    )


def replaced(column: str, values: Callable[[int], pa.Array]) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.set_column(
        table.schema.get_field_index(column), column, values(table.num_rows)
    )


TABLES: dict[str, tuple[Path, Callable[[pa.Table], pa.Table], str]] = {
    "a column less": (CORPUS, without("text"), "no column text; it has _id, title, doc_id"),
    "a renamed column": (CORPUS, renamed("_id", "id"), "no column _id; it has id, text"),
    "queries without ids": (QUERIES, without("_id"), "no column _id; it has text"),
    "other qrels": (
        QRELS,
        lambda table: table.rename_columns(["query-id", "corpus-id", "score"]),
        "no column query_id, corpus_id; it has query-id, corpus-id, score",
    ),
    "an empty corpus": (CORPUS, lambda table: table[:0], "no rows"),
    "no queries": (QUERIES, lambda table: table[:0], "no rows"),
    "no qrels": (QRELS, lambda table: table[:0], "no rows"),
    "nulls": (
        CORPUS,
        replaced("text", lambda rows: pa.array([None, *["a"] * (rows - 1)])),
        "column text has 1 nulls",
    ),
    "lists for texts": (
        CORPUS,
        replaced("text", lambda rows: pa.array([["a"]] * rows)),
        "list<.*> to (utf8|string)",
    ),
    "texts that are none": (
        CORPUS,
        replaced("text", lambda rows: pa.array([b"\xff"] * rows)),
        "[Uu][Tt][Ff]-?8",
    ),
    "words for scores": (
        QRELS,
        replaced("score", lambda rows: pa.array(["much"] * rows)),
        "much",
    ),
    "qrels of other passages": (
        QRELS,
        replaced("corpus_id", lambda rows: pa.array(["9-9"] * rows)),
        "names no passage of the corpus",
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_at_fault_is_one_line_that_says_which(
    name: str, hub_copy: Path, tmp_path: Path
) -> None:
    path, change, expected = TABLES[name]
    rewrite(hub_copy / path, change)
    with pytest.raises(MatrixError, match=expected) as caught:
        prepare(hub_copy, tmp_path / "cache")
    told = str(caught.value)
    assert str((hub_copy / path).parent) in told
    assert "\n" not in told


@pytest.mark.parametrize("path", [CORPUS, QUERIES, QRELS])
def test_what_is_no_parquet_is_one_line(path: Path, hub_copy: Path, tmp_path: Path) -> None:
    (hub_copy / path).write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(MatrixError, match=rf"^{re.escape(str(hub_copy / path))}: ."):
        prepare(hub_copy, tmp_path / "cache")


@pytest.mark.parametrize(
    "lost", [CORPUS, QUERIES, QRELS, *(MODEL / name for name in CHECKPOINT.files), MODEL]
)
def test_a_missing_file_is_one_line(lost: Path, hub_copy: Path, tmp_path: Path) -> None:
    path = hub_copy / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(MatrixError, match=r"is missing; docs/formats\.md lists") as caught:
        prepare(hub_copy, tmp_path / "cache")
    assert str(path.parent) in str(caught.value)


@pytest.mark.parametrize("passages", [-1, 0, 49])
def test_a_slice_that_cannot_be_is_refused(passages: int, hub_copy: Path, tmp_path: Path) -> None:
    with pytest.raises(MatrixError, match=rf"has 48 passages, not {passages}; choose another"):
        prepare(hub_copy, tmp_path / "cache", passages)


def _truncate(model: Path) -> None:
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _reweight(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def plant(model: Path) -> None:
        weights = load_file(model / "model.safetensors")
        change(weights)
        save_file(weights, model / "model.safetensors", metadata={"format": "pt"})

    return plant


def _own_code(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "modeling.Config"}
    (model / "config.json").write_text(json.dumps(config))


def _half_precision(model: Path) -> None:
    """bfloat16, which numpy does not have."""
    path = model / "model.safetensors"
    header = json.dumps(
        {"linear.weight": {"dtype": "BF16", "shape": [96, 1], "data_offsets": [0, 192]}}
    ).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(192))


CHECKPOINTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated weights": (_truncate, r"model\.safetensors: "),
    "no projection": (_reweight(lambda weights: weights.pop("linear.weight")), "linear.weight"),
    "another width": (
        _reweight(lambda weights: weights.update({"linear.weight": np.zeros((128, 32), "f4")})),
        "embeddings of 128 numbers, not 96",
    ),
    "a type that numpy lacks": (_half_precision, "bfloat16"),
    "code of its own": (_own_code, r"config\.json: asks for code of its own \(auto_map\)"),
    "no JSON": (lambda model: (model / "config.json").write_text("{"), r"config\.json: "),
    "no object": (lambda model: (model / "artifact.metadata").write_text("[]"), "metadata: "),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_checkpoint_at_fault_is_one_line(name: str, hub_copy: Path, tmp_path: Path) -> None:
    plant, expected = CHECKPOINTS[name]
    plant(hub_copy / MODEL)
    with pytest.raises(MatrixError, match=expected) as caught:
        prepare(hub_copy, tmp_path / "cache")
    assert str(hub_copy / MODEL) in str(caught.value)
    assert list((tmp_path / "cache").iterdir()) == []
