"""The whole job, run once: two real torch releases, a slice of the collection."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from matrix_capture.names import lane_name
from matrix_capture.schema import Capture, digest_path, read_capture

ROOT = Path(__file__).parents[2]
RELEASES = ("2.7.1", "2.8.0")
PASSAGES = 96
LANE = lane_name("cpu-pinned", {"passages": PASSAGES})


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """What one run left behind."""

    data: Path
    site: Path
    output: str
    files: dict[str, bytes]

    def capture(self, torch: str) -> Capture:
        return read_capture(digest_path(self.data, LANE, torch))


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp("matrix")
    return matrix(ROOT, folder, *RELEASES)


def matrix(root: Path, folder: Path, *releases: str) -> Done:
    """Run `nox -s matrix` for a slice, its data and pages below a folder."""
    data, site = folder / "data", folder / "site"
    options = ["--passages", str(PASSAGES), "--data", str(data), "--out", str(site)]
    output = run_session(root, "matrix", *releases, *options)
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return Done(data=data, site=site, output=output, files=files)


def run_session(root: Path, session: str, *options: str) -> str:
    """Run a session to its good end; returns what it printed."""
    # Without the outer session's environment: nox inside nox would take its python for its own.
    surroundings = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "NOXSESSION")}
    process = subprocess.run(
        [sys.executable, "-m", "nox", "-s", session, "--", *options],
        cwd=root,
        env=surroundings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(process.stdout)
    assert process.returncode == 0, process.stdout
    return process.stdout
