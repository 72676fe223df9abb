import itertools
import math
import struct
from collections.abc import Callable
from typing import Any
from unittest import mock

import blake3
import numpy as np
import numpy.typing as npt
import pytest
import xxhash
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from matrix_capture import digest
from matrix_capture.digest import (
    Snapshot,
    block_hashes,
    content_hash,
    figures,
    multiset_hash,
    snapshot,
    storage_dtype,
)

Array = npt.NDArray[Any]
unhurried = settings(deadline=None)

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
FLOATS = ("float16", "float32", "float64")
COMPLEX = ("complex64", "complex128")


def defined(dtype: str, shape: tuple[int, ...], raw: bytes) -> bytes:
    """The content hash as the digest contract defines it."""
    return blake3.blake3(f"{dtype}|{','.join(map(str, shape))}|".encode() + raw).digest()


@st.composite
def arrays(
    draw: st.DrawFn, dtypes: tuple[str, ...] = ("bool", *INTEGERS, *FLOATS, *COMPLEX)
) -> Array:
    """Any bits in any shape: 0-d, empty, NaN payloads, -0.0."""
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    size = math.prod(shape) * dtype.itemsize
    raw = draw(st.binary(min_size=size, max_size=size))
    if dtype.kind == "b":
        raw = bytes(byte & 1 for byte in raw)
    return np.frombuffer(raw, dtype).reshape(shape)


def _every_other(array: Array) -> Array:
    wide = np.zeros((*array.shape, 2), array.dtype)
    wide[..., 0] = array
    return wide[..., 0]


def _backwards(array: Array) -> Array:
    return np.flip(np.flip(array).copy())


def _big_endian(array: Array) -> Array:
    return array.astype(array.dtype.newbyteorder(">"))


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "strided": _every_other,
    "negative strides": _backwards,
    "big-endian": _big_endian,
    "big-endian and strided": lambda array: _every_other(_big_endian(array)),
}


@unhurried
@given(array=arrays(), layout=st.sampled_from(sorted(LAYOUTS)))
def test_content_hash_is_the_one_of_the_contract(array: Array, layout: str) -> None:
    raw = b"".join(element.tobytes() for element in array.flat)
    laid_out = LAYOUTS[layout](array).reshape(array.shape)
    snap = snapshot(laid_out)
    assert snap.dtype == array.dtype.name
    assert snap.shape == array.shape
    assert content_hash(snap) == defined(array.dtype.name, array.shape, raw)


@pytest.mark.parametrize(
    ("value", "dtype", "shape", "raw"),
    [
        (7, "int64", (), struct.pack("<q", 7)),
        (-(2**63), "int64", (), struct.pack("<q", -(2**63))),
        (True, "bool", (), b"\x01"),
        (False, "bool", (), b"\x00"),
        (1.5, "float64", (), struct.pack("<d", 1.5)),
        (-0.0, "float64", (), struct.pack("<d", -0.0)),
        (math.inf, "float64", (), struct.pack("<d", math.inf)),
        ([3, 1, 2], "int64", (3,), struct.pack("<3q", 3, 1, 2)),
        ((3, 1, 2), "int64", (3,), struct.pack("<3q", 3, 1, 2)),
        ({3, 1, 2}, "int64", (3,), struct.pack("<3q", 1, 2, 3)),
        (frozenset({9}), "int64", (1,), struct.pack("<q", 9)),
        ([], "int64", (0,), b""),
        (set(), "int64", (0,), b""),
        (np.float32(1.5), "float32", (), struct.pack("<f", 1.5)),
        (np.int32(-1), "int32", (), struct.pack("<i", -1)),
        (np.bool_(True), "bool", (), b"\x01"),
        (np.array(1, ">i2"), "int16", (), b"\x01\x00"),
    ],
)
def test_values_of_python_and_numpy(
    value: Any, dtype: str, shape: tuple[int, ...], raw: bytes
) -> None:
    snap = snapshot(value)
    assert (snap.dtype, snap.shape, bytes(snap.raw)) == (dtype, shape, raw)
    assert content_hash(snap) == defined(dtype, shape, raw)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (2**63, OverflowError, "int64"),
        (-(2**63) - 1, OverflowError, "int64"),
        ([1, 2**70], OverflowError, "int64"),
        ({2**64}, OverflowError, "int64"),
        ([True, False], TypeError, "a list must hold plain ints, found bool"),
        ({1, True + 1, 0.5}, TypeError, "a set must hold plain ints, found float"),
        ([1, 2.0, "x"], TypeError, "found float, str"),
        ([[1, 2], [3]], TypeError, "found list"),
        ({1, "a"}, TypeError, "found str"),
        ((None,), TypeError, "found NoneType"),
        (None, TypeError, "NoneType"),
        ("text", TypeError, "str"),
        (b"bytes", TypeError, "bytes"),
        ({1: 2}, TypeError, "dict"),
        (1j, TypeError, "complex"),
        (np.array(["a"]), TypeError, "str"),
        (np.array([None]), TypeError, "object"),
        (np.array(["2024-01-01"], "datetime64[D]"), TypeError, "datetime64"),
        (np.array([b"ab"]), TypeError, "bytes"),
    ],
)
def test_what_has_no_digest_is_an_error(value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        snapshot(value)


def test_zero_and_minus_zero_differ() -> None:
    assert content_hash(snapshot(0.0)) != content_hash(snapshot(-0.0))
    assert figures(snapshot(-0.0)).zeros == 1


def test_nan_payloads_are_kept() -> None:
    payloads = np.array([0x7FC00000, 0x7FC00001, 0x7F800001, 0xFFC00000], "<u4")
    snap = snapshot(payloads.view("<f4"))
    assert bytes(snap.raw) == payloads.tobytes()
    hashes = {content_hash(snapshot(payloads[i : i + 1].view("<f4"))) for i in range(4)}
    assert len(hashes) == 4
    assert figures(snap).nan == 4


def test_a_bool_is_one_byte_of_0_or_1() -> None:
    odd = np.array([2, 0, 255], np.uint8).view(bool)
    assert bytes(snapshot(odd).raw) == b"\x01\x00\x01"


def test_dtype_and_shape_are_part_of_the_content() -> None:
    same_bytes = [
        np.zeros(4, "int32"),
        np.zeros(4, "float32"),
        np.zeros((2, 2), "int32"),
        np.zeros((4, 1), "int32"),
        np.zeros(2, "int64"),
    ]
    assert len({content_hash(snapshot(array)) for array in same_bytes}) == 5
    assert content_hash(snapshot(np.zeros((0, 3)))) != content_hash(snapshot(np.zeros((3, 0))))


@pytest.mark.parametrize("dtype", ["object", "str", "float128", "f4", "quint8", ""])
def test_no_storage_for_an_unknown_dtype(dtype: str) -> None:
    with pytest.raises(TypeError, match="cannot digest"):
        storage_dtype(dtype)


def bfloat16(bits: list[int], shape: tuple[int, ...]) -> Snapshot:
    return Snapshot(dtype="bfloat16", shape=shape, device="cpu", data=np.array(bits, "<u2"))


def test_bfloat16_needs_no_torch() -> None:
    bits = [0x3F80, 0xC000, 0x0000, 0x8000, 0x7F80, 0x7FC1]
    snap = bfloat16(bits, (2, 3))
    assert snap.numbers()[:5].tolist() == [1.0, -2.0, 0.0, -0.0, math.inf]
    assert content_hash(snap) == defined("bfloat16", (2, 3), struct.pack("<6H", *bits))
    found = figures(snap)
    assert (found.nan, found.inf, found.zeros) == (1, 1, 2)
    assert (found.min, found.max, found.mean) == (-2.0, 1.0, -0.25)
    assert content_hash(snap) != content_hash(snapshot(np.array(bits, "<u2").reshape(2, 3)))


# Blocks: where two tensors differ.


@pytest.mark.parametrize(
    ("shape", "dtype", "rows"),
    [
        ((), "float64", 2**20 // 8),
        ((5,), "int32", 2**20 // 4),
        ((10, 96), "float32", 2**20 // 384),
        ((10, 96), "float16", 2**20 // 192),
        ((2, 2**20), "uint8", 1),
        ((2, 2**20 + 1), "uint8", 1),
        ((2, 2**19 - 1), "uint8", 2),
        ((0, 96), "float32", 2**20 // 384),
        ((4, 3, 2), "int16", 2**20 // 12),
    ],
)
def test_block_rows_follow_from_dtype_and_shape(
    shape: tuple[int, ...], dtype: str, rows: int
) -> None:
    assert snapshot(np.zeros(shape, dtype)).block_rows == rows


def test_blocks_at_their_real_size() -> None:
    array = np.arange(6000 * 96, dtype=np.float32).reshape(6000, 96)
    hashes = block_hashes(snapshot(array))
    rows = 2**20 // 384
    expected = [
        xxhash.xxh3_128(array[start : start + rows].tobytes()).digest()
        for start in range(0, 6000, rows)
    ]
    assert hashes == expected
    assert len(hashes) == 3


@unhurried
@given(
    array=arrays(("int8", "float32", "float64")),
    block_bytes=st.integers(1, 64),
    place=st.integers(0, 1000),
)
def test_one_element_changes_exactly_its_block(array: Array, block_bytes: int, place: int) -> None:
    with mock.patch.object(digest, "BLOCK_BYTES", block_bytes):
        before = snapshot(array)
        hashes = block_hashes(before)
        if not array.size:
            assert hashes == []
            return
        count = array.shape[0] if array.ndim else 1
        assert len(hashes) == math.ceil(count / before.block_rows)
        changed = array.copy()
        at = place % array.size
        changed.reshape(-1).view(np.uint8)[at * array.itemsize] ^= 1
        after = block_hashes(snapshot(changed))
        differing = [i for i, (a, b) in enumerate(zip(hashes, after, strict=True)) if a != b]
        assert differing == [at // (array.size // count) // before.block_rows]


# Multisets: equal up to an allowed reordering, and not beyond it.


def hashed(values: Any, rule: str, key: Any = None) -> bytes:
    return multiset_hash(
        snapshot(np.asarray(values)), rule, None if key is None else snapshot(np.asarray(key))
    )


small = st.lists(st.integers(-3, 3), min_size=1, max_size=12)


@unhurried
@given(values=small, data=st.data())
def test_elements_may_go_anywhere(values: list[int], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(values))
    assert hashed(values, "elements") == hashed(shuffled, "elements")


@unhurried
@given(values=small, other=small)
def test_elements_hash_separates_multisets(values: list[int], other: list[int]) -> None:
    assume(sorted(values) != sorted(other))
    assert hashed(values, "elements") != hashed(other, "elements")


@unhurried
@given(rows=st.lists(st.tuples(*[st.integers(0, 2)] * 3), min_size=1, max_size=6), data=st.data())
def test_rows_may_swap(rows: list[tuple[int, ...]], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(rows))
    assert hashed(rows, "rows") == hashed(shuffled, "rows")


@unhurried
@given(
    keyed=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=1, max_size=12),
    data=st.data(),
)
def test_elements_of_one_key_may_swap(keyed: list[tuple[int, int]], data: st.DataObject) -> None:
    keys = [key for key, _ in keyed]
    values = [value for _, value in keyed]
    swapped = list(values)
    for key in set(keys):
        places = [place for place, found in enumerate(keys) if found == key]
        for place, source in zip(places, data.draw(st.permutations(places)), strict=True):
            swapped[place] = values[source]
    assert hashed(values, "per_key:k", keys) == hashed(swapped, "per_key:k", keys)


@unhurried
@given(
    lists=st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=4),
    padding=st.integers(0, 3),
    data=st.data(),
)
def test_elements_of_one_list_may_swap(
    lists: list[list[int]], padding: int, data: st.DataObject
) -> None:
    lengths = [len(items) for items in lists]
    shuffled = [data.draw(st.permutations(items)) for items in lists]
    flat, other = (
        np.array([*itertools.chain(*groups), *[0] * padding], np.int64)
        for groups in (lists, shuffled)
    )
    assert hashed(flat, "per_list:l", lengths) == hashed(other, "per_list:l", lengths)


@pytest.mark.parametrize(
    ("rule", "values", "near_miss", "key", "other_key"),
    [
        pytest.param("elements", [1, 1, 2], [1, 2, 2], None, None, id="a count moved"),
        pytest.param("elements", [1, 2], [1, 3], None, None, id="another element"),
        pytest.param("elements", [[1, 2]], [[1], [2]], None, None, id="another shape"),
        pytest.param("elements", [0.0, 1.0], [-0.0, 1.0], None, None, id="sign of zero"),
        pytest.param(
            "elements",
            np.array([1, 2], "i4"),
            np.array([1, 2], "f4").view("i4"),
            None,
            None,
            id="bits",
        ),
        pytest.param(
            "elements", np.array([1, 2], "i4"), np.array([1, 2], "u4"), None, None, id="dtype"
        ),
        pytest.param("rows", [[1, 2], [3, 4]], [[2, 1], [3, 4]], None, None, id="within a row"),
        pytest.param("rows", [[1, 2], [3, 4]], [[1, 4], [3, 2]], None, None, id="across rows"),
        pytest.param("per_key:k", [1, 2, 3], [1, 3, 2], [0, 0, 1], [0, 0, 1], id="across keys"),
        pytest.param("per_key:k", [1, 2, 3], [2, 1, 3], [0, 0, 1], [0, 1, 1], id="another key"),
        pytest.param("per_key:k", [1, 2], [2, 1], [0, 1], [1, 0], id="keys swapped too"),
        pytest.param("per_list:l", [1, 2, 3], [1, 3, 2], [2, 1], [2, 1], id="between lists"),
        pytest.param("per_list:l", [1, 2, 3], [2, 1, 3], [2, 1], [1, 2], id="other lengths"),
        pytest.param("per_list:l", [1, 2, 0], [1, 0, 2], [2], [2], id="padding moved in"),
        pytest.param("per_list:l", [1, 2, 0], [1, 2, 5], [2], [2], id="padding changed"),
        pytest.param("per_list:l", [1, 2, 0], [1, 2, 0, 0], [2], [2], id="more padding"),
    ],
)
def test_near_misses_are_told_apart(
    rule: str, values: Any, near_miss: Any, key: Any, other_key: Any
) -> None:
    assert hashed(values, rule, key) != hashed(near_miss, rule, other_key)


@pytest.mark.parametrize("rule", ["elements", "rows", "per_key:k", "per_list:l"])
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), ()])
def test_multiset_of_the_empty_and_the_single(rule: str, shape: tuple[int, ...]) -> None:
    values = np.ones(shape, np.int32)
    key = np.ones(values.size if rule == "per_list:l" else shape, np.int64)
    assert len(hashed(values, rule, key)) == 16


def test_multiset_of_bfloat16_sees_bits() -> None:
    first = bfloat16([0x3F80, 0x7FC0, 0x7FC1], (3,))
    second = bfloat16([0x7FC1, 0x3F80, 0x7FC0], (3,))
    third = bfloat16([0x7FC1, 0x3F80, 0x7FC1], (3,))
    assert multiset_hash(first, "elements") == multiset_hash(second, "elements")
    assert multiset_hash(first, "elements") != multiset_hash(third, "elements")


@pytest.mark.parametrize(
    ("rule", "key"),
    [
        ("none", None),
        ("", None),
        ("columns", None),
        ("per_row:k", [1, 2, 3]),
        ("per_key:k", None),
        ("per_list:l", None),
        ("per_key:k", [1, 2]),
        ("per_list:l", [2, 2]),
        ("per_list:l", [4, -1]),
    ],
)
def test_a_rule_that_cannot_apply_raises(rule: str, key: Any) -> None:
    with pytest.raises(ValueError, match=r"rule|keys|negative"):
        hashed([1, 2, 3], rule, key)


# Figures.


@unhurried
@given(array=arrays(("bool", *INTEGERS, *FLOATS)))
def test_figures_agree_with_exact_sums(array: Array) -> None:
    numbers = [float(number) for number in array.reshape(-1)]
    finite = [number for number in numbers if math.isfinite(number)]
    # Sums of squares near the end of float64 have no reference; their counts are tested below.
    assume(all(abs(number) < 1e150 for number in finite))
    found = figures(snapshot(array))
    assert found.nan == sum(map(math.isnan, numbers))
    assert found.inf == sum(map(math.isinf, numbers))
    assert found.zeros == numbers.count(0.0)
    if not finite:
        assert (found.min, found.max, found.mean, found.std, found.l2) == (None,) * 5
        return
    mean = math.fsum(finite) / len(finite)
    std = math.sqrt(math.fsum((number - mean) ** 2 for number in finite) / len(finite))
    scale = max(map(abs, finite))
    assert (found.min, found.max) == (min(finite), max(finite))
    assert found.mean == pytest.approx(mean, rel=1e-12, abs=1e-15 * scale)
    assert found.std == pytest.approx(std, rel=1e-12, abs=1e-15 * scale)
    assert found.l2 == pytest.approx(math.sqrt(math.fsum(x * x for x in finite)), rel=1e-12)


def test_float16_is_summed_in_float64() -> None:
    found = figures(snapshot(np.full(4096, 60000, np.float16)))
    assert found.mean == float(np.float16(60000))
    assert found.l2 == 64 * float(np.float16(60000))


def test_figures_at_the_end_of_float64_warn_nobody() -> None:
    found = figures(snapshot(np.array([1.7e308, -1.7e308, 1.7e308])))
    assert (found.min, found.max, found.l2) == (-1.7e308, 1.7e308, math.inf)


def test_complex_numbers_are_counted_only() -> None:
    found = figures(snapshot(np.array([0, 1j, complex(math.nan, 0), complex(0, math.inf)])))
    assert (found.nan, found.inf, found.zeros, found.min, found.l2) == (1, 1, 1, None, None)
