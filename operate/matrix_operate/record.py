"""Append what was collected to the branch that holds all that is on record."""

import argparse
import datetime
import random
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import blake3

from matrix_capture.errors import MatrixError
from matrix_capture.names import version_numbers
from matrix_capture.rankings import (
    Rankings,
    Search,
    rankings_path,
    read_rankings,
    record_searches,
    retire_searches,
)
from matrix_capture.schema import (
    Capture,
    Record,
    digest_path,
    read_capture,
    recorded,
)
from matrix_capture.settings import Settings, read_settings, settings_of
from matrix_compare.check import Check, check_path, read_check, write_check
from matrix_compare.report import plain
from matrix_compare.tolerance import read_profiles
from matrix_operate.branch import Branch
from matrix_operate.collected import Arrived, read_collected
from matrix_operate.conclusion import conclude
from matrix_operate.errors import OutageError
from matrix_operate.history import record_capture
from matrix_operate.recorded import Lane, read_recorded, write_recorded


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command is told."""
    parser.add_argument(
        "--collected", type=Path, metavar="DIR", help="what collect accepted, to be recorded"
    )
    parser.add_argument(
        "--check",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="checks of pull requests, to be recorded",
    )
    parser.add_argument(
        "--remote", required=True, metavar="URL", help="the repository, or its path"
    )
    parser.add_argument("--branch", default="data", help="the branch (default: data)")
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would change, push nothing"
    )


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    if not options.collected and not options.check:
        raise MatrixError("nothing to record; name --collected or --check")
    checks = [read_check(path) for path in options.check]
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    for attempt in range(_ATTEMPTS):
        # Two that were refused at once must not come back at once.
        most = min(_PAUSE * (2**attempt - 1), _LONGEST)
        time.sleep(random.uniform(0, most))  # noqa: S311 - nobody gains by guessing it
        try:
            _append(options, checks, now)
        except OutageError as error:
            last = error
            print(plain(f"attempt {attempt + 1} of {_ATTEMPTS}: {error}"))
        else:
            return 0
    raise OutageError(f"nothing was recorded in {_ATTEMPTS} attempts; the last: {last}")


def _append(options: argparse.Namespace, checks: Sequence[Check], now: str) -> None:
    """Record everything on top of what the branch holds now.

    Raises:
        OutageError: the repository cannot be reached, or somebody else was faster.
    """
    with tempfile.TemporaryDirectory(prefix="matrix-record-") as scratch:
        data = Path(scratch)
        branch = Branch(options.remote, options.branch, data)
        if not branch.exists:
            begin(data)
        told = apply(data, options.collected, checks, now)
        changed = branch.commit("\n".join([f"{len(told)} records", "", *told]))
        if changed and not options.dry_run:
            branch.push()
    if options.dry_run:
        print("nothing is pushed; this would change:")
    for line in (*told, *changed.splitlines()[-1:]) if changed else ("nothing new to record",):
        print(plain(line))


def begin(data: Path) -> None:
    """Fill a folder with the snapshot that the checkout has, if it has one."""
    if _SNAPSHOT.is_dir():
        left = shutil.ignore_patterns(".*", "values", "indexes")
        shutil.copytree(_SNAPSHOT, data, ignore=left, dirs_exist_ok=True)


def apply(data: Path, collected: Path | None, checks: Sequence[Check], now: str) -> list[str]:
    """Record in a data folder; returns what is new there, a line for each.

    Captures of lanes with options of their own are left out: they are no part of the matrix.

    Raises:
        MatrixError: something cannot be read, or has no place there.
    """
    told = _apply_captures(data, collected, now) if collected else []
    for check in checks:
        path = check_path(data, check.number, check.sha)
        if _started(path) < check.started:
            write_check(data, check)
            told.append(f"pull request {check.number} at {check.sha}: {check.level}")
    return told


def _started(path: Path) -> str:
    """When the check on record began; empty where there is none that can be read."""
    try:
        return read_check(path).started
    except MatrixError:
        return ""


def _apply_captures(data: Path, collected: Path, now: str) -> list[str]:
    told: list[str] = []
    settings, last = read_settings(), read_recorded(data)
    profiles = blake3.blake3(repr(read_profiles(settings)).encode()).hexdigest()
    # Distances are measured where values are at hand; those never go into the branch.
    if (collected / "values").is_dir() and not (data / "values").exists():
        (data / "values").symlink_to((collected / "values").absolute())
    for lane, arrived in _lanes(collected, settings).items():
        held = {one.torch: _on_record(data, lane, one.torch) for one in arrived}
        new = [line for torch in held if (line := _record(data, collected, lane, torch))]
        moved = {t for t, before in held.items() if not _alike(before, _on_record(data, lane, t))}
        if found := _record_rankings(data, collected, lane):
            new.append(f"{lane} rankings of {', '.join(sorted(found, key=version_numbers))}")
        before = last.lanes.get(lane)
        # Where nothing is pinned, it only counts whether it runs.
        if new and settings.lane(lane).constraints:
            conclude(
                data,
                lane,
                settings_of(data),
                moved=moved | found,
                measurable=[one.torch for one in arrived if one.values == one.stored],
                anew=before is not None and before.profiles not in ("", profiles),
            )
        if new:
            last.lanes[lane] = Lane(time=now, profiles=profiles)
        told += new
    # A lane that is up to date is as good as recorded: only one that nobody looks at is late.
    for lane in read_collected(collected).current:
        before = last.lanes.get(lane)
        last.lanes[lane] = Lane(time=now, profiles=before.profiles if before else "")
        told.append(f"{lane}, where nothing is due")
    if told:
        write_recorded(data, last)
    return told


def _lanes(collected: Path, settings: Settings) -> dict[str, list[Arrived]]:
    """What arrived in each lane of the matrix."""
    lanes: dict[str, list[Arrived]] = {}
    for arrived in read_collected(collected).arrived:
        if "+" not in arrived.lane and settings.lane(arrived.lane):
            lanes.setdefault(arrived.lane, []).append(arrived)
    return lanes


def _record(data: Path, collected: Path, lane: str, torch: str) -> str | None:
    """Record a capture; returns what to tell of it, None if it is on record already."""
    path = digest_path(collected, lane, torch)
    capture = read_capture(path)
    if (capture.record.lane, capture.record.torch) != (lane, torch):
        raise MatrixError(f"{path}: is of another lane or release; collect again")
    new = record_capture(data, capture)
    return f"{lane} torch {torch}, captured {capture.record.started}" if new else None


def _on_record(data: Path, lane: str, torch: str) -> Capture | None:
    path = digest_path(data, lane, torch)
    return read_capture(path) if path.exists() else None


def _alike(a: Capture | None, b: Capture | None) -> bool:
    """Whether two captures of one release compare alike with those of any other."""
    if a is None or b is None:
        return a is b
    return bool(a.rows.equals(b.rows)) and _compared(a.record) == _compared(b.record)


def _compared(record: Record) -> tuple[object, ...]:
    """What of a record decides about verdicts; the rest is told."""
    return (
        record.status,
        record.missing,
        record.inputs,
        record.factors,
        record.fingerprint,
        record.options,
    )


def _record_rankings(data: Path, collected: Path, lane: str) -> set[str]:
    """Record what was found; returns the releases of which something else was found before."""
    if not rankings_path(collected, lane).exists():
        return set()
    new, path = read_rankings(rankings_path(collected, lane)), rankings_path(data, lane)
    before = read_rankings(path) if path.exists() else None
    record_searches(data, new.header, [(one, _rows(new, one)) for one in new.header.searches])
    # Nightly builds come and go: of those that are not shown any more, history has the rankings.
    retire_searches(data, lane, settings_of(data).of_lane(lane, recorded(data, lane)))
    after = read_rankings(path)
    moved: set[str] = set()
    for one in new.header.searches:
        if before is None or not _rows(before, one).equals(_rows(after, one)):
            moved |= {one.index_torch, one.search_torch}
    return moved


def _rows(rankings: Rankings, search: Search) -> Any:
    return rankings.rows(search.index_torch, search.search_torch, mmap=search.mmap)


_SNAPSHOT = Path("data")

_ATTEMPTS = 12
_PAUSE = 0.1
_LONGEST = 30.0
"""Seconds: the pauses add up to some two minutes."""
