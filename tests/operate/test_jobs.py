from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matrix_capture.errors import MatrixError
from matrix_capture.names import release_order
from matrix_capture.settings import Nightly, Settings, read_settings
from matrix_operate import jobs
from matrix_operate.jobs import Jobs, asked, tonight
from matrix_operate.plan import Plan, read_plan, write_plan
from tests.compare.conftest import ROOT

SHIPPED = read_settings(ROOT / "matrix.toml")
BUILD = "2.16.0.dev20261121"
REASONS = ("not on record", "captured by other code")
some_lanes = st.lists(st.sampled_from([*SHIPPED.lanes]), unique=True)
some_releases = st.lists(st.sampled_from(SHIPPED.releases), unique=True)
some_gpu = st.sampled_from([*SHIPPED.gpus])


class World:
    """What a night finds: releases on the index, a nightly build or none, what is due."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.settings = msgspec.structs.replace(
            SHIPPED,
            releases=tuple(sorted(draw(some_releases) or ["2.8.0"], key=release_order)),
            nightly=Nightly(newest=draw(st.integers(1, 4)), backlog=draw(st.integers(0, 8))),
        )
        self.found = tuple(sorted(draw(some_releases), key=release_order))
        self.lanes = draw(some_lanes)
        self.gpu = draw(some_gpu)
        self.build = draw(st.booleans())
        self._due = draw(
            st.dictionaries(st.sampled_from(SHIPPED.releases), st.sampled_from(REASONS))
        )

    def builds(self, index: str, python: str) -> list[str]:
        if not self.build:
            raise MatrixError("out of\nreach")
        return ["2.16.0.dev20261119", BUILD]

    def due(self, data: Path, lane: str, known: Settings, able: Any) -> dict[str, str]:
        return {torch: why for torch, why in self._due.items() if torch in able}

    def plan(self) -> Plan:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(jobs, "builds", self.builds)
            patch.setattr(jobs, "due", self.due)
            made = Jobs(settings=self.settings, gpu=self.gpu)
            return tonight(self.lanes, Path("absent"), made, self.found)


worlds = st.composite(World)()


@given(world=worlds)
def test_a_night_has_every_release_that_is_wanted_once_or_says_why_not(world: World) -> None:
    plan = world.plan()
    planned = Counter((row.lane, torch) for row in plan.rows for torch in row.torch)
    left = Counter((gap.lane, gap.torch) for gap in plan.not_run)
    assert {*planned.values(), *left.values()} <= {1}
    assert not planned.keys() & left.keys()
    releases = sorted({*world.settings.releases, *plan.new}, key=release_order)
    for lane in world.lanes:
        fixed = SHIPPED.lanes[lane]
        able = [t for t in releases if fixed.device == "cpu" or SHIPPED.gpus[world.gpu].runs(t)]
        got = [torch for held, torch in planned if held == lane]
        assert (lane in plan.current) is not bool(got or (lane, "nightly") in left)
        if fixed.nightly:
            gap = (lane, "nightly")
            assert (gap in left) is not world.build
            assert {*got, *(t for held, t in left if held == lane and (held, t) != gap)} == (
                {releases[-1], BUILD} if world.build else set()
            )
            continue
        assert {t for held, t in left if held == lane} == {*releases} - {*able}
        due = world.due(Path(), lane, SHIPPED, able)
        night = world.settings.nightly
        if fixed.device == "cpu" and fixed.constraints:
            assert got == (able if due else [])
        else:
            newest = able[-night.newest :]
            assert {*newest} <= {*got} <= {*newest, *due}
            assert len(got) == len(newest) + min(night.backlog, len({*due} - {*newest}))


@given(world=worlds)
def test_a_plan_is_the_same_every_time_and_survives_its_file(
    world: World, tmp_path_factory: pytest.TempPathFactory
) -> None:
    plan = world.plan()
    assert world.plan() == plan
    path = tmp_path_factory.mktemp("plan") / "plan.json"
    write_plan(path, plan)
    assert read_plan(path) == plan
    assert not any("\n" in gap.reason for gap in plan.not_run)


@given(world=worlds)
def test_new_is_what_the_matrix_lacks_and_is_newer_than_its_oldest(world: World) -> None:
    oldest = world.settings.releases[0]
    lacks = [t for t in world.found if t not in world.settings.releases]
    assert [*world.plan().new] == [t for t in lacks if release_order(t) > release_order(oldest)]


@given(lanes=some_lanes, releases=some_releases, gpu=some_gpu)
@settings(max_examples=50)
def test_what_is_asked_for_is_planned_once_or_not_run(
    lanes: list[str], releases: list[str], gpu: str
) -> None:
    made = Jobs(settings=SHIPPED, gpu=gpu, passages=96, colbert=("0.2.21", "0.2.22"))
    try:
        plan = asked(lanes, releases, made, "asked for")
    except MatrixError:
        able = [t for lane in lanes for t in releases if made.able(lane, t)]
        assert able == []
        return
    found = [(row.lane, torch) for row in plan.rows for torch in row.torch]
    found += [(gap.lane, gap.torch) for gap in plan.not_run]
    assert sorted(found) == sorted((lane, torch) for lane in lanes for torch in releases)
    assert {(row.passages, row.colbert, row.why) for row in plan.rows} == {
        (96, ("0.2.21", "0.2.22"), "asked for")
    }
    for row in plan.rows:
        gpu_row = SHIPPED.lanes[row.lane].device == "cuda"
        assert row.runs_on == (
            ("self-hosted", "linux", "x64", "colbert-gpu", gpu) if gpu_row else ("ubuntu-24.04",)
        )
        assert [*row.torch] == sorted(row.torch, key=release_order)


def test_rows_and_their_names() -> None:
    made = Jobs(settings=SHIPPED, gpu="sm_90")
    lanes = ("cuda-pinned", "cpu-pinned", "cpu-latest", "cuda-nightly")
    plan = asked(lanes, ["2.8.0", "2.0.1"], made, "asked for")
    assert {row.name: row.torch for row in plan.rows} == {
        "cuda-pinned-2.8.0": ("2.8.0",),
        "cpu-pinned": ("2.0.1", "2.8.0"),
        "cpu-latest-2.0.1": ("2.0.1",),
        "cpu-latest-2.8.0": ("2.8.0",),
        "cuda-nightly": ("2.8.0",),
    }
    assert [(gap.lane, gap.torch, gap.reason) for gap in plan.not_run] == [
        ("cuda-pinned", "2.0.1", "unsupported GPU: no sm_90 code"),
        ("cuda-nightly", "2.0.1", "unsupported GPU: no sm_90 code"),
    ]


def test_a_row_of_all_says_for_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = {"2.15.0": "not on record", "2.0.1": "captured by other code"}
    monkeypatch.setattr(jobs, "due", lambda *_: reasons)
    plan = tonight(["cpu-pinned"], Path("absent"), Jobs(settings=SHIPPED), ())
    (row,) = plan.rows
    assert row.torch == SHIPPED.releases
    assert row.why == "captured by other code: 2.0.1; not on record: 2.15.0"


def test_builds_are_for_lanes_that_have_them() -> None:
    made = Jobs(settings=SHIPPED)
    (row,) = asked(["cpu-nightly"], [BUILD, "2.15.0"], made, "asked for").rows
    assert row.torch == ("2.15.0", BUILD)
    with pytest.raises(MatrixError, match="does not take"):
        asked(["cpu-pinned"], [BUILD], made, "asked for")
