"""One capture from start to record: prepares the inputs, runs the pipeline twice, writes the file.

This process never imports torch. The pipeline runs in a process of its own, so that a crash inside
torch is a recorded failure like any other.
"""

import datetime
import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from matrix_capture import conditionalqa, environment, gpu, inputs
from matrix_capture.catalogue import Depth
from matrix_capture.errors import MatrixError
from matrix_capture.inject import Injection, Swap, injection_label, swaps, swaps_hash
from matrix_capture.job import Event, Facts, Job
from matrix_capture.names import lane_name, lane_options
from matrix_capture.optrace import Site
from matrix_capture.progress import Progress
from matrix_capture.revision import Revision, read_revision
from matrix_capture.schema import (
    COLUMNS,
    SCHEMA_VERSION,
    STAGES,
    Capture,
    CaptureCode,
    Control,
    Record,
    StageStatus,
    digest_path,
    read_capture,
    read_record,
    write_capture,
)
from matrix_capture.settings import Lane, Settings

REPEATS = 2
"""How often the pipeline runs in one environment; a tensor must equal itself in all of them."""

_POLL_SECONDS = 0.1
_MANY = 100  # names in a record; the rows have them all
_NO_SPACE = os.strerror(errno.ENOSPC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """Which capture is wanted and where its parts live."""

    settings: Settings
    lane: str
    torch: str
    data: Path
    cache: Path
    passages: int | None = None
    depth: Depth = "default"
    copy: Path | None = None
    revision: Revision | None = None
    injections: tuple[Injection, ...] = ()
    note: str = ""

    @property
    def fixed(self) -> Lane:
        """The lane's fixed factors."""
        return self.settings.lane(self.lane)

    @property
    def options(self) -> dict[str, str | int]:
        """The options that set this capture apart from its lane's baseline."""
        return lane_options(
            passages=self.passages,
            depth=self.depth,
            colbert=self.colbert.label,
            pinned=self.fixed.colbert,
            inject=injection_label(self.injections),
        )

    @property
    def repeats(self) -> int:
        """How often the pipeline runs; what is injected into has its control on record."""
        return 1 if self.injections else REPEATS

    @property
    def colbert(self) -> Revision:
        """The colbert-ai to run: the lane's, unless another was asked for."""
        return self.revision or read_revision(self.fixed.colbert)

    @property
    def pins(self) -> dict[str, str]:
        """The version of each package that must be installed; a build of colbert-ai has any."""
        colbert = {"colbert-ai": self.colbert.version} if self.colbert.version else {}
        return environment.pins(self.fixed) | colbert

    @property
    def lane_name(self) -> str:
        """The lane it is recorded in."""
        return lane_name(self.lane, self.options)

    @property
    def path(self) -> Path:
        """Where its digest file belongs."""
        return digest_path(self.data, self.lane_name, self.torch)

    def swaps(self) -> tuple[Swap, ...]:
        """What is to be injected and where, from the captures of this lane without injections.

        Raises:
            MatrixError: a release has no capture there, or not what is wanted of it.
        """
        found: list[Swap] = []
        lane = replace(self, injections=()).lane_name
        for injection in self.injections:
            source = self.settings.release(injection.source)
            path = digest_path(self.data, lane, source)
            if not path.exists():
                raise MatrixError(
                    f"{injection.label}: no capture of torch {source} in lane {lane}; "
                    f"nox -s capture-{source} makes it"
                )
            found += swaps(injection, read_capture(path))
        return tuple(found)

    def inputs(self) -> inputs.Inputs:
        """The inputs that the lane names.

        Raises:
            MatrixError: they cannot be had, or a copy is given of what needs none.
        """
        wanted = self.fixed.passages if self.passages is None else self.passages
        if self.fixed.inputs == "conditionalqa":
            return conditionalqa.prepare(self.copy, self.cache, wanted)
        if self.copy is not None:
            raise MatrixError(f"lane {self.lane} has embedded inputs; --inputs is not for it")
        passages = inputs.DEFAULT_PASSAGES if wanted is None else wanted
        return inputs.prepare(self.cache / "sources", self.cache, passages)


def stale(request: Request) -> str | None:
    """Why the capture on record does not serve this request, or None when it does.

    Raises:
        MatrixError: there is no GPU for the lane, or the inputs are bad, which is told before
            gigabytes are installed for nothing.
    """
    fingerprint = environment.fingerprint(
        environment.host(request.fixed.device), request.fixed.threads
    )
    hashes = request.inputs().hashes
    injected = swaps_hash(request.swaps())
    if not request.path.exists():
        return "no capture on record"
    try:
        record = read_record(request.path)
    except MatrixError:
        return "the capture on record cannot be read"
    # A release that was not installed has few of the packages.
    moved = [
        f"{name} {version}"
        for name, version in request.pins.items()
        if record.packages.get(name, version) != version
    ]
    reasons = {
        "the inputs changed": record.inputs != hashes,
        "what is injected changed": record.injected != injected,
        "the capture code changed": record.capture_code != environment.capture_code(),
        "captured on another host": record.fingerprint != fingerprint,
        f"the lane has {', '.join(moved)} now": moved,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def capture(request: Request, install_seconds: float) -> Path:
    """Run the pipeline in this environment and record what it made; returns the digest file.

    Raises:
        MatrixError: this environment has another colbert-ai, or the surroundings failed.
    """
    _check_colbert(request)
    started = datetime.datetime.now(datetime.UTC)
    # As it is now: an edit while the capture runs must make it stale.
    code = environment.capture_code()
    prepared = request.inputs()
    first = job(request, prepared, repeat=0)
    events: list[Event] = []
    facts: Facts | None = None
    tables: list[pa.Table] = []
    stopped: Event | None = None
    with Progress(f"torch {request.torch}") as progress:
        for repeat in range(request.repeats):
            progress.label = f"run {repeat + 1} of {request.repeats}"
            with tempfile.TemporaryDirectory(prefix="colbert-matrix-") as scratch:
                folder = Path(scratch)
                again = msgspec.structs.replace(first, repeat=repeat)
                events += _run(request, again, folder, progress)
                if (folder / "rows.parquet").exists():
                    tables.append(pq.read_table(folder / "rows.parquet"))
                if repeat == 0 and (folder / "facts.json").exists():
                    facts = msgspec.json.decode((folder / "facts.json").read_bytes(), type=Facts)
            stopped = next((e for e in events if e.state in ("failed", "not_run")), None)
            if stopped:
                _blame(stopped)
                break
    status = {"install": StageStatus(state="ok"), **_status(events)}
    seconds = {"install": install_seconds, **_seconds(events)}
    record = _record(
        request,
        prepared,
        code,
        started=started,
        status=status,
        seconds=seconds,
        facts=facts,
        repeats=len(tables),
        injected=first.swaps,
        # A run that stopped has fewer tensors, which is no disagreement.
        control=None if stopped else _control(tables),
    )
    rows = pa.concat_tables(tables) if tables else COLUMNS.empty_table()
    return write_capture(Capture(record=record, rows=_numbered(rows)), request.data)


def trace(request: Request, site: Site, folder: Path) -> None:
    """Run the pipeline up to one call; leaves `trace.json` and the rows so far in the folder.

    Raises:
        MatrixError: the run stopped before, or the call never came.
    """
    _check_colbert(request)
    wanted = msgspec.structs.replace(job(request, request.inputs(), repeat=0), site=site)
    with Progress(f"torch {request.torch}") as progress:
        progress.label = "trace"
        events = _run(request, wanted, folder, progress)
    for event in events:
        if event.state in ("failed", "not_run"):
            raise MatrixError(f"stage {event.stage}: {event.message}; nothing traced")


def record_failed_install(request: Request, seconds: float, message: str) -> Path:
    """Record a release that could not be installed: no rows, and a record that says why."""
    status = {
        "install": StageStatus(state="failed", error="InstallError", message=message),
        **_status([]),
    }
    record = _record(
        request,
        request.inputs(),
        environment.capture_code(),
        started=datetime.datetime.now(datetime.UTC),
        status=status,
        seconds={"install": seconds},
        injected=request.swaps(),
    )
    return write_capture(Capture(record=record, rows=COLUMNS.empty_table()), request.data)


def log_path(request: Request) -> Path:
    """Where the output of colbert-ai and torch goes."""
    return request.cache / "logs" / request.lane_name / f"torch-{request.torch}.log"


def variables(lane: Lane) -> dict[str, str]:
    """The variables that the pipeline runs under."""
    threads = str(lane.threads)
    fixed = {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",
        # Freed memory stays with the process: otherwise every large temporary is mapped and zeroed
        # by the kernel anew, which takes a third of the time of encoding on a small machine.
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(2**40),
        # A thread that waits for the next operation sleeps, so that another may hash meanwhile.
        "GOMP_SPINCOUNT": "0",
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "RAYON_NUM_THREADS": threads,
        # GPUs by the numbers that nvidia-smi gives them; torch would count the fastest first.
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }
    fixed["CUDA_VISIBLE_DEVICES"] = gpu.chosen() if lane.device == "cuda" else ""
    return {**os.environ, **fixed}


def _check_colbert(request: Request) -> None:
    """Refuse an environment kept from a capture of another colbert-ai."""
    version = environment.packages().get("colbert-ai")
    if version is None:
        return
    wanted, origin = request.colbert, environment.colbert_origin()
    same = origin.startswith(wanted.origin) if wanted.origin else wanted.version in ("", version)
    if not same or bool(origin) != bool(wanted.origin):
        found = f"{version} built from {origin}" if origin else version
        raise MatrixError(
            f"this environment has colbert-ai {found}, but {wanted.label} is wanted; "
            "make the environment anew"
        )


def job(request: Request, prepared: inputs.Inputs, repeat: int) -> Job:
    """What one run of the pipeline is to do."""
    return Job(
        torch=request.torch,
        repeat=repeat,
        threads=request.fixed.threads,
        device=request.fixed.device,
        depth=request.depth,
        kmeans=request.fixed.kmeans,
        checkpoint=str(prepared.checkpoint.absolute()),
        collection=prepared.collection,
        config=prepared.config,
        values=str((request.data / "values").absolute()),
        extensions=str((request.cache / "extensions").absolute()),
        swaps=request.swaps(),
    )


def _run(request: Request, job: Job, folder: Path, progress: Progress) -> list[Event]:
    """Run the pipeline once in a process of its own, showing its stages as they pass."""
    (folder / "job.json").write_bytes(msgspec.json.encode(job))
    log = log_path(request)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab" if job.repeat else "wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "matrix_capture.pipeline", str(folder)],
            cwd=folder,
            env=variables(request.fixed),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            while process.poll() is None:
                progress.show(_events(folder))
                time.sleep(_POLL_SECONDS)
        finally:
            process.kill()
            process.wait()
    events = _events(folder)
    progress.show(events)
    if _died(events, process.returncode):
        events.append(_crash(events, process.returncode))
        progress.show(events)
    progress.end_run()
    return events


def _events(folder: Path) -> list[Event]:
    try:
        lines = (folder / "progress.jsonl").read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    whole = (line for line in lines if line.endswith(b"\n"))
    return [msgspec.json.decode(line, type=Event) for line in whole]


def _blame(failed: Event) -> None:
    """Raise when a failure is the surroundings' and not the release's: that is not recorded."""
    if failed.error == MatrixError.__name__ or _NO_SPACE in failed.message:
        raise MatrixError(f"stage {failed.stage}: {failed.message}; nothing recorded")


def _died(events: list[Event], code: int) -> bool:
    """Whether the process ended without saying how its last stage did.

    After a failure that it did report, the way it ends adds nothing.
    """
    last = events[-1].state if events else "started"
    return last == "started" or (code != 0 and last != "failed")


def _crash(events: list[Event], code: int) -> Event:
    """The failure of a process that could not report one itself.

    Raises:
        MatrixError: somebody killed it, as the kernel does when memory runs out.
    """
    stage = events[-1].stage if events else "import"
    if -code in (signal.SIGKILL, signal.SIGTERM):
        raise MatrixError(
            f"stage {stage}: the process was killed by signal {-code}, perhaps for want of memory; "
            "nothing recorded"
        )
    what = f"killed by signal {-code}" if code < 0 else f"exited with status {code}"
    return Event(stage=stage, state="failed", error="ProcessDied", message=f"the process {what}")


def _status(events: list[Event]) -> dict[str, StageStatus]:
    status = {stage: StageStatus(state="not_run") for stage in STAGES if stage != "install"}
    for event in events:
        if event.state == "failed":
            status[event.stage] = StageStatus(
                state="failed", error=event.error, message=event.message
            )
        elif event.state == "ok":
            status[event.stage] = StageStatus(state="ok")
        elif event.state == "not_run":
            status[event.stage] = StageStatus(state="not_run", message=event.message)
    return status


def _seconds(events: list[Event]) -> dict[str, float]:
    """Wall seconds of each stage in the first run that came through it."""
    seconds: dict[str, float] = {}
    for event in events:
        if event.state != "started":
            seconds.setdefault(event.stage, round(event.seconds, 3))
    return seconds


def _control(tables: list[pa.Table]) -> Control | None:
    """Which tensors of the first run the second made again, bit by bit; None without a second."""
    if len(tables) < REPEATS:
        return None
    runs = [_digests(table) for table in tables]
    places = sorted(set().union(*runs))
    unstable = [place for place in places if len({run.get(place) for run in runs}) > 1]
    return Control(
        identical=not unstable,
        tensors=len(places),
        unstable=tuple(" ".join(filter(None, map(str, place))) for place in unstable[:_MANY]),
        unstable_tensors=len(unstable),
    )


def _digests(table: pa.Table) -> dict[tuple[str, str, str, int], bytes]:
    columns = ("artifact", "part", "scope", "occurrence")
    places = zip(*(table[name].to_pylist() for name in columns), strict=True)
    return dict(zip(places, table["digest"].to_pylist(), strict=True))


def _numbered(rows: pa.Table) -> pa.Table:
    place = rows.schema.get_field_index("seq")
    return rows.set_column(place, "seq", pa.array(range(rows.num_rows), pa.int32()))


def _record(
    request: Request,
    prepared: inputs.Inputs,
    code: CaptureCode,
    *,
    started: datetime.datetime,
    status: dict[str, StageStatus],
    seconds: dict[str, float],
    facts: Facts | None = None,
    repeats: int = 0,
    injected: Sequence[Swap] = (),
    control: Control | None = None,
) -> Record:
    lane = request.fixed
    machine = environment.host(lane.device)
    installed = environment.packages()
    origin = environment.colbert_origin()
    return Record(
        schema_version=SCHEMA_VERSION,
        lane=request.lane_name,
        torch=request.torch,
        torch_build=facts.torch_build if facts else installed.get("torch", ""),
        status=status,
        packages=installed,
        host={**machine, **(facts.host if facts else {})},
        environ=environment.switches(variables(lane)),
        inputs=prepared.hashes,
        factors=environment.factors(lane, installed, request.colbert.built(origin)),
        fingerprint=environment.fingerprint(machine, lane.threads),
        capture_code=code,
        started=started.isoformat(timespec="seconds"),
        seconds=seconds,
        repeats=repeats,
        options=request.options,
        injected=swaps_hash(injected),
        missing=facts.missing if facts else {},
        note=request.note,
        observer=facts.observer if facts else None,
        control=control,
    )
