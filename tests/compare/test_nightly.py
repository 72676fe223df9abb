"""Nightly builds, and releases that nobody added yet, as comparisons and advice see them."""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from matrix_capture.settings import SHOWN_BUILDS, read_settings, settings_of
from matrix_compare import advise
from matrix_compare.__main__ import main
from matrix_compare.captures import load_captures
from matrix_compare.schema import read_verdicts
from tests.compare.conftest import LANE, ROOT, Maker, pipeline_puts

NIGHTLY = "cpu-nightly"
BUILDS = [f"2.16.0.dev202611{night:02}" for night in range(1, SHOWN_BUILDS + 4)]
EMBS = np.linspace(-1, 1, 12).astype(np.float16).reshape(3, 4)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def nightly(make: Maker) -> Callable[..., Path]:
    return partial(make, lane=NIGHTLY)


def test_a_nightly_lane_has_its_releases_and_its_newest_builds_in_order(
    nightly: Callable[..., Path], tmp_path: Path
) -> None:
    for name in ("2.16.0", *reversed(BUILDS), "2.15.0"):
        nightly(name, pipeline_puts(EMBS))
    # What is damaged long ago is none of today's business, unlike what is damaged now.
    for build in (BUILDS[0], BUILDS[-1]):
        (tmp_path / "digests" / NIGHTLY / f"torch-{build}.parquet").write_bytes(b"no")
    loaded = load_captures(tmp_path, NIGHTLY, settings_of(tmp_path))
    expected = ["2.15.0", *BUILDS[3:], "2.16.0"]
    assert list(loaded.releases) == expected
    names = [capture.record.torch for capture in loaded.captures]
    assert names == [name for name in expected if name != BUILDS[-1]]
    assert [BUILDS[-1] in line for line in loaded.excluded] == [True]


def test_a_build_in_another_lane_is_left_out_and_told(make: Maker, tmp_path: Path) -> None:
    make("2.15.0", pipeline_puts(EMBS))
    make(BUILDS[0], pipeline_puts(EMBS))
    loaded = load_captures(tmp_path, LANE, settings_of(tmp_path))
    assert [capture.record.torch for capture in loaded.captures] == ["2.15.0"]
    assert BUILDS[0] not in loaded.releases
    (line,) = loaded.excluded
    assert line.endswith(f"torch {BUILDS[0]} is not in matrix.toml; move it to a lane with builds")


def test_all_builds_that_are_shown_are_compared_and_no_other(
    nightly: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nightly("2.15.0", pipeline_puts(EMBS))
    for number, build in enumerate(BUILDS):
        nightly(build, pipeline_puts(EMBS * np.float16(1 + number // 8)))
    assert main(["--data", str(tmp_path), "--lane", NIGHTLY]) == 0
    out = capsys.readouterr().out
    assert f"identical releases: 2.15.0 to {BUILDS[7]} | {BUILDS[8]} to {BUILDS[15]}" in out
    rows = read_verdicts(tmp_path, NIGHTLY)
    pairs = {(row["a"], row["b"]) for row in rows}
    shown = ["2.15.0", *BUILDS[3:]]
    assert pairs == {(a, b) for n, a in enumerate(shown) for b in shown[n + 1 :]}


def test_a_build_is_named_like_a_release(
    nightly: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nightly("2.15.0", pipeline_puts(EMBS))
    nightly(BUILDS[0], pipeline_puts(EMBS))
    arguments = ["--data", str(tmp_path), "--lane", NIGHTLY, "2.15.0", BUILDS[0]]
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith(f"2.15.0...{BUILDS[0]}: 8 identical\n")
    assert advise.main(arguments) == 0
    path = tmp_path / "advice" / f"{NIGHTLY}.json"
    (given,) = json.loads(path.read_text())["advices"]
    assert (given["a"], given["b"]) == ("2.15.0", BUILDS[0])
    capsys.readouterr()

    assert main([*arguments[:-1], BUILDS[1]]) == 2
    assert f"nox -s capture-nightly -- --build {BUILDS[1]} makes it" in capsys.readouterr().err
    arguments[3] = LANE
    assert main(arguments) == 2
    assert "nightly builds are for --lane cpu-nightly or cuda-nightly" in capsys.readouterr().err


@pytest.mark.parametrize("module", [sys.modules["matrix_compare.__main__"], advise])
def test_a_release_that_nobody_added_is_compared_in_every_lane_that_has_it(
    module: object, make: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make("2.15.0", pipeline_puts(EMBS))
    make("2.16.0", pipeline_puts(EMBS))
    assert "2.16.0" not in read_settings().releases
    call = getattr(module, "main")  # noqa: B009 - of either module
    assert call(["--data", str(tmp_path), "--lane", LANE, "2.15.0", "2.16.0"]) == 0
    told = capsys.readouterr()
    assert (told.err, "2.16.0" in told.out) == ("", True)
