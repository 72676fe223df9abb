"""What the process leaves behind where there is no torch; whole runs are tested where there is."""

import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest

from matrix_capture.job import Event, Job
from matrix_capture.pipeline import Pipeline, StageError
from matrix_capture.schema import COLUMNS


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    monkeypatch.setitem(sys.modules, "torch", None)  # makes importing it fail
    job = Job(
        torch="2.8.0",
        repeat=0,
        threads=2,
        device="cpu",
        depth="default",
        kmeans="cpu",
        checkpoint="",
        collection=("one",),
        config={},
        values=str(tmp_path / "values"),
        extensions=str(tmp_path / "extensions"),
    )
    (tmp_path / "job.json").write_bytes(msgspec.json.encode(job))
    run = Pipeline(tmp_path)
    yield run
    run._progress.close()


def events(run: Pipeline) -> list[Event]:
    lines = (run.folder / "progress.jsonl").read_bytes().splitlines()
    return [msgspec.json.decode(line, type=Event) for line in lines]


def test_a_failed_import_leaves_empty_rows_and_no_facts(run: Pipeline) -> None:
    run()
    started, failed = events(run)
    assert (started.stage, started.state) == ("import", "started")
    assert (failed.stage, failed.state, failed.error) == ("import", "failed", "ModuleNotFoundError")
    rows = pq.read_table(run.folder / "rows.parquet")
    assert rows.schema.equals(COLUMNS)
    assert rows.num_rows == 0
    assert not (run.folder / "facts.json").exists()


@pytest.mark.parametrize(
    ("error", "name", "message"),
    [
        (ValueError("\nfirst line\nsecond line"), "ValueError", "first line"),
        (ValueError(), "ValueError", ""),
        (KeyError("bert"), "KeyError", "'bert'"),
        (AssertionError((1, 2)), "AssertionError", "(1, 2)"),
        (
            RuntimeError(
                "Error building extension 'x': [1/2] c++ /a/x.cpp\n/a/x.cpp:1: error: no\n"
            ),
            "RuntimeError",
            "Error building extension 'x': x.cpp:1: error: no",
        ),
    ],
)
def test_a_failed_stage_tells_the_first_line(
    error: Exception, name: str, message: str, run: Pipeline
) -> None:
    def stage() -> None:
        with run._stage("load"):
            raise error

    with pytest.raises(StageError):
        stage()
    failed = events(run)[-1]
    assert (failed.state, failed.error, failed.message) == ("failed", name, message)
    assert failed.seconds >= 0


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(0)])
def test_what_ends_the_process_ends_it(error: BaseException, run: Pipeline) -> None:
    def stage() -> None:
        with run._stage("load"):
            raise error

    with pytest.raises(type(error)):
        stage()
    assert [event.state for event in events(run)] == ["started"]


def test_a_stage_that_ends_says_so(run: Pipeline) -> None:
    with run._stage("load"):
        pass
    assert [event.state for event in events(run)] == ["started", "ok"]
