from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest

from matrix_capture.catalogue import DEPTHS, Depth, Device, expected
from matrix_capture.errors import MatrixError
from matrix_capture.schema import StageStatus, digest_path, list_captures, read_capture
from matrix_capture.settings import Settings
from matrix_capture.values import ValueStore
from matrix_compare import alignment
from matrix_compare.captures import load_captures
from matrix_compare.gauge import Gauge
from matrix_compare.pairs import compare
from matrix_compare.schema import COLUMNS, read_verdicts, write_verdicts
from matrix_compare.tolerance import read_profiles
from matrix_compare.verdict import cell_of
from tests.compare.conftest import LANE, Maker, Put, pipeline_puts, status_of

DEVICES: tuple[Device, ...] = get_args(Device)
EMBS = np.linspace(-1, 1, 12).astype(np.float16).reshape(3, 4)
SWAPPED = np.array([3, 1, 2, 5, 0, 4])
"""`codes_sorted_indices` of `pipeline_puts` with the embeddings of code 0 swapped."""


@pytest.fixture
def verdicts(tmp_path: Path, settings: Settings, store: ValueStore) -> Any:
    def verdicts() -> list[dict[str, Any]]:
        loaded = load_captures(tmp_path, LANE, settings)
        assert loaded.excluded == ()
        gauge = Gauge(store, read_profiles(settings))
        rows: list[dict[str, Any]] = compare(loaded.captures, gauge, store).table.to_pylist()
        return rows

    return verdicts


def brief(rows: list[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in rows]


def test_a_divergence_from_its_origin_to_its_end(make: Maker, verdicts: Any) -> None:
    make("2.7.1", pipeline_puts(EMBS))
    make("2.8.0", pipeline_puts(EMBS + np.float16(0.0001), codes_sorted_indices=SWAPPED))
    assert brief(verdicts(), "artifact", "part", "verdict", "role") == [
        ("weights", "layer.0", "identical", ""),
        ("weights", "layer.1", "identical", ""),
        ("weights", "layer.2", "identical", ""),
        ("embs", "", "close", "origin"),
        ("codes", "", "identical", "absorbed"),
        ("codes_before_sort", "", "identical", ""),
        ("codes_sorted_values", "", "identical", ""),
        ("codes_sorted_indices", "", "reordered", "origin"),
    ]


def test_every_row_fits_the_contract(make: Maker, verdicts: Any, tmp_path: Path) -> None:
    make("2.7.1", pipeline_puts(EMBS))
    make("2.8.0", pipeline_puts(EMBS * np.float16(2)))
    rows = verdicts()
    assert all(list(row) == COLUMNS.names for row in rows)
    write_verdicts(pa.Table.from_pylist(rows, schema=COLUMNS), tmp_path, LANE)
    assert read_verdicts(tmp_path, LANE) == rows
    (row,) = (row for row in rows if row["artifact"] == "embs")
    assert (row["lane"], row["kind"], row["stage"]) == (LANE, "intermediate", "index")
    assert (row["max_abs"], row["max_rel"], row["first_index"]) == (1.0, 0.5, [0, 0])
    assert (row["occurrences"], row["identical"], row["differing_occurrences"]) == (1, 0, [0])


def test_pairs_are_all_and_in_release_order(make: Maker, verdicts: Any) -> None:
    for torch in ("2.10.0", "2.9.0", "1.13.1"):
        make(torch, [Put(artifact="embs", value=EMBS)])
    assert brief(verdicts(), "a", "b") == [
        ("1.13.1", "2.9.0"),
        ("1.13.1", "2.10.0"),
        ("2.9.0", "2.10.0"),
    ]


def test_rows_come_in_catalogue_order_and_chunks_in_number_order(
    make: Maker, verdicts: Any
) -> None:
    puts = [Put(artifact="codes", value=[1], scope=f"chunk.{n}") for n in (10, 2)]
    puts += [Put(artifact="zz", value=[1]), Put(artifact="embs", value=[1], part="x10")]
    puts += [Put(artifact="embs", value=[1], part="x9"), Put(artifact="probe_matmul", value=[1])]
    make("2.7.1", puts)
    make("2.8.0", puts[::-1])
    assert brief(verdicts(), "artifact", "scope", "part") == [
        ("probe_matmul", "chunk.0", ""),
        ("embs", "chunk.0", "x9"),
        ("embs", "chunk.0", "x10"),
        ("codes", "chunk.2", ""),
        ("codes", "chunk.10", ""),
        ("zz", "chunk.0", ""),
    ]


def test_a_reordering_needs_the_same_key_in_the_same_scope(make: Maker, verdicts: Any) -> None:
    other = np.array([0, 0, 1, 1, 2, 3], dtype=np.int32)
    make("2.7.1", pipeline_puts(EMBS))
    puts = pipeline_puts(EMBS, codes_sorted_values=other, codes_sorted_indices=SWAPPED)
    make("2.8.0", puts)
    found = {row["artifact"]: row["verdict"] for row in verdicts()}
    assert found["codes_sorted_values"] == found["codes_sorted_indices"] == "differs"


def test_another_capture_of_the_lane_has_no_say(make: Maker, verdicts: Any) -> None:
    make("2.7.1", pipeline_puts(EMBS))
    make("2.8.0", pipeline_puts(EMBS, codes_sorted_indices=SWAPPED))
    before = verdicts()
    key = Put(artifact="codes_sorted_values", part="renamed", value=EMBS)
    make("2.9.0", [*pipeline_puts(-EMBS), key])
    assert [row for row in verdicts() if (row["a"], row["b"]) == ("2.7.1", "2.8.0")] == before
    assert ("codes_sorted_indices", "reordered") in brief(before, "artifact", "verdict")


def test_a_reordering_without_its_key_differs(make: Maker, verdicts: Any) -> None:
    key = np.zeros(3, np.int32)
    for torch, order in (("2.7.1", [0, 1, 2]), ("2.8.0", [1, 0, 2])):
        make(torch, [Put(artifact="codes_sorted_indices", value=order, key=key)])
    assert brief(verdicts(), "verdict") == [("differs",)]


def test_dropped_occurrence_and_dropped_artifact(make: Maker, verdicts: Any) -> None:
    puts = [Put(artifact="batches", value=EMBS, occurrence=n) for n in range(3)]
    make("2.7.1", [*puts, Put(artifact="D", value=EMBS)])
    make("2.8.0", puts[:2])
    assert brief(verdicts(), "artifact", "verdict", "reason", "occurrences") == [
        ("batches", "missing", "3 occurrences in 2.7.1, 2 in 2.8.0", 3),
        ("D", "missing", "not in 2.8.0", 1),
    ]


def test_repeats_are_a_control_and_not_a_difference(make: Maker, verdicts: Any) -> None:
    make("2.7.1", [Put(artifact="D", value=EMBS, repeat=n) for n in (0, 1)])
    make("2.8.0", [Put(artifact="D", value=EMBS)])
    make("2.9.0", [Put(artifact="D", value=EMBS * (n + 1), repeat=n) for n in (0, 1)])
    assert brief(verdicts(), "a", "b", "verdict") == [
        ("2.7.1", "2.8.0", "identical"),
        ("2.7.1", "2.9.0", "unstable"),
        ("2.8.0", "2.9.0", "unstable"),
    ]


def encoder(*values: int, part: str = "encoder.layer", **changes: Any) -> list[Put]:
    """The layers of an encoder, a value each, and what comes out of it."""
    layers = [
        Put(artifact="layers", part=f"{part}.{n}", value=value, keep=False)
        for n, value in enumerate(values)
    ]
    last = [Put(artifact="bert", value=values[-1], keep=False)]
    return [replace(put, **changes) for put in (*layers, *last)]


def test_the_layer_where_a_divergence_starts(make: Maker, verdicts: Any) -> None:
    make("2.7.1", encoder(*range(12)))
    make("2.8.0", encoder(*range(9), 90, 100, 110)[::-1])
    assert brief(verdicts(), "part", "verdict", "reason", "role")[8:] == [
        ("encoder.layer.8", "identical", "", ""),
        ("encoder.layer.9", "differs", "values not kept", "origin"),
        ("encoder.layer.10", "differs", "values not kept", "propagated"),
        ("encoder.layer.11", "differs", "values not kept", "propagated"),
        ("", "differs", "values not kept", "propagated"),
    ]


def test_a_layer_that_does_not_equal_itself_is_blamed_on_nobody(make: Maker, verdicts: Any) -> None:
    make("2.7.1", [*encoder(0, 1, 2), *encoder(0, 1, 2, repeat=1)])
    make("2.8.0", [*encoder(0, 5, 7), *encoder(0, 6, 7, repeat=1)])
    assert brief(verdicts(), "part", "verdict", "reason", "role") == [
        ("encoder.layer.0", "identical", "", ""),
        ("encoder.layer.1", "unstable", "2.8.0: repeats 0 and 1 disagree at occurrence 0", ""),
        ("encoder.layer.2", "differs", "values not kept", ""),
        ("", "differs", "values not kept", "propagated"),
    ]


def test_a_release_that_cannot_run_on_the_gpu_was_not_run(make: Maker, verdicts: Any) -> None:
    why = "unsupported GPU: NVIDIA H200 is sm_90, this build of torch has code for sm_37"
    status = status_of() | {
        "load": StageStatus(state="not_run", message=why),
        "index": StageStatus(state="not_run"),
    }
    make("2.0.1", status=status, repeats=2)
    make("2.8.0", pipeline_puts(EMBS))
    rows = verdicts()
    assert set(brief(rows, "verdict", "reason", "role")) == {
        ("not_run", f"2.0.1 did not run index: {why}", "")
    }
    assert {"embs", "index_ivf"} <= {row["artifact"] for row in rows}


def test_captures_of_other_inputs_are_not_compared(make: Maker, verdicts: Any) -> None:
    make("2.7.1", pipeline_puts(EMBS))
    make("2.8.0", pipeline_puts(EMBS * 2), inputs={"checkpoint": "aa", "collection": "other"})
    rows = verdicts()
    assert set(brief(rows, "verdict", "reason", "role")) == {
        ("not_comparable", "inputs differ: collection", "")
    }
    assert len(rows) == 8


def test_a_failed_capture_fails_all_that_the_other_side_has(make: Maker, verdicts: Any) -> None:
    make("2.7.1", pipeline_puts(EMBS))
    make("2.8.0", status=status_of("import"), repeats=0)
    rows = verdicts()
    here = [row for row in rows if row["occurrences"]]
    assert brief(here, "artifact", "verdict")[3:] == [
        ("embs", "failed"),
        ("codes", "failed"),
        ("codes_before_sort", "failed"),
        ("codes_sorted_values", "failed"),
        ("codes_sorted_indices", "failed"),
    ]
    # What neither side has is told too, once each, so that no artifact is passed over.
    names = {artifact.name for device in DEVICES for artifact in expected(device, "default")}
    assert {row["artifact"] for row in rows} == names
    assert {row["verdict"] for row in rows} == {"failed"}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("depth", DEPTHS)
def test_a_pair_of_failed_captures_has_a_row_per_artifact_of_a_whole_run(
    device: Device, depth: Depth, make: Maker, verdicts: Any
) -> None:
    factors = {"device": device}
    make("2.7.1", status=status_of("install"), factors=factors, options={"depth": depth})
    make("2.8.0", status={}, factors=factors)
    rows = verdicts()
    assert [row["artifact"] for row in rows] == [a.name for a in expected(device, depth)]
    assert set(brief(rows, "verdict", "part", "scope", "occurrences")) == {("failed", "", "", 0)}


def test_an_artifact_that_neither_side_could_tap_is_missing(make: Maker, verdicts: Any) -> None:
    for torch in ("2.7.1", "2.8.0"):
        make(torch, [Put(artifact="embs", value=EMBS)], missing={"D": "it was renamed"})
    assert brief(verdicts(), "artifact", "verdict", "reason") == [
        ("D", "missing", "not in 2.7.1 and 2.8.0: it was renamed"),
        ("embs", "identical", ""),
    ]


def test_hostile_names_do_no_harm(make: Maker, verdicts: Any) -> None:
    for torch, value in (("2.7.1", 1.0), ("2.8.0", 2.0)):
        names = ["\x1b[31m", "'; drop table digests; --", "9" * 5000]
        make(torch, [Put(artifact=name, value=value, part=name, stage="?") for name in names])
    assert Counter(brief(verdicts(), "kind", "verdict")) == {("intermediate", "differs"): 3}


def test_contents_that_recur_are_judged_once(
    make: Maker, verdicts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n, torch in enumerate(["2.7.0", "2.7.1", "2.8.0", "2.9.0"]):
        make(torch, [Put(artifact="embs", value=EMBS * (1 + n // 2))])
    built = []

    def counted(rows: Any) -> Any:
        built.append(rows)
        return cell_of(rows)

    monkeypatch.setattr(alignment, "cell_of", counted)
    assert brief(verdicts(), "verdict").count(("differs",)) == 4
    assert len(built) == 2


def test_one_capture_makes_no_pair(make: Maker, verdicts: Any) -> None:
    make("2.7.1", pipeline_puts(EMBS))
    assert verdicts() == []


class TestLoading:
    def test_no_captures(self, tmp_path: Path, settings: Settings) -> None:
        with pytest.raises(MatrixError, match=r"no captures of lane cpu-pinned in .*nox -s matrix"):
            load_captures(tmp_path, LANE, settings)

    def test_a_bad_file_is_excluded_and_the_rest_goes_on(
        self, make: Maker, tmp_path: Path, settings: Settings
    ) -> None:
        good = make("2.7.1", [Put(artifact="embs", value=EMBS)])
        damaged = digest_path(tmp_path, LANE, "2.8.0")
        damaged.write_bytes(good.read_bytes()[:-100])
        digest_path(tmp_path, LANE, "2.9.0").write_bytes(good.read_bytes())
        make("9.9.9", [Put(artifact="embs", value=EMBS)])
        make(
            "2.9.1",
            [Put(artifact="embs", value=EMBS, extra={"digest": None})],
        )
        make("2.10.0", [Put(artifact="embs", value=EMBS), Put(artifact="embs", value=EMBS)])
        loaded = load_captures(tmp_path, LANE, settings)
        assert [capture.record.torch for capture in loaded.captures] == ["2.7.1"]
        reasons = sorted(loaded.excluded)
        for reason, beginning in zip(
            reasons,
            [
                "torch-2.10.0.parquet: several rows for repeat 0, artifact 'embs', part '', scope",
                "torch-2.8.0.parquet: not a Parquet file",
                "torch-2.9.0.parquet: its record says torch 2.7.1",
                "torch-2.9.1.parquet: column digest has empty entries",
                "torch-9.9.9.parquet: torch 9.9.9 is not in matrix.toml",
            ],
            strict=True,
        ):
            assert beginning in reason
            assert "\n" not in reason

    def test_a_release_without_a_capture(
        self, make: Maker, tmp_path: Path, settings: Settings
    ) -> None:
        make("2.7.1")
        loaded = load_captures(tmp_path, LANE, settings)
        assert loaded.of("2.7.1").record.torch == "2.7.1"
        with pytest.raises(MatrixError, match=r"no capture of torch 2\.8\.0 .* nox -s capture-2"):
            loaded.of("2.8.0")


def test_alignment_tells_contents_apart(make: Maker, tmp_path: Path) -> None:
    puts = [Put(artifact="D", value=EMBS, repeat=n, scope="sample") for n in (0, 1)]
    make("2.7.0", puts)
    make("2.7.1", puts[:1])
    make("2.8.0", [puts[0], Put(artifact="D", value=-EMBS, repeat=1, scope="sample")])
    make("2.9.0", [Put(artifact="D", value=-EMBS, scope="sample")])
    make("2.9.1", puts[1:])
    make("2.10.0")
    names = [path.name for path in list_captures(tmp_path, LANE)]
    captures = [read_capture(path) for path in list_captures(tmp_path, LANE)]
    aligned = alignment.Alignment(captures)
    content = dict(zip(names, aligned.content[:, 0].tolist(), strict=True))
    assert content["torch-2.7.0.parquet"] == content["torch-2.7.1.parquet"] >= 0
    assert content["torch-2.9.0.parquet"] not in (content["torch-2.7.0.parquet"], -1, -2)
    assert content["torch-2.8.0.parquet"] == content["torch-2.9.1.parquet"] == -2
    assert content["torch-2.10.0.parquet"] == -1
    places = [(names.index(f"torch-{torch}.parquet"), 0) for torch in ("2.8.0", "2.10.0")]
    assert aligned.cells(places).keys() == {places[0]}
    assert isinstance(captures[0].rows, pa.Table)


CENTROIDS = np.arange(12, dtype=np.float32).reshape(3, 4)
ORDER = np.array([2, 0, 1])
"""Centroid i of a renumbered run is centroid ORDER[i] of the other."""


def numbered(order: Any, scope: str, **changes: Any) -> list[Put]:
    """A run whose centroids have other numbers."""
    codes = np.argsort(order)[np.array([0, 1, 2, 1])].astype(np.int32)
    return [
        Put(artifact="centroids", value=CENTROIDS[order], scope=scope, **changes),
        Put(artifact="codes", value=codes, scope=scope, **changes),
    ]


def test_renumbered_centroids_are_a_reordering(make: Maker, verdicts: Any) -> None:
    # The same contents in other places: what is known of one pair must not be told of the other.
    for torch, order, scope in (
        ("2.7.0", np.arange(3), "chunk.0"),
        ("2.7.1", ORDER, "chunk.0"),
        ("2.8.0", np.arange(3), "chunk.1"),
        ("2.9.0", ORDER, "chunk.1"),
    ):
        make(torch, numbered(order, scope))
    rows = verdicts()
    for a, b, scope in (("2.7.0", "2.7.1", "chunk.0"), ("2.8.0", "2.9.0", "chunk.1")):
        found = [row for row in rows if (row["a"], row["b"]) == (a, b)]
        reason = "equal up to the numbering of the centroids"
        assert brief(found, "artifact", "scope", "verdict", "reason") == [
            ("centroids", scope, "reordered", reason),
            ("codes", scope, "reordered", reason),
        ]


def test_one_wrong_code_is_no_renumbering(make: Maker, verdicts: Any) -> None:
    make("2.7.1", numbered(np.arange(3), "chunk.0"))
    centroids, codes = numbered(ORDER, "chunk.0")
    make("2.8.0", [centroids, replace(codes, value=codes.value[::-1].copy())])
    assert brief(verdicts(), "artifact", "verdict") == [
        ("centroids", "reordered"),
        ("codes", "differs"),
    ]


def test_a_renumbered_run_that_does_not_equal_itself_is_unstable(
    make: Maker, verdicts: Any
) -> None:
    make("2.7.1", numbered(np.arange(3), "chunk.0"))
    again = numbered(ORDER, "chunk.0", repeat=1)
    noisy = replace(again[1], value=np.zeros(4, np.int32))
    make("2.8.0", [*numbered(ORDER, "chunk.0"), again[0], noisy])
    assert brief(verdicts(), "artifact", "verdict")[-1] == ("codes", "unstable")


def test_a_key_that_was_judged_identical_is_a_key(make: Maker, verdicts: Any) -> None:
    # A failed run may stop in the middle of a repeat: its key has fewer occurrences there.
    key = "codes_sorted_values"
    keys = [
        Put(artifact=key, value=[0, 0, 1, 1, 2, 2], occurrence=n, repeat=repeat)
        for n, repeat in ((0, 0), (1, 0), (0, 1))
    ]

    def indices(order: list[int]) -> Put:
        return Put(artifact="codes_sorted_indices", value=order, key=[0, 0, 1, 1, 2, 2])

    make("2.7.1", [*keys, indices([0, 1, 2, 3, 4, 5])], status=status_of("search"))
    make("2.8.0", [*keys[:2], indices([1, 0, 2, 3, 4, 5])])
    assert ("codes_sorted_values", "identical") in brief(verdicts(), "artifact", "verdict")
    assert ("codes_sorted_indices", "reordered") in brief(verdicts(), "artifact", "verdict")


def test_captures_of_which_nothing_equals_itself(make: Maker, verdicts: Any) -> None:
    for torch in ("2.7.1", "2.8.0"):
        make(torch, [Put(artifact="D", value=[n], repeat=n, scope="sample") for n in (0, 1)])
    assert brief(verdicts(), "artifact", "verdict", "role") == [("D", "unstable", "")]
