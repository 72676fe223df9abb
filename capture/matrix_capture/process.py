"""Runs a job in a process of its own, which may crash; this one never imports torch."""

import errno
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from matrix_capture import gpu
from matrix_capture.errors import MatrixError
from matrix_capture.job import Event, Job
from matrix_capture.progress import Progress
from matrix_capture.settings import Lane

_POLL_SECONDS = 0.1
_LAST_WORDS = 2048  # bytes
_ASSERTION = re.compile(rb"Assertion `[^'\n]{1,200}' failed")
_NOT_THEIRS = (os.strerror(errno.ENOSPC), "Killed signal terminated program")


def run_job(job: Job, folder: Path, lane: Lane, log: Path, progress: Progress) -> list[Event]:
    """Run a job in a process of its own, showing its stages as they pass; `folder` gets the rest.

    What colbert-ai and torch print goes to the end of `log`.

    Raises:
        MatrixError: somebody killed the process.
    """
    (folder / "job.json").write_bytes(msgspec.json.encode(job))
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        before = output.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "matrix_capture.pipeline", str(folder)],
            cwd=folder,
            env=variables(lane),
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
        events.append(_crash(events, process.returncode, log, before))
        progress.show(events)
    progress.end_run()
    return events


def blame(failed: Event) -> None:
    """Raise when a failure is the surroundings' and not the release's: that is not recorded."""
    if failed.error == MatrixError.__name__ or any(sign in failed.message for sign in _NOT_THEIRS):
        raise MatrixError(f"stage {failed.stage}: {failed.message}; nothing recorded")


def variables(lane: Lane) -> dict[str, str]:
    """The variables that the pipeline runs under."""
    threads = str(lane.threads)
    # First what the environment brings: another ninja would compile every extension anew.
    path = (str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))
    fixed = {
        "PATH": os.pathsep.join(path),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "LANGUAGE": "C",  # in which a compiler tells its errors
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


def _events(folder: Path) -> list[Event]:
    try:
        lines = (folder / "progress.jsonl").read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    whole = (line for line in lines if line.endswith(b"\n"))
    return [msgspec.json.decode(line, type=Event) for line in whole]


def _died(events: list[Event], code: int) -> bool:
    """Whether the process ended without saying how its last stage did.

    After a failure that it did report, the way it ends adds nothing.
    """
    last = events[-1].state if events else "started"
    return last == "started" or (code != 0 and last != "failed")


def _crash(events: list[Event], code: int, log: Path, before: int) -> Event:
    """The failure of a process that could not report one itself.

    C++ that gives up over an assertion says which as its last words, in the log, of which the
    bytes `before` are other processes'.

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
    with log.open("rb") as output:
        output.seek(max(before, log.stat().st_size - _LAST_WORDS))
        said = _ASSERTION.search(output.read())
    why = f": {said[0].decode('utf-8', 'replace')}" if said and -code == signal.SIGABRT else ""
    return Event(
        stage=stage, state="failed", error="ProcessDied", message=f"the process {what}{why}"
    )
