from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import pytest

from matrix_capture.digest import Layout
from matrix_capture.settings import Settings, Tolerance
from matrix_capture.values import ValueStore
from matrix_compare import gauge as gauge_module
from matrix_compare.gauge import Gauge
from matrix_compare.metrics import Distances
from matrix_compare.tolerance import Profile, read_profiles
from matrix_compare.verdict import Occurrence, cell_of
from tests.compare.conftest import Put, as_snapshot, row_of

PROFILES = (
    Profile(name="tight", tolerances={"other": Tolerance(atol=1e-8, rtol=1e-5)}),
    Profile(name="wide", tolerances={"other": Tolerance(atol=1e-2, rtol=1e-1)}),
)
BLOCKS = np.arange(2**20, dtype=np.float32).reshape(2**12, 2**8)
"""A value of four blocks."""


@pytest.fixture
def put(store: ValueStore) -> Callable[[Any], Occurrence]:
    def put(value: Any) -> Occurrence:
        (occurrence,) = cell_of([row_of(Put(artifact="D", value=value))]).occurrences
        store.put(as_snapshot(value), occurrence.digest)
        return occurrence

    return put


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bytes, list[int]]]:
    """Which blocks of which values are read from now on."""
    reads: list[tuple[bytes, list[int]]] = []
    blocks = ValueStore.blocks

    def counted(
        self: ValueStore, digest: bytes, layout: Layout, hashes: Mapping[int, bytes]
    ) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        reads.append((digest, list(hashes)))
        return blocks(self, digest, layout, hashes)

    monkeypatch.setattr(ValueStore, "blocks", counted)
    return reads


def changed(value: Any, index: Any, new: Any) -> Any:
    copy = value.copy()
    copy[index] = new
    return copy


def file_of(store: ValueStore, occurrence: Occurrence) -> Path:
    return Path(store._path(occurrence.digest))


def test_a_pair_of_values_is_read_once(store: ValueStore, put: Any, reads: Any) -> None:
    a, b = put(np.array([1.0])), put(np.array([2.0]))
    gauge = Gauge(store, PROFILES)
    first = gauge(a, b)
    assert isinstance(first, Distances)
    assert gauge(a, b) is first
    assert reads == [(a.digest, [0]), (b.digest, [0])]
    other = gauge(b, a)
    assert isinstance(other, Distances)
    assert (first.max_rel, other.max_rel) == (0.5, 1.0)


def test_one_ulp_in_the_third_block_is_found_there(store: ValueStore, put: Any, reads: Any) -> None:
    place = (2 * 2**10 + 17, 5)
    a = put(BLOCKS)
    b = put(changed(BLOCKS, place, np.nextafter(BLOCKS[place], np.float32(np.inf))))
    found = Gauge(store, PROFILES)(a, b)
    assert isinstance(found, Distances)
    assert (found.first_index, found.largest_index) == (place, place)
    assert (found.max_ulp, found.ulp_histogram) == (1, (2**20 - 1, 1))
    assert found.equal_fraction == 1 - 2**-20
    assert (found.profiles, found.violations) == (("tight", "wide"), (0, 0))
    assert reads == [(a.digest, [2]), (b.digest, [2])]


@pytest.mark.parametrize("side", [0, 1])
def test_a_nan_in_an_equal_block_is_not_passed_over(
    side: int, store: ValueStore, put: Any, reads: Any
) -> None:
    with_nan = changed(BLOCKS, (0, 0), np.nan)
    pair = [put(with_nan), put(changed(with_nan, (4095, 0), 1.0))]
    found = Gauge(store, PROFILES)(pair[side], pair[1 - side])
    assert isinstance(found, Distances)
    assert (found.unordered, found.first_index) == (1, (4095, 0))
    assert (found.violations, found.profiles, found.rtol_needed) == ((2, 2), (), None)
    assert [numbers for _, numbers in reads] == [[0, 1, 2, 3]] * 2


def test_what_is_held_at_a_time_does_not_grow_with_the_value(
    store: ValueStore, put: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def watched(_: Layout, pieces: Any, __: Any) -> str:
        sizes.extend(a.nbytes + b.nbytes for _, a, b in pieces)
        return "watched"

    monkeypatch.setattr(gauge_module, "measure", watched)
    wide = np.arange(2**21, dtype=np.float32).reshape(2, 2**20)  # rows of 4 MiB: a block each
    for value, pieces in ((BLOCKS, 4), (wide, 8)):
        sizes.clear()
        assert Gauge(store, PROFILES)(put(value), put(-1 - value)) == "watched"
        assert sizes == [2**21] * pieces


def test_what_cannot_be_measured_is_a_reason(store: ValueStore, put: Any) -> None:
    gauge = Gauge(store, PROFILES)
    a, b = put(np.array([1j])), put(np.array([2j]))
    assert gauge(a, b) == "no distance is defined for complex128"
    assert gauge(a, replace(b, digest=bytes(32))) == "values not kept"


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_a_damaged_block_is_told_without_its_path(
    dtype: str, side: int, store: ValueStore, put: Any
) -> None:
    value = BLOCKS.astype(dtype)
    pair = [put(value), put(changed(value, (4095, 255), 0))]
    # The file of another value: whole, of the same dtype and shape.
    other = put(changed(value, (4095, 254), 7))
    file_of(store, pair[side]).write_bytes(file_of(store, other).read_bytes())
    name = pair[side].digest.hex()[:12]
    assert Gauge(store, PROFILES)(*pair) == f"value {name} is unreadable or damaged"


def test_a_damaged_block_that_is_not_needed_does_no_harm(store: ValueStore, put: Any) -> None:
    a, b = put(BLOCKS), put(changed(BLOCKS, (4095, 255), 0))
    other = put(changed(BLOCKS, (0, 0), 7))
    file_of(store, a).write_bytes(file_of(store, other).read_bytes())
    found = Gauge(store, PROFILES)(a, b)
    assert isinstance(found, Distances)
    assert found.first_index == (4095, 255)


def test_block_hashes_that_do_not_fit_are_a_reason(store: ValueStore, put: Any) -> None:
    a, b = put(BLOCKS), put(-BLOCKS)
    cut = replace(b, blocks=b.blocks[:3])
    assert Gauge(store, PROFILES)(a, cut) == "4 and 3 hashes of 4 blocks"
    bare = replace(a, blocks=()), replace(b, blocks=())
    assert Gauge(store, PROFILES)(*bare) == "0 and 0 hashes of 4 blocks"
    same = replace(b, blocks=a.blocks)
    name = b.digest.hex()[:12]
    assert Gauge(store, PROFILES)(a, same) == f"value {name} is unreadable or damaged"


class TestMemory:
    @pytest.fixture
    def memory(self, tmp_path: Path) -> Path:
        return tmp_path / "memory" / "distances.parquet"

    @pytest.fixture
    def pairs(self, put: Any) -> list[tuple[Occurrence, Occurrence]]:
        huge, tiny = np.finfo(np.float64).max, np.array(5e-324)
        values = (
            (BLOCKS, BLOCKS + 1),
            (np.array([huge, np.nan, 1.0]), np.array([-huge, 1.0, 1.0])),
            (tiny, -tiny),
            (np.array([[1, 2]]), np.array([[1, 3]])),
            (np.array([1.0, 0.0], np.float16), np.array([1.0, -0.0], np.float16)),
        )
        return [(put(a), put(b)) for a, b in values]

    def test_what_was_measured_is_not_read_again(
        self, store: ValueStore, memory: Path, pairs: Any, reads: Any
    ) -> None:
        gauge = Gauge(store, PROFILES, memory)
        first = [gauge(*pair) for pair in pairs]
        gauge.save()
        reads.clear()
        again = Gauge(store, PROFILES, memory)
        assert [again(*pair) for pair in pairs] == first
        assert reads == []

    def test_the_same_distances_make_the_same_file(
        self, store: ValueStore, memory: Path, pairs: Any
    ) -> None:
        written = set()
        for order in (pairs, pairs[::-1]):
            memory.unlink(missing_ok=True)
            gauge = Gauge(store, PROFILES, memory)
            for pair in order:
                gauge(*pair)
            gauge.save()
            written.add(memory.read_bytes())
        assert len(written) == 1

    def test_nothing_new_writes_nothing(self, store: ValueStore, memory: Path, pairs: Any) -> None:
        Gauge(store, PROFILES, memory).save()
        assert not memory.exists()
        gauge = Gauge(store, PROFILES, memory)
        gauge(*pairs[0])
        gauge.save()
        inode = memory.stat().st_ino
        again = Gauge(store, PROFILES, memory)
        again(*pairs[0])
        again.save()
        assert memory.stat().st_ino == inode
        again(*pairs[1])
        again.save()
        assert memory.stat().st_ino != inode

    def test_a_reason_is_not_remembered(self, store: ValueStore, memory: Path, pairs: Any) -> None:
        a, b = pairs[0]
        kept = file_of(store, b).read_bytes()
        file_of(store, b).unlink()
        gauge = Gauge(store, PROFILES, memory)
        assert gauge(a, b) == "values not kept"
        gauge.save()
        file_of(store, b).write_bytes(kept)
        assert isinstance(Gauge(store, PROFILES, memory)(a, b), Distances)

    @pytest.mark.parametrize("what", ["profiles", "code"])
    def test_other_profiles_or_code_start_anew(
        self, what: str, store: ValueStore, memory: Path, pairs: Any, reads: Any
    ) -> None:
        gauge = Gauge(store, PROFILES, memory)
        gauge(*pairs[0])
        gauge.save()
        reads.clear()
        profiles, code = PROFILES, Path(gauge_module.__file__)
        if what == "profiles":
            profiles = (replace(PROFILES[0], name="tighter"), PROFILES[1])
        else:
            code = memory.with_name("gauge.py")
            for name in gauge_module._SOURCES:
                code.with_name(name).write_text("# another\n")
        with mock.patch.object(gauge_module, "__file__", str(code)):
            again = Gauge(store, profiles, memory)
            assert isinstance(again(*pairs[0]), Distances)
            assert {digest for digest, _ in reads} == {side.digest for side in pairs[0]}
            again.save()
            reads.clear()
            Gauge(store, profiles, memory)(*pairs[0])
            assert reads == []

    @pytest.mark.parametrize(
        "damage",
        [
            lambda raw: raw[:-50],
            lambda raw: raw[: len(raw) // 3] + b"\x00\xff" * 20 + raw[len(raw) // 3 + 40 :],
            lambda _: b"",
            lambda _: b"PAR1PAR1",
            lambda _: b"no Parquet at all\n",
        ],
    )
    def test_a_damaged_memory_is_replaced(
        self, damage: Any, store: ValueStore, memory: Path, pairs: Any
    ) -> None:
        gauge = Gauge(store, PROFILES, memory)
        found = [gauge(*pair) for pair in pairs]
        gauge.save()
        whole = memory.read_bytes()
        memory.write_bytes(damage(whole))
        again = Gauge(store, PROFILES, memory)
        assert [again(*pair) for pair in pairs] == found
        again.save()
        assert memory.read_bytes() == whole

    def test_another_table_is_no_memory(
        self, store: ValueStore, memory: Path, pairs: Any, settings: Settings
    ) -> None:
        memory.parent.mkdir()
        memory.write_bytes(file_of(store, pairs[0][0]).read_bytes())
        assert isinstance(Gauge(store, read_profiles(settings), memory)(*pairs[0]), Distances)
