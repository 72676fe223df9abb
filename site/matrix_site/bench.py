"""`python -m matrix_site.bench`: what the site costs, as ratios within one run."""

import argparse
import gzip
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow as pa

from matrix_capture.catalogue import Artifact, Device, expected
from matrix_capture.errors import MatrixError
from matrix_capture.measurement import Measurement, at_most, tell, write_settings
from matrix_capture.schema import (
    COLUMNS as DIGESTS,
)
from matrix_capture.schema import (
    SCHEMA_VERSION,
    STAGES,
    Capture,
    CaptureCode,
    Record,
    StageStatus,
    write_capture,
)
from matrix_compare.schema import COLUMNS as VERDICTS
from matrix_compare.schema import write_verdicts

_LANES = ("cpu-pinned", "cuda-pinned", "cpu-conditionalqa")
_RELEASES = tuple(f"9.{number}.0" for number in range(30))
_BOUNDARIES = {
    1: "layers",
    3: "codes_sorted_indices",
    5: "train_scores",
    7: "prenorm_centroids",
    9: "linear",
    12: "normalized",
    14: "query_embeddings",
    17: "train_scores",
    20: "layers",
    24: "gradients",
    27: "centroid_scores",
}
"""Captures that differ from the one before, and where that starts."""

_PARTS = {"weights": 104, "layers": 6, "layer_outputs": 6, "trained_weights": 9, "file_layout": 6}
_PER_PASS = ("encode",)
_MOVING = 17  # packages that come with torch and change with it
_SECONDS = 5.0
_BYTES = 20_480


def site(*, unlike: bool) -> list[Measurement]:
    """Seconds for all pairs of thirty releases in three lanes, and the size of the first page.

    The command runs on one core from a cold start. With `unlike`, no two pairs have a distance in
    common, so nothing can be made once for several.
    """
    with tempfile.TemporaryDirectory(prefix="colbert-matrix-") as scratch:
        folder = Path(scratch)
        write_settings(folder / "matrix.toml", _RELEASES)
        for lane in _LANES:
            _write_lane(folder / "data", lane, unlike=unlike)
        seconds = [_publish(folder, name) for name in ("one", "two")]
        if _hash(folder / "one") != _hash(folder / "two"):
            raise MatrixError("the same data gave another site")
        page = gzip.compress((folder / "one/index.html").read_bytes(), mtime=0)
    count = len(_LANES) * len(_RELEASES) * (len(_RELEASES) - 1) // 2
    kind = "all different" if unlike else f"{len(_BOUNDARIES)} boundaries"
    return [
        at_most(f"{count:,} pairs, {kind}, one core", "s", min(seconds), _SECONDS, 1.0),
        at_most(f"first page of it, {kind}, gzip", "bytes", float(len(page)), float(_BYTES), 1.0),
    ]


def _publish(folder: Path, out: str) -> float:
    command = [sys.executable, "-m", "matrix_site", "--data", "data", "--out", out]
    core = {min(os.sched_getaffinity(0))}
    started = time.perf_counter()
    subprocess.run(
        command,
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, core),
    )
    return time.perf_counter() - started


def _hash(folder: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def _places(artifact: Artifact) -> Iterable[tuple[str, str]]:
    """Part and scope of everything that one artifact of a run is."""
    passes = ("sample", "chunk.0") if artifact.stage in _PER_PASS else (artifact.stage,)
    for scope in passes[:1] if artifact.name in ("weights", "layer_outputs") else passes:
        for number in range(_PARTS.get(artifact.name, 1)):
            named = artifact.name in _PARTS
            yield f"encoder.layer.{number % 6}.part{number // 6}" if named else "", scope


def _write_lane(data: Path, lane: str, *, unlike: bool) -> None:
    device: Device = "cuda" if lane.startswith("cuda") else "cpu"
    artifacts = expected(device, "default")
    places = [(artifact, *place) for artifact in artifacts for place in _places(artifact)]
    for number, release in enumerate(_RELEASES):
        rows = [_digest(seq, *place) for seq, place in enumerate(places)]
        capture = Capture(
            record=_record(lane, release, number), rows=pa.Table.from_pylist(rows, schema=DIGESTS)
        )
        write_capture(capture, data)
    columns: dict[str, list[Any]] = {name: [] for name in VERDICTS.names}
    for a, b in combinations(range(len(_RELEASES)), 2):
        changed = _changed(a, b, artifacts)
        scale = 1.0 + (a * 31 + b) * 1e-3 if unlike else 1.0
        for artifact, part, scope in places:
            row = _verdict(artifact, changed, scale)
            row |= {"lane": lane, "a": _RELEASES[a], "b": _RELEASES[b], "part": part}
            row["scope"] = scope
            for name, column in columns.items():
                column.append(row.get(name))
    table = pa.table([pa.array(columns[f.name], f.type) for f in VERDICTS], schema=VERDICTS)
    write_verdicts(table, data, lane)


def _changed(a: int, b: int, artifacts: tuple[Artifact, ...]) -> dict[str, str]:
    """Artifacts that differ between two captures, and the role of each."""
    changed = {start: "origin" for number, start in _BOUNDARIES.items() if a < number <= b}
    for artifact in artifacts:
        if any(parent in changed for parent in artifact.parents):
            changed[artifact.name] = "propagated"
    return changed


def _verdict(artifact: Artifact, changed: dict[str, str], scale: float) -> dict[str, Any]:
    row: dict[str, Any] = {
        "artifact": artifact.name,
        "kind": artifact.kind,
        "stage": artifact.stage,
        "occurrences": 18,
        "identical": 18,
        "verdict": "identical",
        "reason": "",
        "profile": "",
        "profiles": [],
        "role": changed.get(artifact.name, ""),
    }
    if artifact.name not in changed:
        return row
    row |= {"verdict": "differs", "identical": 3, "differing_occurrences": list(range(15))}
    if artifact.keep != "always":
        return row | {"reason": "values not kept"}
    return row | {
        "reason": "outside every profile",
        "max_abs": 3.9e-3 * scale,
        "mean_abs": 3.9e-5 * scale,
        "max_rel": 0.02 * scale,
        "equal_fraction": 0.7 / scale,
        "max_ulp": 512,
        "p50_ulp": 1.0,
        "p99_ulp": 40.0,
        "rtol_needed": 3.1e-5 * scale,
        "ulp_histogram": [900_000, 40_000, 3_000, 200, 17],
        "violations": [12, 3],
        "first_index": [17, 3],
        "first_at": "batch 0, passage 311, token 5, dimension 0",
        "largest_at": "batch 0, passage 185, token 37, dimension 43",
    }


def _digest(seq: int, artifact: Artifact, part: str, scope: str) -> dict[str, Any]:
    return {
        "seq": seq,
        "repeat": 0,
        "stage": artifact.stage,
        "artifact": artifact.name,
        "part": part,
        "scope": scope,
        "occurrence": 0,
        "dtype": "float32",
        "shape": [32, 170, 384],
        "digest": bytes(32),
    }


def _record(lane: str, release: str, number: int) -> Record:
    return Record(
        schema_version=SCHEMA_VERSION,
        lane=lane,
        torch=release,
        torch_build=f"{release}+cu128",
        status={stage: StageStatus(state="ok") for stage in STAGES},
        packages={
            f"package-{place}": f"{place}.{number if place < _MOVING else 0}" for place in range(90)
        },
        host={"cpu_model": "AMD EPYC", "cores": 2, "cublas": f"12.{number}"},
        environ={"OMP_NUM_THREADS": "2"},
        inputs={"checkpoint": "0f" * 32},
        factors={"python": "3.11.9", "colbert-ai": "0.2.22"},
        fingerprint={"cpu_model": "AMD EPYC"},
        capture_code=CaptureCode(version="0.1.0", hash="9b1c" * 16),
        started=f"2026-11-{1 + number % 28:02}T08:30:00+00:00",
        seconds=dict.fromkeys(STAGES, 10.0 + number),
        repeats=2,
    )


def main(arguments: list[str] | None = None) -> int:
    """Measure, print a table, and write the figures as JSON where asked to."""
    parser = argparse.ArgumentParser(prog="python -m matrix_site.bench", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args(arguments)
    try:
        found = [*site(unlike=False), *site(unlike=True)]
    except (MatrixError, OSError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    tell(found, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
