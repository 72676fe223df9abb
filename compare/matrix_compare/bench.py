"""`python -m matrix_compare.bench`: what a comparison costs, as ratios within one run."""

import argparse
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from matrix_capture.by_hand import close, save
from matrix_capture.catalogue import CATALOGUE
from matrix_capture.digest import Snapshot, block_hashes, content_hash, figures, snapshot
from matrix_capture.errors import MatrixError
from matrix_capture.measurement import Measurement, at_least, at_most, fastest, tell, write_settings
from matrix_capture.schema import (
    COLUMNS,
    SCHEMA_VERSION,
    STAGES,
    Capture,
    CaptureCode,
    Record,
    StageStatus,
    write_capture,
)
from matrix_capture.settings import Settings, read_settings
from matrix_capture.values import ValueStore
from matrix_compare.captures import load_captures
from matrix_compare.gauge import Gauge
from matrix_compare.metrics import measure
from matrix_compare.pairs import compare
from matrix_compare.tolerance import Profile, read_profiles

_LANE = "cpu-pinned"
_CAPTURES, _ROWS = 30, 3000
_BOUNDARIES = (1, 3, 6, 12, 18, 22)  # captures that differ from the one before in a third
_ELEMENTS = 8 * 2**20  # of a tensor whose distances are measured

# As the baseline has them: tensors of one indexing, how many of them are kept, bytes of each.
_TENSORS, _KEPT, _BYTES = 570, 95, 4 * 2**20


def pairs(settings: Settings, folder: Path) -> Measurement:
    """Seconds from a cold start for all pairs of thirty captures, against three of them."""
    releases = [f"9.{number}.0" for number in range(_CAPTURES)]
    write_settings(folder / "matrix.toml", releases)
    generator = np.random.default_rng(0)
    contents = [generator.bytes(32) for _ in range(_ROWS // 2)]
    for number, release in enumerate(releases):
        if number in _BOUNDARIES:
            contents = [
                generator.bytes(32) if place % 3 == 0 else content
                for place, content in enumerate(contents)
            ]
        write_capture(_of_digests(release, contents), folder)
    command = [sys.executable, "-m", "matrix_compare", "--lane", _LANE, "--data", str(folder)]
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    count = _CAPTURES * (_CAPTURES - 1) // 2
    return at_most(f"{count} pairs of {_ROWS:,} rows each, cold start", "s", seconds, 3.0, 1.0)


def distances(profiles: tuple[Profile, ...]) -> list[Measurement]:
    """Seconds of all distances of two tensors, against `numpy.allclose` alone, and bytes read."""
    found = []
    generator = np.random.default_rng(0)
    for dtype in ("float32", "float16"):
        whole = generator.standard_normal(_ELEMENTS, np.float32).astype(dtype)
        for share in (0.1, 1.0):
            moved = generator.random(_ELEMENTS) < share
            other = np.where(moved, np.nextafter(whole, np.asarray(9, dtype)), whole)
            a, b = snapshot(whole), snapshot(other)
            pieces = [(0, a.data, b.data)]
            measure(a, pieces, profiles)  # compiled once
            ours = fastest(partial(measure, a, pieces, profiles))
            theirs = fastest(partial(np.allclose, a.data, b.data))
            name = f"distances of {dtype}, {share:.0%} differ"
            found.append(at_most(f"{name}, against numpy.allclose", "s", ours, theirs, 1.0))
            if dtype == "float32":  # float16 is bound by its roundings, not by memory
                size = (a.nbytes + b.nbytes) / 1e9
                speed = size / fastest(a.data.copy)  # a copy reads and writes
                found.append(at_least(f"{name}, bytes read", "GB/s", size / ours, speed, 0.1))
    return found


def by_hand(settings: Settings, folder: Path) -> list[Measurement]:
    """Seconds for one pair of which 90% is identical, against `torch.load` and `torch.allclose`.

    Both see the tensors of one indexing at the baseline's size. Whoever saves with `torch.save`
    loads all of them; a capture has digests of all and the values of some. What was measured once
    is remembered, so there is a first time and a second.
    """
    profiles = read_profiles(settings)
    bounds = [(t.atol, t.rtol) for t in (p.tolerance("float32") for p in profiles)]
    store = ValueStore(folder / "values")
    generator = np.random.default_rng(0)
    releases = settings.releases[:2]
    rows: dict[str, list[dict[str, Any]]] = {release: [] for release in releases}
    for number in range(_TENSORS):
        a = generator.standard_normal((_BYTES // 4 // 96, 96), np.float32)
        b = a.copy()
        if number % 10 == 0:
            b[::7] = np.nextafter(b[::7], np.float32(9))
        for release, value in zip(releases, (a, b), strict=True):
            snap = snapshot(value)
            row = _row(snap, number, kept=number % (_TENSORS // _KEPT) == 0)
            if row["stored"]:
                store.put(snap, row["digest"])
            rows[release].append(row)
            save(value, folder / f"{release}-{number}.pt")
    for release, made in rows.items():
        capture = Capture(record=_record(release), rows=pa.Table.from_pylist(made, schema=COLUMNS))
        write_capture(capture, folder)

    memory = folder / "distances.parquet"

    def ours(memory: Path | None) -> None:
        captures = load_captures(folder, _LANE, settings).captures
        gauge = Gauge(store, profiles, memory)
        compare(captures, gauge, store)
        gauge.save()

    def theirs() -> None:
        for number in range(_TENSORS):
            a, b = (folder / f"{release}-{number}.pt" for release in releases)
            close(a, b, bounds)

    ours(memory)
    name = "a pair of which 90% is identical, against torch.allclose"
    seconds = fastest(theirs)
    return [
        at_most(name, "s", fastest(partial(ours, None)), seconds, 0.01),
        at_most(f"{name}, again", "s", fastest(partial(ours, memory)), seconds, 0.01),
    ]


def _of_digests(release: str, contents: list[bytes]) -> Capture:
    """A capture of two repeats that has these digests and no values.

    It has everything once, and for the rest the modules of an encoder of twelve layers, chunk after
    chunk.
    """
    made = [artifact for artifact in CATALOGUE if artifact.kind != "probe"]
    modules = [artifact for artifact in made if artifact.keep == "digest only"]
    rows = []
    for repeat in (0, 1):
        for number, content in enumerate(contents):
            turn, place = divmod(number - len(made), len(modules))
            artifact = made[number] if turn < 0 else modules[place]
            rows.append(
                {
                    "seq": number,
                    "repeat": repeat,
                    "stage": artifact.stage,
                    "artifact": artifact.name,
                    "part": "" if turn < 0 else f"encoder.layer.{turn % 12}",
                    "scope": f"chunk.{max(0, turn) // 12}",
                    "occurrence": 0,
                    "dtype": "float32",
                    "shape": [32, 170, 384],
                    "digest": content,
                    "blocks": [content[:16]] * 8,
                    "stored": False,
                }
            )
    return Capture(record=_record(release), rows=pa.Table.from_pylist(rows, schema=COLUMNS))


def _row(snap: Snapshot, number: int, *, kept: bool) -> dict[str, Any]:
    counted = figures(snap)
    return {
        "seq": number,
        "repeat": 0,
        "stage": "encode",
        "artifact": "batches" if kept else "layers",
        "part": "",
        "scope": "sample",
        "occurrence": number,
        "dtype": snap.dtype,
        "shape": list(snap.shape),
        "numel": snap.numel,
        "digest": content_hash(snap),
        "blocks": block_hashes(snap),
        "nan": counted.nan,
        "stored": kept,
    }


def _record(release: str) -> Record:
    return Record(
        schema_version=SCHEMA_VERSION,
        lane=_LANE,
        torch=release,
        torch_build=release,
        status={stage: StageStatus(state="ok") for stage in STAGES},
        packages={},
        host={},
        environ={},
        inputs={},
        factors={},
        fingerprint={},
        capture_code=CaptureCode(version="", hash=""),
        started="",
        seconds={},
    )


def main(arguments: list[str] | None = None) -> int:
    """Measure, print a table, and write the figures as JSON where asked to."""
    parser = argparse.ArgumentParser(prog="python -m matrix_compare.bench", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args(arguments)
    try:
        settings = read_settings()
        found = distances(read_profiles(settings))
        with tempfile.TemporaryDirectory(prefix="colbert-matrix-") as scratch:
            found.append(pairs(settings, Path(scratch)))
        with tempfile.TemporaryDirectory(prefix="colbert-matrix-") as scratch:
            found += by_hand(settings, Path(scratch))
    except (MatrixError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    tell(found, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
