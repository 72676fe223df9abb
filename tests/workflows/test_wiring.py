"""Our workflows from beginning to end on this machine; only captures were made before."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from matrix_capture.names import lane_name, lane_options
from matrix_capture.revision import read_revision
from matrix_capture.schema import digest_path
from tests.operate.github_server import BOT, State, pull_of, serving
from tests.workflows.actions import git
from tests.workflows.conftest import Stage
from tests.workflows.harness import Harness, Run
from tests.workflows.host import TOKEN
from tests.workflows.staging import (
    RELEASES,
    Captures,
    checkout,
    of_releases,
    recorded,
    write_index,
)

WATCHED = "stanford-futuredata/ColBERT"
NEW = "2.16.0"  # on the package index, but not in matrix.toml


@dataclass(frozen=True, kw_only=True)
class World:
    """A repository of ours with its runners, and the GitHub that it lies on."""

    harness: Harness
    captures: Captures
    state: State

    @property
    def bare(self) -> Path:
        """The repository."""
        return self.harness.host.server / self.harness.host.repository

    def run(self, name: str, event: str = "schedule", **told: str) -> Run:
        """Run a workflow of ours as a schedule or a dispatch starts it."""
        return self.harness.run(f".github/workflows/{name}.yml", event, inputs=told)

    def again(self, name: str, before: Run) -> Run:
        """Run what failed again."""
        return self.harness.run(f".github/workflows/{name}.yml", "schedule", before=before)

    def page(self, name: str) -> str:
        """A page that was deployed."""
        return (self.harness.host.pages / name).read_text(encoding="utf-8")

    def titles(self) -> list[str]:
        """The titles of open issues."""
        return [issue["title"] for issue in self.state.issues if issue["state"] == "open"]


@pytest.fixture
def world(stage: Stage, tmp_path: Path) -> Iterator[Callable[..., World]]:
    state = State(tokens={TOKEN: BOT, "token-of-the-app": "app"})
    with serving(state) as api:

        def make(lanes: str, app: str = "") -> World:
            captures = Captures(folder=tmp_path / "made")
            files = checkout()
            files["real_noxfile.py"] = files["noxfile.py"]
            files["noxfile.py"] = captures.sessions().encode()
            settings = files["matrix.toml"].decode()
            files["matrix.toml"] = of_releases(settings, RELEASES).encode()
            index = write_index(tmp_path / "simple", [*RELEASES, NEW])
            harness = stage(
                files,
                repository="us/matrix",
                api=api,
                variables={"MATRIX_LANES": lanes, "MATRIX_GPU": "sm_90", "MATRIX_APP": app},
                secrets={"APP_PRIVATE_KEY": "key"},
                more={"PIP_INDEX_URL": index, "PIP_FIND_LINKS": ""},
            )
            return World(harness=harness, captures=captures, state=state)

        yield make


def make_all(world: World, lane: str, started: str, *, moved: str = "9") -> None:
    """Make a capture of every release of a lane; from `moved` on, codes are others."""
    for torch in (*RELEASES, NEW):
        world.captures.make(torch, lane, codes=torch >= moved, started=started)


def test_nights_are_captured_recorded_published_and_told_of(
    world: Callable[..., World],
) -> None:
    ours = world("cuda-pinned cpu-pinned")
    for lane in ("cuda-pinned", "cpu-pinned"):
        make_all(ours, lane, "2026-01-01T00:00:00+00:00", moved="2.14.1")
    hostile = ours.captures.folder / "cuda-pinned" / "2.15.0"
    digest_path(hostile, "cuda-pinned", "2.15.0").write_bytes(b"PAR1" + bytes(1000))

    # What comes from one row is no capture: it is refused, red, and all others are recorded.
    first = ours.run("nightly")
    assert first.results() == {
        "Capture / Plan": "success",
        f"Capture / cuda-pinned-{NEW}": "success",
        "Capture / cuda-pinned-2.15.0": "success",
        "Capture / cpu-pinned": "success",
        "Capture / Collect": "failure",
        "Record": "success",
        "Pages / Build": "success",
        "Pages / Deploy": "success",
        "Alert": "success",
    }, first.show()
    assert first.result == "failure"
    assert "refused" in first["Capture / Collect"].summary
    on_record = recorded(ours.bare)
    assert {name for name in on_record if name.startswith("digests/")} == {
        f"digests/cuda-pinned/torch-{NEW}.parquet",
        *(f"digests/cpu-pinned/torch-{torch}.parquet" for torch in (*RELEASES, NEW)),
    }
    assert not {name for name in on_record if name.startswith(("values/", "indexes/"))}
    assert NEW in ours.page("index.html")
    assert ours.titles() == [f"Add torch {NEW} to matrix.toml"]  # no boundary that was seen once

    # One machine is on fire; the rest is recorded, and confirms what was seen once.
    make_all(ours, "cpu-pinned", "2026-01-02T00:00:00+00:00", moved="2.14.1")
    make_all(ours, "cuda-pinned", "2026-01-02T00:00:00+00:00", moved="2.14.1")
    shutil.move(ours.captures.folder / "cuda-pinned" / NEW, ours.captures.folder / "fire")
    second = ours.run("nightly")
    results = second.results()
    assert results.pop(f"Capture / cuda-pinned-{NEW}") == "failure", second.show()
    assert results.pop("Capture / Collect") == "failure"
    assert set(results.values()) == {"success"}
    assert "digests/cuda-pinned/torch-2.15.0.parquet" in recorded(ours.bare)
    assert any(name.startswith("history/cpu-pinned/2.14.1/") for name in recorded(ours.bare))
    assert [title for title in ours.titles() if "2.14.0" in title and "2.14.1" in title]

    # The fire is out.
    shutil.move(ours.captures.folder / "fire", ours.captures.folder / "cuda-pinned" / NEW)
    third = ours.again("nightly", second)
    assert third.result == "success", third.show()
    assert {job.name for job in third.jobs if not job.anew} == {
        "Capture / Plan",
        "Capture / cuda-pinned-2.15.0",
        "Capture / cpu-pinned",
    }


def test_a_night_without_anything_due_is_fine(world: Callable[..., World]) -> None:
    ours = world("cpu-pinned")
    assert ours.run("heartbeat").result == "failure"  # nothing was ever recorded
    make_all(ours, "cpu-pinned", "2026-01-01T00:00:00+00:00")
    first = ours.run("nightly")
    assert first.result == "success", first.show()
    assert ours.run("heartbeat").result == "success"
    before = git("rev-parse", "data", folder=ours.bare)
    second = ours.run("nightly")
    assert second.result == "success", second.show()
    assert second["Capture / Plan"].outputs["captures"] == "0"
    assert second["Record"].result == "success"
    # But that somebody looked, or a heartbeat could not tell it from nobody having looked.
    changed = git("diff", "--name-only", before, "data", folder=ours.bare)
    assert changed == "recorded.json"


def test_a_try_is_collected_and_not_recorded(world: Callable[..., World]) -> None:
    ours = world("cpu-pinned")
    ours.captures.make("2.15.0", "cpu-pinned", options={"passages": 96})
    told = {"releases": "2.15.0", "lanes": "cpu-pinned", "passages": "96"}
    run = ours.run("nightly", "workflow_dispatch", **told)
    assert run.result == "success", run.show()
    assert lane_name("cpu-pinned", {"passages": 96}) in run["Capture / Collect"].summary
    assert run["Record"].result == run["Pages"].result == run["Alert"].result == "skipped"
    assert recorded(ours.bare) == set()


def test_a_commit_of_a_pull_request_is_checked(world: Callable[..., World]) -> None:
    ours = world("cpu-pinned", app="app")
    head = "c" * 40
    ours.state.pulls[WATCHED] = [pull_of(7, head, title="Faster")]
    for codes, sha in enumerate((ours.state.merge_base, head)):
        revision = read_revision(f"git+https://github.com/{WATCHED}@{sha}")
        options = lane_options(colbert=revision.label, pinned="0.2.22")
        colbert = f"0.2.22 {revision.label}"
        ours.captures.make("2.15.0", "cpu-pinned", codes=codes, colbert=colbert, options=options)
    told = {"pr": "7", "sha": head, "lane": "cpu-pinned", "releases": "2.15.0"}
    run = ours.run("pr", "workflow_dispatch", **told)
    # It changes the index, which by policy is a failure; all the more it is recorded and told.
    results = run.results()
    assert results.pop("Report") == "failure", run.show()
    assert set(results.values()) == {"success"}, run.show()
    assert recorded(ours.bare) == {f"pr/7/{head}.json"}
    assert "index_codes" in run["Report"].summary
    assert f"pr/7/{head}" in "".join(map(str, ours.harness.host.pages.rglob("*.html")))
    (check,) = ours.state.check_runs
    assert (check["head_sha"], check["conclusion"]) == (head, "failure")
    assert ("POST", f"/repos/{WATCHED}/check-runs") in ours.state.log


def test_a_commit_that_is_no_longer_the_head_is_not_run(world: Callable[..., World]) -> None:
    ours = world("cpu-pinned")
    ours.state.pulls[WATCHED] = [pull_of(7, "d" * 40)]
    run = ours.run("pr", "workflow_dispatch", pr="7", sha="c" * 40, lane="cpu-pinned")
    assert [job.name for job in run.jobs if job.result != "skipped"] == ["Look"]
    assert run.result == "failure"


def test_pull_requests_that_wait_are_listed_once(world: Callable[..., World]) -> None:
    ours = world("cpu-pinned")
    ours.state.pulls[WATCHED] = [pull_of(7, "c" * 40, title="Faster")]
    for _ in range(2):
        run = ours.run("poll")
        assert run.result == "success", run.show()
    (issue,) = ours.state.issues
    assert "Faster" in issue["body"]


def test_what_is_on_record_is_published(world: Callable[..., World]) -> None:
    ours = world("cpu-pinned")
    run = ours.run("pages", "workflow_dispatch")
    assert run.result == "success", run.show()
    assert "</html>" in ours.page("index.html")
