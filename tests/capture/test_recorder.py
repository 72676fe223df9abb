from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matrix_capture.catalogue import CATALOGUE
from matrix_capture.digest import Digest, content_hash, multiset_hash, snapshot
from matrix_capture.recorder import Recorder
from matrix_capture.schema import COLUMNS
from matrix_capture.values import ValueStore


def rows(recorder: Recorder) -> list[dict[str, Any]]:
    table = recorder.table()
    assert table.schema == COLUMNS
    found: list[dict[str, Any]] = table.to_pylist()
    return found


def test_without_rows_the_table_has_its_columns() -> None:
    assert rows(Recorder()) == []


def test_a_row_says_what_was_seen() -> None:
    recorder = Recorder(repeat=1)
    value = np.array([[1.0, 0.0], [np.nan, np.inf]], np.float32)
    recorder.record("batches", value, part="x")
    (row,) = rows(recorder)
    assert (row["seq"], row["repeat"], row["stage"]) == (0, 1, "encode")
    assert (row["artifact"], row["part"], row["scope"]) == ("batches", "x", "setup")
    assert (row["dtype"], row["shape"], row["device"]) == ("float32", [2, 2], "cpu")
    assert (row["numel"], row["nbytes"], row["block_rows"]) == (4, 16, 2**17)
    assert (row["nan"], row["inf"], row["zeros"], row["max"]) == (1, 1, 1, 1.0)
    assert row["digest"] == content_hash(snapshot(value))
    assert row["multiset"] is None


def test_occurrences_count_within_artifact_part_and_scope() -> None:
    recorder = Recorder()
    for scope in ("sample", "chunk.0", "sample"):
        with recorder.within(scope):
            recorder.record("D", 1)
            recorder.record("D", 1, part="p")
            recorder.record("embs", 1)
    found = [
        (row["artifact"], row["part"], row["scope"], row["occurrence"]) for row in rows(recorder)
    ]
    names = [("D", ""), ("D", "p"), ("embs", "")]
    assert found == [
        (name, part, scope, occurrence)
        for scope, occurrence in (("sample", 0), ("chunk.0", 0), ("sample", 1))
        for name, part in names
    ]
    assert [row["seq"] for row in rows(recorder)] == list(range(9))


def test_a_scope_has_what_was_recorded_in_it() -> None:
    recorder = Recorder()
    with recorder.within("chunk.0"):
        assert not recorder.has("D")
        recorder.record("D", 1)
        assert recorder.has("D")
        assert not recorder.has("embs")
    assert not recorder.has("D")


def test_scopes_nest_and_survive_exceptions() -> None:
    recorder = Recorder()

    def fail() -> None:
        with recorder.within("sample"):
            recorder.scope = "chunk.1"
            raise ZeroDivisionError

    with recorder.within("index"):
        with pytest.raises(ZeroDivisionError):
            fail()
        assert recorder.scope == "index"
    assert recorder.scope == "setup"


def test_the_key_of_an_order_decides_what_may_swap() -> None:
    keys = np.array([0, 0, 1, 1])
    one, other, wrong = Recorder(), Recorder(), Recorder()
    one.record("codes_sorted_values", keys)
    one.record("codes_sorted_indices", [3, 1, 2, 0], key=keys.copy())
    other.record("codes_sorted_values", keys)
    other.record("codes_sorted_indices", [1, 3, 0, 2], key=keys)
    keys[:] = [0, 1, 2, 3]
    wrong.record("codes_sorted_values", keys)
    wrong.record("codes_sorted_indices", [1, 3, 0, 2], key=keys)
    first, second, third = (rows(recorder)[1] for recorder in (one, other, wrong))
    assert first["digest"] != second["digest"]
    assert first["multiset"] == second["multiset"] != third["multiset"]
    rule = "per_key:codes_sorted_values"
    expected = multiset_hash(snapshot([3, 1, 2, 0]), rule, snapshot([0, 0, 1, 1]))
    assert first["multiset"] == expected


def test_an_order_without_its_key_is_an_error() -> None:
    recorder = Recorder()
    with pytest.raises(ValueError, match="per_list:ivf_lengths"):
        recorder.record("ivf", [1, 2])
    assert rows(recorder) == []


def test_only_what_is_kept_has_statistics_and_is_stored(tmp_path: Path) -> None:
    store = ValueStore(tmp_path)
    recorder = Recorder(store)
    value = np.array([1.0, 2.0], np.float32)
    recorder.record("D", value)
    recorder.record("weights", value * 3)
    kept, digested = rows(recorder)
    assert (kept["stored"], kept["mean"], kept["zeros"]) == (True, 1.5, 0)
    assert np.array_equal(store.get(kept["digest"]).data, value)
    statistics = [digested[name] for name in ("min", "max", "mean", "std", "l2")]
    assert (digested["stored"], statistics, digested["zeros"]) == (False, [None] * 5, 0)
    assert digested["digest"] not in store


def test_without_a_store_nothing_is_kept() -> None:
    recorder = Recorder()
    recorder.record("D", np.ones(2))
    assert [row["stored"] for row in rows(recorder)] == [False]


def test_every_artifact_can_be_recorded(tmp_path: Path) -> None:
    recorder = Recorder(ValueStore(tmp_path))
    for artifact in CATALOGUE:
        recorder.record(artifact.name, np.ones(1, np.int64), key=np.ones(1, np.int64))
    found = {row["artifact"]: row for row in rows(recorder)}
    for artifact in CATALOGUE:
        row = found[artifact.name]
        assert row["stage"] == artifact.stage
        assert row["stored"] == (artifact.keep == "always")
        assert (row["multiset"] is None) == (artifact.order == "none")


def test_an_unknown_artifact_is_an_error() -> None:
    with pytest.raises(KeyError, match="centriods"):
        Recorder().record("centriods", 1)


def test_a_value_that_cannot_be_digested_leaves_no_row() -> None:
    recorder = Recorder()
    with pytest.raises(TypeError):
        recorder.record("D", "text")
    recorder.record("D", 1)
    assert [row["occurrence"] for row in rows(recorder)] == [0]


def test_what_a_whole_run_never_showed_is_missing() -> None:
    recorder = Recorder()
    recorder.missing["codes"] = "tap target not found: elsewhere"
    for artifact in CATALOGUE:
        if artifact.name not in ("codes", "postnorm_centroids") and artifact.order == "none":
            recorder.record(artifact.name, [1])
    recorder.note_unseen("index")
    assert recorder.missing["codes"] == "tap target not found: elsewhere"
    assert recorder.missing["postnorm_centroids"].startswith("never seen in ")
    assert "D" not in recorder.missing


def test_a_digest_that_fails_later_costs_its_own_row() -> None:
    recorder = Recorder()
    recorder.record("D", 1)
    broken: Future[Digest] = Future()
    broken.set_exception(LookupError("planted"))
    recorder._rows[0] = (recorder._rows[0][0], broken)
    recorder.record("embs", 2)
    assert [row["artifact"] for row in rows(recorder)] == ["embs"]
    assert recorder.missing == {"D": "LookupError: planted"}


def test_rows_are_laid_out_before_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matrix_capture.recorder._BATCH", 4)
    recorder = Recorder()
    for number in range(10):
        recorder.record("D", number)
        assert len(recorder._rows) < 4
    assert [row["occurrence"] for row in rows(recorder)] == list(range(10))


# What is gathered.


def test_what_is_gathered_is_a_copy_of_that_moment() -> None:
    recorder = Recorder()
    value = np.array([[1, 2], [3, 4]], np.int32)
    for number in range(2):
        recorder.gather("candidate_pids", value[number])
        value[number] = 0
    value[:] = 9
    first, second = recorder.gathered("candidate_pids")
    assert (first.tolist(), second.tolist()) == ([1, 2], [3, 4])
    assert first.dtype == np.int32


def test_what_is_gathered_is_flat_and_in_order() -> None:
    recorder = Recorder()
    for value in (np.ones((2, 2), np.float32), [7], np.arange(6).reshape(2, 3).T):
        recorder.gather("candidate_pids", value)
    found = recorder.gathered("candidate_pids")
    assert [one.tolist() for one in found] == [[1.0] * 4, [7], [0, 3, 1, 4, 2, 5]]


def test_what_was_gathered_is_handed_out_once() -> None:
    recorder = Recorder()
    recorder.gather("candidate_pids", [1])
    recorder.gather("ranked_pids", [2])
    assert [one.tolist() for one in recorder.gathered("candidate_pids")] == [[1]]
    assert recorder.gathered("candidate_pids") == []
    assert [one.tolist() for one in recorder.gathered("ranked_pids")] == [[2]]
    assert rows(recorder) == []


@pytest.mark.parametrize("stage", ["search", "train"])
def test_of_a_stage_only_its_own_is_missing(stage: str) -> None:
    recorder = Recorder()
    recorder.note_unseen(stage)
    own = {a.name for a in CATALOGUE if a.stage == stage and "cpu" in a.devices}
    assert recorder.missing.keys() == own
    assert "query_embeddings" in own or "train_loss" in own


def test_what_only_a_gpu_shows_is_not_missing_on_a_cpu() -> None:
    on_cpu, on_gpu = Recorder(device="cpu"), Recorder(device="cuda")
    for recorder in (on_cpu, on_gpu):
        recorder.note_unseen("search")
    on_gpu.close()
    assert on_gpu.missing.keys() - on_cpu.missing.keys() == {"pruned_scores", "approx_scores"}
