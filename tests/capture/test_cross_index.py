"""Indexes of other releases, searched by a colbert-ai that is none."""

import dataclasses
import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from matrix_capture import cross_index, environment, process, runner, schema
from matrix_capture.__main__ import main
from matrix_capture.cross_index import due, log_path, search_kept
from matrix_capture.errors import MatrixError
from matrix_capture.index_files import index_hash, index_path
from matrix_capture.job import KeptIndex
from matrix_capture.rankings import (
    COLUMNS,
    Rankings,
    Search,
    rankings_path,
    read_rankings,
    record_searches,
)
from matrix_capture.runner import Request, rankings_header, record_failed_install
from matrix_capture.schema import STAGES, Capture, StageStatus, read_record, write_capture

RELEASES = ("2.7.1", "2.8.0", "2.9.0")
WHOLE = {stage: StageStatus(state="ok") for stage in STAGES}


def stopped(stage: str) -> dict[str, StageStatus]:
    """How a capture went that failed at a stage."""
    place = STAGES.index(stage)
    states = ["ok"] * place + ["failed"] + ["not_run"] * (len(STAGES) - place - 1)
    return {s: StageStatus(state=state) for s, state in zip(STAGES, states, strict=True)}  # type: ignore[arg-type]


def captured(
    request: Request, release: str, *, status: dict[str, StageStatus] = WHOLE, **facts: Any
) -> Path:
    """A capture of a release on record, and its index where it came as far as one."""
    others = schema.list_captures(request.data, request.lane_name)
    record = read_record(others[0] if others else record_failed_install(request, 0.0, ""))
    record = msgspec.structs.replace(record, torch=release, status=status, **facts)
    write_capture(Capture(record=record, rows=schema.COLUMNS.empty_table()), request.data)
    index = index_path(request.data, request.lane_name, release)
    if record.state("index") == "ok":
        index.mkdir(parents=True, exist_ok=True)
        (index / "doclens.0.json").write_text(json.dumps([release]))
    return index


def searched(request: Request, index: KeptIndex, **facts: Any) -> Search:
    """A search on record, as one that was made just now."""
    search = Search(
        index_torch=index.torch,
        search_torch=request.torch,
        mmap=index.mmap,
        state="ok",
        index=index_hash(Path(index.folder)),
        started="2025-01-01T00:00:00+00:00",
        seconds=1.0,
        capture_code=environment.capture_code(),
    )
    search = msgspec.structs.replace(search, **facts)
    header = rankings_header(request, request.inputs())
    record_searches(request.data, header, [(search, COLUMNS.empty_table())])
    return search


def keys(indexes: Sequence[KeptIndex]) -> list[tuple[str, bool]]:
    return [(index.torch, index.mmap) for index in indexes]


@pytest.fixture
def lane(request_: Request) -> Request:
    """A request for 2.8.0 in a lane with captures of three releases."""
    for release in RELEASES:
        captured(request_, release)
    return request_


# What is to be searched.


def test_every_index_is_due_both_ways_but_its_own(lane: Request) -> None:
    found = due(lane, RELEASES)
    assert keys(found) == [
        ("2.7.1", False),
        ("2.7.1", True),
        ("2.8.0", True),
        ("2.9.0", False),
        ("2.9.0", True),
    ]
    for index in found:
        folder = index_path(lane.data, lane.lane_name, index.torch)
        assert index.folder == str(folder.absolute())


def test_only_indexes_of_the_given_releases_are_due(lane: Request) -> None:
    assert keys(due(lane, ["2.9.0"])) == [("2.9.0", False), ("2.9.0", True)]
    assert due(lane, []) == ()


def test_on_a_gpu_nothing_is_mapped(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = environment.host("cpu")
    monkeypatch.setattr(environment, "host", lambda _: machine)
    request = dataclasses.replace(request_, lane="cuda-pinned")
    for release in RELEASES:
        captured(request, release)
    assert keys(due(request, RELEASES)) == [("2.7.1", False), ("2.9.0", False)]


def test_what_was_searched_is_due_no_more(lane: Request) -> None:
    first, *others = due(lane, RELEASES)
    searched(lane, first)
    assert due(lane, RELEASES) == tuple(others)
    for index in others:
        searched(lane, index, state="failed", error="RuntimeError")
    assert due(lane, RELEASES) == ()
    # What this release found is no news of what another finds.
    other = dataclasses.replace(lane, torch="2.9.0")
    assert keys(due(other, ["2.7.1"])) == [("2.7.1", False), ("2.7.1", True)]


def test_another_index_or_other_code_is_due_again(
    lane: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in due(lane, RELEASES):
        searched(lane, index)
    folder = index_path(lane.data, lane.lane_name, "2.9.0")
    (folder / "plan.json").write_text("{}")
    assert due(lane, RELEASES) == ()
    (folder / "doclens.0.json").write_text("[3]")
    assert keys(due(lane, RELEASES)) == [("2.9.0", False), ("2.9.0", True)]
    code = msgspec.structs.replace(environment.capture_code(), hash="another")
    monkeypatch.setattr(environment, "capture_code", lambda: code)
    assert len(due(lane, RELEASES)) == 5


@pytest.mark.parametrize("stage", ["install", "import", "load", "index"])
def test_a_release_without_an_index_has_none_to_search(stage: str, lane: Request) -> None:
    captured(lane, "2.9.0", status=stopped(stage))
    assert keys(due(lane, RELEASES)) == [("2.7.1", False), ("2.7.1", True), ("2.8.0", True)]


@pytest.mark.parametrize("stage", ["search", "train"])
def test_one_that_failed_behind_its_index_has_one(stage: str, lane: Request) -> None:
    captured(lane, "2.9.0", status=stopped(stage))
    assert len(due(lane, RELEASES)) == 5


@pytest.mark.parametrize(
    ("stage", "count"), [("install", 0), ("import", 0), ("load", 0), ("index", 4)]
)
def test_a_release_that_does_not_load_cannot_search(stage: str, count: int, lane: Request) -> None:
    captured(lane, "2.8.0", status=stopped(stage))
    assert len(due(lane, RELEASES)) == count


def test_a_lost_index_says_how_to_make_it_anew(lane: Request) -> None:
    index_path(lane.data, lane.lane_name, "2.9.0").rename(lane.data / "elsewhere")
    with pytest.raises(
        MatrixError, match=r"torch-2\.9\.0 is missing; capture torch 2\.9\.0 again with --fresh$"
    ):
        due(lane, RELEASES)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"inputs": {"collection": "0a"}}, "the capture of torch 2.9.0 has other inputs"),
        ({"fingerprint": {"cpu": "6502"}}, "the capture of torch 2.9.0 is from another host"),
        (None, "no capture of torch 2.9.0 in lane cpu-pinned+"),
    ],
)
def test_a_capture_that_does_not_serve_is_told_with_its_cure(
    facts: dict[str, Any] | None, message: str, lane: Request
) -> None:
    if facts is None:
        dataclasses.replace(lane, torch="2.9.0").path.unlink()
    else:
        captured(lane, "2.9.0", **facts)
    for request in (lane, dataclasses.replace(lane, torch="2.9.0")):
        with pytest.raises(MatrixError) as error:
            due(request, ["2.7.1", "2.9.0"])
        assert str(error.value).startswith(message)
        assert str(error.value).endswith("; nox -s matrix -- followed by the releases makes it")


# Searching.


@pytest.fixture
def colbert(lane: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A colbert-ai that does what the plan of an index says, with a torch and a faiss."""
    folder = tmp_path / "fake"
    for name, source in _FAKE.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(source))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


_FAKE = {
    "torch.py": """
        __version__ = "2.8.0+cpu"
        def set_num_threads(number): pass
    """,
    "faiss.py": "",
    "colbert/indexer.py": "",
    "colbert/infra/__init__.py": """
        import contextlib, dataclasses
        @dataclasses.dataclass
        class RunConfig:
            nranks: int
            root: str
            experiment: str
        @dataclasses.dataclass
        class ColBERTConfig:
            checkpoint: str = ""
            load_index_with_mmap: bool = False
            doc_maxlen: int = 0
            nbits: int = 0
            dim: int = 0
            kmeans_niters: int = 0
        class Run:
            def context(self, config):
                return contextlib.nullcontext()
    """,
    "colbert/indexing/codecs/residual.py": """
        class ResidualCodec:
            def try_load_torch_extensions(use_gpu): pass
    """,
    "colbert/modeling/checkpoint.py": """
        class Checkpoint:
            def __init__(self, name, colbert_config):
                self.model = self
            def named_parameters(self):
                return []
    """,
    "colbert/__init__.py": """
        import json, os, pathlib, signal, types
        class Searcher:
            def __init__(self, index, checkpoint, collection, config, index_root):
                plan = json.loads(pathlib.Path(index_root, index, "plan.json").read_text())
                self.pid = plan["mapped" if config.load_index_with_mmap else "loaded"]
                if isinstance(self.pid, str):
                    exec(self.pid)
            def search_all(self, queries, k):
                return types.SimpleNamespace(data={q: [(self.pid, 1, 0.5)] for q in queries})
    """,
}


def plan(request: Request, release: str, *, loaded: int | str, mapped: int | str) -> None:
    """What becomes of a search: the passage that each query finds, or Python to run."""
    folder = index_path(request.data, request.lane_name, release)
    (folder / "plan.json").write_text(json.dumps({"loaded": loaded, "mapped": mapped}))


def found(request: Request) -> Rankings:
    return read_rankings(rankings_path(request.data, request.lane_name))


def passages(request: Request, index: str, *, mmap: bool = False) -> set[int]:
    rows = found(request).rows(index, request.torch, mmap=mmap)
    return set(rows.column("pid").to_pylist())


@pytest.mark.usefixtures("colbert")
def test_what_is_due_is_searched_and_due_no_more(lane: Request) -> None:
    for number, release in enumerate(RELEASES):
        plan(lane, release, loaded=10 + number, mapped=20 + number)
    indexes = due(lane, RELEASES)
    searches = search_kept(lane, indexes)
    assert [(s.index_torch, s.mmap) for s in searches] == keys(indexes)
    for search, index in zip(searches, indexes, strict=True):
        assert (search.state, search.search_torch) == ("ok", "2.8.0")
        assert search.index == index_hash(Path(index.folder))
        assert search.capture_code == environment.capture_code()
        assert search.seconds >= 0
        wanted = (20 if index.mmap else 10) + RELEASES.index(index.torch)
        assert passages(lane, index.torch, mmap=index.mmap) == {wanted}
        rows = found(lane).rows(index.torch, "2.8.0", mmap=index.mmap)
        assert rows.column("query").to_pylist() == list(range(len(lane.inputs().queries)))
    assert found(lane).header.searches == tuple(searches)
    assert found(lane).header.relevant == tuple(q.relevant for q in lane.inputs().queries)
    assert due(lane, RELEASES) == ()
    assert list((lane.data.parent / "scratch").iterdir()) == []


@pytest.mark.usefixtures("colbert")
@pytest.mark.parametrize(
    ("crash", "message"),
    [
        ("os._exit(3)", "the process exited with status 3"),
        ("os._exit(0)", "the process exited with status 0"),
        ("os.abort()", "the process killed by signal 6"),
        ("raise SystemExit", "the process exited with status 0"),
    ],
)
def test_a_process_that_dies_takes_one_search_with_it(
    crash: str, message: str, lane: Request
) -> None:
    plan(lane, "2.7.1", loaded=1, mapped=crash)
    plan(lane, "2.9.0", loaded=3, mapped=4)
    states = [
        (s.state, s.error, s.message) for s in search_kept(lane, due(lane, ["2.7.1", "2.9.0"]))
    ]
    died = ("failed", "ProcessDied", message)
    assert states == [("ok", "", ""), died, ("ok", "", ""), ("ok", "", "")]
    assert passages(lane, "2.7.1") == {1}
    assert passages(lane, "2.7.1", mmap=True) == set()
    assert passages(lane, "2.9.0") == {3}
    assert passages(lane, "2.9.0", mmap=True) == {4}
    assert len(found(lane).header.searches) == 4


@pytest.mark.usefixtures("colbert")
def test_each_of_several_that_die_or_fail_is_told(lane: Request) -> None:
    plan(lane, "2.7.1", loaded="os._exit(4)", mapped="os._exit(5)")
    plan(lane, "2.9.0", loaded="raise ValueError('first\\nsecond')", mapped=7)
    searches = search_kept(lane, due(lane, ["2.7.1", "2.9.0"]))
    assert [s.message for s in searches] == [
        "the process exited with status 4",
        "the process exited with status 5",
        "first",
        "",
    ]
    assert [s.error for s in searches[2:]] == ["ValueError", ""]
    assert passages(lane, "2.9.0", mmap=True) == {7}
    assert "ValueError: first" in log_path(lane).read_text()


@pytest.mark.usefixtures("colbert")
def test_a_process_that_dies_when_all_is_found_takes_nothing(lane: Request) -> None:
    plan(
        lane, "2.7.1", loaded=1, mapped="import atexit; atexit.register(os._exit, 3); self.pid = 2"
    )
    searches = search_kept(lane, due(lane, ["2.7.1"]))
    assert [s.state for s in searches] == ["ok", "ok"]
    assert passages(lane, "2.7.1", mmap=True) == {2}


@pytest.mark.parametrize(
    ("file", "source", "error"),
    [
        ("torch.py", "raise ImportError('libcudart.so.12')", "ImportError: libcudart.so.12"),
        ("torch.py", "import os; os._exit(3)", "ProcessDied: the process exited with status 3"),
        (
            "colbert/modeling/checkpoint.py",
            "raise RuntimeError('no layer 3')",
            "RuntimeError: no layer 3",
        ),
        (
            "torch.py",
            "__version__ = '9.9.9'",
            "RuntimeError: this environment has torch 9.9.9",
        ),
    ],
)
def test_a_release_that_does_not_come_to_a_search_failed_all(
    file: str, source: str, error: str, lane: Request, colbert: Path
) -> None:
    (colbert / file).write_text(source)
    searches = search_kept(lane, due(lane, ["2.7.1", "2.9.0"]))
    assert [f"{s.error}: {s.message}" for s in searches] == [error] * 4
    assert found(lane).header.searches == tuple(searches)
    assert found(lane).table.num_rows == 0
    assert due(lane, ["2.7.1", "2.9.0"]) == ()


@pytest.mark.usefixtures("colbert")
@pytest.mark.parametrize(
    ("cause", "message"),
    [
        ("from matrix_capture.errors import MatrixError; raise MatrixError('planted')", "planted"),
        ("import errno; raise OSError(errno.ENOSPC, 'No space left on device')", "No space left"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "killed by signal 9"),
    ],
)
def test_what_is_nobodys_fault_is_recorded_of_nobody(
    cause: str, message: str, lane: Request
) -> None:
    plan(lane, "2.7.1", loaded=1, mapped=cause)
    plan(lane, "2.9.0", loaded=3, mapped=4)
    with pytest.raises(MatrixError, match=f"stage search: .*{message}.*; nothing recorded"):
        search_kept(lane, due(lane, ["2.7.1", "2.9.0"]))
    assert not rankings_path(lane.data, lane.lane_name).exists()


def test_a_planted_pickle_is_refused_before_anything_is_loaded(
    lane: Request, colbert: Path
) -> None:
    trap = lane.data / "sprung"
    plan(lane, "2.9.0", loaded=f"pathlib.Path({str(trap)!r}).touch()", mapped=4)
    folder = index_path(lane.data, lane.lane_name, "2.9.0")
    (folder / "centroids.pt").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(MatrixError, match=r"torch-2\.9\.0/centroids\.pt: not written by torch"):
        search_kept(lane, due(lane, ["2.9.0"])[:1])
    assert not trap.exists()
    # That it would be, and by this search.
    (folder / "centroids.pt").unlink()
    search_kept(lane, due(lane, ["2.9.0"])[:1])
    assert trap.exists()


@pytest.mark.usefixtures("colbert")
def test_another_colbert_is_not_searched_with(
    lane: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "packages", lambda: {"colbert-ai": "0.2.20"})
    with pytest.raises(MatrixError, match=r"has colbert-ai 0\.2\.20, but 0\.2\.22 is wanted"):
        search_kept(lane, due(lane, ["2.9.0"]))


@pytest.mark.usefixtures("colbert")
def test_an_index_or_code_that_is_replaced_meanwhile_is_due_again(
    lane: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was found is told of what was there before."""
    plan(lane, "2.7.1", loaded=1, mapped=1)
    plan(lane, "2.9.0", loaded=3, mapped=4)
    real = process.run_job

    def run_job(*args: Any) -> Any:
        events = real(*args)
        folder = index_path(lane.data, lane.lane_name, "2.9.0")
        (folder / "doclens.0.json").write_text("[5]")
        return events

    monkeypatch.setattr(cross_index, "run_job", run_job)
    search_kept(lane, due(lane, ["2.7.1", "2.9.0"]))
    assert keys(due(lane, ["2.7.1", "2.9.0"])) == [("2.9.0", False), ("2.9.0", True)]


def test_the_log_is_not_that_of_the_capture(lane: Request) -> None:
    assert log_path(lane).parent == runner.log_path(lane).parent
    assert log_path(lane) != runner.log_path(lane)


# The commands.


@pytest.mark.usefixtures("colbert")
def test_the_commands_tell_what_is_due_and_what_came_of_it(
    lane: Request, capsys: pytest.CaptureFixture[str]
) -> None:
    plan(lane, "2.7.1", loaded=1, mapped="raise ValueError('no\\nmore')")
    options = ["--torch", "2.8.0", "--lane", "cpu-pinned", "--passages", "8"]
    options += ["--data", str(lane.data), "--cache", str(lane.cache)]
    for release in ("2.7.1", "2.7.1"):
        options += ["--index", release]
    assert main(["due", *options]) == 0
    assert capsys.readouterr().out == "needed: 2 indexes to search\n"
    assert main(["search", *options]) == 0
    loaded, mapped, wrote = capsys.readouterr().out.splitlines()
    assert loaded.startswith("index of 2.7.1    ")
    assert loaded.endswith(" s")
    assert mapped == "index of 2.7.1    mapped  failed: no"
    assert wrote == f"wrote {rankings_path(lane.data, lane.lane_name)}"
    assert main(["due", *options]) == 0
    assert capsys.readouterr().out == "current\n"
