"""The user's interface: `nox -s matrix`, `nox -s capture-2.5.0`; `nox -l` lists the rest."""

import argparse
import json
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import nox
from nox.command import CommandFailed

ROOT = Path(__file__).parent
sys.path[:0] = [str(ROOT / "capture"), str(ROOT)]

from matrix_capture import torch_index  # noqa: E402 - found by the line above
from matrix_capture.catalogue import DEPTHS  # noqa: E402
from matrix_capture.errors import MatrixError  # noqa: E402
from matrix_capture.names import (  # noqa: E402
    capture_session,
    is_build,
    release_order,
    unknown_release,
    without_builds,
)
from matrix_capture.revision import read_revision, resolved  # noqa: E402
from sessions.environments import (  # noqa: E402
    INSTALLING,
    LENT,
    READY,
    ask,
    clear_leftovers,
    colbert_requirement,
    comparing_requirement,
    discard,
    environment_of,
    fetch_inputs,
    install,
    install_beside,
    install_into,
    install_log,
    install_with_npm,
    installing,
    make_environment,
    own_requirement,
    pipeline_requirements,
    run_nox,
)
from sessions.matrix import (  # noqa: E402
    CACHE,
    DEFAULT_LANE,
    DEFAULT_RELEASES,
    LANES,
    NIGHTLY_LANES,
    RELEASES,
    SITE,
    TREES,
)
from sessions.options import (  # noqa: E402
    Arguments,
    artifact_name,
    build_name,
    capture_options,
    check_data,
    check_known,
    check_pair,
    flag,
    lane_flags,
    parse,
    pinned_colbert,
    positive_number,
    recorded_lane,
    refuse,
    request_flags,
    session_parser,
    site_options,
)

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "types", "tests"]


@nox.session(python=False, default=False)
def matrix(session: nox.Session) -> None:
    """Capture releases, search the indexes of a pair, compare, advise, publish the pages."""
    parser = session_parser(session)
    parser.add_argument(
        "releases",
        nargs="*",
        default=DEFAULT_RELEASES,
        metavar="RELEASE",
        help=f"torch releases, or 'all'; without any: {' '.join(DEFAULT_RELEASES)}",
    )
    capture_options(parser)
    site_options(parser)
    options = parse(session, parser, LANES)
    named = list(dict.fromkeys(options.releases))
    releases = RELEASES if "all" in named else named
    check_pair(releases, options.lane)
    shared = ["--data", str(options.data), "--lane", options.lane]
    shared += lane_flags(options)
    again: list[str] = [name for name in ("--fresh", "--keep-env") if name in session.posargs]
    again += flag("--inputs", options.inputs)
    # Where nothing is pinned, it only counts whether it runs.
    pinned = bool(LANES[options.lane].get("constraints"))
    pair = pinned and len(releases) == 2  # both have room; of more each goes in its turn
    for release in releases:
        session.notify(f"capture-{release}", [*shared, *again, *(["--lend-env"] if pair else [])])
    if pinned:
        if pair:
            session.notify("search", [*shared, *flag("--inputs", options.inputs), *releases])
        session.notify("compare", [*shared, *releases])
        session.notify("advise", [*shared, *(releases if pair else [])])
    session.notify("site", [*shared, *flag("--out", options.out)])


def _capture_session(release: str) -> None:
    """Register `capture-<release>`; as a release, `nightly` is a build that the options name."""

    # A string keeps the session's name as it is; a list would append the version to it.
    @nox.session(name=f"capture-{release}", python="3.11", default=False)
    def capture(session: nox.Session) -> None:
        parser = session_parser(session)
        capture_options(parser)
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
                type=build_name,
                metavar="VERSION",
                help="such as 2.16.0.dev20261121 (default: the newest that the lane can have)",
            )
        folder, kept = Path(session.virtualenv.location), False
        try:
            options = parse(session, parser, LANES)
            torch = _nightly(options) if release == "nightly" else release
            _capture(session, torch, options)
            kept = options.keep_env or options.lend_env
        finally:
            if not kept:
                discard(folder)

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
        refuse(without_builds(options.build or "a nightly build", options.lane, NIGHTLY_LANES))
    try:
        return str(options.build or torch_index.builds(index, lane["python"])[-1])
    except MatrixError as error:
        refuse(str(error))


def _capture(session: nox.Session, release: str, options: argparse.Namespace) -> None:
    lane = LANES[options.lane]
    pins = flag("--constraint", lane.get("constraints"))
    command = ["python", "-m", "matrix_capture"]
    which = ["--torch", release, *request_flags(options)]
    which += [part for text in options.inject for part in ("--inject", text)]
    # First what a look at the record takes, which is little; torch only where it is needed.
    if lane.get("inputs", "embedded") == "embedded":
        install(session, "-e", ".", *pins)
        fetch_inputs(session)
    else:
        install(session, "-e", ".[hub]", *pins)
        if options.inputs is None and not (CACHE / "hub").exists():
            session.log("inputs: about 150 MB to download from the Hugging Face hub, once")
    fresh = ["--fresh"] if options.fresh else []
    answer = ask(session, *command, "check", *which, *fresh)
    session.log(f"torch {release}: {answer}")
    if answer.startswith("current"):
        return
    with tempfile.TemporaryDirectory() as building:
        colbert = colbert_requirement(options.revision, Path(building))
        requirements = pipeline_requirements(release, lane, colbert)
        env = installing(release, lane)
        seconds = _install_torch(session, release, requirements, command, which, env=env)
    if seconds is not None:
        which += ["--install-seconds", f"{seconds:.1f}"]
        ask(session, *command, "run", *which, quiet=False)
        ready = Path(session.virtualenv.location, READY)
        lent = options.lend_env and not options.keep_env
        ready.write_text(LENT if lent else "", encoding="utf-8")


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
    log = install_log(session)
    session.log(f"torch {release}: installing, 2 to 4 GB to download; the log is {log}")
    started = time.monotonic()
    try:
        install_into(log, session, *requirements, env=env)
    except CommandFailed:
        seconds = ["--install-seconds", f"{time.monotonic() - started:.1f}"]
        session.log(ask(session, *command, "fail", *which, *seconds, "--log", str(log)))
        return None
    return time.monotonic() - started


@nox.session(default=False)
def compare(session: nox.Session) -> None:
    """Compare every pair of captures of a lane; print those of the releases named."""
    parser = session_parser(session)
    parser.add_argument("releases", nargs="*", metavar="RELEASE")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the verdicts there too")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write a report there too")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="the same for a build server")
    options = parse(session, parser)
    check_data(options)
    install(session, "-e", ".[compare]")
    which = ["--lane", recorded_lane(options), "--data", str(options.data)]
    which += flag("--json", options.json) + flag("--markdown", options.markdown)
    which += flag("--junit", options.junit)
    ask(session, "python", "-m", "matrix_compare", *which, *options.releases, quiet=False)


@nox.session(default=False)
def advise(session: nox.Session) -> None:
    """Say what becomes of index, ranking and training when torch A becomes B."""
    parser = session_parser(session)
    parser.add_argument(
        "releases",
        nargs="*",
        metavar="RELEASE",
        help="the one you have, then the one you want, be it newer or older; without any: every "
        "pair of neighbours on record",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the advice there too")
    options = parse(session, parser)
    check_data(options)
    install(session, "-e", ".[compare]")
    which = ["--lane", recorded_lane(options), "--data", str(options.data)]
    which += flag("--json", options.json)
    ask(session, "python", "-m", "matrix_compare.advise", *which, *options.releases, quiet=False)


@nox.session(python="3.11", default=False)
def explain(session: nox.Session) -> None:
    """Find out why two releases differ, prove it, and write a script that shows it."""
    parser = session_parser(session)
    parser.add_argument("a", metavar="A", help="a release")
    parser.add_argument("b", metavar="B", help="another release")
    parser.add_argument("--inputs", type=Path, metavar="DIR", help="a copy of what the hub has")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the explanation there too")
    parser.add_argument(
        "--keep-env", action="store_true", help="keep both environments (5-7 GB each)"
    )
    options = parse(session, parser, LANES)
    check_pair([options.a, options.b], options.lane)
    folders = [
        Path(session.virtualenv.location).with_name(f"explain-{name}")
        for name in (options.a, options.b)
    ]
    try:
        _explain(session, options, folders)
    finally:
        for folder in folders:
            if not options.keep_env:
                discard(folder)


def _explain(session: nox.Session, options: argparse.Namespace, folders: Sequence[Path]) -> None:
    ours = own_requirement(options)
    install(session, "-e", ".[compare]")
    fetch_inputs(session)
    for release, folder in zip((options.a, options.b), folders, strict=True):
        if not (folder / READY).exists():
            make_environment(session, release, options, folder, ours)
    command = ["nox", "-s", "explain", "--", options.a, options.b]
    command += [] if options.lane == DEFAULT_LANE else ["--lane", options.lane]
    command += flag("--passages", options.passages)
    command += [] if options.depth == DEPTHS[0] else ["--depth", options.depth]
    label = options.revision.label
    command += [] if label == pinned_colbert(options) else ["--colbert", label]
    which = request_flags(options)
    which += [*flag("--json", options.json), "--command", shlex.join(command)]
    pythons = [str((folder / "bin" / "python").absolute()) for folder in folders]
    module = ["python", "-m", "matrix_compare.explain"]
    ask(session, *module, options.a, options.b, *which, "--python", *pythons, quiet=False)


@nox.session(default=False)
def bisect(session: nox.Session) -> None:
    """Find the first build of torch between two that changes an artifact, with few captures."""
    parser = session_parser(session)
    parser.add_argument("a", metavar="A", help="a release, or a build in a nightly lane")
    parser.add_argument("b", metavar="B", help="another")
    parser.add_argument(
        "--artifact",
        required=True,
        type=artifact_name,
        metavar="NAME",
        help="such as centroids; or of an artifact one part, one pass or both: 'embs chunk.0'",
    )
    parser.add_argument("--inputs", type=Path, metavar="DIR", help="a copy of what the hub has")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found there too")
    options = parse(session, parser, LANES)
    check_pair([options.a, options.b], options.lane)
    install(session, "-e", ".[compare]")
    found = options.json or Path(session.create_tmp()) / "bisect.json"
    command = ["python", "-m", "matrix_compare.bisect", options.a, options.b]
    command += ["--artifact", options.artifact, "--lane", recorded_lane(options)]
    command += ["--data", str(options.data), "--json", str(found)]
    where = ["--lane", options.lane, "--data", str(options.data), *lane_flags(options)]
    where += flag("--inputs", options.inputs)
    # The first counts if it is on record as it would be made now, the others if they are like it.
    build = min(options.a, options.b, key=release_order)
    captured: list[str] = []
    while build:
        if build in captured:
            refuse(f"torch {build} was just captured, and not as the first was; start again")
        name, *which = capture_session(build).split()
        run_nox("-s", name, *(which or ["--"]), *where)
        captured.append(build)
        ask(session, *command, quiet=False)
        build = json.loads(found.read_text(encoding="utf-8"))["next"]


@nox.session(python="3.11", default=False)
def search(session: nox.Session) -> None:
    """Search the index of every release named with every one of them, mapped and not."""
    parser = session_parser(session)
    parser.add_argument("releases", nargs="+", metavar="RELEASE", help="captured before")
    parser.add_argument("--inputs", type=Path, metavar="DIR", help="a copy of what the hub has")
    parser.add_argument("--keep-env", action="store_true", help="keep environments (5-7 GB each)")
    options = parse(session, parser, LANES)
    check_pair(options.releases, options.lane)
    check_data(options)
    ours = own_requirement(options)
    install(session, "-e", comparing_requirement(options))
    fetch_inputs(session)
    for release in dict.fromkeys(options.releases):
        which = ["--torch", release, *request_flags(options)]
        which += [part for name in options.releases for part in ("--index", name)]
        answer = ask(session, "python", "-m", "matrix_capture", "due", *which)
        session.log(f"torch {release}: {answer}")
        folder, keep = environment_of(session, release, options)
        try:
            if not answer.startswith("current"):
                if not (folder / READY).exists():
                    make_environment(session, release, options, folder, ours)
                python = str((folder / "bin" / "python").absolute())
                command = [python, "-m", "matrix_capture", "search", *which]
                ask(session, *command, quiet=False)
        finally:
            if not keep:
                discard(folder)
    lane = recorded_lane(options)
    if not (options.data / "rankings" / f"{lane}.parquet").exists():
        session.log("no release came as far as a search")
        return
    which = ["--lane", lane, "--data", str(options.data)]
    ask(session, "python", "-m", "matrix_compare.cross", *which, quiet=False)


@nox.session(python="3.11", default=False)
def check(session: nox.Session) -> None:
    """Say what a head of colbert-ai changes against its base, under each torch release."""
    parser = session_parser(session)
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
    parser.add_argument("--number", type=positive_number, metavar="N", help="the pull request")
    parser.add_argument("--sha", help="its commit; with both the site has a page of it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the check there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write a summary there")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="the same for a build server")
    capture_options(parser)
    options = parse(session, parser, LANES)
    if options.colbert is not None:
        refuse("a check takes --base and --head, and no --colbert")
    check_known(options.releases, options.lane)
    sides = [_side(options, name) for name in _SIDES]
    pins = flag("--constraint", LANES[options.lane].get("constraints"))
    install(session, "-e", comparing_requirement(options), *pins)
    fetch_inputs(session)
    for release in options.releases:
        folder, keep = environment_of(session, release, options)
        try:
            for side in sides:
                _capture_beside(session, release, side, folder)
        finally:
            if not keep:
                discard(folder)
    base, head = map(recorded_lane, sides)
    which = ["--data", str(options.data), "--base", base, "--head", head]
    for name in ("number", "sha", "json", "markdown", "junit"):
        which += flag(f"--{name}", getattr(options, name))
    module = ["python", "-m", "matrix_compare.checking"]
    ask(session, *module, *options.releases, *which, quiet=False)


_SIDES = ("base", "head")


def _side(options: argparse.Namespace, name: str) -> argparse.Namespace:
    """The options of one side of a check, as a capture has them."""
    try:
        revision = read_revision(resolved(getattr(options, name)), TREES)
    except (MatrixError, OSError) as error:
        refuse(str(error).replace("--colbert", f"--{name}", 1))
    return argparse.Namespace(**{**vars(options), "revision": revision})


def _capture_beside(
    session: nox.Session, release: str, options: argparse.Namespace, folder: Path
) -> None:
    """Capture one side of a check, unless it is on record; all sides share an environment."""
    command = ["python", "-m", "matrix_capture"]
    which = ["--torch", release, *request_flags(options)]
    answer = ask(session, *command, "check", *which, *(["--fresh"] if options.fresh else []))
    session.log(f"torch {release}, colbert-ai {options.revision.label}: {answer}")
    if answer.startswith("current"):
        return
    started = time.monotonic()
    try:
        install_beside(session, release, options, folder, own_requirement(options))
    except CommandFailed:
        # That a colbert-ai cannot be installed is what a check is to find out.
        which += ["--log", str(install_log(session)), "--judged", "colbert-ai"]
        which += ["--install-seconds", f"{time.monotonic() - started:.1f}"]
        session.log(ask(session, *command, "fail", *which))
        return
    command = [str((folder / "bin" / "python").absolute()), *command[1:]]
    which += ["--install-seconds", f"{time.monotonic() - started:.1f}"]
    ask(session, *command, "run", *which, quiet=False)


@nox.session(default=False)
def site(session: nox.Session) -> None:
    """Publish the verdicts as static pages."""
    parser = session_parser(session)
    site_options(parser)
    options = parse(session, parser)
    check_data(options)
    install(session, "-e", ".[site]")
    lane = recorded_lane(options)
    quick = "+" in lane  # shown only when asked for, and never in place of the baseline
    out = options.out or (Path("_site-quick") if quick else SITE)
    which = ["--data", str(options.data), "--out", str(out), *(["--lane", lane] if quick else [])]
    which += flag("--url", options.url) + flag("--today", options.today)
    ask(session, "python", "-m", "matrix_site", *which, quiet=False)


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
    install(session, "-e", ".[operate,site]", "--group", "tests", "nox[uv]")
    others = [f"--ignore={path}" for path in _WORKFLOWS]
    session.run("pytest", "tests/workflows", *others, *_language(session), *session.posargs)


def _language(session: nox.Session) -> list[str]:
    """Have npm install GitHub's own parser and evaluator of expressions; where pytest finds it."""
    folder = Path(session.virtualenv.location).absolute() / "npm"
    if shutil.which("npm"):
        install_with_npm(session, Path("tests/workflows/package.json"), folder)
    return ["--npm", str(folder)]


@nox.session(default=False)
def browser(session: nox.Session) -> None:
    """Open every kind of page in a real browser, and have checkers look at it."""
    install(session, "-e", ".[compare,site]", "--group", "tests", "--group", "browser")
    # The browser is that of the machine: Playwright's own is never downloaded.
    checkers = Path(session.virtualenv.location).absolute() / "npm"
    if shutil.which("npm"):
        install_with_npm(session, Path("tests/browser/package.json"), checkers)
    session.run("pytest", "tests/browser", "--checkers", str(checkers), *session.posargs)


@nox.session(python="3.11", default=False)
def e2e(session: nox.Session) -> None:
    """Run the whole job on two real releases with a slice, and the tests that need torch."""
    lane = LANES[DEFAULT_LANE]
    colbert = read_revision(lane["colbert"]).requirement(TREES)
    torch = pipeline_requirements(DEFAULT_RELEASES[-1], lane, colbert)
    ours = ("-e", ".[compare,site]", "--group", "tests", "nox[uv]")
    session.install(*torch, *ours, env=INSTALLING)
    fetch_inputs(session)
    session.run("pytest", "tests/torch", "tests/e2e", *_language(session), *session.posargs)


@nox.session(python="3.11", default=False)
def bench(session: nox.Session) -> None:
    """Measure what captures, comparisons and the site cost, against doing without and by hand."""
    parser = Arguments(prog="nox -s bench --", allow_abbrev=False)
    parser.add_argument(
        "release", nargs="?", default=DEFAULT_RELEASES[-1], help="(default: %(default)s)"
    )
    parser.add_argument("--lane", default=DEFAULT_LANE, help="(default: %(default)s)")
    parser.add_argument("--inputs", type=Path, metavar="DIR", help="a copy of what the hub has")
    parser.add_argument(
        "--passages", type=positive_number, metavar="N", help="a slice, for a quick look"
    )
    parser.add_argument(
        "--rounds", type=positive_number, default=3, help="of each variant (default: %(default)s)"
    )
    parser.add_argument("--only", choices=_BENCHES, help="one of the three")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.set_defaults(colbert=None)
    try:
        _bench(session, parse(session, parser, LANES))
    finally:
        discard(Path(session.virtualenv.location))


def _bench(session: nox.Session, options: argparse.Namespace) -> None:
    if options.release not in RELEASES:
        refuse(unknown_release(options.release, RELEASES))
    colbert = options.revision.requirement(TREES)
    requirements = pipeline_requirements(options.release, LANES[options.lane], colbert)
    if options.json:
        try:
            options.json.touch()  # sooner than after a quarter of an hour
        except OSError as error:
            refuse(f"cannot write {options.json}: {error.strerror}")
    names = [options.only] if options.only else list(_BENCHES)
    if names == ["site"]:
        requirements = ()  # the one without torch
    else:
        session.log(f"torch {options.release}: installing, 2 to 4 GB to download")
    env = installing(options.release, LANES[options.lane])
    install(session, *requirements, "-e", ".[compare,site]", env=env)
    found = []
    for name in names:
        figures = Path(session.create_tmp()) / f"{name}.json"
        command = ["python", "-m", f"matrix_{name}.bench", "--json", str(figures)]
        if name == "capture":
            fetch_inputs(session)
            command += ["--torch", options.release, "--lane", options.lane]
            command += ["--cache", str(CACHE), "--rounds", str(options.rounds)]
            command += flag("--passages", options.passages) + flag("--inputs", options.inputs)
        ask(session, *command, quiet=False)
        found += json.loads(figures.read_text(encoding="utf-8"))
    if options.json:
        options.json.write_text(json.dumps(found), encoding="utf-8")
        session.log(f"wrote {options.json}")


_BENCHES = ("compare", "site", "capture")


def _refuse_unknown_sessions() -> None:
    """Say what was meant where nox would only say that there is no such session."""
    asked = sys.argv[1 : sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    for argument in asked:
        release = re.fullmatch(r"capture-(v?\d.*)", argument)
        if release and release[1] not in RELEASES:
            refuse(unknown_release(release[1], RELEASES))
        if argument in RELEASES:
            refuse(f"put -- before releases: nox -s matrix -- {argument} ...")


_refuse_unknown_sessions()
clear_leftovers()
