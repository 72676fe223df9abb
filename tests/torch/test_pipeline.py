"""A whole capture of a slice, and the faults it should notice."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from colbert.indexing.codecs.residual import ResidualCodec
from colbert.infra import launcher

from matrix_capture import pipeline, runner
from matrix_capture.catalogue import BY_NAME, POSITION, expected
from matrix_capture.errors import MatrixError
from matrix_capture.index_taps import INDEX
from matrix_capture.pipeline import Pipeline
from matrix_capture.recorder import Recorder
from matrix_capture.schema import STAGES, Capture
from matrix_capture.settings import read_settings
from matrix_capture.taps import Observation, Tap, Taps, tapped

ROOT = Path(__file__).parents[2]


def rows(found: Capture, **wanted: Any) -> list[dict[str, Any]]:
    return [
        row
        for row in found.rows.to_pylist()
        if all(row[name] == value for name, value in wanted.items())
    ]


def digests(recorder: Recorder) -> dict[tuple[str, str, str, int], bytes]:
    return {
        (row["artifact"], row["part"], row["scope"], row["occurrence"]): row["digest"]
        for row in recorder.table().to_pylist()
    }


# The capture.


def test_every_artifact_of_the_catalogue_is_recorded(whole: Capture) -> None:
    wanted = {artifact.name for artifact in expected("cpu", "default")}
    assert {row["artifact"] for row in rows(whole)} == wanted
    assert whole.record.missing == {}


def test_the_record_says_what_ran(whole: Capture) -> None:
    record = whole.record
    assert record.torch_build == torch.__version__
    assert [record.state(stage) for stage in ("install", "import", "load", "index")] == ["ok"] * 4
    assert (record.repeats, record.factors["colbert-ai"]) == (2, "0.2.22")
    assert set(record.seconds) == set(STAGES)
    assert record.host["torch_threads"] == 2
    assert not {"torch_threads", "mkl", "cpu_capability"} & set(record.fingerprint)


def test_the_observer_changed_nothing(whole: Capture) -> None:
    observer = whole.record.observer
    assert observer is not None
    assert (observer.identical, observer.differing, observer.tensors) == (True, (), 10)


def test_every_tensor_equals_itself_in_the_repeat(whole: Capture) -> None:
    def run(repeat: int) -> list[tuple[Any, ...]]:
        names = ("artifact", "part", "scope", "occurrence", "digest", "multiset")
        return [tuple(row[name] for name in names) for row in rows(whole, repeat=repeat)]

    assert run(0) == run(1)
    assert [row["seq"] for row in rows(whole)] == list(range(whole.rows.num_rows))


def test_scopes_tell_the_passes_apart(whole: Capture) -> None:
    def scopes(artifact: str) -> dict[str, int]:
        return dict(Counter(row["scope"] for row in rows(whole, repeat=0, artifact=artifact)))

    assert scopes("D") == {"sample": 1, "chunk.0": 1}
    assert scopes("batches") == {"sample": 2, "chunk.0": 2}
    assert scopes("heldout_codes") == {"heldout": 1}
    assert scopes("codes") == {"chunk.0": 1}
    assert scopes("codes_before_sort") == {"index": 1}
    assert scopes("index_codes") == {"disk": 1}
    assert scopes("weights").keys() == {"setup"}
    assert scopes("probe_matmul") == {"probe": 1}


def test_what_the_index_holds_is_what_was_seen_on_the_way(whole: Capture) -> None:
    def digest(artifact: str) -> bytes:
        (row,) = (r for r in rows(whole, repeat=0, artifact=artifact) if r["scope"] != "sample")
        found: bytes = row["digest"]
        return found

    for name in ("residuals", "doclens", "ivf", "ivf_lengths", "bucket_cutoffs"):
        assert digest(name) == digest(f"index_{name}"), name


def test_values_are_kept_where_the_catalogue_says_so(whole: Capture) -> None:
    for row in rows(whole):
        assert row["stored"] == (BY_NAME[row["artifact"]].keep == "always")


def test_parents_come_first(whole: Capture) -> None:
    first: dict[str, int] = {}
    for row in rows(whole, repeat=0):
        first.setdefault(row["artifact"], row["seq"])
    for name, artifact in BY_NAME.items():
        assert all(POSITION[parent] < POSITION[name] for parent in artifact.parents)
    assert first["D"] < first["sample"] < first["centroids"] < first["codes"] < first["index_ivf"]


# Planted faults.


def perturb(recorder: Recorder, codec: Any, residuals: Any) -> Observation:
    residuals.add_(1)
    yield


def test_a_tap_that_changes_a_tensor_is_found_out(
    here: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = "colbert.indexing.codecs.residual:ResidualCodec.binarize"
    planted = Tap(target=target, artifacts=("raw_residuals",), observe=perturb)
    monkeypatch.setattr(pipeline, "INDEX", Taps([planted]))
    observer = here._certify()
    assert not observer.identical
    assert observer.differing == ("0.residuals.pt#0",)


def test_a_tap_that_makes_another_file_is_found_out(
    here: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = pipeline._digests
    answers = iter([True, False])

    def digests_of(index: Any) -> dict[str, bytes]:
        return {**real(index), **({"1.codes.pt#0": b""} if next(answers) else {})}

    monkeypatch.setattr(pipeline, "_digests", digests_of)
    observer = here._certify()
    assert (observer.identical, observer.differing) == (False, ("1.codes.pt#0",))


def test_a_run_that_is_not_seeded_differs_from_itself(
    here: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def captured(name: str) -> dict[tuple[str, str, str, int], bytes]:
        recorder = Recorder()
        here._index(here.job.collection, name, recorder)
        return digests(recorder)

    first, again = captured("first"), captured("again")
    assert first == again
    monkeypatch.setattr(launcher, "set_seed", lambda _: None)
    torch.manual_seed(1)
    other = captured("other")
    differing = {place[0] for place in first if first[place] != other.get(place)}
    assert {"sample", "centroids", "codes", "residuals"} <= differing
    # Encoding comes before anything random.
    assert not {"input_ids", "batches", "D", "doclens"} & differing


def test_probes_and_taps_leave_the_index_as_it_was(here: Pipeline) -> None:
    plain = pipeline._digests(here._index(here.job.collection, "plain", None))
    torch.rand(5)
    watched = pipeline._digests(here._index(here.job.collection, "watched", Recorder()))
    assert plain == watched


def test_a_failing_stage_leaves_colbert_as_it_was(
    here: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(ResidualCodec, "compress_into_codes", fail)
    before = dict(vars(ResidualCodec))
    recorder = Recorder()
    with pytest.raises(RuntimeError, match="planted"):
        here._index(here.job.collection, "failing", recorder)
    assert dict(vars(ResidualCodec)) == before
    assert recorder.scope == "setup"
    assert "centroids" in recorder.table()["artifact"].to_pylist()
    with tapped(Recorder(), INDEX):
        pass


def test_a_store_that_cannot_be_written_to_is_blamed_on_no_release(
    cache: Path, tmp_path: Path
) -> None:
    (tmp_path / "values").write_text("in the way")
    request = runner.Request(
        settings=read_settings(ROOT / "matrix.toml"),
        lane="cpu-pinned",
        torch=torch.__version__.partition("+")[0],
        data=tmp_path,
        cache=cache,
        passages=16,
    )
    with pytest.raises(MatrixError, match=r"cannot store a value.*nothing recorded"):
        runner.capture(request, install_seconds=0.0)
    assert not request.path.exists()
