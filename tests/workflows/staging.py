"""Everything that our workflows need around them: a repository, a package index, captures."""

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from matrix_capture.environment import capture_code
from matrix_capture.names import lane_name
from matrix_capture.schema import write_capture
from matrix_capture.values import ValueStore
from tests.compare.conftest import Put, as_snapshot, capture_of
from tests.workflows.documents import ROOT

RELEASES = ("2.13.0", "2.14.0", "2.14.1", "2.15.0")

SESSIONS = '''\
"""The sessions of the real noxfile, except that a capture was made before and is copied."""

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import real_noxfile
from sessions.options import recorded_lane

MADE = Path({made!r})


def copied(session, release, options):
    made = MADE / recorded_lane(options) / release
    if not made.is_dir():
        session.error("the machine is on fire")
    shutil.copytree(made, options.data, dirs_exist_ok=True)


real_noxfile._capture = copied
'''


def checkout() -> dict[str, bytes]:
    """The files of this repository as they are now, without what is on record there."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    names = (name for name in listed.split("\0") if not name.startswith("data/"))
    return {name: (ROOT / name).read_bytes() for name in names if (ROOT / name).is_file()}


def of_releases(settings: str, releases: Sequence[str]) -> str:
    """matrix.toml with these releases, of which a night captures two on each GPU."""
    start, end = settings.index("releases = ["), settings.index("]")
    listed = "".join(f'  "{release}",\n' for release in releases)
    text = f"{settings[:start]}releases = [\n{listed}{settings[end:]}"
    for name in ("newest", "backlog"):
        text, changed = re.subn(rf"(?m)^{name} = \d+$", f"{name} = 1", text)
        assert changed == 1
    return text


def write_index(folder: Path, releases: Sequence[str]) -> str:
    """Write a package index that has torch and nothing else; returns its address."""
    page = folder / "torch" / "index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    wheels = (f"torch-{one}-cp311-cp311-manylinux_2_28_x86_64.whl" for one in releases)
    links = "".join(f'<a href="{wheel}">{wheel}</a>\n' for wheel in wheels)
    page.write_text(f"<!doctype html><html><body>{links}</body></html>", encoding="utf-8")
    return folder.as_uri()


@dataclass(frozen=True, kw_only=True)
class Captures:
    """Captures that a session takes from `folder` instead of making them."""

    folder: Path

    def sessions(self) -> str:
        """The noxfile that does so."""
        return SESSIONS.format(made=str(self.folder))

    def make(
        self,
        torch: str,
        lane: str,
        *,
        codes: int = 0,
        colbert: str = "0.2.22",
        options: Mapping[str, Any] | None = None,
        started: str = "2026-01-01T00:00:00+00:00",
    ) -> Path:
        """Make a capture whose codes are moved by a number; returns the data folder it is in."""
        recorded = lane_name(lane, options or {})
        data = self.folder / recorded / torch
        shutil.rmtree(data, ignore_errors=True)
        values = np.arange(6, dtype=np.int32) + codes
        puts = [
            Put(artifact="codes", value=values),
            Put(artifact="index_codes", scope="disk", value=values),
        ]
        store = ValueStore(data / "values")
        capture = capture_of(
            torch,
            puts,
            lane=recorded,
            options=dict(options or {}),
            factors={"python": "3.11", "colbert-ai": colbert},
            capture_code=capture_code(),
            started=started,
        )
        write_capture(capture, data)
        for put, row in zip(puts, capture.rows.to_pylist(), strict=True):
            store.put(as_snapshot(put.value), row["digest"])
        return data


def recorded(bare: Path) -> set[str]:
    """The files on the branch data of a repository, which need not be there."""
    command = ["git", "ls-tree", "-r", "--name-only", "data"]
    listed = subprocess.run(command, cwd=bare, capture_output=True, text=True, check=False)
    return set(listed.stdout.split())
