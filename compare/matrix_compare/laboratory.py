"""Two environments, a torch release in each, and what can be tried out in them."""

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq

from matrix_capture import process, runner
from matrix_capture.call import Call
from matrix_capture.errors import MatrixError
from matrix_capture.experiment import Answer, Outcome, Request, Variant
from matrix_capture.inject import read_injection
from matrix_capture.optrace import Site, Trace
from matrix_capture.schema import Capture, read_capture
from matrix_capture.values import ValueStore


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One release: what is asked of its captures, and the interpreter of its environment."""

    request: runner.Request
    python: Path

    @property
    def torch(self) -> str:
        """The release."""
        return self.request.torch

    @property
    def threads(self) -> int:
        """As many as the lane has."""
        return self.request.fixed.threads

    def baseline(self) -> Capture:
        """Its capture without swaps, made now if there is none that serves.

        Raises:
            MatrixError: it cannot be made, or the release fails.
        """
        return self._captured(self.request)

    def swapped(self, injected: Sequence[str], source: str) -> Capture:
        """Its capture with artifacts of another release, made now if there is none that serves.

        Raises:
            MatrixError: it cannot be made, or stops on the way.
        """
        injections = tuple(map(read_injection, _labels(injected, source)))
        return self._captured(replace(self.request, injections=injections))

    def trace(self, site: Site, injected: Sequence[str], source: str) -> tuple[Trace, Any]:
        """The operations below one call, and the rows that the run made until then.

        Raises:
            MatrixError: the run stops before it.
        """
        with tempfile.TemporaryDirectory(prefix="colbert-matrix-") as scratch:
            folder = Path(scratch)
            where = ["--artifact", site.artifact, "--scope", site.scope]
            where += ["--occurrence", str(site.occurrence), "--out", scratch]
            where += [] if site.keep is None else ["--keep", str(site.keep)]
            self._command("trace", *where, *_inject(_labels(injected, source)))
            trace = msgspec.json.decode((folder / "trace.json").read_bytes(), type=Trace)
            return trace, pq.read_table(folder / "rows.parquet")

    def experiment(
        self,
        call: Call,
        variants: Sequence[Variant],
        *,
        keep: bool = False,
        environ: Mapping[str, str] | None = None,
    ) -> tuple[Outcome, ...]:
        """A call in many ways, in a process of its own.

        Raises:
            MatrixError: the process fails.
        """
        with tempfile.TemporaryDirectory(prefix="colbert-matrix-") as scratch:
            folder = Path(scratch)
            request = Request(
                call=call,
                values=str((self.request.data / "values").absolute()),
                threads=self.threads,
                variants=tuple(variants),
                keep=keep,
            )
            (folder / "request.json").write_bytes(msgspec.json.encode(request))
            variables = process.variables(self.request.fixed) | dict(environ or {})
            self._run(["-m", "matrix_capture.experiment", scratch], variables, cwd=folder)
            answer = (folder / "answer.json").read_bytes()
            return msgspec.json.decode(answer, type=Answer).outcomes

    def script(self, text: str) -> str:
        """What a script prints, run as anybody would run it.

        Raises:
            MatrixError: the script fails.
        """
        with tempfile.TemporaryDirectory(prefix="colbert-matrix-") as scratch:
            path = Path(scratch) / "repro.py"
            path.write_text(text, encoding="utf-8")
            return self._run([str(path)], dict(os.environ), cwd=Path(scratch)).strip()

    def store(self) -> ValueStore:
        """Where its values are."""
        return ValueStore(self.request.data / "values")

    def _captured(self, request: runner.Request) -> Capture:
        """A capture that came as far as an index, which is all that is explained."""
        if runner.stale(request):
            self._command("run", *_inject([one.label for one in request.injections]))
        capture = read_capture(request.path)
        failed = capture.record.failed_stage()
        if failed and capture.record.state("index") != "ok":
            message = capture.record.status[failed].message
            raise MatrixError(
                f"torch {self.torch} fails at {failed} ({message}), so nothing can be explained"
            )
        return capture

    def _command(self, name: str, *arguments: str) -> None:
        request = self.request
        which = ["--torch", request.torch, "--lane", request.lane, "--depth", request.depth]
        which += ["--data", str(request.data), "--cache", str(request.cache)]
        which += [] if request.passages is None else ["--passages", str(request.passages)]
        which += [] if request.copy is None else ["--inputs", str(request.copy)]
        which += [] if request.revision is None else ["--colbert", request.revision.argument]
        command = ["-m", "matrix_capture", name, *which, *arguments]
        self._run(command, dict(os.environ), cwd=Path.cwd())

    def _run(self, command: Sequence[str], environ: Mapping[str, str], cwd: Path) -> str:
        done = subprocess.run(
            [str(self.python), *command],
            env=environ,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
            raise MatrixError(f"torch {self.torch}: {last.removeprefix('error: ')}")
        return done.stdout


def _labels(injected: Sequence[str], source: str) -> list[str]:
    return [f"{name}={source}" for name in injected]


def _inject(labels: Sequence[str]) -> list[str]:
    return [part for label in labels for part in ("--inject", label)]
