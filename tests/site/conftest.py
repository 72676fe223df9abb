"""Data folders as a capture and a comparison leave them, made through the schema modules."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from matrix_capture.catalogue import BY_NAME, CATALOGUE, expected
from matrix_capture.names import version_numbers
from matrix_capture.schema import (
    COLUMNS,
    STAGES,
    Capture,
    CaptureCode,
    Control,
    Observer,
    Record,
    StageStatus,
    write_capture,
)
from matrix_capture.settings import Settings, read_settings
from matrix_compare.schema import COLUMNS as VERDICTS
from matrix_compare.schema import Verdict, write_verdicts

ROOT = Path(__file__).parents[2]
RELEASES = ("2.0.1", "2.1.0", "2.7.1", "2.8.0", "2.9.0", "2.9.1", "2.10.0")
FAILED = "2.9.0"

Change = Mapping[str, tuple[Verdict, float]]
"""Artifact to verdict and largest difference."""

WriteLane = Callable[..., None]


def _later(artifact: str, *, ivf: bool = True) -> Change:
    """Everything made from an artifact differs."""
    changed = {artifact: (Verdict.DIFFERS, 1.2e-06)}
    for candidate in CATALOGUE:
        if any(parent in changed for parent in candidate.parents):
            changed[candidate.name] = (Verdict.DIFFERS, 3.9e-03)
    if not ivf:
        changed = {name: change for name, change in changed.items() if "ivf" not in name}
    return changed


CHANGES: Mapping[str, Change] = {
    "2.1.0": {
        **_later("batches"),
        "avg_residual": (Verdict.CLOSE, 3.1e-05),
        "index_avg_residual": (Verdict.CLOSE, 3.1e-05),
        "bucket_weights": (Verdict.CLOSE, 6.1e-05),
        "index_bucket_weights": (Verdict.CLOSE, 6.1e-05),
        "probe_sort_indices": (Verdict.REORDERED, 1146936.0),
        "codes_sorted_indices": (Verdict.REORDERED, 41022.0),
    },
    "2.8.0": {
        **_later("postnorm_centroids", ivf=False),
        "postnorm_centroids": (Verdict.CLOSE, 5.96e-08),
        "centroids": (Verdict.CLOSE, 5.96e-08),
        "index_centroids": (Verdict.CLOSE, 1.22e-04),
        "probe_normalize": (Verdict.CLOSE, 5.96e-08),
        "probe_normalize_half": (Verdict.CLOSE, 4.88e-04),
    },
    "2.9.1": {"codes_sorted_indices": (Verdict.REORDERED, 41022.0)},
}
"""What changes with which release, at the sizes that the published studies report."""


def places() -> list[tuple[str, str, str, str, int]]:
    """Artifact, part, scope, dtype and occurrences of a small capture."""
    found = []
    for artifact in expected("cpu", "default"):
        dtype = "int64" if "sort" in artifact.name or "codes" in artifact.name else "float32"
        if artifact.kind == "final":
            found.append((artifact.name, "", "disk", "float16", 1))
        elif artifact.kind == "probe":
            found.append((artifact.name, "", "probe", dtype, 1))
        elif artifact.name == "weights":
            found += [
                ("weights", f"bert.encoder.layer.{layer}.output.dense.{name}", "setup", dtype, 1)
                for layer in range(12)
                for name in ("weight", "bias")
            ]
        elif artifact.name == "layers":
            found += [
                ("layers", f"encoder.layer.{layer}", scope, dtype, 45)
                for scope in ("sample", "chunk.0")
                for layer in range(12)
            ]
        elif artifact.stage == "encode":
            found += [(artifact.name, "", scope, dtype, 45) for scope in ("sample", "chunk.0")]
        else:
            found.append((artifact.name, "", "heldout", dtype, 1))
    return found


def make_record(lane: str, release: str, **changes: Any) -> Record:
    """The record of a capture where everything went well."""
    new = version_numbers(release) >= (2, 8)
    facts: dict[str, Any] = {
        "schema_version": 1,
        "lane": lane,
        "torch": release,
        "torch_build": f"{release}+cu{'128' if new else '121'}",
        "status": {stage: StageStatus(state="ok") for stage in STAGES}
        | {"train": StageStatus(state="not_run")},
        "packages": {
            "torch": release,
            "numpy": "1.26.4",
            "transformers": "4.38.2",
            "nvidia-cublas-cu12": "12.8.3.14" if new else "12.1.3.1",
            "triton": "3.3.1" if new else "2.1.0",
            **{f"package-{number}": f"{number}.0" for number in range(40)},
        },
        "host": {
            "cpu": "Intel(R) Xeon(R) Processor @ 2.20GHz",
            "vendor": "GenuineIntel",
            "isa": "AVX512",
            "cores": 2,
            "threads": 2,
            "cublas": "12.8" if new else "12.1",
            "onednn": "3.7.1" if new else "3.1.1",
        },
        "environ": {"OMP_NUM_THREADS": "2", "MKL_CBWR": ""},
        "inputs": {name: f"{name:.<3}{'0f' * 30}" for name in ("checkpoint", "collection")},
        "factors": {"python": "3.11.9", "faiss": "1.8.0"},
        "fingerprint": {"vendor": "GenuineIntel", "threads": 2},
        "capture_code": CaptureCode(version="0.1.0", hash="9b1c" * 16),
        "started": f"2025-11-{10 + len(release):02}T08:30:00+00:00",
        "seconds": {"install": 205.0, "import": 4.25, "load": 41.0, "index": 61.4, "search": 52.0},
        "repeats": 2,
        "observer": Observer(identical=True, tensors=14),
        "control": Control(identical=True, tensors=1234),
    }
    return Record(**(facts | changes))


def failed_record(lane: str, release: str, message: str = "no space left on device") -> Record:
    """The record of a capture that stopped while installing."""
    status = {stage: StageStatus(state="not_run") for stage in STAGES}
    status["install"] = StageStatus(state="failed", error="OSError", message=message)
    return make_record(
        lane,
        release,
        status=status,
        seconds={"install": 12.0},
        repeats=0,
        observer=None,
        control=None,
    )


def capture(of: Record, empty: bool = False) -> Capture:
    """A capture with its rows; the digests themselves do not matter to the site."""
    rows = [
        {
            "seq": seq,
            "repeat": 0,
            "stage": BY_NAME[artifact].stage,
            "artifact": artifact,
            "part": part,
            "scope": scope,
            "occurrence": 0,
            "dtype": dtype,
            "shape": [2, 3],
            "digest": bytes(32),
        }
        for seq, (artifact, part, scope, dtype, _) in enumerate(places())
    ]
    return Capture(record=of, rows=pa.Table.from_pylist([] if empty else rows, schema=COLUMNS))


def make_comparison(lane: str, pair: tuple[str, str], place: Sequence[Any], **changes: Any) -> Any:
    """One identical row of a verdict file."""
    artifact, part, scope, _, occurrences = place
    known = BY_NAME.get(artifact)
    return {
        "lane": lane,
        "a": pair[0],
        "b": pair[1],
        "artifact": artifact,
        "part": part,
        "scope": scope,
        "kind": known.kind if known else "intermediate",
        "stage": known.stage if known else "index",
        "occurrences": occurrences,
        "identical": occurrences,
        "verdict": Verdict.IDENTICAL.value,
        "reason": "",
        "profile": "",
        "profiles": [],
        "role": "",
    } | changes


def compared(lane: str, releases: Sequence[str], failed: Sequence[str] = ()) -> list[Any]:
    """The rows of all pairs, following `CHANGES`."""
    rows = []
    for pair in combinations(releases, 2):
        inside = releases[releases.index(pair[0]) + 1 : releases.index(pair[1]) + 1]
        changed: dict[str, tuple[Verdict, float]] = {}
        for release in inside:
            for name, change in CHANGES.get(release, {}).items():
                if name not in changed or changed[name][0] is not Verdict.DIFFERS:
                    changed[name] = change
        for place in places():
            if set(pair) & set(failed):
                what = {"verdict": Verdict.FAILED.value, "reason": "the capture stopped at install"}
            elif place[0] in changed:
                what = _changed(place, *changed[place[0]], changed)
            else:
                what = {}
            rows.append(make_comparison(lane, pair, place, **what))
    return rows


def _changed(
    place: Sequence[Any], verdict: Verdict, largest: float, changed: Mapping[str, Any]
) -> dict[str, Any]:
    first = not any(parent in changed for parent in BY_NAME[place[0]].parents)
    return {
        "identical": place[4] - 1 - place[4] // 3,
        "verdict": verdict.value,
        "profiles": ["bitsandbytes"] if verdict is Verdict.CLOSE else [],
        "role": "origin" if first else "propagated",
        "max_abs": largest,
        "mean_abs": largest / 90,
        "max_rel": 0.02,
        "equal_fraction": 0.798,
        "max_ulp": 2,
        "rtol_needed": 3.1e-05,
        "first_index": [17, 3],
        "largest_at": "row 17, column 3",
        "differing_occurrences": list(range(1 + place[4] // 3)),
    }


@pytest.fixture(scope="session")
def settings() -> Settings:
    """The shipped ones with the baseline lane alone, however many there are."""
    shipped = read_settings(ROOT / "matrix.toml")
    lanes = {"cpu-pinned": shipped.lanes["cpu-pinned"]}
    return Settings(releases=shipped.releases, lanes=lanes, profiles=shipped.profiles)


@pytest.fixture(scope="session")
def record() -> Callable[..., Record]:
    return make_record


@pytest.fixture(scope="session")
def comparison() -> Callable[..., Any]:
    return make_comparison


@pytest.fixture(scope="session")
def write_lane() -> WriteLane:
    """Write captures and all verdicts of a lane; `records` replace those made up here."""

    def write(
        data: Path,
        *,
        lane: str = "cpu-pinned",
        releases: Sequence[str] = RELEASES,
        failed: Sequence[str] = (FAILED,),
        records: Sequence[Record] = (),
        extra: Sequence[Any] = (),
        drop: Callable[[Any], bool] = lambda row: False,
    ) -> None:
        chosen = {one.torch: one for one in records}
        for release in releases:
            usual = failed_record if release in failed else make_record
            of = chosen.get(release) or usual(lane, release)
            write_capture(capture(of, empty=release in failed), data)
        rows = [row for row in compared(lane, releases, failed) if not drop(row)]
        write_verdicts(pa.Table.from_pylist([*rows, *extra], schema=VERDICTS), data, lane)

    return write


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory, write_lane: WriteLane) -> Path:
    """A lane with identical, reordered, close and differing pairs and one failed capture."""
    folder = tmp_path_factory.mktemp("data")
    write_lane(folder)
    return folder
