"""`python -m matrix_capture.bench`: what a capture costs, as ratios within one run.

The pipeline runs without taps, with them, and with what people did before: `torch.save` at the very
same points. Variants take turns, so that a machine that slows down slows all of them down.
"""

import argparse
import gc
import multiprocessing
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq

from matrix_capture import process, runner
from matrix_capture.catalogue import DEPTHS
from matrix_capture.errors import MatrixError
from matrix_capture.job import Job
from matrix_capture.measurement import Measurement, at_least, at_most, fastest, tell
from matrix_capture.pipeline import Pipeline
from matrix_capture.recorder import Recorder
from matrix_capture.settings import read_settings
from matrix_capture.values import DeferredStore

_FEWEST = 8  # passages that can be clustered
# Bytes of the tensor whose digest is timed: several times any cache, and work for a while.
_LARGE = {"cpu": 2**28, "cuda": 2**32}
_progress = sys.stderr
_VARIANTS = ("plain", "default", "sublayers", "torch.save")


class Saver(Recorder):
    """Does what people did before: every value goes to a file of its own by `torch.save`."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._saved = 0

    def record(self, artifact: str, value: Any, part: str = "", key: Any = None) -> Any:
        """Save a value as it is now, and go on with it."""
        import torch  # noqa: PLC0415 - only a pipeline has torch

        torch.save(value, self._folder / f"{self._saved}.pt")
        self._saved += 1
        return value


class _Clock:
    """Adds up the seconds that one function of an object takes, until it is taken off."""

    def __init__(self, owner: Any, name: str) -> None:
        self.seconds = 0.0
        self._timed = getattr(owner, name)
        setattr(owner, name, self)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        started = time.perf_counter()
        try:
            return self._timed(*arguments, **named)
        finally:
            self.seconds += time.perf_counter() - started


@contextmanager
def _clustering() -> Iterator[_Clock]:
    """Time what colbert-ai has faiss do."""
    from colbert.indexing import collection_indexer  # noqa: PLC0415 - only a pipeline has it

    untimed = collection_indexer.compute_faiss_kmeans
    try:
        yield _Clock(collection_indexer, "compute_faiss_kmeans")
    finally:
        collection_indexer.compute_faiss_kmeans = untimed


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One indexing of the collection: wall seconds, and what the taps took, saw and wrote.

    `seconds` are those of the whole run, `clustering` those of faiss in it, where no tap does
    anything and whose own time varies by more than all taps take; `taps` those of the recording.
    """

    seconds: float
    clustering: float
    taps: float = 0.0
    tensors: int = 0
    digested: int = 0
    written: int = 0

    @property
    def tapped(self) -> float:
        """Seconds of that part of the run which taps can slow down."""
        return self.seconds - self.clustering


def costs(job: Job, rounds: int) -> list[Measurement]:
    """Wall time and bytes written of the pipeline with taps, against without and `torch.save`."""
    with tempfile.TemporaryDirectory(prefix="colbert-matrix-") as scratch:
        pipeline = _loaded(job, Path(scratch))
        _index(pipeline, "plain")  # what is slow only once
        runs: dict[str, list[Run]] = {variant: [] for variant in _VARIANTS}
        for turn in range(rounds):
            for place in range(len(_VARIANTS)):
                variant = _VARIANTS[(place + turn) % len(_VARIANTS)]
                run = _index(pipeline, variant)
                runs[variant].append(run)
                _say(
                    f"round {turn + 1}: {variant:10} {run.seconds:6.1f} s, {run.taps:5.2f} in taps"
                )
    plain = statistics.median(run.seconds for run in runs["plain"])
    added = {
        variant: statistics.median(
            run.tapped - base.tapped for run, base in zip(found, runs["plain"], strict=True)
        )
        for variant, found in runs.items()
    }
    on_gpu = job.device == "cuda"
    last = {variant: found[-1] for variant, found in runs.items()}
    _say(
        f"{last['default'].tensors} tensors of {last['default'].digested / 1e9:.2f} GB at the "
        f"default depth, {last['sublayers'].tensors} of {last['sublayers'].digested / 1e9:.2f} GB "
        "with sublayers"
    )
    return [
        at_most(
            "added wall time, default depth", "s", added["default"], plain, 0.05 if on_gpu else 0.03
        ),
        at_most("added wall time, sublayers", "s", added["sublayers"], plain, 0.10),
        at_most(
            "added wall time against torch.save", "s", added["default"], added["torch.save"], 0.1
        ),
        at_most(
            "bytes written against torch.save",
            "MB",
            last["default"].written / 1e6,
            last["torch.save"].written / 1e6,
            0.02,
        ),
    ]


def memory(job: Job) -> list[Measurement]:
    """Peak memory that taps add for a tenth of the collection and for all of it."""
    found = []
    for share, collection in (
        ("a tenth", job.collection[: max(_FEWEST, len(job.collection) // 10)]),
        ("all", job.collection),
    ):
        part = msgspec.structs.replace(job, collection=collection)
        plain, watched = (_in_child(_peak, part, variant) for variant in ("plain", "default"))
        found.append((share, watched - plain, plain))
    return [
        at_most(f"added peak memory, {share} of the collection", "MB", added, plain, 256 / plain)
        for share, added, plain in found
    ]


def throughput(job: Job) -> list[Measurement]:
    """Bytes per second of a digest, against a plain copy of the same tensor."""
    found: list[Measurement] = _in_child(_throughput, job)
    return found


def _loaded(job: Job, folder: Path) -> Pipeline:
    (folder / "job.json").write_bytes(msgspec.json.encode(job))
    pipeline = Pipeline(folder)
    pipeline._import()
    pipeline._load()
    return pipeline


def _index(pipeline: Pipeline, variant: str) -> Run:
    """Index the collection once, as a variant, and remove what that wrote."""
    job = pipeline.job
    folder = Path(tempfile.mkdtemp(dir=pipeline.folder))
    gc.collect()
    started = time.perf_counter()
    recorder = _recorder(variant, folder, pipeline)
    clock = _Clock(recorder, "record") if recorder else None
    with _clustering() as faiss_clock:
        pipeline._index(job.collection, folder.name, recorder)
    indexed = time.perf_counter()
    table = recorder.table() if recorder else None
    if table is not None and table.num_rows:
        pq.write_table(table, folder / "rows.parquet")
    ended = time.perf_counter()
    written = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    shutil.rmtree(folder)
    shutil.rmtree(pipeline.folder / "runs")
    if recorder:
        recorder.close()
    if table is None or clock is None:
        return Run(seconds=ended - started, clustering=faiss_clock.seconds)
    return Run(
        seconds=ended - started,
        clustering=faiss_clock.seconds,
        taps=clock.seconds + ended - indexed,
        tensors=table.num_rows,
        digested=sum(table["nbytes"].to_pylist()),
        written=written,
    )


def _recorder(variant: str, folder: Path, pipeline: Pipeline) -> Recorder | None:
    if variant == "plain":
        return None
    if variant == "torch.save":
        return Saver(folder)
    depth = DEPTHS[variant == "sublayers"]
    return Recorder(
        DeferredStore(folder), depth=depth, device=pipeline.job.device, on_gpu=pipeline.on_gpu
    )


def _in_child(work: Callable[..., Any], *arguments: Any) -> Any:
    """The result of `work` in a process of its own, so that its peak memory is its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_answer, args=(theirs, work, *arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        raise MatrixError(
            "a run of the pipeline failed, see above; a capture of that release records why"
        ) from None
    finally:
        process.join()


def _answer(answers: Connection, work: Callable[..., Any], *arguments: Any) -> None:
    global _progress  # noqa: PLW0603 - of this process alone
    # What colbert-ai prints would bury what we say.
    _progress = os.fdopen(os.dup(2), "w", buffering=1)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    try:
        answers.send(work(*arguments))
    except Exception:
        traceback.print_exc(file=_progress)


def _peak(job: Job, variant: str) -> float:
    """Megabytes of the process at its largest."""
    with tempfile.TemporaryDirectory(prefix="colbert-matrix-") as scratch:
        _index(_loaded(job, Path(scratch)), variant)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _throughput(job: Job) -> list[Measurement]:
    import torch  # noqa: PLC0415 - only a pipeline has torch

    with tempfile.TemporaryDirectory(prefix="colbert-matrix-") as scratch:
        on_gpu = _loaded(job, Path(scratch)).on_gpu
    tensor = torch.rand(_LARGE[job.device] // 4 // 96, 96, device=job.device)
    there = torch.empty_like(tensor)

    def copy() -> None:
        there.copy_(tensor)
        if tensor.is_cuda:
            torch.cuda.synchronize()

    def digest() -> None:
        if on_gpu:
            on_gpu.submit(tensor).result()
        else:
            recorder = Recorder(device=job.device)
            recorder.record("layers", tensor)
            recorder.table()

    size = tensor.numel() * tensor.element_size() / 1e9
    # A copy reads and writes: twice the bytes.
    return [
        at_least("digest throughput", "GB/s", size / fastest(digest), 2 * size / fastest(copy), 0.1)
    ]


def _say(text: str) -> None:
    print(text, file=_progress, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print a table, and write the figures as JSON where asked to."""
    parser = argparse.ArgumentParser(prog="python -m matrix_capture.bench", description=__doc__)
    parser.add_argument(
        "--torch", required=True, metavar="VERSION", help="the release that is here"
    )
    parser.add_argument("--lane", required=True, help="a lane of matrix.toml")
    parser.add_argument("--cache", required=True, type=Path, help="inputs and extensions")
    parser.add_argument("--inputs", type=Path, metavar="DIR", help="a copy of what the hub has")
    parser.add_argument("--passages", type=int, help="a slice of the collection, for a quick look")
    parser.add_argument(
        "--rounds", type=int, default=3, help="how often each variant takes its turn"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args(arguments)
    try:
        if options.json:
            options.json.touch()  # sooner than after ten minutes
        settings = read_settings()
        request = runner.Request(
            settings=settings,
            lane=options.lane,
            torch=settings.release(options.torch, options.lane),
            data=Path(os.devnull),
            cache=options.cache,
            passages=options.passages,
            copy=options.inputs,
        )
        os.environ.update(process.variables(request.fixed))
        job = runner.job(request, request.inputs(), repeat=0)
        _say("throughput of a digest")
        found = throughput(job)
        _say("peak memory, in four runs")
        found += memory(job)
        _say(f"wall time, in {1 + options.rounds * len(_VARIANTS)} runs")
        found += _in_child(costs, job, options.rounds)
    except (MatrixError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    tell(found, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
