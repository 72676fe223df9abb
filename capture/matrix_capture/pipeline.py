"""The process that imports torch: one run of colbert-ai, stage by stage.

Runs as `python -m matrix_capture.pipeline FOLDER` with a `Job` in `FOLDER/job.json`; leaves behind
`rows.parquet`, `facts.json` and `progress.jsonl`, the finished index and what was found in it
(`ranking.parquet`). The parent survives whatever happens here.
"""

import os
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq

from matrix_capture import environment, gpu
from matrix_capture.catalogue import BY_NAME
from matrix_capture.errors import MatrixError
from matrix_capture.extensions import compiler_error, extensions_folder, held
from matrix_capture.gpu_digest import GpuDigests, compiled
from matrix_capture.index_files import check_index, record_index
from matrix_capture.index_taps import INDEX
from matrix_capture.inject import Injector
from matrix_capture.job import INDEX_FOLDER, Event, Facts, Job
from matrix_capture.launch import configured, in_this_process
from matrix_capture.optrace import Traced, Tracer
from matrix_capture.probes import record_probes
from matrix_capture.recorder import Recorder
from matrix_capture.schema import Observer, write_atomically
from matrix_capture.search import ranked, ranking_rows
from matrix_capture.search_taps import SEARCH
from matrix_capture.taps import tapped
from matrix_capture.training import train
from matrix_capture.values import DeferredStore

_CERTIFICATE_PASSAGES = 64


class StageError(Exception):
    """A stage failed and the failure is in the progress file; nothing more is to be done."""


class Pipeline:
    """One run of the pipeline in a scratch folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.job = msgspec.json.decode((folder / "job.json").read_bytes(), type=Job)
        self.on_gpu: GpuDigests | None = None
        store = DeferredStore(self.job.values)
        self._injector = Injector(self.job.swaps, store) if self.job.swaps else None
        self._tracer = Tracer(self.job.site, store) if self.job.site else None
        self.recorder = Recorder(
            store,
            self.job.repeat,
            depth=self.job.depth,
            device=self.job.device,
            injector=self._injector,
            tracer=self._tracer,
        )
        self._observer: Observer | None = None
        self._substituted: dict[str, str] = {}
        self._progress = (folder / "progress.jsonl").open("ab", buffering=0)

    def __call__(self) -> None:
        """Import, load, index, search, train; prove that watching changed nothing."""
        try:
            with self._stage("import"):
                self._import()
            if reason := self._no_code():
                self._report(Event(stage="load", state="not_run", message=reason))
            else:
                with self._stage("load"):
                    self._load()
                self._search_kept() if self.job.indexes else self._index_and_use()
        except StageError:
            pass
        finally:
            self.recorder.close()
        pq.write_table(self.recorder.table(), self.folder / "rows.parquet")
        if torch := sys.modules.get("torch"):
            facts = Facts(
                torch_build=str(torch.__version__),
                host=environment.torch_facts(torch) | self._digested_where(),
                missing=self.recorder.missing,
                substituted=self._substituted,
                observer=self._observer,
            )
            (self.folder / "facts.json").write_bytes(msgspec.json.encode(facts))

    def _digested_where(self) -> dict[str, str | int]:
        if self.job.device == "cpu":
            return {}
        return {"digests": "computed on the GPU" if self.on_gpu else "computed on the host"}

    def _index_and_use(self) -> None:
        """Build an index, search it, train; what is injected or traced concerns the index alone."""
        with self._stage("index"):
            if self._tracer:
                self._trace(self._tracer)
                return
            record_probes(self.recorder, self.job.device)
            index = self._index(self.job.collection, INDEX_FOLDER.name, self.recorder)
            record_index(self.recorder, index)
            self._settle("index")
            if self._injector:
                self._check_injected(self._injector.left)
                return
            if self.job.repeat == 0:
                self._observer = self._certify()
        with self._stage("search"):
            with tapped(self.recorder, SEARCH):
                self._search(index, "ranking.parquet", index_torch=self.job.torch)
            self._settle("search")
        with self._stage("train"):
            self._substituted |= train(self.job, self.folder, self.recorder)
            self._settle("train")

    def _settle(self, stage: str) -> None:
        """Note what a stage did not show, and store what it did: here a failure can be told."""
        self.recorder.note_unseen(stage)
        self.recorder.table()

    def _search_kept(self) -> None:
        """Search one kept index after the other; one that fails does not keep the next from it."""
        for number, kept in enumerate(self.job.indexes):
            with suppress(StageError), self._stage("search"):
                index = Path(kept.folder)
                check_index(index)
                name = f"ranking-{number}.parquet"
                self._search(index, name, index_torch=kept.torch, mmap=kept.mmap)

    def _search(self, index: Path, name: str, *, index_torch: str, mmap: bool = False) -> None:
        """Answer the queries from an index and leave the rankings in a file of that name."""
        # Searching compiles as well.
        with held(Path(os.environ["TORCH_EXTENSIONS_DIR"])):
            found = ranked(
                index,
                checkpoint=self.job.checkpoint,
                collection=self.job.collection,
                queries=[query.text for query in self.job.queries],
                root=self.folder,
                mmap=mmap,
            )
        rows = ranking_rows(found, index_torch=index_torch, search_torch=self.job.torch, mmap=mmap)
        write_atomically(self.folder / name, rows)

    def _trace(self, tracer: Tracer) -> None:
        """Run up to the call that is to be traced, and leave `trace.json` behind."""
        try:
            self._index(self.job.collection, INDEX_FOLDER.name, self.recorder)
        except Traced:
            tracer.write(self.folder / "trace.json")
        else:
            raise MatrixError("the call that was to be traced never came")

    def _check_injected(self, left: Sequence[Sequence[str | int]]) -> None:
        """Refuse a run in which a place never came that another value was to be in."""
        if left:
            place = " ".join(filter(None, map(str, left[0])))
            raise MatrixError(f"{len(left)} values were not injected: no {place} in this run")

    def _no_code(self) -> str | None:
        """Why this release cannot run on the GPU of the lane, or None when it can."""
        if self.job.device == "cpu":
            return None
        import torch  # noqa: PLC0415

        return gpu.unsupported(torch) if torch.cuda.is_available() else None

    def _import(self) -> None:
        import torch  # noqa: PLC0415 - importing it is the stage

        if torch.__version__.partition("+")[0] != self.job.torch:
            raise RuntimeError(f"this environment has torch {torch.__version__}")
        torch.set_num_threads(self.job.threads)
        import colbert  # noqa: PLC0415
        import colbert.indexer  # noqa: F401, PLC0415
        import faiss  # noqa: F401, PLC0415

    def _load(self) -> None:
        import torch  # noqa: PLC0415
        from colbert.indexing.codecs.residual import ResidualCodec  # noqa: PLC0415
        from colbert.infra import ColBERTConfig  # noqa: PLC0415
        from colbert.modeling.checkpoint import Checkpoint  # noqa: PLC0415

        on_gpu = self.job.device == "cuda"
        if on_gpu:
            torch.cuda.init()  # says why where it cannot
        compilers = [gpu.check_toolkit(torch)] if on_gpu else []
        folder = extensions_folder(Path(self.job.extensions), torch.__version__, *compilers)
        # torch's own default folder does not know its version: releases would share extensions.
        os.environ["TORCH_EXTENSIONS_DIR"] = str(folder)
        config = configured(ColBERTConfig, checkpoint=self.job.checkpoint, **self.job.config)
        with held(folder):
            checkpoint = Checkpoint(self.job.checkpoint, colbert_config=config)
            # On a GPU the codec compiles too, which would fail in the midst of an index.
            ResidualCodec.try_load_torch_extensions(on_gpu)
            if on_gpu:
                self.recorder.on_gpu = self.on_gpu = _gpu_digests(torch, compilers[0], folder)
        if on_gpu and self.job.kmeans == "cpu":
            _cluster_on_cpu()
        for name, parameter in sorted(checkpoint.model.named_parameters()):
            self.recorder.record("weights", parameter, part=name)

    def _index(self, collection: tuple[str, ...], name: str, recorder: Recorder | None) -> Path:
        """Index a collection with colbert-ai; returns the folder of the finished index."""
        from colbert import Indexer  # noqa: PLC0415
        from colbert.infra import ColBERTConfig, Run, RunConfig  # noqa: PLC0415

        # In RunConfig, not in ColBERTConfig where it is overwritten: the taps live in this process.
        run = configured(
            RunConfig,
            nranks=1,
            root=str(self.folder),
            experiment="runs",
            avoid_fork_if_possible=True,
        )
        config = configured(ColBERTConfig, **self.job.config)
        with Run().context(run), in_this_process():
            indexer = Indexer(self.job.checkpoint, config=config)
            if recorder is None:
                return Path(indexer.index(name, list(collection)))
            with tapped(recorder, INDEX):
                return Path(indexer.index(name, list(collection)))

    def _certify(self) -> Observer:
        """Index a slice with and without taps and compare the finished indexes."""
        collection = self.job.collection[:_CERTIFICATE_PASSAGES]
        watching = Recorder(depth=self.job.depth, device=self.job.device, on_gpu=self.on_gpu)
        watched, plain = (
            _digests(self._index(collection, name, recorder))
            for name, recorder in (("watched", watching), ("plain", None))
        )
        watching.close()
        differing = sorted(
            name for name in watched.keys() | plain.keys() if watched.get(name) != plain.get(name)
        )
        return Observer(identical=not differing, tensors=len(plain), differing=tuple(differing))

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        started, cpu = time.monotonic(), time.process_time()
        self._report(Event(stage=name, state="started"))
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            self._report(
                Event(
                    stage=name,
                    state="failed",
                    seconds=time.monotonic() - started,
                    cpu=time.process_time() - cpu,
                    error=type(error).__name__,
                    message=_line(str(error).strip()),
                )
            )
            raise StageError from error
        seconds, cpu = time.monotonic() - started, time.process_time() - cpu
        self._report(Event(stage=name, state="ok", seconds=seconds, cpu=cpu))

    def _report(self, event: Event) -> None:
        self._progress.write(msgspec.json.encode(event) + b"\n")


def _line(message: str) -> str:
    """The one line of it that a record has: the first, or why an extension was not built."""
    return compiler_error(message) or next(iter(message.splitlines()), "")


def _gpu_digests(torch: Any, nvcc: str, folder: Path) -> GpuDigests | None:
    """What digests tensors where they are; None where it cannot be compiled: then they are copied.

    A record must not tell of a release that it failed when it was this package that did.
    """
    try:
        return GpuDigests(compiled(nvcc, folder, torch.cuda.get_device_capability()))
    except (subprocess.CalledProcessError, OSError) as error:
        print(getattr(error, "stderr", None) or error, file=sys.stderr)
        return None


def _cluster_on_cpu() -> None:
    """Have faiss cluster on the CPU although colbert-ai asks for the GPU that torch sees."""
    import faiss  # noqa: PLC0415

    on_any_device = faiss.Kmeans

    def on_cpu(*sizes: int, gpu: bool, **named: Any) -> Any:
        return on_any_device(*sizes, gpu=False, **named)

    faiss.Kmeans = on_cpu


def _digests(index: Path) -> dict[str, bytes]:
    """The digest of each tensor of a finished index, without how its files are laid out."""
    recorder = Recorder()
    record_index(recorder, index)
    rows = recorder.table().select(["artifact", "part", "digest"]).to_pylist()
    return {row["part"]: row["digest"] for row in rows if BY_NAME[row["artifact"]].kind == "final"}


# colbert-ai makes spawn the start method: a child would import this module again.
if __name__ == "__main__":
    Pipeline(Path(sys.argv[1]))()
