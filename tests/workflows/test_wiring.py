"""Our workflows from beginning to end on this machine; only captures were made before."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.operate.github_server import BOT, State, serving
from tests.workflows.conftest import Stage
from tests.workflows.harness import TOKEN, Harness
from tests.workflows.staging import (
    RELEASES,
    Captures,
    checkout,
    few_releases,
    recorded,
    write_index,
)

NIGHTLY = ".github/workflows/nightly.yml"
LANES = ("cuda-pinned", "cpu-pinned")


@dataclass(frozen=True, kw_only=True)
class World:
    """A repository of ours with its runners, and the GitHub that it lies on."""

    harness: Harness
    captures: Captures
    state: State

    @property
    def bare(self) -> Path:
        return self.harness.host.server / self.harness.host.repository


@pytest.fixture
def world(stage: Stage, tmp_path: Path) -> Iterator[World]:
    captures = Captures(folder=tmp_path / "made")
    for lane in LANES:
        for torch in RELEASES:
            captures.make(torch, lane, codes=torch >= "2.14.1")
    files = checkout()
    files["real_noxfile.py"] = files["noxfile.py"]
    files["noxfile.py"] = captures.sessions().encode()
    files["matrix.toml"] = few_releases(files["matrix.toml"].decode()).encode()
    index = write_index(tmp_path / "simple", RELEASES)
    state = State(tokens={TOKEN: BOT})
    with serving(state) as api:
        harness = stage(
            files,
            repository="us/matrix",
            api=api,
            variables={"MATRIX_LANES": " ".join(LANES), "MATRIX_GPU": "sm_90"},
            more={"PIP_INDEX_URL": index, "PIP_FIND_LINKS": ""},
        )
        yield World(harness=harness, captures=captures, state=state)


def test_a_night_is_captured_recorded_published_and_told_of(world: World) -> None:
    run = world.harness.run(NIGHTLY, "schedule")
    assert run.result == "success", run.show()
    print(run.show())
    print(recorded(world.bare))
