from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matrix_capture.digest import content_hash
from matrix_capture.schema import Record, StageStatus
from matrix_capture.settings import Settings
from matrix_capture.values import ValueStore
from matrix_compare.gauge import Gauge
from matrix_compare.schema import Verdict
from matrix_compare.tolerance import read_profiles
from matrix_compare.verdict import Cell, Finding, Side, artifact_of, cell_of, judge
from tests.compare.conftest import Put, as_snapshot, record_of, row_of, status_of

ONES = np.ones((3, 4), dtype=np.float32)
KEYS = np.array([0, 0, 1, 1], dtype=np.int32)
ORDER = np.array([1, 3, 0, 2])


class Bench:
    """Judges one artifact on two sides, with the `loose` profiles (1 in 1000, half a unit)."""

    def __init__(self, settings: Settings, store: ValueStore) -> None:
        self.store = store
        self.gauge = Gauge(store, read_profiles(settings))

    def cell(self, artifact: str, values: Any, **changes: Any) -> Cell | None:
        if values is None:
            return None
        puts = [
            value if isinstance(value, Put) else Put(artifact=artifact, value=value, occurrence=n)
            for n, value in enumerate(values)
        ]
        for put in puts:
            if put.keep:
                self.store.put(as_snapshot(put.value), content_hash(as_snapshot(put.value)))
        return cell_of([row_of(put) | changes for put in puts])

    def __call__(
        self,
        a: Any,
        b: Any,
        *,
        artifact: str = "embs",
        left: Record | None = None,
        right: Record | None = None,
        obstacles: tuple[str, ...] = (),
        key_identical: bool = True,
    ) -> Finding:
        return judge(
            artifact_of(artifact, "index"),
            Side(record=left or record_of("2.7.1"), cell=self.cell(artifact, a)),
            Side(record=right or record_of("2.8.0"), cell=self.cell(artifact, b)),
            obstacles=obstacles,
            key_identical=key_identical,
            gauge=self.gauge,
        )


@pytest.fixture
def bench(loose: Settings, store: ValueStore) -> Bench:
    return Bench(loose, store)


def changed(value: Any, index: Any, new: Any) -> Any:
    copy = value.copy()
    copy[index] = new
    return copy


def test_the_same_bits_are_identical(bench: Bench) -> None:
    found = bench([ONES, ONES + 1], [ONES, ONES + 1])
    assert found == Finding(verdict=Verdict.IDENTICAL, occurrences=2, identical=2)


def test_one_ulp_is_close_and_never_identical(bench: Bench) -> None:
    found = bench([ONES], [changed(ONES, (1, 2), np.nextafter(np.float32(1), 2))])
    assert (found.verdict, found.profile, found.profiles) == (
        Verdict.CLOSE,
        "tight",
        ("tight", "wide"),
    )
    assert found.distances
    assert (found.distances.max_ulp, found.distances.first_index) == (1, (1, 2))
    assert (found.identical, found.differing_occurrences, found.differing_blocks) == (0, (0,), 1)


def test_the_profile_named_is_the_first_that_every_occurrence_passes(bench: Bench) -> None:
    found = bench([ONES, ONES, ONES], [ONES * 1.0001, ONES * 1.25, ONES])
    assert (found.verdict, found.profile, found.profiles) == (Verdict.CLOSE, "wide", ("wide",))
    assert (found.identical, found.differing_occurrences) == (1, (0, 1))
    assert found.distances
    assert found.distances.equal_fraction == pytest.approx(1 / 3)


def test_one_occurrence_outside_is_enough(bench: Bench) -> None:
    found = bench([ONES, ONES], [ONES, -ONES])
    assert (found.verdict, found.reason) == (Verdict.DIFFERS, "outside every profile")
    assert (found.profile, found.profiles, found.differing_occurrences) == ("", (), (1,))


def test_profiles_that_no_two_occurrences_share_pass_nothing(bench: Bench) -> None:
    found = bench([ONES * 1e6, ONES], [ONES * 1e6 + 1, ONES * 1.25])
    assert found.verdict == Verdict.DIFFERS


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        (ONES, ONES.astype(np.float16), "dtype float32 and float16"),
        (ONES, np.ones((3, 5), np.float32), "shape (3, 4) and (3, 5)"),
        (ONES, ONES.reshape(4, 3), "shape (3, 4) and (4, 3)"),
        (ONES, np.ones(2, np.float64), "dtype float32 and float64, shape (3, 4) and (2,)"),
        (np.array([1, 2]), np.array([1, 3]), "outside every profile"),
        (
            ONES,
            changed(ONES, (0, 0), np.nan),
            "outside every profile; NaN or infinity in 1 element",
        ),
        (ONES, changed(ONES, (0, 0), -1), "outside every profile"),
    ],
)
def test_what_differs_says_why(bench: Bench, a: Any, b: Any, reason: str) -> None:
    found = bench([a], [b])
    assert (found.verdict, found.reason) == (Verdict.DIFFERS, reason)
    assert (found.distances is None) == reason.startswith(("dtype", "shape"))


def test_a_value_that_is_there_no_more_is_not_kept(bench: Bench) -> None:
    kept, lost = Put(artifact="embs", value=ONES), Put(artifact="embs", value=-ONES, keep=False)
    found = bench([kept], [lost])
    assert (found.verdict, found.reason, found.distances) == (
        Verdict.DIFFERS,
        "values not kept",
        None,
    )
    assert found.differing_blocks == 1


def test_a_damaged_value_is_named_without_its_path(bench: Bench, store: ValueStore) -> None:
    cell = bench.cell("embs", [-ONES])
    assert cell
    digest = cell.occurrences[0].digest
    (path,) = (path for path in _files(store) if path.stem == digest.hex())
    path.write_bytes(b"PAR1")
    found = bench([ONES], [Put(artifact="embs", value=-ONES, keep=False)])
    assert found.reason == f"value {digest.hex()[:12]} is unreadable or damaged"
    assert found.verdict == Verdict.DIFFERS


def _files(store: ValueStore) -> list[Path]:
    return list(Path(store._root).rglob("*.parquet"))


def test_a_dropped_last_block_is_another_shape(bench: Bench) -> None:
    rows = np.zeros((2**19, 1), np.float32)
    found = bench([rows], [rows[: 2**18]])
    assert found.reason == "shape (524288, 1) and (262144, 1)"
    assert found.differing_blocks is None


def test_blocks_say_where(bench: Bench) -> None:
    rows = np.zeros((2**19, 1), np.float32)
    assert bench([rows], [changed(rows, (2**19 - 1, 0), 1)]).differing_blocks == 1


def indices(order: Any, key: Any = KEYS) -> list[Put]:
    return [Put(artifact="codes_sorted_indices", value=np.asarray(order), key=key)]


@pytest.mark.parametrize(
    ("b", "key_identical", "verdict"),
    [
        ([3, 1, 2, 0], True, Verdict.REORDERED),  # swapped within each key
        ([3, 1, 2, 0], False, Verdict.DIFFERS),  # the key itself is another
        ([0, 3, 1, 2], True, Verdict.DIFFERS),  # swapped across keys: a near miss
        ([3, 1, 2, 2], True, Verdict.DIFFERS),  # not a permutation
        ([1, 3, 0], True, Verdict.DIFFERS),
    ],
)
def test_order_rule(bench: Bench, b: Any, key_identical: bool, verdict: Verdict) -> None:
    right = indices(b, KEYS[: len(b)])
    found = bench(
        indices(ORDER), right, artifact="codes_sorted_indices", key_identical=key_identical
    )
    assert found.verdict == verdict
    if verdict == Verdict.REORDERED:
        assert found.reason == "order rule per_key:codes_sorted_values"
        assert (found.identical, found.distances) == (0, None)


def test_one_occurrence_out_of_order_is_enough_to_differ(bench: Bench) -> None:
    def twice(first: Any, second: Any) -> list[Put]:
        return [
            Put(artifact="codes_sorted_indices", value=np.asarray(order), key=KEYS, occurrence=n)
            for n, order in enumerate((first, second))
        ]

    found = bench(
        twice(ORDER, ORDER), twice([3, 1, 0, 2], [0, 3, 1, 2]), artifact="codes_sorted_indices"
    )
    assert found.verdict == Verdict.DIFFERS


def test_without_a_rule_a_permutation_differs(bench: Bench) -> None:
    codes = np.array([1, 2, 3])
    assert bench([codes], [codes[::-1]], artifact="codes").verdict == Verdict.DIFFERS


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        ([ONES], None, "not in 2.8.0"),
        (None, [ONES], "not in 2.7.1"),
        ([ONES, ONES, ONES], [ONES, ONES], "3 occurrences in 2.7.1, 2 in 2.8.0"),
        (
            [ONES, Put(artifact="embs", value=ONES, occurrence=2)],
            [ONES, ONES],
            "occurrences [1, 2] are on one side only",
        ),
        ([ONES], [Put(artifact="embs", value=ONES, repeat=1)], "not in 2.8.0"),
    ],
)
def test_missing(bench: Bench, a: Any, b: Any, reason: str) -> None:
    found = bench(a, b)
    assert (found.verdict, found.reason, found.identical) == (Verdict.MISSING, reason, 0)


def test_missing_quotes_the_record(bench: Bench) -> None:
    found = bench([ONES], None, right=record_of("2.8.0", missing={"embs": "compress was renamed"}))
    assert found.reason == "not in 2.8.0: compress was renamed"


def repeated(*values: Any) -> list[Put]:
    return [Put(artifact="embs", value=value, repeat=n) for n, value in enumerate(values)]


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        (repeated(ONES, -ONES), [ONES], "2.7.1: repeats 0 and 1 disagree at occurrence 0"),
        ([ONES], repeated(ONES, ONES, -ONES), "2.8.0: repeats 0 and 2 disagree at occurrence 0"),
        (
            repeated(ONES, -ONES),
            repeated(-ONES, ONES),
            "2.7.1: repeats 0 and 1 disagree at occurrence 0; "
            "2.8.0: repeats 0 and 1 disagree at occurrence 0",
        ),
        (
            [*repeated(ONES, ONES), Put(artifact="embs", value=ONES, repeat=1, occurrence=1)],
            [ONES],
            "2.7.1: occurrences: 1 in repeat 0, 2 in repeat 1",
        ),
    ],
)
def test_repeats_that_disagree_are_unstable(bench: Bench, a: Any, b: Any, reason: str) -> None:
    found = bench(a, b)
    assert (found.verdict, found.reason) == (Verdict.UNSTABLE, reason)


def test_fewer_repeats_are_no_difference(bench: Bench) -> None:
    assert bench(repeated(ONES, ONES), [ONES]).verdict == Verdict.IDENTICAL


@pytest.mark.parametrize("failed", ["install", "import", "load", "index"])
def test_a_run_that_stopped_before_it_failed(bench: Bench, failed: str) -> None:
    found = bench([ONES], None, right=record_of("2.8.0", status=status_of(failed)))
    assert found.verdict == Verdict.FAILED
    assert found.reason == f"2.8.0 stopped at {failed}: ImportError: no module\nsecond line"


def test_a_run_that_stopped_in_the_middle_failed(bench: Bench) -> None:
    stopped = record_of("2.8.0", status=status_of("index"))
    assert bench([ONES, ONES], [ONES], right=stopped).verdict == Verdict.FAILED
    assert bench([ONES, ONES], [ONES, ONES], right=stopped).verdict == Verdict.IDENTICAL
    assert bench([ONES], [ONES, ONES], right=stopped).verdict == Verdict.MISSING


def test_a_run_that_stopped_in_a_repeat_is_not_unstable(bench: Bench) -> None:
    stopped = record_of("2.8.0", status=status_of("index"))
    partial = [ONES, ONES, Put(artifact="embs", value=ONES, repeat=1)]
    assert bench([ONES, ONES], partial, right=stopped).verdict == Verdict.IDENTICAL
    partial[2] = Put(artifact="embs", value=-ONES, repeat=1)
    assert bench([ONES, ONES], partial, right=stopped).verdict == Verdict.UNSTABLE


def test_a_run_that_failed_later_is_still_missing_what_it_lacks(bench: Bench) -> None:
    found = bench([ONES], None, right=record_of("2.8.0", status=status_of("search")))
    assert found.verdict == Verdict.MISSING


def test_a_stage_that_was_not_run(bench: Bench) -> None:
    right = record_of("2.8.0", status={})
    found = bench([ONES], None, right=right)
    assert (found.verdict, found.reason) == (Verdict.NOT_RUN, "2.8.0 did not run index")


def test_a_stage_that_was_not_run_says_why(bench: Bench) -> None:
    why = "unsupported GPU: NVIDIA H200 is sm_90, this build of torch has code for sm_37"
    status = status_of() | {
        "load": StageStatus(state="not_run", message=why),
        "index": StageStatus(state="not_run"),
        "train": StageStatus(state="not_run", message="a later stage has no say"),
    }
    right = record_of("2.0.1", status=status)
    for found in (bench([ONES], None, right=right), bench(None, [ONES], left=right)):
        reason = f"2.0.1 did not run index: {why}"
        assert (found.verdict, found.reason) == (Verdict.NOT_RUN, reason)


def test_precedence(bench: Bench) -> None:
    obstacles = ("inputs differ: collection",)
    stopped = record_of("2.8.0", status=status_of("import"))
    assert bench([ONES], None, right=stopped, obstacles=obstacles).verdict == Verdict.FAILED
    for b in (None, [ONES], [-ONES], repeated(ONES, -ONES)):
        found = bench([ONES], b, obstacles=obstacles)
        assert (found.verdict, found.reason) == (Verdict.NOT_COMPARABLE, obstacles[0])
    several = [*repeated(ONES, -ONES), Put(artifact="embs", value=ONES, occurrence=1)]
    assert bench([ONES], several).verdict == Verdict.MISSING


def test_a_name_from_elsewhere_is_an_intermediate_without_rules(bench: Bench) -> None:
    entry = artifact_of("[red]\x1b[2J", "nonsense")
    assert (entry.kind, entry.order, entry.parents, entry.stage) == (
        "intermediate",
        "none",
        (),
        "nonsense",
    )
    assert bench([ONES], [-ONES], artifact="nobody_knows").verdict == Verdict.DIFFERS
