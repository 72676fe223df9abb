"""The words for elements of a real run: what is told as the same token is the same vector."""

import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from colbert.data.collection import Collection
from colbert.indexing.collection_indexer import CollectionIndexer
from colbert.infra import ColBERTConfig
from colbert.modeling.tokenization import DocTokenizer

from matrix_capture import inputs
from matrix_capture.catalogue import BY_NAME
from matrix_capture.index_files import record_index
from matrix_capture.job import Job
from matrix_capture.launch import configured
from matrix_capture.pipeline import Pipeline
from matrix_capture.recorder import Recorder
from matrix_capture.schema import Capture
from matrix_capture.values import ValueStore
from matrix_compare.location import Locator
from tests.compare.conftest import record_of

PASSAGES = 53
CHUNK = 30
SAMPLED = [*range(1, 7), *range(8, PASSAGES)]

Rows = list[dict[str, Any]]
Tokens = dict[tuple[int, int], npt.NDArray[Any]]
"""Vectors by passage and token."""


class Told:
    """A capture and its job, the words for its elements, and the values that they are words for."""

    def __init__(self, job: Job, capture: Capture, store: ValueStore) -> None:
        self.job = job
        self.rows: Rows = capture.rows.to_pylist()
        self.locator = Locator(capture, store)
        self._store = store

    def of(self, artifact: str, scope: str) -> Rows:
        found = [row for row in self.rows if (row["artifact"], row["scope"]) == (artifact, scope)]
        assert [row["occurrence"] for row in found] == list(range(len(found)))
        return found

    def value(self, row: dict[str, Any]) -> npt.NDArray[Any]:
        return self._store.get(row["digest"]).data.reshape(row["shape"])

    def tell(self, row: dict[str, Any], *index: int) -> str:
        place = (row["artifact"], row["part"], row["scope"], row["occurrence"])
        return self.locator.tell(*place, index)

    def tokens(self, artifact: str, scope: str) -> Tokens:
        """Every vector of an artifact under the passage and the token that it is told to be of."""
        found: Tokens = {}
        for row in self.of(artifact, scope):
            value = self.value(row)
            for index in np.ndindex(*value.shape[:-1]):
                words = self.tell(row, *index, 0)
                match = re.search(r"passage ([0-9]+), token ([0-9]+)[ ,]", words)
                assert match, words
                place = int(match[1]), int(match[2])
                assert place not in found
                found[place] = value[index]
        return found


@pytest.fixture(scope="module", params=[1, 4], ids=["two calls", "batches of four"])
def told(
    request: pytest.FixtureRequest,
    imported: Job,
    cache: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Told:
    """Two chunks; colbert-ai joins 50 batches at a time, so of one passage each it takes two calls.

    The sample is not the collection, as in one that is large.
    """
    folder = tmp_path_factory.mktemp("told")
    job = msgspec.structs.replace(
        imported,
        collection=inputs.prepare(cache / "sources", cache, PASSAGES).collection,
        config={**imported.config, "index_bsize": request.param},
    )
    (folder / "job.json").write_bytes(msgspec.json.encode(job))
    store = ValueStore(folder / "values")
    recorder = Recorder(store)
    run = Pipeline(folder)
    with pytest.MonkeyPatch.context() as patch, run._progress:
        patch.setattr(Collection, "get_chunksize", lambda _: CHUNK)
        patch.setattr(CollectionIndexer, "_sample_pids", lambda _: set(SAMPLED))
        record_index(recorder, run._index(job.collection, "told", recorder))
    return Told(job, Capture(record=record_of(), rows=recorder.table()), store)


def test_an_embedding_is_the_vector_of_its_passage_and_token(told: Told) -> None:
    for scope, passages in (
        ("sample", SAMPLED),
        ("chunk.0", [*range(CHUNK)]),
        ("chunk.1", [*range(CHUNK, PASSAGES)]),
    ):
        assert len(told.of("batches", scope)) > 1
        batches = told.tokens("batches", scope)
        assert sorted({passage for passage, _ in batches}) == passages
        embeddings = told.tokens("D", scope)
        assert list(embeddings) == sorted(embeddings)
        for place, vector in embeddings.items():
            assert vector.tobytes() == batches[place].tobytes(), (scope, place)
        # Not by accident: hardly two vectors are the same, and the batches are in another order.
        assert len({vector.tobytes() for vector in embeddings.values()}) > 0.99 * len(embeddings)
        assert [place for place in batches if place in embeddings] != list(embeddings)
    assert len(told.of("D", "sample")) == (2 if len(told.of("batches", "sample")) > 50 else 1)


def test_a_batch_holds_the_text_of_the_passages_that_are_told(told: Told) -> None:
    config = configured(ColBERTConfig, checkpoint=told.job.checkpoint, **told.job.config)
    tokenizer = DocTokenizer(config)
    for scope in ("sample", "chunk.0", "chunk.1"):
        for row, mask in zip(
            told.of("input_ids", scope), told.of("attention_mask", scope), strict=True
        ):
            for place, (ids, real) in enumerate(
                zip(told.value(row), told.value(mask), strict=True)
            ):
                words = told.tell(row, place, 3)
                match = re.fullmatch(r"batch [0-9]+, passage ([0-9]+), token 3", words)
                assert match, words
                (alone,), _ = tokenizer.tensorize([told.job.collection[int(match[1])]])
                assert ids[real.astype(bool)].tolist() == alone.tolist()


def test_what_a_chunk_is_made_into_is_told_alike(told: Told) -> None:
    for n in range(2):
        (joined,) = told.of("D", f"chunk.{n}")
        words = [told.tell(joined, row, 1) for row in range(joined["shape"][0])]
        first = sum(told.of("D", f"chunk.{m}")[0]["shape"][0] for m in range(n))
        assert f"embedding {first})" in words[0]
        for row in told.of("embs", f"chunk.{n}") + told.of("raw_residuals", f"chunk.{n}"):
            assert [told.tell(row, at, 1) for at in range(len(words))] == words
        plain = [word.removesuffix(", dimension 1") for word in words]
        seen = told.of("codes", f"chunk.{n}")
        for row in seen + [row for row in told.rows if row["part"] == f"{n}.codes.pt#0"]:
            assert [told.tell(row, at) for at in range(len(words))] == plain
        (before,) = told.of("codes_before_sort", "index")
        assert [told.tell(before, first + at) for at in range(len(words))] == plain


def test_every_value_of_a_run_has_the_axes_of_the_catalogue(told: Told) -> None:
    for row in told.rows:
        words = told.tell(row, *(size // 2 for size in row["shape"]))
        if row["part"].endswith("pooler_output"):
            assert re.fullmatch(r"batch [0-9]+, passage [0-9]+, index \[[0-9]+\]", words)
        else:
            assert len(BY_NAME[row["artifact"]].axes) == len(row["shape"]), row["artifact"]
            assert not re.search(r"index| of the (batch|pass|chunk)", words), words
