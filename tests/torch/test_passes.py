"""Collections of several chunks, and chunks of several groups of batches."""

import json
import math
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from colbert.data.collection import Collection
from colbert.indexing.collection_indexer import CollectionIndexer

from matrix_capture import inputs, pipeline
from matrix_capture.catalogue import BY_NAME, expected
from matrix_capture.index_files import record_index
from matrix_capture.index_taps import INDEX
from matrix_capture.pipeline import Pipeline
from matrix_capture.recorder import Recorder
from matrix_capture.taps import Taps, _find

PASSAGES = 28
CHUNK = 8  # passages: three whole chunks and a half
CHUNKS = [f"chunk.{n}" for n in range(math.ceil(PASSAGES / CHUNK))]

ENCODED = {
    *("num_passages", "doclens", "reverse_indices", "input_ids", "attention_mask", "layers"),
    *("bert", "linear", "masked", "normalized", "batches", "batch_masks", "D"),
}
COMPRESSED = {"embs", "codes", "centroids_of_codes", "raw_residuals", "residuals"}

Rows = list[dict[str, Any]]


@pytest.fixture
def chunked(here: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """A pipeline in this process for which a chunk is small."""
    monkeypatch.setattr(Collection, "get_chunksize", lambda _: CHUNK)
    return here


def captured(run: Pipeline, name: str) -> tuple[Rows, Recorder]:
    """What is recorded of an index, its files included."""
    recorder = Recorder()
    record_index(recorder, run._index(run.job.collection[:PASSAGES], name, recorder))
    assert recorder.scope == "setup"
    rows: Rows = recorder.table().to_pylist()
    return rows, recorder


def scopes(rows: Rows) -> dict[str, list[str]]:
    """The scopes of each artifact in the order in which it was first seen there."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row["scope"] not in found[row["artifact"]]:
            found[row["artifact"]].append(row["scope"])
    return dict(found)


def digests(rows: Rows, artifact: str, part: str = "") -> dict[str, bytes]:
    """The only digest of an artifact in each scope."""
    found = [r for r in rows if (r["artifact"], r["part"]) == (artifact, part)]
    assert {row["occurrence"] for row in found} == {0}
    return {row["scope"]: row["digest"] for row in found}


# Several chunks.


def test_each_chunk_is_a_pass(chunked: Pipeline) -> None:
    rows, recorder = captured(chunked, "whole")
    recorder.note_unseen("index")
    assert {why for why in recorder.missing.values() if not why.startswith("never seen")} == set()
    unseen = {"weights"} | {name for name in BY_NAME if name.startswith("probe")}
    assert recorder.missing.keys() == unseen
    found = scopes(rows)
    for artifact in ENCODED:
        assert found[artifact] == ["sample", *CHUNKS], artifact
    for artifact in COMPRESSED:
        assert found[artifact] == CHUNKS, artifact
    for artifact in found.keys() - ENCODED - COMPRESSED:
        assert not set(found[artifact]) & {*CHUNKS, "setup"}, artifact
    assert [found[name] for name in ("local_sample_embs", "heldout_codes", "ivf")] == [
        ["sample"],
        ["heldout"],
        ["index"],
    ]


def test_the_files_of_each_chunk_hold_what_was_seen_in_its_pass(chunked: Pipeline) -> None:
    rows, _ = captured(chunked, "files")
    for artifact, file in (
        ("residuals", "{}.residuals.pt#0"),
        ("doclens", "doclens.{}.json#0"),
    ):
        seen = digests(rows, artifact)
        for n, chunk in enumerate(CHUNKS):
            held = digests(rows, f"index_{artifact}", file.format(n))
            assert held == {"disk": seen[chunk]}, (artifact, chunk)
    # Codes are shortened to 32 bits on their way.
    names = ("shape", "zeros", "min", "max", "mean", "std", "l2")
    codes = [
        [[row[name] for name in names] for row in rows if row["artifact"] == artifact]
        for artifact in ("codes", "index_codes")
    ]
    assert codes[0] == codes[1]
    assert len(codes[0]) == len(CHUNKS)
    parts = {row["part"] for row in rows if row["artifact"] == "index_chunk_metadata"}
    assert parts == {f"{n}.metadata.json#0" for n in range(len(CHUNKS))}


def test_chunks_are_what_the_collection_is_made_of(chunked: Pipeline) -> None:
    rows, _ = captured(chunked, "sizes")
    sizes = {row["scope"]: row["max"] for row in rows if row["artifact"] == "num_passages"}
    assert sizes == {
        "sample": PASSAGES,
        **dict.fromkeys(CHUNKS, CHUNK),
        CHUNKS[-1]: PASSAGES % CHUNK,
    }
    # The whole collection is the sample, in one call: no chunk is it.
    assert len(set(digests(rows, "D").values())) == 1 + len(CHUNKS)
    lengths = {row["scope"]: row["numel"] for row in rows if row["artifact"] == "codes"}
    (before,) = (row["numel"] for row in rows if row["artifact"] == "codes_before_sort")
    assert sum(lengths.values()) == before


def test_several_chunks_equal_themselves_in_a_repeat(chunked: Pipeline) -> None:
    (first, _), (again, _) = (captured(chunked, name) for name in ("first", "again"))
    assert len(first) > 100
    assert first == again


@pytest.mark.parametrize("name", ["CollectionEncoder.encode_passages", "ResidualCodec.compress"])
def test_chunks_are_told_apart_by_one_of_two_functions(
    name: str, chunked: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = captured(chunked, "whole")
    kept = [tap for tap in INDEX if not tap.target.endswith(f":{name}")]
    own = {artifact for tap in INDEX if tap not in kept for artifact in tap.artifacts}
    monkeypatch.setattr(pipeline, "INDEX", Taps(kept))
    without, _ = captured(chunked, "without")
    keys = ("artifact", "part", "scope", "occurrence", "digest")
    assert [[row[key] for key in keys] for row in without] == [
        [row[key] for key in keys] for row in whole if row["artifact"] not in own
    ]


@pytest.mark.parametrize(
    ("method", "opened", "own"),
    [
        ("index", "chunk", ENCODED | COMPRESSED),
        ("_sample_embeddings", "sample", ENCODED | {"layer_outputs", "local_sample_embs"}),
    ],
)
def test_without_what_opens_a_pass_nothing_is_recorded_for_it(
    method: str, opened: str, own: set[str], chunked: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = captured(chunked, "whole")
    owner, name = _find(f"colbert.indexing.collection_indexer:CollectionIndexer.{method}")
    original = vars(owner)[name]
    monkeypatch.delattr(owner, name)
    # Still there for who calls it, and not where its name says.
    monkeypatch.setattr(owner, "__getattr__", lambda self, _: original.__get__(self), raising=False)
    without, recorder = captured(chunked, "without")
    target = f"colbert.indexing.collection_indexer:CollectionIndexer.{method}"
    lost = own & {artifact.name for artifact in expected("cpu", "default")}
    assert recorder.missing == dict.fromkeys(lost, f"tap target not found: {target}")
    keys = ("artifact", "part", "scope", "occurrence", "digest")
    assert [[row[key] for key in keys] for row in without] == [
        [row[key] for key in keys]
        for row in whole
        if row["artifact"] not in lost or row["scope"].partition(".")[0] != opened
    ]


# Several groups of batches: colbert-ai encodes 50 batches, then joins them, then goes on.


def test_groups_of_batches_are_occurrences(here: Pipeline, cache: Path) -> None:
    collection = inputs.prepare(cache / "sources", cache, 53).collection
    config = {**here.job.config, "index_bsize": 1}
    here.job = msgspec.structs.replace(here.job, config=config)
    recorder = Recorder()
    here._index(collection, "groups", recorder)
    assert recorder.missing == {}
    found = defaultdict(list)
    for row in recorder.table().to_pylist():
        found[row["artifact"], row["scope"]].append(row)
    for scope in ("sample", "chunk.0"):
        for artifact in ("D", "reverse_indices"):
            assert [row["occurrence"] for row in found[artifact, scope]] == [0, 1], artifact
        for artifact in ("batches", "batch_masks", "input_ids", "linear", "normalized"):
            assert [row["occurrence"] for row in found[artifact, scope]] == list(range(53))
        assert [row["numel"] for row in found["reverse_indices", scope]] == [50, 3]
        for artifact in ("num_passages", "doclens"):
            assert [row["occurrence"] for row in found[artifact, scope]] == [0], artifact
    (joined,) = found["local_sample_embs", "sample"]
    assert joined["shape"][0] == sum(row["shape"][0] for row in found["D", "sample"])


# One rank.


def test_one_rank_works_in_this_process(here: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    run, seen = CollectionIndexer.run, []

    def noted(indexer: Any, shared_lists: Any) -> None:
        seen.append((os.getpid(), indexer.rank, indexer.nranks))
        run(indexer, shared_lists)

    monkeypatch.setattr(CollectionIndexer, "run", noted)
    index = here._index(here.job.collection[:PASSAGES], "ranks", Recorder())
    assert seen == [(os.getpid(), 0, 1)]
    assert not torch.distributed.is_initialized()
    config = json.loads((index / "plan.json").read_text())["config"]
    assert (config["nranks"], config["avoid_fork_if_possible"]) == (1, True)
