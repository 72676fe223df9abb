"""Captures where torch is absent or broken; whole ones are tested where torch is."""

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from matrix_capture import environment, process, runner
from matrix_capture.errors import MatrixError
from matrix_capture.index_files import index_hash, index_path
from matrix_capture.inject import read_injection
from matrix_capture.job import INDEX_FOLDER, Event, Job
from matrix_capture.rankings import rankings_path, read_rankings
from matrix_capture.recorder import Recorder
from matrix_capture.revision import Revision, read_revision
from matrix_capture.runner import Request, capture, log_path, record_failed_install, stale
from matrix_capture.schema import (
    STAGES,
    Capture,
    CaptureCode,
    Control,
    Record,
    digest_path,
    read_capture,
    read_record,
    write_atomically,
    write_capture,
)
from matrix_capture.search import ranking_rows
from matrix_capture.settings import read_settings

ROOT = Path(__file__).parents[2]
SETTINGS = read_settings(ROOT / "matrix.toml")
COMMIT = read_revision("git+https://example.org/ColBERT@501c29d")
TREE = read_revision(f"tree:{'0a' * 16}")


def scratch(request: Request) -> list[Path]:
    return list((request.data.parent / "scratch").iterdir())


def history(request: Request) -> list[Path]:
    return sorted((request.data / "history").rglob("*.parquet"))


# Failures are records.


def test_without_torch_the_import_failed(request_: Request) -> None:
    path = capture(request_, install_seconds=12.5)
    found = read_capture(path)
    record = found.record
    assert path == digest_path(request_.data, request_.lane_name, "2.8.0")
    assert (record.failed_stage(), record.status["import"].error) == (
        "import",
        "ModuleNotFoundError",
    )
    assert record.status["import"].message == "No module named 'torch'"
    assert [record.state(stage) for stage in STAGES] == ["ok", "failed", *["not_run"] * 4]
    assert record.seconds["install"] == 12.5
    assert (record.torch, record.torch_build, record.observer) == ("2.8.0", "", None)
    assert record.options == {"passages": 8}
    assert found.rows.num_rows == 0
    assert "No module named 'torch'" in log_path(request_).read_text()
    assert scratch(request_) == []


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("import ctypes; ctypes.string_at(0)", "ProcessDied", "the process killed by signal 11"),
        (
            'import os; os.write(2, b"x: Assertion `code < size\' failed.\\n"); os.abort()',
            "ProcessDied",
            "the process killed by signal 6: Assertion `code < size' failed",
        ),
        # What another one said before has nothing to do with it.
        (
            'import ctypes, os; os.write(2, b"Assertion `x\' failed"); ctypes.string_at(0)',
            "ProcessDied",
            "the process killed by signal 11",
        ),
        ("import os; os._exit(3)", "ProcessDied", "the process exited with status 3"),
        ("import os; os._exit(0)", "ProcessDied", "the process exited with status 0"),
        ("raise SystemExit(0)", "ProcessDied", "the process exited with status 0"),
        (
            "raise ImportError('libcudart.so.12: cannot open\\nmore')",
            "ImportError",
            "libcudart.so.12: cannot open",
        ),
        # What follows a failure that was reported does not replace it.
        ("__version__ = '9.9.9+cpu'", "RuntimeError", "this environment has torch 9.9.9+cpu"),
        (
            "import atexit, os; atexit.register(os._exit, 7); raise OSError('first')",
            "OSError",
            "first",
        ),
    ],
)
def test_a_broken_torch_is_a_failed_import(
    source: str,
    error: str,
    message: str,
    request_: Request,
    fake_torch: Callable[[str], None],
) -> None:
    fake_torch(source)
    record = read_record(capture(request_, 0.0))
    status = record.status["import"]
    assert (record.failed_stage(), status.error, status.message) == ("import", error, message)
    assert scratch(request_) == []


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "import errno, os\nraise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))",
            "No space left on device",
        ),
        (
            "raise RuntimeError(\"Error building extension 'x': [1/2] c++\\nx.cpp:1: fatal error: "
            'error writing to x.s: No space left on device")',
            "Error building extension 'x': x.cpp:1: fatal error: .*No space left on device",
        ),
        (
            "raise RuntimeError(\"Error building extension 'x': [1/2] c++\\nc++: fatal error: "
            'Killed signal terminated program cc1plus")',
            "Killed signal terminated program cc1plus",
        ),
        (
            "from matrix_capture.errors import MatrixError\nraise MatrixError('cannot store')",
            "cannot store",
        ),
    ],
)
def test_a_host_that_fails_is_not_held_against_the_release(
    source: str, message: str, request_: Request, fake_torch: Callable[[str], None]
) -> None:
    fake_torch(source)
    with pytest.raises(MatrixError, match=f"stage import: .*{message}; nothing recorded"):
        capture(request_, install_seconds=0)
    assert not digest_path(request_.data, request_.lane_name, "2.8.0").exists()


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_a_killed_process_is_not_held_against_the_release(
    name: str, request_: Request, fake_torch: Callable[[str], None]
) -> None:
    fake_torch(f"import os, signal; os.kill(os.getpid(), signal.{name})")
    with pytest.raises(MatrixError, match=r"stage import: .*killed by signal .*nothing recorded"):
        capture(request_, install_seconds=0)
    assert not request_.path.exists()
    assert scratch(request_) == []


def test_a_release_that_was_not_installed(request_: Request) -> None:
    found = read_capture(record_failed_install(request_, 3.5, "Because there is no version"))
    assert found.record.failed_stage() == "install"
    assert found.record.status["install"].message == "Because there is no version"
    assert found.record.seconds == {"install": 3.5}
    assert found.rows.num_rows == 0


def test_a_record_holds_no_paths_and_no_secrets(
    request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_s3cr3t")
    text = msgspec.json.encode(read_record(record_failed_install(request_, 0.0, "no"))).decode()
    assert "s3cr3t" not in text
    assert str(request_.data) not in text
    assert str(request_.cache) not in text


def test_an_earlier_record_goes_to_history(
    request_: Request, fake_torch: Callable[[str], None]
) -> None:
    path = record_failed_install(request_, 0.0, "first")
    kept = path.read_bytes()
    fake_torch("import os; os._exit(3)")
    assert capture(request_, 0.0) == path
    assert path.read_bytes() != kept
    assert [old.read_bytes() for old in history(request_)] == [kept]


def test_options_make_a_lane_of_their_own(request_: Request) -> None:
    baseline = Request(
        settings=SETTINGS,
        lane="cpu-pinned",
        torch="2.8.0",
        data=request_.data,
        cache=request_.cache,
    )
    assert baseline.lane_name == "cpu-pinned"
    assert request_.lane_name.startswith("cpu-pinned+")
    record_failed_install(request_, 0.0, "no")
    assert not digest_path(request_.data, "cpu-pinned", "2.8.0").exists()
    assert log_path(baseline) != log_path(request_)


# Which colbert-ai.


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Puts a colbert-ai of that version and origin into the environment."""

    def install(version: str, origin: str) -> None:
        monkeypatch.setattr(environment, "packages", lambda: {"colbert-ai": version})
        monkeypatch.setattr(environment, "colbert_origin", lambda: origin)

    return install


@pytest.mark.parametrize(
    ("revision", "found", "ran"),
    [
        (None, ("0.2.22", ""), "0.2.22"),
        (read_revision("0.2.21"), ("0.2.21", ""), "0.2.21"),
        (read_revision("latest"), ("0.2.23", ""), "0.2.23"),
        (COMMIT, ("0.2.23", "501c29dff"), "0.2.23 git+https://example.org/ColBERT@501c29dff"),
        (TREE, ("0.2.22", TREE.origin), f"0.2.22 {TREE.label}"),
    ],
)
def test_the_record_says_which_colbert_ran(
    revision: Revision | None,
    found: tuple[str, str],
    ran: str,
    request_: Request,
    installed: Callable[[str, str], None],
) -> None:
    installed(*found)
    record = read_record(capture(dataclasses.replace(request_, revision=revision), 0.0))
    assert record.factors["colbert-ai"] == ran
    assert record.options.get("colbert") == (revision.label if revision else None)


@pytest.mark.parametrize(
    ("revision", "found"),
    [
        (None, ("0.2.21", "")),
        (None, ("0.2.22", "ColBERT")),
        (read_revision("0.2.21"), ("0.2.22", "")),
        (read_revision("0.2.22"), ("0.2.22", TREE.origin)),
        (read_revision("latest"), ("0.2.22", TREE.origin)),
        (COMMIT, ("0.2.22", "")),
        (COMMIT, ("0.2.22", "ffffffff")),
        (COMMIT, ("0.2.22", TREE.origin)),
        (TREE, ("0.2.22", "")),
        (TREE, ("0.2.22", "0b" * 16)),
    ],
)
def test_an_environment_with_another_colbert_is_refused(
    revision: Revision | None,
    found: tuple[str, str],
    request_: Request,
    installed: Callable[[str, str], None],
) -> None:
    installed(*found)
    request = dataclasses.replace(request_, revision=revision)
    with pytest.raises(MatrixError, match=f"this environment has colbert-ai {found[0]}"):
        capture(request, 0.0)
    assert not request.path.exists()


def test_a_commit_that_was_not_installed_is_told_as_it_was_asked_for(request_: Request) -> None:
    request = dataclasses.replace(request_, revision=COMMIT)
    record = read_record(record_failed_install(request, 0.0, "no"))
    assert record.factors["colbert-ai"] == COMMIT.label


# Releases that a GPU cannot run, and machines without one.


CUDA_LANE = "cuda-pinned"
NO_GPU = "no NVIDIA GPU here (nvidia-smi is not on PATH); choose a lane for the CPU with --lane"

# As much of torch as is asked before a checkpoint is loaded; the rest fails.
OLD_TORCH = """
    import types

    __version__ = "2.8.0+cu117"
    version = types.SimpleNamespace(cuda="11.7")
    backends = types.SimpleNamespace()
    __config__ = types.SimpleNamespace(show=lambda: "")
    _C = types.SimpleNamespace(_cuda_getArchFlags=lambda: "sm_37 sm_80")
    cuda = types.SimpleNamespace(
        is_available=lambda: True,
        is_initialized=lambda: False,
        get_device_capability=lambda: (9, 0),
        get_device_name=lambda: "NVIDIA H200",
    )


    def set_num_threads(number):
        pass


    def get_num_threads():
        return 4
    """


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], None]:
    """Has an nvidia-smi with that answer on PATH, or none, and nothing else there."""

    def make(answer: str | None) -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        if answer is not None:
            command = folder / "nvidia-smi"
            command.write_text(f"#!/bin/sh\necho '{answer}'\n")
            command.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))

    return make


def test_a_release_without_code_for_the_gpu_does_not_run(
    request_: Request,
    fake_torch: Callable[[str], None],
    machine: Callable[[str | None], None],
    tmp_path: Path,
) -> None:
    machine("NVIDIA H200, 9.0, 550.54.15")
    fake_torch(OLD_TORCH)
    for name in ("colbert/__init__", "colbert/indexer", "faiss"):
        module = tmp_path / "fake" / f"{name}.py"
        module.parent.mkdir(exist_ok=True)
        module.write_text("")
    request = dataclasses.replace(request_, lane=CUDA_LANE)
    found = read_capture(capture(request, 1.0))
    record = found.record
    status = {stage: record.state(stage) for stage in STAGES}
    assert status == dict.fromkeys(STAGES, "not_run") | {"install": "ok", "import": "ok"}
    assert record.status["load"].message == (
        "unsupported GPU: NVIDIA H200 is sm_90, this build of torch has code for sm_37, sm_80"
    )
    assert record.failed_stage() is None
    # It stopped after the first run, which no second could have told more of.
    assert (record.repeats, record.control, record.observer) == (1, None, None)
    assert found.rows.num_rows == 0
    assert record.fingerprint["gpu"] == "NVIDIA H200"
    assert record.torch_build == "2.8.0+cu117"
    assert scratch(request) == []


def test_a_lane_on_a_gpu_is_refused_before_anything_is_installed(
    request_: Request, machine: Callable[[str | None], None]
) -> None:
    machine(None)
    words = {
        "--torch": "2.8.0",
        "--lane": CUDA_LANE,
        "--data": str(request_.data),
        "--cache": str(request_.cache),
        "--passages": "8",
    }
    answer = subprocess.run(
        [
            sys.executable,
            *("-m", "matrix_capture", "check"),
            *(word for pair in words.items() for word in pair),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr == f"error: {NO_GPU}\n"
    assert not list(request_.data.rglob("*.parquet"))


@pytest.mark.parametrize("step", [stale, lambda request: capture(request, 0.0)])
def test_without_a_gpu_nothing_is_recorded_for_one(
    step: Callable[[Request], Any], request_: Request, machine: Callable[[str | None], None]
) -> None:
    machine(None)
    request = dataclasses.replace(request_, lane=CUDA_LANE)
    with pytest.raises(MatrixError) as caught:
        step(request)
    assert str(caught.value) == NO_GPU
    assert not request.path.exists()


def test_another_gpu_is_another_host(
    request_: Request, machine: Callable[[str | None], None], tmp_path: Path
) -> None:
    machine("NVIDIA H200, 9.0, 550.54.15")
    request = dataclasses.replace(request_, lane=CUDA_LANE)
    recorded(request, packages=PACKAGES)
    assert stale(request) is None
    for answer in ("NVIDIA H100, 9.0, 550.54.15", "NVIDIA H200, 9.0, 570.00"):
        (tmp_path / "bin" / "nvidia-smi").write_text(f"#!/bin/sh\necho '{answer}'\n")
        assert stale(request) == "captured on another host"


# The A/A control.


def rows_of(run: int = 0, **values: Any) -> pa.Table:
    """The rows of a run that recorded those values, each in pass `sample`."""
    recorder = Recorder(repeat=run)
    with recorder.within("sample"):
        for artifact, value in values.items():
            for one in value if isinstance(value, tuple) else (value,):
                recorder.record(artifact, one)
    return recorder.table()


def control(*tables: pa.Table) -> Control:
    found = runner._control(list(tables))
    assert found is not None
    assert found.identical is (found.unstable_tensors == 0)
    return found


def test_two_runs_alike_pass_the_control() -> None:
    runs = [rows_of(D=(1, 2), codes=3) for _ in range(2)]
    assert control(*runs) == Control(identical=True, tensors=3)


def test_what_differs_is_named() -> None:
    found = control(rows_of(D=(1, 2), codes=3, embs=4), rows_of(D=(1, 9), codes=3, embs=5))
    assert found == Control(
        identical=False, tensors=4, unstable=("D sample 1", "embs sample 0"), unstable_tensors=2
    )


def test_a_part_is_named_too() -> None:
    recorders = Recorder(), Recorder()
    for number, recorder in enumerate(recorders):
        recorder.record("weights", number, part="bert.pooler.dense.bias")
        recorder.record("weights", 7, part="linear.weight")
    found = control(*(recorder.table() for recorder in recorders))
    assert found.unstable == ("weights bert.pooler.dense.bias setup 0",)


@pytest.mark.parametrize("first", [True, False])
def test_what_one_run_lacks_is_unstable(first: bool) -> None:
    runs = [rows_of(D=1, codes=3), rows_of(D=1)]
    found = control(*runs if first else runs[::-1])
    assert (found.tensors, found.unstable) == (2, ("codes sample 0",))


def test_another_dtype_or_shape_is_another_tensor() -> None:
    one, other = np.zeros(4, np.int32), np.zeros((2, 2), np.int32)
    assert not control(rows_of(D=one), rows_of(D=other)).identical
    assert not control(rows_of(D=one), rows_of(D=one.view(np.float32))).identical
    assert control(rows_of(D=one), rows_of(D=one.copy())).identical


def test_of_many_the_first_hundred_are_named() -> None:
    runs = [rows_of(D=tuple(range(start, start + 150)), codes=1) for start in (0, 1000)]
    found = control(*runs)
    assert (found.tensors, found.unstable_tensors, len(found.unstable)) == (151, 150, 100)
    assert found.unstable[0] == "D sample 0"
    assert found.unstable == tuple(f"D sample {number}" for number in range(100))


@pytest.mark.parametrize("tables", [[], [rows_of(D=1)]])
def test_a_single_run_has_no_control(tables: list[pa.Table]) -> None:
    assert runner._control(tables) is None


def test_a_second_run_that_fails_is_a_failure_and_no_control(
    request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(job: Job, folder: Path, *_: Any) -> list[Event]:
        repeat = job.repeat
        values = {"D": 1} if repeat else {"D": 1, "codes": 2}
        pq.write_table(rows_of(repeat, **values), folder / "rows.parquet")
        load = Event(stage="load", state="ok")
        if repeat:
            return [load, Event(stage="index", state="failed", error="RuntimeError", message="no")]
        return [load, Event(stage="index", state="ok")]

    monkeypatch.setattr(runner, "run_job", run)
    found = read_capture(capture(request_, 0.0))
    assert (found.record.failed_stage(), found.record.repeats) == ("index", 2)
    assert found.record.control is None
    # Both runs are timed: what takes longer in one may take as long in the other.
    assert {*found.record.seconds} > {*found.record.seconds_again} >= {"load", "index"}
    assert found.record.cpu_seconds == {"load": [0.0, 0.0], "index": [0.0, 0.0]}
    assert found.rows.num_rows == 3


# Interruptions.


def test_an_interrupted_capture_leaves_nothing_but_the_earlier_record(
    request_: Request,
    tmp_path: Path,
    fake_torch: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = record_failed_install(request_, 0.0, "earlier")
    kept = path.read_bytes()
    told = tmp_path / "pid"
    fake_torch(
        f"""
        import os, pathlib, time
        pathlib.Path({str(told)!r}).write_text(str(os.getpid()) + " ")
        time.sleep(60)
        """
    )
    sleep = time.sleep

    def interrupt(seconds: float) -> None:
        if told.exists() and told.read_text().endswith(" "):
            raise KeyboardInterrupt
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        capture(request_, 0.0)
    with pytest.raises(ProcessLookupError):
        os.kill(int(told.read_text()), 0)
    assert path.read_bytes() == kept
    assert (history(request_), scratch(request_)) == ([], [])


# Staleness.


def recorded(request: Request, **changes: Any) -> Path:
    """A record of this environment, with some of its fields changed."""
    path = record_failed_install(request, 0.0, "no")
    found = read_capture(path)
    record: Record = msgspec.structs.replace(found.record, **changes)
    return write_capture(Capture(record=record, rows=found.rows), request.data)


def test_a_record_serves_as_long_as_nothing_changes(request_: Request) -> None:
    assert stale(request_) == "no capture on record"
    recorded(request_, packages={"colbert-ai": "0.2.22", "numpy": "1.26.4", "torch": "2.8.0"})
    assert stale(request_) is None


def test_an_install_that_failed_serves_too(request_: Request) -> None:
    recorded(request_, packages={"numpy": "1.26.4"})
    assert stale(request_) is None


PACKAGES = {"colbert-ai": "0.2.22", "numpy": "1.26.4"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"inputs": {"checkpoint": "0"}}, "the inputs changed"),
        (
            {"capture_code": CaptureCode(version="0", hash="0")},
            "the capture code changed",
        ),
        ({"fingerprint": {"cpu_model": "other"}}, "captured on another host"),
        ({"packages": {**PACKAGES, "numpy": "2.0.0"}}, "the lane has numpy 1.26.4 now"),
        ({"packages": {**PACKAGES, "colbert-ai": "0.2.21"}}, "the lane has colbert-ai 0.2.22 now"),
    ],
)
def test_a_stale_record_says_why(changes: dict[str, Any], reason: str, request_: Request) -> None:
    recorded(request_, **{"packages": PACKAGES, **changes})
    assert stale(request_) == reason


def test_a_release_asked_for_takes_the_place_of_the_lanes(request_: Request) -> None:
    older = dataclasses.replace(request_, revision=read_revision("0.2.21"))
    assert older.options == {"passages": 8, "colbert": "0.2.21"}
    recorded(older, packages={**PACKAGES, "colbert-ai": "0.2.21"})
    assert stale(older) is None
    recorded(older, packages=PACKAGES)
    assert stale(older) == "the lane has colbert-ai 0.2.21 now"


def test_the_lanes_own_release_is_no_option(request_: Request) -> None:
    same = dataclasses.replace(request_, revision=read_revision("0.2.22"))
    assert (same.options, same.lane_name) == (request_.options, request_.lane_name)


def test_a_lane_without_constraints_takes_what_was_installed_and_its_own_slice(
    request_: Request,
) -> None:
    latest = dataclasses.replace(request_, lane="cpu-latest", passages=None)
    assert (latest.pins, latest.options, latest.lane_name) == ({}, {}, "cpu-latest")
    assert len(latest.inputs().collection) == 96
    assert len(dataclasses.replace(latest, passages=16).inputs().collection) == 16
    recorded(latest, packages={"colbert-ai": "9.9", "numpy": "9.9"})
    assert stale(latest) is None


def test_a_commit_may_call_itself_any_version(request_: Request) -> None:
    built = dataclasses.replace(request_, revision=COMMIT)
    recorded(built, packages={**PACKAGES, "colbert-ai": "0.2.99"})
    assert stale(built) is None


def test_another_passage_makes_it_stale(request_: Request) -> None:
    recorded(request_, packages=PACKAGES)
    module = request_.cache / "sources" / "networkx" / "module0.py"
    module.write_text(module.read_text().replace('"""', '"""Why ', 1))
    assert stale(request_) == "the inputs changed"


def test_an_unreadable_record_is_stale(request_: Request) -> None:
    path = recorded(request_, packages=PACKAGES)
    path.write_bytes(path.read_bytes()[:100])
    assert stale(request_) == "the capture on record cannot be read"


def test_an_edit_during_a_capture_makes_it_stale(
    request_: Request, fake_torch: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_torch("import os; os._exit(3)")
    codes = [CaptureCode(version="0", hash=name) for name in ("before", "after")]
    monkeypatch.setattr(environment, "capture_code", lambda: codes.pop(0) if codes else None)
    monkeypatch.setattr(environment, "packages", lambda: PACKAGES)
    assert read_record(capture(request_, 0.0)).capture_code.hash == "before"
    assert stale(request_) == "the capture code changed"


# The variables a pipeline runs under.


def test_a_pipeline_runs_under_the_threads_of_the_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    lane = SETTINGS.lane("cpu-pinned")
    found = process.variables(lane)
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    assert {found[name] for name in names} == {"2"}
    assert found["CUDA_VISIBLE_DEVICES"] == ""
    assert found["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    on_gpu = msgspec.structs.replace(lane, device="cuda")
    assert process.variables(on_gpu)["CUDA_VISIBLE_DEVICES"] == "0"


# What is kept for searching.


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has each run end at a stage, with an index and a ranking as far as it came."""

    def end_at(last: str, state: str = "failed") -> None:
        monkeypatch.setattr(runner, "run_job", partial(_ran, last, state))

    return end_at


def _ran(last: str, state: str, job: Job, folder: Path, *_: Any) -> list[Event]:
    stages = [stage for stage in STAGES[1:] if STAGES.index(stage) <= STAGES.index(last)]
    made = stages if state == "ok" else stages[:-1]
    if "index" in made:
        (folder / INDEX_FOLDER).mkdir(parents=True)
        (folder / INDEX_FOLDER / "doclens.0.json").write_text("[1]")
    if "search" in made:
        found = [[(3, 1, 0.5)]]
        rows = ranking_rows(found, index_torch=job.torch, search_torch=job.torch, mmap=False)
        write_atomically(folder / "ranking.parquet", rows)
    failed = Event(stage=last, state=state, seconds=2.0, error="KeyError", message="no")
    whole = [Event(stage=stage, state="ok", seconds=1.0) for stage in made]
    return whole if state == "ok" else [*whole, failed]


@pytest.mark.parametrize("last", ["search", "train"])
def test_an_index_is_kept_and_what_was_found_in_it(
    last: str, request_: Request, ending: Callable[..., None]
) -> None:
    ending(last, "ok")
    record = read_record(capture(request_, 0.0))
    index = index_path(request_.data, request_.lane_name, "2.8.0")
    assert [file.name for file in index.iterdir()] == ["doclens.0.json"]
    found = read_rankings(rankings_path(request_.data, request_.lane_name))
    (search,) = found.header.searches
    assert (search.key, search.state, search.index) == (
        ("2.8.0", "2.8.0", False),
        "ok",
        index_hash(index),
    )
    assert (search.started, search.seconds, search.capture_code) == (
        record.started,
        1.0,
        record.capture_code,
    )
    assert found.table.column("pid").to_pylist() == [3]
    assert found.header.inputs == record.inputs
    assert found.header.relevant == tuple(query.relevant for query in request_.inputs().queries)


def test_a_search_that_failed_is_recorded_beside_its_index(
    request_: Request, ending: Callable[..., None]
) -> None:
    ending("search")
    capture(request_, 0.0)
    found = read_rankings(rankings_path(request_.data, request_.lane_name))
    (search,) = found.header.searches
    assert (search.state, search.error, search.message, search.seconds) == (
        "failed",
        "KeyError",
        "no",
        2.0,
    )
    assert search.index == index_hash(index_path(request_.data, request_.lane_name, "2.8.0"))
    assert found.table.num_rows == 0


def test_a_run_without_an_index_keeps_nothing(
    request_: Request, ending: Callable[..., None]
) -> None:
    ending("index")
    capture(request_, 0.0)
    assert not index_path(request_.data, request_.lane_name, "2.8.0").exists()
    assert not rankings_path(request_.data, request_.lane_name).exists()


def test_a_run_with_swaps_keeps_nothing(
    request_: Request, ending: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Request, "swaps", lambda _: ())
    request = dataclasses.replace(request_, injections=(read_injection("batches=2.7.1"),))
    ending("index", "ok")
    capture(request, 0.0)
    assert not (request.data / "indexes").exists()


def test_a_capture_is_on_record_only_when_its_index_is_kept(
    request_: Request, ending: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runner, "keep_index", full)
    ending("train", "ok")
    with pytest.raises(OSError, match="No space"):
        capture(request_, 0.0)
    assert stale(request_) == "no capture on record"
