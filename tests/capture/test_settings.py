import re
from collections.abc import Callable
from pathlib import Path

import pytest

from matrix_capture.errors import MatrixError
from matrix_capture.schema import digest_path
from matrix_capture.settings import SHOWN_BUILDS, Settings, read_settings, settings_of

ROOT = Path(__file__).parents[2]

# What the matrix promises to cover; new releases come on top.
PROMISED = (
    *("1.13.1", "2.0.0", "2.0.1", "2.1.0", "2.1.1", "2.1.2", "2.2.0", "2.2.1", "2.2.2", "2.3.0"),
    *("2.3.1", "2.4.0", "2.4.1", "2.5.0", "2.5.1", "2.6.0", "2.7.0", "2.7.1", "2.8.0", "2.9.0"),
    *("2.9.1", "2.10.0", "2.11.0", "2.12.0", "2.12.1", "2.13.0", "2.14.0", "2.14.1", "2.15.0"),
)

GOOD = """
releases = ["2.4.1", "2.5.0", "2.10.0"]

[lanes.cpu]
title = "CPU"
device = "cpu"
python = "3.11"
colbert = "0.2.22"
threads = 2
constraints = "cpu.txt"

[profiles.default]
other = { atol = 1e-8, rtol = 1e-5 }
"""


@pytest.fixture(scope="module")
def shipped() -> Settings:
    return read_settings(ROOT / "matrix.toml")


def write(folder: Path, text: str) -> Path:
    path = folder / "matrix.toml"
    path.write_text(text, encoding="utf-8")
    return path


# The shipped file.


def test_every_promised_release_is_there(shipped: Settings) -> None:
    assert len(PROMISED) == 29
    assert [release for release in PROMISED if release not in shipped.releases] == []


def test_the_baseline_lane(shipped: Settings) -> None:
    lane = shipped.lane("cpu-pinned")
    assert (lane.device, lane.python, lane.colbert, lane.threads) == ("cpu", "3.11", "0.2.22", 2)


def test_the_lane_of_the_hugging_face_scale(shipped: Settings) -> None:
    lane = shipped.lane("cpu-conditionalqa")
    assert lane.inputs == "conditionalqa"
    baseline = shipped.lane("cpu-pinned")
    assert baseline.inputs == "embedded"
    # Nothing but the inputs sets it apart.
    assert (lane.device, lane.python, lane.colbert) == ("cpu", "3.11", "0.2.22")
    assert (lane.threads, lane.constraints) == (baseline.threads, baseline.constraints)


def test_the_lane_of_what_a_user_gets_pins_nothing(shipped: Settings) -> None:
    lane = shipped.lane("cpu-latest")
    assert (lane.device, lane.python, lane.colbert, lane.threads) == ("cpu", "3.11", "latest", 2)
    assert (lane.constraints, lane.passages) == (None, 96)
    pinned = [other for name, other in shipped.lanes.items() if name != "cpu-latest"]
    assert all(other.constraints and other.passages is None for other in pinned)


def test_the_tolerances_are_those_of_the_design(shipped: Settings) -> None:
    found = {
        name: {dtype: (bound.atol, bound.rtol) for dtype, bound in profile.items()}
        for name, profile in shipped.profiles.items()
    }
    assert found["default"] == {"other": (1e-8, 1e-5)}
    assert found["bitsandbytes"] == {
        "float32": (1e-6, 1e-5),
        "bfloat16": (1e-3, 1e-2),
        "other": (1e-4, 1e-3),
    }
    assert list(found)[:2] == ["default", "bitsandbytes"]


def test_the_policy_holds_what_a_stage_ends_in_to_more_than_the_rest(shipped: Settings) -> None:
    final, rest = shipped.policy
    assert final.artifacts == ("index_*", "ranked_*", "trained_*")
    assert rest.artifacts == ("*",)
    assert "differs" in final.failure
    assert not rest.failure


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_nightly_builds_are_held_against_releases_of_the_same_wheels(
    device: str, shipped: Settings
) -> None:
    nightly, pinned = shipped.lane(f"{device}-nightly"), shipped.lane(f"{device}-pinned")
    assert nightly.nightly == (nightly.index or "").replace("/whl/", "/whl/nightly/")
    others = ("device", "python", "colbert", "threads", "constraints", "inputs", "kmeans")
    assert [getattr(nightly, name) for name in others] == [getattr(pinned, n) for n in others]
    assert [name for name, lane in shipped.lanes.items() if lane.nightly] == [
        "cpu-nightly",
        "cuda-nightly",
    ]


# Looking things up.


def test_a_lane_of_options_has_the_factors_of_its_base(shipped: Settings) -> None:
    assert shipped.lane("cpu-pinned+0a1b2c3d") == shipped.lane("cpu-pinned")


@pytest.mark.parametrize("name", ["cpu", "cpu-pinned2", "", "+0a1b2c3d", "CPU-PINNED"])
def test_an_unknown_lane_lists_the_known(name: str, shipped: Settings) -> None:
    with pytest.raises(MatrixError) as caught:
        shipped.lane(name)
    assert repr(name) in str(caught.value)
    assert all(lane in str(caught.value) for lane in shipped.lanes)


def test_a_known_release_is_itself(shipped: Settings) -> None:
    assert [shipped.release(name, "cpu-pinned") for name in PROMISED] == list(PROMISED)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("2.5.7", "2.5.1"),
        ("2.16.0", "2.15.0"),
        ("2.150.0", "2.15.0"),
        ("3.0.0", "2.15.0"),
        ("1.12.1", "1.13.1"),
        ("1.14.0", "1.13.1"),
        ("0", "1.13.1"),
        ("2.0.5", "2.0.1"),
        ("2.1.9", "2.1.2"),
        ("2.6.1", "2.6.0"),
        ("2.9", "2.9.0"),
        ("2.1", "2.1.0"),
        ("2", "2.0.0"),
        ("2.5.1+cu124", "2.5.1"),
        ("2.5.1.post3", "2.5.1"),
        ("v2.8.0", "2.8.0"),
        ("torch==2.7.4", "2.7.1"),
        ("2.13.1", "2.13.0"),
    ],
)
def test_an_unknown_release_names_the_nearest(name: str, nearest: str) -> None:
    settings = Settings(releases=PROMISED, lanes={}, profiles={})
    with pytest.raises(MatrixError) as caught:
        settings.release(name, "cpu-pinned")
    assert str(caught.value) == (
        f"no torch release {name!r} in matrix.toml; the nearest is {nearest}"
    )


@pytest.mark.parametrize("name", ["", "nightly", "latest", "\N{ARABIC-INDIC DIGIT TWO}"])
def test_what_is_no_version_lists_all_releases(name: str) -> None:
    settings = Settings(releases=("2.4.1", "2.5.0"), lanes={}, profiles={})
    with pytest.raises(MatrixError, match=r"it has 2\.4\.1, 2\.5\.0$"):
        settings.release(name, "cpu-pinned")


@pytest.mark.parametrize(("name", "nearest"), [("2.5.0", "2.6.0"), ("2.4.0", "2.2.0")])
def test_the_nearest_may_lie_above_but_below_when_even(name: str, nearest: str) -> None:
    settings = Settings(releases=("2.2.0", "2.6.0"), lanes={}, profiles={})
    with pytest.raises(MatrixError, match=f"nearest is {re.escape(nearest)}$"):
        settings.release(name, "cpu-pinned")


# Nightly builds, and what is on record.

BUILD = "2.16.0.dev20261121"


def test_a_lane_with_nightly_builds_takes_any(shipped: Settings) -> None:
    assert shipped.release(BUILD, "cpu-nightly") == BUILD
    assert shipped.release(BUILD, "cpu-nightly+0a1b2c3d") == BUILD
    assert shipped.release("2.15.0", "cpu-nightly") == "2.15.0"
    with pytest.raises(MatrixError, match=r"no torch release '2\.16\.0'"):
        shipped.release("2.16.0", "cpu-nightly")


def test_another_lane_says_which_takes_them(shipped: Settings) -> None:
    with pytest.raises(MatrixError) as caught:
        shipped.release(BUILD, "cpu-pinned")
    assert str(caught.value) == (
        f"lane cpu-pinned does not take {BUILD}, only releases; nightly builds are for "
        "--lane cpu-nightly or cuda-nightly"
    )


def test_a_release_on_record_takes_its_place(shipped: Settings) -> None:
    found = shipped.including(["2.14.2", "2.15.0", BUILD, "2.16.0", "1.13.0"]).releases
    assert found == ("1.13.0", *PROMISED[:-1], "2.14.2", "2.15.0", "2.16.0")


def test_every_lane_of_the_matrix_is_looked_at_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    for lane, name in {
        "cuda-pinned": "2.16.0",
        "cpu-nightly": "2.16.1",
        "cpu-pinned": BUILD,
        "cpu-pinned+0a1b2c3d": "2.17.0",
        "of-no-matrix": "2.18.0",
        "cpu-latest": "2.19.0\n",
    }.items():
        path = digest_path(tmp_path, lane, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = settings_of(tmp_path)
    assert found.releases[-3:] == ("2.15.0", "2.16.0", "2.16.1")
    assert settings_of(tmp_path / "nothing") == read_settings()


def test_a_lane_has_the_releases_of_the_matrix_or_what_is_on_record(shipped: Settings) -> None:
    builds = [f"2.16.0.dev202611{day:02}" for day in range(1, SHOWN_BUILDS + 3)]
    held = [*reversed(builds), "2.15.0", "2.16.0"]
    assert shipped.of_lane("cpu-pinned", held) == shipped.releases
    assert shipped.of_lane("cpu-nightly", held) == ("2.15.0", *builds[2:], "2.16.0")
    assert shipped.of_lane("cpu-nightly", held[-4:]) == ("2.15.0", *builds[:2], "2.16.0")
    assert shipped.of_lane("cpu-nightly+0a1b2c3d", ["2.15.0"]) == ("2.15.0",)
    assert shipped.of_lane("cpu-nightly", []) == ()


# Files that do not hold what they should.


def test_a_small_file_is_enough(tmp_path: Path) -> None:
    settings = read_settings(write(tmp_path, GOOD))
    assert settings.releases == ("2.4.1", "2.5.0", "2.10.0")
    assert settings.policy == ()


def test_rules_of_the_policy_keep_their_order(tmp_path: Path) -> None:
    rules = '[[policy]]\nartifacts = ["b", "a"]\nalert = ["close"]\n[[policy]]\nartifacts = ["*"]\n'
    settings = read_settings(write(tmp_path, f"{GOOD}\n{rules}"))
    assert [rule.artifacts for rule in settings.policy] == [("b", "a"), ("*",)]
    assert [rule.alert for rule in settings.policy] == [("close",), ()]


FAULTS: dict[str, tuple[Callable[[str], str], str]] = {
    "not TOML": (lambda text: text + "\n[", "Invalid|Expected|Unclosed"),
    "unknown field": (lambda text: text + "\n[extra]\nx = 1\n", "unknown field `extra`"),
    "unknown field in a lane": (
        lambda text: text.replace("threads = 2", "threads = 2\nthread = 2"),
        r"unknown field `thread`.*lanes",
    ),
    "unknown bound": (
        lambda text: text.replace("atol", "tol"),
        r"unknown field `tol`|missing required field `atol`",
    ),
    "no releases": (lambda text: text.replace("releases", "release"), "release"),
    "empty releases": (
        lambda text: text.replace('"2.4.1", "2.5.0", "2.10.0"', ""),
        "length >= 1.*releases",
    ),
    "no version": (lambda text: text.replace('"2.5.0"', '"2.5"'), r"regex.*releases\[1\]"),
    "twice": (lambda text: text.replace('"2.5.0"', '"2.4.1"'), "2.4.1 follows 2.4.1"),
    "out of order": (
        lambda text: text.replace('"2.5.0", "2.10.0"', '"2.10.0", "2.5.0"'),
        "releases must ascend, but 2.5.0 follows 2.10.0",
    ),
    "unknown inputs": (
        lambda text: text.replace("threads = 2", 'threads = 2\ninputs = "msmarco"'),
        r"'msmarco'.*inputs",
    ),
    "unknown device": (lambda text: text.replace('"cpu"', '"tpu"'), r"'tpu'.*device"),
    "no threads": (lambda text: text.replace("threads = 2\n", ""), "`threads`"),
    "zero threads": (lambda text: text.replace("threads = 2", "threads = 0"), ">= 1.*threads"),
    "no passages": (
        lambda text: text.replace("threads = 2", "threads = 2\npassages = 0"),
        ">= 1.*passages",
    ),
    "an index that anybody can change": (
        lambda text: text.replace("threads = 2", 'threads = 2\nindex = "http://x.org/whl/cpu"'),
        "regex.*index",
    ),
    "an index without a variant": (
        lambda text: text.replace("threads = 2", 'threads = 2\nindex = "https://x.org/whl/"'),
        "regex.*index",
    ),
    "builds of other wheels": (
        lambda text: text.replace(
            "threads = 2",
            'threads = 2\nindex = "https://x.org/cu130"\nnightly = "https://x.org/nightly/cpu"',
        ),
        "in lane cpu, index and nightly must end in the same wheel variant",
    ),
    "builds without releases": (
        lambda text: text.replace("threads = 2", 'threads = 2\nnightly = "https://x.org/cpu"'),
        "in lane cpu, index and nightly must end in the same wheel variant",
    ),
    "python as a number": (lambda text: text.replace('"3.11"', "3.11"), r"`str`.*python"),
    "negative tolerance": (lambda text: text.replace("1e-8", "-1e-8"), ">= 0.*atol"),
    "no number": (lambda text: text.replace("1e-8", "nan"), ">= 0.*atol"),
    "a rule for nothing": (
        lambda text: text + "\n[[policy]]\nartifacts = []\n",
        r"length >= 1.*policy\[0\]\.artifacts",
    ),
    "a rule without artifacts": (
        lambda text: text + '\n[[policy]]\nalert = ["close"]\n',
        r"`artifacts`.*policy\[0\]",
    ),
    "unknown field in a rule": (
        lambda text: text + '\n[[policy]]\nartifacts = ["*"]\nfailures = []\n',
        r"unknown field `failures`.*policy",
    ),
    "tolerance as text": (lambda text: text.replace("1e-8", '"1e-8"'), "`float`.*atol"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_line_that_says_where(name: str, tmp_path: Path) -> None:
    change, expected = FAULTS[name]
    assert change(GOOD) != GOOD
    path = write(tmp_path, change(GOOD))
    with pytest.raises(MatrixError, match=expected) as caught:
        read_settings(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "matrix.toml"
    path.write_bytes(b'releases = ["\xff"]')
    with pytest.raises(MatrixError, match=r"matrix\.toml: "):
        read_settings(path)


def test_no_file_says_where_to_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MatrixError, match=r"matrix\.toml not found; run from the repository"):
        read_settings()


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(MatrixError, match="directory"):
        read_settings(tmp_path)


# GPUs and nights.


@pytest.mark.parametrize(
    ("gpu", "torch", "runs"),
    [
        ("sm_90", "1.13.1", False),
        ("sm_90", "2.0.1", False),
        ("sm_90", "2.1.0", True),
        ("sm_90", "2.16.0.dev20261121", True),
        ("sm_70", "1.13.1", True),
        ("sm_70", "2.10.0", True),
        ("sm_70", "2.11.0", False),
        ("sm_120", "2.7.1", False),
        ("sm_120", "2.8.0", True),
    ],
)
def test_a_gpu_runs_what_has_code_for_it(
    gpu: str, torch: str, *, runs: bool, shipped: Settings
) -> None:
    assert shipped.gpus[gpu].runs(torch) is runs


def test_a_night_without_settings_has_some(tmp_path: Path) -> None:
    nightly = read_settings(write(tmp_path, GOOD)).nightly
    assert (nightly.newest, nightly.backlog) == (2, 6)


@pytest.mark.parametrize(
    "table", ["[nightly]\nnewest = 0", '[gpus.H200]\nfirst = "2.1.0"', '[gpus.sm_90]\nfirst = "2"']
)
def test_what_no_gpu_and_no_night_can_be_is_refused(tmp_path: Path, table: str) -> None:
    with pytest.raises(MatrixError):
        read_settings(write(tmp_path, f"{GOOD}\n{table}\n"))
