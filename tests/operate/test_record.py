import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from matrix_capture.rankings import read_rankings
from matrix_capture.schema import CaptureCode, digest_path, read_capture
from matrix_capture.settings import SHOWN_BUILDS, read_settings
from matrix_compare import gauge
from matrix_compare.advice import Advices, advice_path, read_advices
from matrix_compare.change import Attribution
from matrix_compare.check import Check, read_check, write_check
from matrix_compare.schema import read_verdicts
from matrix_operate import branch, conclusion, record
from matrix_operate.__main__ import main
from matrix_operate.errors import OutageError
from matrix_operate.history import earlier
from matrix_operate.recorded import read_recorded
from tests.compare import checks
from tests.compare.checks import SHA
from tests.compare.conftest import LANE, ROOT
from tests.operate.uploads import SAME, accepted, files, fill, fill_rankings, puts

UNPINNED = "cpu-latest"
"""A lane that is not compared, so that recording takes little."""

NOW = "2025-02-01T00:00:00+00:00"


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout


class Remote:
    """A bare repository that says whether it was ever rewritten, and recording into it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "remote.git"
        git(folder, "init", "--quiet", "--bare", str(self.path))
        git(self.path, "config", "core.logAllRefUpdates", "always")
        self._looks = 0

    def record(self, collected: Path | None, *options: str) -> int:
        which = ["--collected", str(collected)] if collected else []
        return main(["record", *which, "--remote", str(self.path), "--branch", "data", *options])

    @property
    def commits(self) -> list[str]:
        """The commits of the branch, the newest first; none where there is no branch."""
        try:
            return git(self.path, "rev-list", "data").split()
        except subprocess.CalledProcessError:
            return []

    def look(self) -> Path:
        """What the branch holds."""
        self._looks += 1
        out = self.folder / f"look-{self._looks}"
        command = ["fetch", "--remote", str(self.path), "--branch", "data", "--out", str(out)]
        assert main(command) == 0
        return out

    def check(self, expected: set[tuple[str, str]], lane: str) -> None:
        """The branch has all captures, by release and time, is linear, and only ever grew.

        Raises:
            AssertionError: it has not, or is not.
        """
        assert held(self.look(), lane) == expected
        parents = git(self.path, "log", "--format=%P", "data").splitlines()
        assert all(len(line.split()) <= 1 for line in parents)
        tips = git(self.path, "reflog", "--format=%H", "data").split()
        assert set(tips) <= set(self.commits)


def held(data: Path, lane: str) -> set[tuple[str, str]]:
    """Every capture of a lane, by release and time, wherever it is."""
    found = set()
    for path in (data / "digests" / lane).glob("*"):
        now = read_capture(path).record
        assert path == digest_path(data, lane, now.torch)
        every = [now, *(one.record for one in earlier(data, lane, now.torch))]
        assert now.started == max(one.started for one in every)
        found |= {(one.torch, one.started) for one in every}
    return found


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Remote:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(record, "_SNAPSHOT", tmp_path / "snapshot")
    monkeypatch.setattr(record, "_PAUSE", 0.001)
    return Remote(tmp_path)


@pytest.fixture
def collected(tmp_path: Path) -> Path:
    """Two captures with values, and what was found in their indexes."""
    folder = tmp_path / "collected"
    fill(folder, "2.7.1")
    fill(folder, "2.8.0", puts(SAME * 2))
    fill_rankings(folder, [("2.7.1", "2.7.1"), ("2.8.0", "2.8.0")])
    return accepted(folder)


def one(folder: Path, torch: str, values: Any = None, lane: str = LANE, **more: Any) -> Path:
    """A folder with one capture, as collect leaves it."""
    fill(folder, torch, values, lane=lane, **more)
    return accepted(folder, lane)


def a_check(**changes: Any) -> Check:
    known = {"number": 390, "started": "2025-01-01T00:00:00+00:00"}
    return checks.check_of(checks.checked(), **known | changes)


def verdicts(data: Path, a: str, b: str) -> list[dict[str, Any]]:
    return [row for row in read_verdicts(data, LANE) if (row["a"], row["b"]) == (a, b)]


# What is appended.


def test_the_first_record_begins_the_branch(
    remote: Remote, collected: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert remote.record(collected) == 0
    told = capsys.readouterr().out
    assert "cpu-pinned torch 2.8.0, captured 2025-01-01T00:00:00+00:00\n" in told
    data = remote.look()
    assert set(files(data)) == {
        *(f"digests/{LANE}/torch-{torch}.parquet" for torch in ("2.7.1", "2.8.0")),
        *(f"{kind}/{LANE}.parquet" for kind in ("rankings", "verdicts")),
        *("distances.parquet", f"advice/{LANE}.json", "recorded.json"),
    }
    assert not [path for path in data.rglob("*") if path.name.startswith(".")]
    (row,) = (row for row in verdicts(data, "2.7.1", "2.8.0") if row["artifact"] == "embs")
    assert (row["verdict"], row["max_abs"]) == ("differs", 1.0)
    assert len(read_advices(advice_path(data, LANE)).advices) == 1
    assert list(read_recorded(data).lanes) == [LANE]
    told = git(remote.path, "log", "--format=%an %ae%n%cn%n%B", "data")
    assert told.startswith("colbert-matrix record@colbert-matrix.example\ncolbert-matrix\n")
    assert "\n3 records\n\ncpu-pinned torch 2.7.1, captured " in told


def test_without_a_branch_the_snapshot_is_the_start(remote: Remote, tmp_path: Path) -> None:
    snapshot = tmp_path / "snapshot"
    one(snapshot, "2.7.1")
    (snapshot / ".hidden").touch()
    (snapshot / "collected.json").unlink()
    assert set(files(remote.look())) == {f"digests/{LANE}/torch-2.7.1.parquet"}
    assert remote.record(one(tmp_path / "collected", "2.8.0")) == 0
    data = remote.look()
    assert len(held(data, LANE)) == 2
    assert verdicts(data, "2.7.1", "2.8.0")
    assert not (data / "values").exists()
    assert len(remote.commits) == 1


def test_the_same_again_makes_no_commit(
    remote: Remote, collected: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert remote.record(collected) == 0
    before = remote.commits
    assert remote.record(collected) == 0
    assert "nothing new to record" in capsys.readouterr().out
    assert remote.commits == before


def test_another_capture_that_finds_the_same_is_recorded(
    remote: Remote, collected: Path, tmp_path: Path
) -> None:
    assert remote.record(collected) == 0
    before = remote.look()
    again = one(tmp_path / "again", "2.8.0", puts(SAME * 2), started="2025-01-02T00:00:00+00:00")
    shutil.rmtree(again / "values")
    assert remote.record(again) == 0
    after = remote.look()
    changed = {place for place, held in files(after).items() if files(before).get(place) != held}
    assert {re.sub("[0-9a-f]{64}", "*", place) for place in changed} <= {
        f"digests/{LANE}/torch-2.8.0.parquet",
        f"history/{LANE}/2.8.0/*.jsonl",
        "recorded.json",
    }
    assert len(held(after, LANE)) == 3


def test_a_capture_older_than_the_one_on_record_is_history(
    remote: Remote, collected: Path, tmp_path: Path
) -> None:
    assert remote.record(collected) == 0
    before = files(remote.look())
    old = one(tmp_path / "old", "2.8.0", puts(SAME * 9), started="2024-01-01T00:00:00+00:00")
    assert remote.record(old) == 0
    after = files(remote.look())
    assert {place for place in after if after[place] != before.get(place)} - {"recorded.json"} == {
        place for place in after if place.startswith(f"history/{LANE}/2.8.0/")
    }


def test_a_quick_run_is_not_recorded(remote: Remote, tmp_path: Path) -> None:
    lane = f"{LANE}+0a0a0a0a"
    assert remote.record(one(tmp_path / "quick", "2.8.0", lane=lane)) == 0
    assert remote.commits == []


def test_a_lane_that_the_matrix_does_not_have_is_refused(remote: Remote, tmp_path: Path) -> None:
    assert remote.record(one(tmp_path / "other", "2.8.0", lane="other")) == 2
    assert remote.commits == []


def test_a_capture_in_the_place_of_another_is_refused(remote: Remote, collected: Path) -> None:
    digest_path(collected, LANE, "2.7.1").replace(digest_path(collected, LANE, "2.8.0"))
    assert remote.record(collected) == 2
    assert remote.commits == []


def test_what_nothing_is_pinned_in_is_not_compared(remote: Remote, tmp_path: Path) -> None:
    for torch in ("2.7.1", "2.8.0"):
        assert remote.record(one(tmp_path / torch, torch, lane=UNPINNED)) == 0
    data = remote.look()
    assert not (data / "verdicts").exists()
    assert list(read_recorded(data).lanes) == [UNPINNED]


def test_rankings_of_builds_that_are_not_shown_any_more_are_history(
    remote: Remote, tmp_path: Path
) -> None:
    lane = "cpu-nightly"
    builds = [f"2.16.0.dev202501{day:02}" for day in range(1, SHOWN_BUILDS + 3)]
    for build in builds:
        fill(tmp_path / "collected", build, [], lane=lane)
        fill_rankings(tmp_path / "collected", [(build, build)], lane=lane)
    assert remote.record(accepted(tmp_path / "collected", lane)) == 0
    data = remote.look()
    found = read_rankings(data / "rankings" / f"{lane}.parquet").header.searches
    assert [one.index_torch for one in found] == builds[2:]
    assert len(list((data / "history" / lane / "rankings").iterdir())) == 2
    assert {torch for torch, _ in held(data, lane)} == set(builds)


# Checks of pull requests.


def checked(folder: Path, **changes: Any) -> str:
    return str(write_check(folder, a_check(**changes)))


def test_a_check_is_recorded_and_touches_nothing_else(
    remote: Remote, collected: Path, tmp_path: Path
) -> None:
    assert remote.record(collected) == 0
    before = files(remote.look())
    assert remote.record(None, "--check", checked(tmp_path / "check")) == 0
    data = remote.look()
    place = f"pr/390/{SHA}.json"
    assert files(data) == {**before, place: (data / place).read_bytes()}
    assert read_check(data / place) == a_check()
    told = git(remote.path, "log", "-1", "--format=%B", "data")
    assert f"pull request 390 at {SHA}: pass" in told


def test_of_two_checks_of_a_commit_the_later_stays(remote: Remote, tmp_path: Path) -> None:
    for day in ("02", "01", "03", "02"):
        started = f"2025-01-{day}T00:00:00+00:00"
        assert remote.record(None, "--check", checked(tmp_path / "check", started=started)) == 0
    found = read_check(remote.look() / "pr" / "390" / f"{SHA}.json")
    assert found.started == "2025-01-03T00:00:00+00:00"
    assert len(remote.commits) == 2


def test_a_check_that_nobody_can_read_any_more_is_replaced(remote: Remote, tmp_path: Path) -> None:
    place = Path("pr", "390", f"{SHA}.json")
    (tmp_path / "snapshot" / place).parent.mkdir(parents=True)
    (tmp_path / "snapshot" / place).write_text('{"schema_version": 0}')
    assert remote.record(None, "--check", checked(tmp_path / "check")) == 0
    assert read_check(remote.look() / place) == a_check()


@pytest.mark.parametrize("changes", [{"number": 0}, {"sha": "../../digests"}, {"sha": SHA[1:]}])
def test_a_check_of_nothing_is_refused(
    changes: dict[str, Any], remote: Remote, tmp_path: Path
) -> None:
    path = Path(checked(tmp_path / "check"))
    text = path.read_text()
    for name, value in changes.items():
        text = re.sub(rf'"{name}": [^,]*,', f'"{name}": {value!r},'.replace("'", '"'), text)
    path.write_text(text)
    assert remote.record(None, "--check", str(path)) == 2
    assert remote.commits == []


def test_a_check_that_cannot_be_read_is_refused(remote: Remote, tmp_path: Path) -> None:
    (tmp_path / "check.json").write_text("{}")
    assert remote.record(None, "--check", str(tmp_path / "check.json")) == 2


def test_something_must_be_named(remote: Remote) -> None:
    assert remote.record(None) == 2


# What was said while values were at hand stays.


@pytest.fixture
def later(remote: Remote, collected: Path, tmp_path: Path) -> Path:
    """Once 2.7.1 and 2.8.0 are on record, a capture of 2.9.0 with no values but its own."""
    assert remote.record(collected) == 0
    return one(tmp_path / "later", "2.9.0", puts(SAME * 3))


def sized(data: Path, a: str, b: str) -> float | None:
    (row,) = (row for row in verdicts(data, a, b) if row["artifact"] == "embs")
    found: float | None = row["max_abs"]
    return found


def test_distances_are_known_without_values(remote: Remote, later: Path) -> None:
    assert remote.record(later) == 0
    data = remote.look()
    assert sized(data, "2.7.1", "2.8.0") == 1.0
    assert sized(data, "2.8.0", "2.9.0") is None


def test_verdicts_stay_where_distances_are_forgotten(
    remote: Remote, later: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the code that measures is another than it was."""
    monkeypatch.setattr(gauge, "_key", lambda profiles: b"another")
    assert remote.record(later) == 0
    assert sized(remote.look(), "2.7.1", "2.8.0") == 1.0


def test_a_release_that_moves_is_judged_anew(remote: Remote, later: Path, tmp_path: Path) -> None:
    moved = one(tmp_path / "moved", "2.8.0", started="2025-01-02T00:00:00+00:00")
    shutil.rmtree(moved / "values")
    assert remote.record(moved) == 0
    rows = verdicts(remote.look(), "2.7.1", "2.8.0")
    assert {row["verdict"] for row in rows if row["artifact"] == "embs"} == {"identical"}


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"fingerprint": {"cpu_model": "Y"}}, "not_comparable"),
        ({"inputs": {}}, "not_comparable"),
        ({"factors": {}}, "not_comparable"),
        (
            {
                "packages": {"torch": "2.8.0"},
                "host": {"cores": 4},
                "seconds": {"index": 9.0},
                "seconds_again": {"index": 9.0},
                "cpu_seconds": {"index": [9.0]},
                "capture_code": CaptureCode(version="2", hash="ff"),
                "note": "another",
            },
            "differs",
        ),
    ],
)
def test_a_pair_is_judged_anew_where_the_record_decides(
    changes: dict[str, Any], verdict: str, remote: Remote, later: Path, tmp_path: Path
) -> None:
    day = "2025-01-02T00:00:00+00:00"
    again = one(tmp_path / "again", "2.8.0", puts(SAME * 2), started=day, **changes)
    shutil.rmtree(again / "values")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gauge, "_key", lambda profiles: b"another")
        assert remote.record(again) == 0
    data = remote.look()
    (row,) = (row for row in verdicts(data, "2.7.1", "2.8.0") if row["artifact"] == "embs")
    assert row["verdict"] == verdict
    assert (row["max_abs"] is None) == (verdict != "differs")


def test_values_of_both_are_measured_although_nothing_moved(
    remote: Remote, collected: Path, tmp_path: Path
) -> None:
    bare = shutil.copytree(collected, tmp_path / "bare")
    shutil.rmtree(bare / "values")
    assert remote.record(bare) == 0
    assert sized(remote.look(), "2.7.1", "2.8.0") is None
    both = tmp_path / "both"
    for torch, factor in (("2.7.1", 1), ("2.8.0", 2)):
        fill(both, torch, puts(SAME * factor), started="2025-01-02T00:00:00+00:00")
    assert remote.record(accepted(both)) == 0
    assert sized(remote.look(), "2.7.1", "2.8.0") == 1.0


def test_other_profiles_judge_all_anew(
    remote: Remote, later: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = read_settings()
    others = {"wide": next(iter(found.profiles.values()))}
    for name in ("read_settings", "settings_of"):
        monkeypatch.setattr(record, name, lambda *_: replace(found, profiles=others))
    assert remote.record(later) == 0
    assert sized(remote.look(), "2.7.1", "2.8.0") is None


def test_which_stage_moved_a_ranking_is_known_without_values(
    remote: Remote, later: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Advice is given anew, with what values once told of a pair of which nothing moved."""
    path = advice_path(remote.look(), LANE)
    (before,) = read_advices(path).advices
    stages = Attribution(**dict.fromkeys(Attribution.__struct_fields__, 1))
    known = replace(before, reindex=replace(before.reindex, stages=stages))
    monkeypatch.setattr(
        conclusion, "read_advices", lambda _: Advices(schema_version=1, lane=LANE, advices=(known,))
    )
    assert remote.record(later) == 0
    advices = read_advices(advice_path(remote.look(), LANE)).advices
    assert [(one.a, one.b) for one in advices] == [("2.7.1", "2.8.0"), ("2.8.0", "2.9.0")]
    assert [one.reindex.stages for one in advices] == [stages, None]


# In whatever order, and as often.


@dataclasses.dataclass(frozen=True)
class Night:
    """What a night brings: releases, what they find, and when."""

    day: int
    torches: tuple[str, ...]
    factor: int

    def collected(self, folder: Path) -> Path:
        started = f"2025-01-{self.day:02}T00:00:00+00:00"
        for torch in self.torches:
            kept = [dataclasses.replace(put, keep=False) for put in puts(SAME * self.factor)]
            fill(folder, torch, kept, started=started)
        found = [[(self.factor, 1, 0.5)], [(1, 1, 0.5)]]
        fill_rankings(
            folder, [(torch, torch) for torch in self.torches], found=found, started=started
        )
        return accepted(folder)


NIGHTS = (
    Night(1, ("2.7.1", "2.8.0"), 1),
    Night(2, ("2.8.0", "2.9.0"), 2),
    Night(3, ("2.8.0",), 1),
    Night(4, ("2.7.1", "2.9.0"), 3),
)


@dataclasses.dataclass(frozen=True, repr=False)
class Came:
    """What each night brings, and what is on record once all of them have come in turn."""

    nights: list[Path]
    expected: dict[str, bytes]


@pytest.fixture(scope="module")
def came(tmp_path_factory: pytest.TempPathFactory) -> Came:
    folder = tmp_path_factory.mktemp("nights")
    nights = [night.collected(folder / str(number)) for number, night in enumerate(NIGHTS)]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        (folder / "data").mkdir()
        for path in nights:
            assert record.apply(folder / "data", path, [], NOW)
    assert len(held(folder / "data", LANE)) == 7
    found = read_rankings(folder / "data" / "rankings" / f"{LANE}.parquet")
    assert len(found.header.searches) == 3
    return Came(nights, files(folder / "data"))


@settings(deadline=None, max_examples=6)
@given(order=st.permutations(range(len(NIGHTS))), again=st.integers(0, len(NIGHTS) - 1))
def test_neither_order_nor_repetition_matters(
    order: Sequence[int], again: int, came: Came, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        for number in order:
            assert record.apply(data, came.nights[number], [], NOW)
        assert files(data) == came.expected
        assert record.apply(data, came.nights[again], [], "2026-01-01T00:00:00+00:00") == []
    assert files(data) == came.expected


# Others push too.


def interrupted(
    monkeypatch: pytest.MonkeyPatch, remote: Remote, others: Iterator[Path], *, force: bool = False
) -> None:
    """Have somebody else record whenever somebody is about to push."""
    push, git_ = branch.Branch.push, branch.Branch._git

    def pushing(self: branch.Branch) -> None:
        if other := next(others, None):
            assert remote.record(other) == 0
        push(self)

    def forcing(self: branch.Branch, *arguments: str, **more: Any) -> Any:
        extra = ("--force",) if arguments[0] == "push" else ()
        return git_(self, *arguments, *extra, **more)

    monkeypatch.setattr(branch.Branch, "push", pushing)
    if force:
        monkeypatch.setattr(branch.Branch, "_git", forcing)


def rivals(folder: Path) -> tuple[list[Path], set[tuple[str, str]]]:
    """What several have to record, and all of it."""
    days = [f"2025-01-0{day}T00:00:00+00:00" for day in range(1, 5)]
    torches = ("2.7.1", "2.8.0", "2.8.0", "2.9.0")
    came = [
        one(folder / str(number), torch, lane=UNPINNED, started=day)
        for number, (torch, day) in enumerate(zip(torches, days, strict=True))
    ]
    return came, set(zip(torches, days, strict=True))


def test_who_was_refused_records_on_top_of_the_others(
    remote: Remote,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (mine, *others), every = rivals(tmp_path)
    interrupted(monkeypatch, remote, iter(others))
    assert remote.record(mine) == 0
    assert re.search(r"^attempt 1 of 12: git push: .*rejected", capsys.readouterr().out, re.M)
    remote.check(every, UNPINNED)
    assert len(remote.commits) == 4


@pytest.mark.parametrize("fault", ["by force", "no second attempt"])
def test_a_planted_writer_that_loses_something_is_seen(
    fault: str, remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (mine, *others), every = rivals(tmp_path)
    assert remote.record(others.pop()) == 0
    interrupted(monkeypatch, remote, iter(others), force=fault == "by force")
    if fault == "no second attempt":
        monkeypatch.setattr(record, "_ATTEMPTS", 1)
        # The others are refused in their turn.
        with pytest.raises(AssertionError):
            remote.record(mine)
    else:
        assert remote.record(mine) == 0
    with pytest.raises(AssertionError):
        remote.check(every, UNPINNED)


_WRITING = """
import sys
from pathlib import Path

from matrix_operate import record
from matrix_operate.__main__ import main
from tests.operate.test_record import UNPINNED, one

remote, folder, name, torch = sys.argv[1:]
record._SNAPSHOT = Path("nowhere")
print("ready", flush=True)
sys.stdin.readline()
for number in range(50):
    started = f"2025-01-01T{name}:{number:02}:00+00:00"
    came = one(Path(folder) / str(number), torch, lane=UNPINNED, started=started)
    if status := main(["record", "--collected", str(came), "--remote", remote]):
        raise SystemExit(status)
"""


def test_two_that_record_at_once_lose_nothing(remote: Remote, tmp_path: Path) -> None:
    """Fifty captures each, of one release that both have and, by turns, of one more."""
    path = os.pathsep.join([str(ROOT), *sys.path])
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITING, remote.path, tmp_path / name, name, torch],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name, torch in (("01", "2.8.0"), ("02", "2.8.0"))
    ]
    for writer in writers:
        assert writer.stdout
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin
        writer.stdin.write("\n")
        writer.stdin.flush()
    told = [writer.communicate()[0] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0], told
    every = {
        ("2.8.0", f"2025-01-01T{name}:{number:02}:00+00:00")
        for name in ("01", "02")
        for number in range(50)
    }
    remote.check(every, UNPINNED)
    assert len(remote.commits) == len(every)
    assert "attempt 1 of" in "".join(told)  # they did get in each other's way


# What goes wrong.


def test_a_dry_run_pushes_nothing(
    remote: Remote, collected: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert remote.record(collected, "--dry-run") == 0
    told = capsys.readouterr().out
    assert told.startswith("nothing is pushed; this would change:\ncpu-pinned torch 2.7.1")
    assert remote.commits == []


def test_who_cannot_be_reached_is_given_up(
    remote: Remote,
    collected: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(record, "time", SimpleNamespace(sleep=pauses.append))
    monkeypatch.setattr(record, "_PAUSE", 0.1)
    shutil.rmtree(remote.path)
    assert remote.record(collected) == 75
    captured = capsys.readouterr()
    assert re.fullmatch(r"error: nothing was recorded in 12 attempts; [^\n]*\n", captured.err)
    assert len(captured.out.splitlines()) == len(pauses) == 12
    assert pauses[0] == 0
    assert all(pause <= 30 for pause in pauses)
    assert sum(pauses[6:]) > sum(pauses[:6])


def test_killed_before_the_push_it_leaves_the_branch_as_it_was(
    remote: Remote, collected: Path, tmp_path: Path
) -> None:
    assert remote.record(one(tmp_path / "before", "2.6.0")) == 0
    before = remote.commits
    script = tmp_path / "bin" / "git"
    script.parent.mkdir()
    script.write_text(
        f'#!/bin/sh\ncase "$*" in *" push "*) touch {tmp_path}/pushing; sleep 100;; esac\n'
        f'exec {shutil.which("git")} "$@"\n'
    )
    script.chmod(0o755)
    command = [sys.executable, "-m", "matrix_operate", "record", "--collected", str(collected)]
    path = os.pathsep.join(sys.path)
    with subprocess.Popen(
        [*command, "--remote", str(remote.path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, "PATH": f"{script.parent}:{os.environ['PATH']}"},
        start_new_session=True,
    ) as process:
        while not (tmp_path / "pushing").exists():
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    assert remote.commits == before
    git(remote.path, "fsck", "--strict")
    assert remote.record(collected) == 0
    assert len(remote.commits) == 2


@pytest.mark.parametrize("address", ["https://x:secret@host/a.git", "https://secret@host/a.git"])
def test_an_address_with_a_token_is_refused(
    address: str, remote: Remote, collected: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    which = ["record", "--collected", str(collected), "--remote", address]
    assert main(which) == 2
    assert "secret" not in capsys.readouterr().err


def test_the_token_is_given_to_its_host_and_to_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "the secret")
    settings_ = branch._credentials("https://github.example/owner/name")
    assert settings_
    assert "the secret" not in "".join(settings_)
    options = [part for setting in settings_ for part in ("-c", setting)]

    def asked(host: str) -> str:
        done = subprocess.run(
            ["git", *options, "credential", "fill"],
            input=f"protocol=https\nhost={host}\n\n",
            cwd=tmp_path,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": ""},
            capture_output=True,
            check=False,
            text=True,
        )
        return done.stdout

    assert "username=x-access-token\npassword=the secret\n" in asked("github.example")
    assert "secret" not in asked("evil.example")
    assert branch._credentials("/a/path") == branch._credentials("git@github.com:a/b") == ()
    monkeypatch.delenv("GITHUB_TOKEN")
    assert branch._credentials("https://github.example/owner/name") == ()


def test_the_token_is_in_no_argument_and_in_no_file(
    remote: Remote, collected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "the secret")
    run, seen = subprocess.run, []

    def running(command: list[str], **more: Any) -> Any:
        seen.append(" ".join(map(str, command)) + str(more.get("input")))
        return run(command, **more)

    monkeypatch.setattr(subprocess, "run", running)
    with pytest.raises(OutageError):
        branch.Branch("http://127.0.0.1:9/a", "data", remote.folder / "never")
    (remote.folder / "here").mkdir()
    with pytest.raises(OutageError):
        branch.Branch("http://127.0.0.1:9/a", "data", remote.folder / "here")
    assert "credential.http://127.0.0.1:9.helper=!f()" in seen[-1]
    assert "the secret" not in "".join(seen)
    for path in (remote.folder / "here").rglob("*"):
        assert path.is_dir() or b"the secret" not in path.read_bytes()


def test_what_is_fetched_needs_a_folder_of_its_own(
    remote: Remote, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["fetch", "--remote", str(remote.path), "--out", str(tmp_path)]
    assert main(command) == 2
    assert "is there already" in capsys.readouterr().err
