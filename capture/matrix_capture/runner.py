"""One capture from start to record: prepares the inputs, runs the pipeline twice, writes the file.

This process never imports torch. The pipeline runs in a process of its own, so that a crash inside
torch is a recorded failure like any other.
"""

import datetime
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from matrix_capture import conditionalqa, environment, inputs, rankings
from matrix_capture.catalogue import Depth
from matrix_capture.errors import MatrixError
from matrix_capture.index_files import index_hash, index_path, keep_index
from matrix_capture.inject import Injection, Swap, injection_label, swaps, swaps_hash
from matrix_capture.job import INDEX_FOLDER, Event, Facts, Job
from matrix_capture.names import capture_session, lane_name, lane_options
from matrix_capture.optrace import Site
from matrix_capture.process import blame, run_job, variables
from matrix_capture.progress import Progress
from matrix_capture.rankings import Header, Search, record_searches
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

_MANY = 100  # names in a record; the rows have them all


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
            source = self.settings.release(injection.source, self.lane)
            path = digest_path(self.data, lane, source)
            if not path.exists():
                raise MatrixError(
                    f"{injection.label}: no capture of torch {source} in lane {lane}; "
                    f"nox -s {capture_session(source)} makes it"
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
    check_colbert(request)
    started = datetime.datetime.now(datetime.UTC)
    # As it is now: an edit while the capture runs must make it stale.
    code = environment.capture_code()
    prepared = request.inputs()
    first = job(request, prepared, repeat=0)
    events: list[Event] = []
    facts: Facts | None = None
    tables: list[pa.Table] = []
    stopped: Event | None = None
    log_path(request).unlink(missing_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="colbert-matrix-") as scratch,
        Progress(f"torch {request.torch}") as progress,
    ):
        for repeat in range(request.repeats):
            progress.label = f"run {repeat + 1} of {request.repeats}"
            folder = Path(scratch, str(repeat))
            folder.mkdir()
            again = msgspec.structs.replace(first, repeat=repeat)
            events += run_job(again, folder, request.fixed, log_path(request), progress)
            if (folder / "rows.parquet").exists():
                tables.append(pq.read_table(folder / "rows.parquet"))
            if repeat == 0 and (folder / "facts.json").exists():
                facts = msgspec.json.decode((folder / "facts.json").read_bytes(), type=Facts)
            stopped = next((e for e in events if e.state in ("failed", "not_run")), None)
            if stopped:
                blame(stopped)
                break
        record = _record(
            request,
            prepared,
            code,
            started=started,
            status={"install": StageStatus(state="ok"), **_status(events)},
            seconds={"install": install_seconds, **_seconds(events, 0)},
            events=events,
            facts=facts,
            repeats=len(tables),
            injected=first.swaps,
            # A run that stopped has fewer tensors, which is no disagreement.
            control=None if stopped else _control(tables),
        )
        rows = pa.concat_tables(tables) if tables else COLUMNS.empty_table()
        # Before the record: once that is there, nothing looks for an index that never came.
        if not request.injections:
            _keep_for_search(request, record, prepared, Path(scratch, "0"))
        return write_capture(Capture(record=record, rows=_numbered(rows)), request.data)


def _keep_for_search(
    request: Request, record: Record, prepared: inputs.Inputs, folder: Path
) -> None:
    """Keep the index that a run left in a folder, and record what was found in it."""
    if record.state("index") != "ok":
        return
    index = index_path(request.data, request.lane_name, request.torch)
    keep_index(folder / INDEX_FOLDER, index)
    status = record.status["search"]
    if status.state == "not_run":
        return
    search = Search(
        index_torch=request.torch,
        search_torch=request.torch,
        mmap=False,
        state=status.state,
        index=index_hash(index),
        started=record.started,
        seconds=record.seconds["search"],
        capture_code=record.capture_code,
        error=status.error,
        message=status.message,
    )
    rows = rankings.COLUMNS.empty_table()
    if status.state == "ok":
        rows = pq.read_table(folder / "ranking.parquet")
    record_searches(request.data, rankings_header(request, prepared), [(search, rows)])


def rankings_header(request: Request, prepared: inputs.Inputs) -> Header:
    """What holds for all rankings of the lane of a request."""
    return Header(
        schema_version=rankings.SCHEMA_VERSION,
        lane=request.lane_name,
        inputs=prepared.hashes,
        relevant=tuple(query.relevant for query in prepared.queries),
    )


def trace(request: Request, site: Site, folder: Path) -> None:
    """Run the pipeline up to one call; leaves `trace.json` and the rows so far in the folder.

    Raises:
        MatrixError: the run stopped before, or the call never came.
    """
    check_colbert(request)
    wanted = msgspec.structs.replace(job(request, request.inputs(), repeat=0), site=site)
    with Progress(f"torch {request.torch}") as progress:
        progress.label = "trace"
        events = run_job(wanted, folder, request.fixed, log_path(request), progress)
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


def check_colbert(request: Request) -> None:
    """Refuse an environment kept from a capture of another colbert-ai.

    Raises:
        MatrixError: it has another than is wanted.
    """
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
        queries=prepared.queries,
        config=prepared.config,
        values=str((request.data / "values").absolute()),
        extensions=str((request.cache / "extensions").absolute()),
        swaps=request.swaps(),
    )


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


def _seconds(events: Sequence[Event], repeat: int) -> dict[str, float]:
    """Wall seconds of each stage that a run came through, or failed in."""
    found = _ended(events).items()
    return {stage: round(e[repeat].seconds, 3) for stage, e in found if len(e) > repeat}


def _cpu_seconds(events: Sequence[Event]) -> dict[str, list[float]]:
    return {stage: [round(e.cpu, 3) for e in found] for stage, found in _ended(events).items()}


def _ended(events: Sequence[Event]) -> dict[str, list[Event]]:
    """How each stage ended, run after run."""
    ended: dict[str, list[Event]] = {}
    for event in events:
        if event.state != "started":
            ended.setdefault(event.stage, []).append(event)
    return ended


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
    events: Sequence[Event] = (),
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
        seconds_again=_seconds(events, 1),
        cpu_seconds=_cpu_seconds(events),
        repeats=repeats,
        options=request.options,
        injected=swaps_hash(injected),
        missing=facts.missing if facts else {},
        substituted=facts.substituted if facts else {},
        note=request.note,
        observer=facts.observer if facts else None,
        control=control,
    )
