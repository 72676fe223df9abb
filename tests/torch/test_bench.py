"""The bench itself: what it reports, not how fast anything is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from matrix_capture import measurement

ROOT = Path(__file__).parents[2]
KEYS = ("name", "unit", "ours", "reference", "ratio", "bar", "holds")


@pytest.mark.parametrize(
    ("bound", "ours", "holds"),
    [
        (measurement.at_most, 3.0, True),
        (measurement.at_most, 3.1, False),
        (measurement.at_least, 3.0, True),
        (measurement.at_least, 2.9, False),
    ],
)
def test_a_bar_holds_up_to_itself(bound: object, ours: float, holds: bool) -> None:
    assert callable(bound)
    found: measurement.Measurement = bound("x", "s", ours, 100.0, 0.03)
    assert (found.ratio, found.bar, found.holds) == (ours / 100, 0.03, holds)


def test_every_figure_is_reported(cache: Path, tmp_path: Path) -> None:
    report = tmp_path / "bench.json"
    release = torch.__version__.partition("+")[0]
    command = [sys.executable, "-m", "matrix_capture.bench", "--torch", release]
    command += ["--lane", "cpu-pinned", "--cache", str(cache), "--passages", "16", "--rounds", "1"]
    done = subprocess.run(
        [*command, "--json", str(report)],
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "default"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(report.read_bytes())
    assert [tuple(line) for line in found] == [KEYS] * len(found)
    names = [line["name"] for line in found]
    assert len(set(names)) == len(names) == 7
    by_name = {line["name"]: line for line in found}
    written = by_name["bytes written against torch.save"]
    assert 0 < written["ours"] < written["reference"]
    assert all(name in done.stdout for name in names)
    assert "round 1: sublayers" in done.stderr
    assert "Iteration" not in done.stdout + done.stderr, "what colbert-ai prints is not ours"
