"""`python -m matrix_capture`: what the capture sessions call inside a torch environment."""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from matrix_capture import cross_index, runner
from matrix_capture.catalogue import DEPTHS
from matrix_capture.errors import MatrixError
from matrix_capture.extensions import compiler
from matrix_capture.inject import read_injection
from matrix_capture.install_log import infrastructure, reason
from matrix_capture.optrace import Site
from matrix_capture.rankings import rankings_path
from matrix_capture.revision import read_revision
from matrix_capture.schema import read_record
from matrix_capture.settings import read_settings

_SPACE_NEEDED = 12 * 10**9  # bytes: the largest torch environment, its downloads, and room to work


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        settings = read_settings()
        request = runner.Request(
            settings=settings,
            lane=options.lane,
            torch=settings.release(options.torch, options.lane),
            data=options.data,
            cache=options.cache,
            passages=options.passages,
            depth=options.depth,
            copy=options.inputs,
            note=getattr(options, "note", ""),
            revision=read_revision(options.colbert) if options.colbert is not None else None,
            injections=tuple(map(read_injection, options.inject)),
        )
        if options.lane not in settings.lanes and settings.lane(options.lane):
            raise MatrixError(f"{options.lane} is named after options; give the lane and those")
        options.command(request, options)
    except (MatrixError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: interrupted; nothing recorded", file=sys.stderr)
        return 130
    return 0


def _check(request: runner.Request, options: argparse.Namespace) -> None:
    """Say `current` when the capture on record serves, else `needed` and why."""
    why = runner.stale(request)
    if options.fresh:
        why = "asked for with --fresh"
    if why is None:
        failed = read_record(request.path).failed_stage()
        print(f"current (failed at {failed}; --fresh repeats it)" if failed else "current")
        return
    compiler()
    for folder in (request.path.parent, request.data / "values"):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise MatrixError(f"{folder}: {error.strerror}; choose another --data") from None
    free = shutil.disk_usage(sys.prefix).free
    if free < _SPACE_NEEDED:
        raise MatrixError(
            f"{free / 1e9:.0f} GB free where environments are made, but a capture needs "
            f"{_SPACE_NEEDED / 1e9:.0f} GB; free some space"
        )
    print(f"needed: {why}")


def _run(request: runner.Request, options: argparse.Namespace) -> None:
    """Capture, and say what was written."""
    path = runner.capture(request, options.install_seconds)
    record = read_record(path)
    failed = record.failed_stage()
    if failed:
        print(f"failed: {failed} (recorded); the log is {runner.log_path(request)}")
    print(f"wrote {path}")


def _trace(request: runner.Request, options: argparse.Namespace) -> None:
    """Run up to the call that makes one occurrence of an artifact, and trace its operations."""
    site = Site(
        artifact=options.artifact,
        scope=options.scope,
        occurrence=options.occurrence,
        keep=options.keep,
    )
    options.out.mkdir(parents=True, exist_ok=True)
    runner.trace(request, site, options.out)
    print(f"wrote {options.out / 'trace.json'}")


def _due(request: runner.Request, options: argparse.Namespace) -> None:
    """Say `current` when every index of the releases was searched, else `needed` and how many."""
    missing = cross_index.due(request, _releases(request, options))
    print(f"needed: {len(missing)} indexes to search" if missing else "current")


def _search(request: runner.Request, options: argparse.Namespace) -> None:
    """Search the indexes of the releases, and say what came of it."""
    missing = cross_index.due(request, _releases(request, options))
    for found in cross_index.search_kept(request, missing):
        way = "mapped" if found.mmap else ""
        outcome = f"{found.seconds:.1f} s" if found.state == "ok" else f"failed: {found.message}"
        print(f"index of {found.index_torch:8} {way:8}{outcome}")
    print(f"wrote {rankings_path(request.data, request.lane_name)}")


def _releases(request: runner.Request, options: argparse.Namespace) -> list[str]:
    return [request.settings.release(name, request.lane) for name in options.index]


def _fail(request: runner.Request, options: argparse.Namespace) -> None:
    """Record a failed install, unless the network or the disk is to blame."""
    log = options.log.read_text(encoding="utf-8", errors="replace")
    if blame := infrastructure(log, judged=options.judged):
        raise MatrixError(f"torch {request.torch} was not installed: {blame}; nothing recorded")
    path = runner.record_failed_install(request, options.install_seconds, reason(log))
    print(f"failed: install (recorded); {reason(log)}")
    print(f"wrote {path}")


_COMMANDS = {
    "check": _check,
    "run": _run,
    "trace": _trace,
    "fail": _fail,
    "due": _due,
    "search": _search,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m matrix_capture", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command in _COMMANDS.items():
        sub = commands.add_parser(name, help=command.__doc__, description=command.__doc__)
        sub.set_defaults(command=command)
        sub.add_argument("--torch", required=True, metavar="VERSION", help="a release or build")
        sub.add_argument("--lane", required=True, help="a lane of matrix.toml")
        sub.add_argument("--data", required=True, type=Path, help="where records go")
        sub.add_argument("--cache", required=True, type=Path, help="inputs, extensions, logs")
        sub.add_argument("--passages", type=int, help="how many; recorded in a lane of its own")
        sub.add_argument("--depth", choices=DEPTHS, default=DEPTHS[0], help="of the encoder")
        sub.add_argument("--inputs", type=Path, metavar="DIR", help="a copy of what the hub has")
        sub.add_argument("--colbert", metavar="PATH|git+URL@SHA|VERSION", help="another colbert-ai")
        sub.add_argument(
            "--inject", action="append", default=[], metavar="ARTIFACT[:OCCURRENCE]=VERSION"
        )
        if name == "check":
            sub.add_argument("--fresh", action="store_true", help="capture again in any case")
        else:
            sub.add_argument("--install-seconds", type=float, default=0.0)
            sub.add_argument("--note", default="", help="how this environment came about")
        if name == "trace":
            sub.add_argument("--artifact", required=True, metavar="NAME")
            sub.add_argument("--scope", required=True, metavar="PASS")
            sub.add_argument("--occurrence", required=True, type=int, metavar="N")
            sub.add_argument("--keep", type=int, metavar="N", help="which operation, to repeat it")
            sub.add_argument("--out", required=True, type=Path, metavar="DIR")
        if name in ("due", "search"):
            sub.add_argument(
                "--index", required=True, action="append", metavar="VERSION", help="may be repeated"
            )
        if name == "fail":
            sub.add_argument("--log", required=True, type=Path, help="the installer's output")
            sub.add_argument("--judged", choices=("torch", "colbert-ai"), default="torch")
    return parser


if __name__ == "__main__":
    sys.exit(main())
