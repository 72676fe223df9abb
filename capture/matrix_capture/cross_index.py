"""Searches indexes that other releases built: may an index be kept when torch is bumped?

The search of a release in its own index is part of its capture; here is every other one, each with
and without mapping the index into memory.
"""

import datetime
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pyarrow.parquet as pq

from matrix_capture import environment, rankings, runner
from matrix_capture.errors import MatrixError
from matrix_capture.index_files import index_hash, index_path
from matrix_capture.job import Event, KeptIndex
from matrix_capture.process import blame, run_job
from matrix_capture.progress import Progress
from matrix_capture.rankings import Rankings, Search, read_rankings, record_searches
from matrix_capture.runner import Request
from matrix_capture.schema import Record, read_record


def due(request: Request, releases: Sequence[str]) -> tuple[KeptIndex, ...]:
    """The indexes of some releases that the release of the request has yet to search.

    A release that did not come as far as an index has none to search, and one that did not load
    cannot search.

    Raises:
        MatrixError: a release has no capture, or one of other inputs or from another host.
    """
    records = _records(request, {request.torch, *releases})
    if records[request.torch].state("load") != "ok":
        return ()
    indexes = [
        KeptIndex(torch=release, folder=str(_kept(request, release).absolute()), mmap=mmap)
        for release in dict.fromkeys(releases)
        if records[release].state("index") == "ok"
        for mmap in _ways(request)
        if mmap or release != request.torch
    ]
    path = rankings.rankings_path(request.data, request.lane_name)
    known = read_rankings(path) if path.exists() else None
    return tuple(index for index in indexes if not _serves(known, request, index))


def search_kept(request: Request, indexes: Sequence[KeptIndex]) -> list[Search]:
    """Search some indexes with the release of this environment and record what was found.

    Raises:
        MatrixError: this environment has another colbert-ai, an index holds more than tensors, or
            the surroundings failed.
    """
    runner.check_colbert(request)
    prepared = request.inputs()
    header = runner.rankings_header(request, prepared)
    left, found = list(indexes), []
    # As they are now: an index or code that is replaced meanwhile is to be searched again.
    code = environment.capture_code()
    hashes = {index.folder: index_hash(Path(index.folder)) for index in indexes}
    with (
        tempfile.TemporaryDirectory(prefix="colbert-matrix-") as scratch,
        Progress(f"torch {request.torch}") as progress,
    ):
        log_path(request).unlink(missing_ok=True)
        while left:
            folder = Path(scratch, str(len(left)))
            folder.mkdir()
            job = msgspec.structs.replace(
                runner.job(request, prepared, repeat=0), indexes=tuple(left)
            )
            progress.label = f"{len(left)} to search"
            started = datetime.datetime.now(datetime.UTC)
            events = run_job(job, folder, request.fixed, log_path(request), progress)
            for event in events:
                if event.state == "failed":
                    blame(event)
            # A process that dies takes one search with it; the next one goes on behind that.
            ended = list(_ended(events, left))
            for number, (index, event) in enumerate(ended):
                search = Search(
                    index_torch=index.torch,
                    search_torch=request.torch,
                    mmap=index.mmap,
                    state="ok" if event.state == "ok" else "failed",
                    index=hashes[index.folder],
                    started=started.isoformat(timespec="seconds"),
                    seconds=round(event.seconds, 3),
                    capture_code=code,
                    error=event.error,
                    message=event.message,
                )
                rows = rankings.COLUMNS.empty_table()
                if search.state == "ok":
                    rows = pq.read_table(folder / f"ranking-{number}.parquet")
                record_searches(request.data, header, [(search, rows)])
                found.append(search)
            left = left[len(ended) :]
    return found


def log_path(request: Request) -> Path:
    """Where the output of colbert-ai and torch goes."""
    captured = runner.log_path(request)
    return captured.with_name(f"{captured.stem}-search.log")


def _ended(
    events: Sequence[Event], indexes: Sequence[KeptIndex]
) -> Iterator[tuple[KeptIndex, Event]]:
    """The indexes whose search ended, and how; a run that never came to them failed them all."""
    for event in events:
        if event.stage != "search" and event.state in ("failed", "not_run"):
            yield from ((index, event) for index in indexes)
            return
    searched = [e for e in events if e.stage == "search" and e.state in ("ok", "failed")]
    yield from zip(indexes, searched, strict=False)


def _serves(known: Rankings | None, request: Request, index: KeptIndex) -> bool:
    """Whether the search on record is that of this index, by this code."""
    found = known and known.search(index.torch, request.torch, mmap=index.mmap)
    return bool(
        found
        and found.index == index_hash(Path(index.folder))
        and found.capture_code == environment.capture_code()
    )


def _ways(request: Request) -> tuple[bool, ...]:
    """Whether to map the index into memory; colbert-ai refuses to on a GPU."""
    return (False, True) if request.fixed.device == "cpu" else (False,)


def _records(request: Request, releases: Collection[str]) -> dict[str, Record]:
    """The records of some releases, which must be of the same inputs and host as this run."""
    hashes, records = request.inputs().hashes, {}
    machine = environment.host(request.fixed.device)
    here = environment.fingerprint(machine, request.fixed.threads)
    for release in releases:
        path = replace(request, torch=release).path
        if not path.exists():
            raise MatrixError(f"no capture of torch {release} in lane {request.lane_name}; {_CURE}")
        records[release] = read_record(path)
        if records[release].inputs != hashes:
            raise MatrixError(f"the capture of torch {release} has other inputs; {_CURE}")
        if records[release].fingerprint != here:
            raise MatrixError(f"the capture of torch {release} is from another host; {_CURE}")
    return records


def _kept(request: Request, release: str) -> Path:
    folder = index_path(request.data, request.lane_name, release)
    if not folder.is_dir():
        raise MatrixError(f"{folder} is missing; capture torch {release} again with --fresh")
    return folder


_CURE = "nox -s matrix -- followed by the releases makes it"
