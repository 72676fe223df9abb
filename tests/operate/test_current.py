"""A lane in which nothing is due: from the plan to the heartbeat."""

from pathlib import Path

import pytest

from matrix_operate.__main__ import main
from matrix_operate.plan import SCHEMA_VERSION, Plan, write_plan
from matrix_operate.record import apply
from matrix_operate.recorded import Lane, Recorded, read_recorded, write_recorded
from tests.compare.conftest import ROOT

NOW = "2026-01-03T12:00:00+00:00"


def test_a_lane_with_nothing_due_is_not_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    data, plan, incoming, collected = (tmp_path / name for name in ("d", "p.json", "i", "c"))
    incoming.mkdir()
    before = Lane(time="2025-01-01T00:00:00+00:00", profiles="ab")
    write_recorded(data, Recorded(lanes={"cpu-pinned": before}))
    look = ["heartbeat", "--data", str(data), "--hours", "48", "--now", NOW]
    assert main(look) == 1
    write_plan(plan, Plan(schema_version=SCHEMA_VERSION, rows=(), current=("cpu-pinned",)))
    uploads = ("--incoming", str(incoming), "--out", str(collected))
    assert main(["collect", "--plan", str(plan), *uploads]) == 0
    assert apply(data, collected, [], NOW) == ["cpu-pinned, where nothing is due"]
    assert read_recorded(data).lanes == {"cpu-pinned": Lane(time=NOW, profiles="ab")}
    assert main(look) == 0
