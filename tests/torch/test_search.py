"""Real searches of a real index: what is seen of them, and the faults that should show."""

import builtins
import inspect
import re
import shutil
import types
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from colbert.modeling.checkpoint import Checkpoint
from colbert.search import index_storage
from colbert.search.index_storage import IndexScorer
from torch.utils import cpp_extension

from matrix_capture.catalogue import POSITION, expected
from matrix_capture.digest import content_hash, snapshot
from matrix_capture.job import Event, Job
from matrix_capture.pipeline import Pipeline, StageError
from matrix_capture.rankings import DEPTH
from matrix_capture.recorder import Recorder
from matrix_capture.search_taps import SEARCH
from matrix_capture.taps import _find, tapped

QUERIES = 8
ARTIFACTS = {artifact.name for artifact in expected("cpu", "default") if artifact.stage == "search"}
EVERY_QUERY = {"centroid_scores", "decompressed_embeddings"}

Seen = dict[str, list[bytes]]


@pytest.fixture
def few(here: Pipeline) -> Pipeline:
    """A pipeline in this process with few queries to answer."""
    here.job = msgspec.structs.replace(here.job, queries=here.job.queries[:QUERIES])
    return here


def watched(run: Pipeline, index: Path) -> Recorder:
    """What is recorded of a search, of which the rankings are in `ranking.parquet`."""
    recorder = Recorder()
    with tapped(recorder, SEARCH):
        run._search(index, "ranking.parquet", index_torch=run.job.torch)
    assert recorder.scope == "setup"
    recorder.note_unseen("search")
    return recorder


def seen(recorder: Recorder) -> Seen:
    """The digests of each artifact in the order in which they were taken."""
    found = defaultdict(list)
    for row in recorder.table().to_pylist():
        found[row["artifact"]].append(row["digest"])
    return dict(found)


def ranking(run: Pipeline) -> Any:
    return pq.read_table(run.folder / "ranking.parquet")


# What is seen.


def test_every_artifact_is_seen_once_or_once_a_query(few: Pipeline, index: Path) -> None:
    recorder = watched(few, index)
    assert recorder.missing == {}
    rows = recorder.table().to_pylist()
    assert {row["artifact"] for row in rows} == ARTIFACTS
    assert {(row["scope"], row["part"], row["stage"]) for row in rows} == {("query", "", "search")}
    for artifact in ARTIFACTS:
        found = [row["occurrence"] for row in rows if row["artifact"] == artifact]
        assert found == list(range(QUERIES if artifact in EVERY_QUERY else 1)), artifact


def test_every_shape_is_what_the_index_and_the_queries_make_it(few: Pipeline, index: Path) -> None:
    rows = {row["artifact"]: row for row in watched(few, index).table().to_pylist()}
    centroids, dim = torch.load(index / "centroids.pt").shape
    tokens = rows["query_embeddings"]["shape"][1]
    assert rows["query_embeddings"]["shape"] == [QUERIES, tokens, dim]
    assert rows["centroid_scores"]["shape"] == [centroids, tokens]
    assert rows["decompressed_embeddings"]["shape"][1] == dim
    for name in ("candidate", "pruned", "ranked"):
        assert rows[f"{name}_lengths"]["shape"] == [QUERIES]
        count = rows[f"{name}_lengths"]["mean"] * QUERIES
        assert rows[f"{name}_pids"]["numel"] == round(count)
        assert rows[f"{name}_lengths"]["min"] >= 1
    assert rows["ranked_lengths"]["max"] <= DEPTH
    assert rows["ranked_scores"]["shape"] == rows["ranked_pids"]["shape"]
    assert (rows["ranked_scores"]["dtype"], rows["ranked_pids"]["dtype"]) == ("float32", "int64")


def test_a_search_equals_itself(few: Pipeline, index: Path) -> None:
    first = watched(few, index).table()
    before = ranking(few)
    assert watched(few, index).table().equals(first)
    assert ranking(few).equals(before)


def test_watching_changes_nothing(few: Pipeline, index: Path) -> None:
    watched(few, index)
    few._search(index, "plain.parquet", index_torch=few.job.torch)
    plain = pq.read_table(few.folder / "plain.parquet")
    assert plain.num_rows > QUERIES
    assert plain.equals(ranking(few))


def test_the_rankings_are_what_was_seen_last(few: Pipeline, index: Path) -> None:
    found = seen(watched(few, index))
    rows = ranking(few)
    assert rows.column("query").unique().to_pylist() == list(range(QUERIES))
    for query in range(QUERIES):
        one = rows.filter(pc.equal(rows["query"], query))
        assert one.column("rank").to_pylist() == list(range(1, one.num_rows + 1))
        scores = one.column("score").to_pylist()
        assert scores == sorted(scores, reverse=True)
    lengths = np.bincount(rows.column("query").to_numpy())
    kept = {
        "ranked_pids": rows.column("pid").to_numpy().astype(np.int64),
        "ranked_scores": rows.column("score").to_numpy(),
        "ranked_lengths": lengths.astype(np.int64),
    }
    for artifact, value in kept.items():
        assert found[artifact] == [content_hash(snapshot(value))], artifact
    for name in ("index_torch", "search_torch"):
        assert rows.column(name).unique().to_pylist() == [few.job.torch]
    assert rows.column("mmap").unique().to_pylist() == [False]


def test_more_queries_than_are_encoded_at_once_are_one_tensor(few: Pipeline, index: Path) -> None:
    few.job = msgspec.structs.replace(few.job, queries=few.job.queries * 17)
    rows = watched(few, index).table().to_pylist()
    (embeddings,) = (row for row in rows if row["artifact"] == "query_embeddings")
    assert embeddings["shape"][0] == 17 * QUERIES > 128
    assert ranking(few).column("query").unique().to_pylist() == list(range(17 * QUERIES))


def test_without_queries_nothing_is_found_and_nothing_fails(few: Pipeline, index: Path) -> None:
    few.job = msgspec.structs.replace(few.job, queries=())
    recorder = watched(few, index)
    assert ranking(few).num_rows == 0
    assert recorder.missing.keys() == ARTIFACTS


# Names that colbert-ai may change.


def rename(target: str, patch: pytest.MonkeyPatch) -> None:
    """Take a function away where its name says it is, and leave it to those who call it."""
    owner, name = _find(target)
    original = vars(owner)[name]
    assert inspect.isfunction(original), f"{target}: only plain functions are moved here"
    patch.delattr(owner, name)
    if inspect.ismodule(owner):
        patch.setattr(builtins, name, original, raising=False)
        return

    def still_there(self: Any, wanted: str) -> Any:
        if wanted == name:
            return types.MethodType(original, self)
        raise AttributeError(wanted)

    patch.setattr(owner, "__getattr__", still_there, raising=False)


@pytest.fixture(scope="module")
def everything(imported: Job, index: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a search shows when nothing is renamed, and what it finds."""
    folder = tmp_path_factory.mktemp("everything")
    job = msgspec.structs.replace(imported, queries=imported.queries[:QUERIES])
    (folder / "job.json").write_bytes(msgspec.json.encode(job))
    run = Pipeline(folder)
    recorder = watched(run, index)
    run._progress.close()
    return seen(recorder), ranking(run)


@pytest.mark.parametrize("target", [tap.target for tap in SEARCH])
def test_a_renamed_function_costs_its_artifacts_and_nothing_else(
    target: str,
    everything: tuple[Seen, Any],
    few: Pipeline,
    index: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tap,) = (tap for tap in SEARCH if tap.target == target)
    whole, found = everything
    gone = ARTIFACTS if tap.opens else ARTIFACTS & set(tap.artifacts)
    rename(target, monkeypatch)
    recorder = watched(few, index)
    assert ranking(few).equals(found)
    assert recorder.missing == dict.fromkeys(gone, f"tap target not found: {target}")
    assert seen(recorder) == {k: v for k, v in whole.items() if k not in gone}


def test_only_what_a_gpu_does_costs_nothing_here() -> None:
    """Of every other function the test above loses something."""
    free = {tap.target.rpartition(":")[2] for tap in SEARCH if not ARTIFACTS & set(tap.artifacts)}
    assert free == {"Searcher.search_all", "colbert_score_reduce", "IndexScorer.lookup_pids"}


# Planted faults: each is seen where it is, and nothing before it.


def differing(whole: Seen, other: Seen) -> list[str]:
    """The artifacts that are not the same, in the order of the catalogue."""
    assert whole.keys() == other.keys()
    return sorted((name for name in whole if whole[name] != other[name]), key=POSITION.__getitem__)


def test_one_code_on_disk_shows_where_embeddings_are_restored(
    everything: tuple[Seen, Any], few: Pipeline, index: Path
) -> None:
    other = few.folder / "other"
    shutil.copytree(index, other)
    codes = torch.load(other / "0.codes.pt")
    codes[0] = (codes[0] + 1) % len(torch.load(other / "centroids.pt"))
    torch.save(codes, other / "0.codes.pt")
    found = differing(everything[0], seen(watched(few, other)))
    assert found[0] in ("pruned_lengths", "pruned_pids", "decompressed_embeddings")
    assert "decompressed_embeddings" in found


def test_a_residual_on_disk_shows_there_and_not_before(
    everything: tuple[Seen, Any], few: Pipeline, index: Path
) -> None:
    other = few.folder / "other"
    shutil.copytree(index, other)
    residuals = torch.load(other / "0.residuals.pt")
    residuals[0] ^= 255
    torch.save(residuals, other / "0.residuals.pt")
    assert differing(everything[0], seen(watched(few, other)))[0] == "decompressed_embeddings"


def test_a_list_of_passages_on_disk_shows_in_the_candidates(
    everything: tuple[Seen, Any], few: Pipeline, index: Path
) -> None:
    other = few.folder / "other"
    shutil.copytree(index, other)
    pids, lengths = torch.load(other / "ivf.pid.pt")
    torch.save((torch.zeros_like(pids), lengths), other / "ivf.pid.pt")
    assert differing(everything[0], seen(watched(few, other)))[0] == "candidate_lengths"


def test_one_ulp_of_a_query_shows_in_its_embedding(
    everything: tuple[Seen, Any],
    few: Pipeline,
    index: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = Checkpoint.queryFromText

    def nudged(*args: Any, **kwargs: Any) -> Any:
        embeddings = real(*args, **kwargs)
        embeddings[3, 0, 0] = torch.nextafter(embeddings[3, 0, 0], torch.tensor(9.0))
        return embeddings

    monkeypatch.setattr(Checkpoint, "queryFromText", nudged)
    found = differing(everything[0], seen(watched(few, index)))
    assert found[0] == "query_embeddings"
    assert not {"candidate_lengths", "candidate_pids"} & set(found)


def test_a_passage_that_pruning_loses_shows_there_and_not_among_the_candidates(
    everything: tuple[Seen, Any],
    few: Pipeline,
    index: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = IndexScorer.filter_pids
    monkeypatch.setattr(IndexScorer, "filter_pids", staticmethod(lambda *all_: real(*all_)[:-1]))
    found = differing(everything[0], seen(watched(few, index)))
    assert found[:3] == ["pruned_lengths", "pruned_pids", "decompressed_embeddings"]
    assert found[3:] == ["ranked_lengths", "ranked_scores", "ranked_pids"]


def test_a_score_nudged_at_the_end_shows_in_the_scores_alone(
    everything: tuple[Seen, Any],
    few: Pipeline,
    index: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = IndexScorer.rank

    def nudged(*args: Any, **kwargs: Any) -> Any:
        pids, scores = real(*args, **kwargs)
        best = np.nextafter(np.float32(scores[0]), np.float32(np.inf))
        return pids, [float(best), *scores[1:]]

    monkeypatch.setattr(IndexScorer, "rank", nudged)
    assert differing(everything[0], seen(watched(few, index))) == ["ranked_scores"]


def test_two_of_one_score_may_swap_and_two_of_others_may_not(
    few: Pipeline, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = IndexScorer.rank
    swapped = False

    def tied(*args: Any, **kwargs: Any) -> Any:
        pids, scores = real(*args, **kwargs)
        scores[1] = scores[0]
        return ([pids[1], pids[0], *pids[2:]] if swapped else pids), scores

    def rows() -> dict[str, Any]:
        return {row["artifact"]: row for row in watched(few, index).table().to_pylist()}

    apart = rows()
    monkeypatch.setattr(IndexScorer, "rank", tied)
    before, swapped = rows(), True
    after = rows()
    assert before["ranked_pids"]["digest"] != after["ranked_pids"]["digest"]
    assert before["ranked_pids"]["multiset"] == after["ranked_pids"]["multiset"]
    assert before["ranked_pids"]["multiset"] != apart["ranked_pids"]["multiset"]
    assert before["ranked_scores"]["digest"] == after["ranked_scores"]["digest"]


# A build that fails.


@pytest.fixture
def unbuilt(few: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has the extensions of a search compiled anew, from another source."""

    def plant(source: str) -> None:
        folder = few.folder / "extensions"
        file = few.folder / "filter_pids.cpp"
        folder.mkdir()
        file.write_text(source)

        def load(name: str, sources: list[str], **options: Any) -> Any:
            return cpp_extension.load(name=name, sources=[str(file)], **options)

        monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(folder))
        monkeypatch.delattr(IndexScorer, "loaded_extensions", raising=False)
        monkeypatch.setattr(index_storage, "load", load)

    return plant


def events(run: Pipeline) -> list[Event]:
    lines = (run.folder / "progress.jsonl").read_bytes().splitlines()
    return [msgspec.json.decode(line, type=Event) for line in lines]


def without_version(message: str) -> str:
    """Without what torch adds to a name that this process has built before from another source."""
    return re.sub(r"_v\d+'", "'", message)


def test_an_extension_that_is_not_built_is_a_failed_search(
    few: Pipeline, unbuilt: Callable[[str], None]
) -> None:
    few.job = msgspec.structs.replace(few.job, repeat=1, collection=few.job.collection[:16])
    unbuilt("// as it was\n\n#include <nowhere/x.h>\nint broken\n")
    with pytest.raises(StageError):
        few._index_and_use()
    ended = [(event.stage, event.state) for event in events(few) if event.state != "started"]
    assert ended == [("index", "ok"), ("search", "failed")]
    failed = events(few)[-1]
    assert failed.error == "RuntimeError"
    assert without_version(failed.message) == (
        "Error building extension 'filter_pids_cpp': "
        "filter_pids.cpp:3:10: fatal error: nowhere/x.h: No such file or directory"
    )


def test_a_compiler_that_fails_tells_its_first_error(
    few: Pipeline,
    index: Path,
    unbuilt: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unbuilt("int never_read;\n")
    compiler = few.folder / "c++"
    compiler.write_text(
        "#!/bin/sh\n"
        'case "$*" in *-dump*|*-v*) exec c++ "$@";; esac\n'
        "echo c++: internal compiler error: /opt/lib/cc1plus: planted; exit 1\n"
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    with pytest.raises(StageError), few._stage("search"):
        few._search(index, "ranking.parquet", index_torch=few.job.torch)
    assert without_version(events(few)[-1].message) == (
        "Error building extension 'filter_pids_cpp': c++: internal compiler error: cc1plus: planted"
    )
    assert not (few.folder / "ranking.parquet").exists()
