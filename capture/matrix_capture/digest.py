"""From a value to a digest: what is hashed, how, and which figures go with it.

All of it goes through the bytes piece by piece, so that what it needs of memory does not grow with
the value.
"""

from dataclasses import dataclass
from math import prod
from typing import Any

import blake3
import numpy as np
import numpy.typing as npt
import xxhash

BLOCK_BYTES = 2**20

_PARALLEL_BYTES = 2**24  # a smaller value is hashed before a second thread has woken up

# Elements that are counted and summed at a time: so few that what is made of them stays in a cache,
# so many that threads seldom meet at the interpreter's lock.
_PIECE = 2**18

# numpy has no bfloat16: its bits travel as uint16 under the name torch gives it.
_STORAGE = {"bfloat16": "uint16", "bool": "uint8"} | {
    name: name
    for name in (
        *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64", "complex64", "complex128"),
    )
}

# The exponent bits of the 16-bit floats, which numpy counts ten times faster as integers.
_EXPONENT = {"float16": 0x7C00, "bfloat16": 0x7F80}


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """What a value is made of: torch's name of its dtype, its shape, and where it lived."""

    dtype: str
    shape: tuple[int, ...]
    device: str

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return storage_dtype(self.dtype).itemsize

    @property
    def numel(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.numel * self.itemsize

    @property
    def row_bytes(self) -> int:
        """Bytes of one leading row; a 0-d value is one row."""
        return prod(self.shape[1:]) * self.itemsize

    @property
    def block_rows(self) -> int:
        """Leading rows per block: a function of dtype and shape alone."""
        return max(1, BLOCK_BYTES // max(1, self.row_bytes))

    @property
    def header(self) -> bytes:
        """What the content hash covers before the elements: `<dtype>|<d0,d1,…>|` in ASCII."""
        return f"{self.dtype}|{','.join(map(str, self.shape))}|".encode("ascii")


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot(Layout):
    """A value as it was when captured, on the host.

    `data` is the C-order elements as a flat array (bfloat16 as uint16 bits, bool as uint8 0 or 1).
    """

    data: npt.NDArray[Any]

    @property
    def layout(self) -> Layout:
        """All but the data, to be kept when that is gone."""
        return Layout(dtype=self.dtype, shape=self.shape, device=self.device)

    @property
    def raw(self) -> memoryview:
        """The bytes of all elements."""
        return self.data.data.cast("B")

    def numbers(self) -> npt.NDArray[Any]:
        """The elements as numbers that numpy can compute with."""
        return _numbers(self.data, self.dtype)


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """Counts over all elements, and statistics over the finite ones in float64 (ddof 0).

    Without a finite element, and for complex numbers, there are no statistics.
    """

    nan: int
    inf: int
    zeros: int
    min: float | None = None
    max: float | None = None
    mean: float | None = None
    std: float | None = None
    l2: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Digest:
    """All that is recorded of a value: its content hash, those of its blocks, and its figures."""

    layout: Layout
    content: bytes
    blocks: list[bytes]
    figures: Figures
    multiset: bytes | None = None


def storage_dtype(dtype: str) -> np.dtype[Any]:
    """The little-endian numpy dtype that holds the elements of a torch dtype.

    Raises:
        TypeError: no numpy dtype does.
    """
    if dtype not in _STORAGE:
        raise TypeError(f"cannot digest elements of {dtype}")
    return np.dtype(_STORAGE[dtype]).newbyteorder("<")


def snapshot(value: Any) -> Snapshot:
    """Take a value as it is now.

    A tensor on the CPU is not copied, so hash it before anything else runs. An int becomes a 0-d
    int64, a float a 0-d float64, a list of ints a 1-D int64 and a set of ints a sorted one.

    Raises:
        TypeError: the value is none of these, or a tensor without plain strided elements.
        OverflowError: an int does not fit into int64.
    """
    if hasattr(value, "detach"):
        return _of_tensor(value)
    if isinstance(value, np.ndarray | np.generic):
        return _of_array(np.asarray(value))
    if isinstance(value, bool | float):
        return _of_array(np.asarray(value))
    if isinstance(value, int):
        return _of_array(_int64(value))
    if isinstance(value, list | tuple | set | frozenset):
        others = {type(item).__name__ for item in value if type(item) is not int}
        if others:
            found = ", ".join(sorted(others))
            raise TypeError(f"a {type(value).__name__} must hold plain ints, found {found}")
        return _of_array(_int64(sorted(value) if isinstance(value, set | frozenset) else value))
    raise TypeError(f"cannot digest a {type(value).__name__}")


def layout_of(tensor: Any) -> Layout:
    """The layout of a tensor."""
    return Layout(
        dtype=str(tensor.dtype).removeprefix("torch."),
        shape=tuple(tensor.shape),
        device=str(tensor.device),
    )


def oddity(tensor: Any) -> str | None:
    """Why a tensor has no bytes to hash, or several spellings of them; None if it is plain."""
    layout = str(tensor.layout).removeprefix("torch.")
    cases = (
        (layout, layout != "strided"),
        ("quantized", tensor.is_quantized),
        ("nested", tensor.is_nested),
        ("meta", tensor.is_meta),
    )
    return next((case for case, holds in cases if holds), None)


def content_hash(snap: Snapshot) -> bytes:
    """BLAKE3 over the ASCII header `<dtype>|<d0,d1,…>|` and the little-endian bytes."""
    threads = 1 if snap.data.nbytes < _PARALLEL_BYTES else blake3.blake3.AUTO
    return blake3.blake3(snap.header, max_threads=threads).update(snap.raw).digest()


def block_hashes(snap: Snapshot) -> list[bytes]:
    """XXH3 (128 bits, big-endian) over the raw bytes of each block of leading rows.

    They tell where two values differ, never whether: that is the content hash's to say.
    """
    if not snap.data.size:
        return []
    step = snap.block_rows * snap.row_bytes
    starts = range(0, snap.data.nbytes, step)
    return [xxhash.xxh3_128_digest(snap.raw[start : start + step]) for start in starts]


def multiset_hash(snap: Snapshot, rule: str, key: Snapshot | None = None) -> bytes:
    """An order-insensitive hash under a catalogue order rule: 16 bytes.

    Every element (or row) is mixed with what it may not leave, its key or its list, into 128 bits;
    their sum does not depend on their order. `key` is the value of the artifact that a `per_key:`
    or `per_list:` rule names; its own order counts, since only elements under one and the same key
    may swap.

    Raises:
        ValueError: the rule is unknown, or lacks its key, or the key does not fit, or the elements
            are complex.
    """
    kind = rule.partition(":")[0]
    keyed = kind in ("per_key", "per_list")
    if kind not in ("elements", "rows") and not (keyed and key is not None):
        raise ValueError(f"cannot apply order rule {rule!r}")
    if snap.data.dtype.kind == "c":
        raise ValueError(f"order rule {rule!r} does not apply to complex numbers")
    hasher = blake3.blake3(snap.header)
    groups = None
    if keyed and key is not None:
        groups = key.data if kind == "per_key" else _list_ends(key.data, snap.data.size)
        if kind == "per_key" and groups.size != snap.data.size:
            raise ValueError(f"{rule}: {groups.size} keys for {snap.data.size} elements")
        hasher.update(content_hash(key))
    width = max(1, prod(snap.shape[1:])) if kind == "rows" else 1
    step = max(1, _PIECE // width) * width
    sums = np.zeros(2, np.uint64)
    for start in range(0, snap.data.size, step):
        bits = _wide(snap.data[start : start + step])
        if kind == "per_key" and groups is not None:
            with_what = _wide(groups[start : start + step])
        elif kind == "per_list" and groups is not None:
            places = np.arange(start, start + bits.size)
            with_what = np.searchsorted(groups, places, side="right").astype(np.uint64)
        else:
            with_what = np.resize(np.arange(width, dtype=np.uint64), bits.size)
        sums += np.array([_mixed(bits, with_what, lane, width).sum() for lane in _LANES])
    return hasher.update(sums.astype("<u8").tobytes()).digest(16)


def figures(snap: Snapshot, *, statistics: bool = True) -> Figures:
    """Counts and, unless told otherwise, statistics of the elements."""
    nan = inf = zeros = 0
    sums = _Sums()
    for start in range(0, snap.data.size, _PIECE):
        piece = snap.data[start : start + _PIECE]
        zeros += _zeros(piece, snap.dtype)
        finite = _finite(piece, snap.dtype)
        numbers = _numbers(piece, snap.dtype)
        if finite is not None:
            nan += int(np.isnan(numbers).sum())
            inf += int(np.isinf(numbers).sum())
            numbers = numbers[finite]
        if statistics and numbers.dtype.kind != "c":
            sums.add(numbers.astype(np.float64))
    return Figures(nan=nan, inf=inf, zeros=zeros, **sums.figures())


class _Sums:
    """Sums of float64 pieces, merged as in Chan, Golub and LeVeque, "Updating Formulae" (1979)."""

    def __init__(self) -> None:
        self._count = 0
        self._min, self._max = np.inf, -np.inf
        self._mean = self._squares_about_mean = self._squares = 0.0

    def add(self, wide: npt.NDArray[np.float64]) -> None:
        if not wide.size:
            return
        # Near the end of float64 the sums leave it; an infinite figure says so, a warning to a
        # pipeline that turns warnings into errors would lose the row.
        with np.errstate(over="ignore", invalid="ignore"):
            mean = wide.mean()
            about_mean = wide - mean
            count = self._count + wide.size
            shift = mean - self._mean
            self._squares_about_mean += np.dot(about_mean, about_mean) + (
                shift * shift * (self._count * wide.size / count)
            )
            self._mean += shift * (wide.size / count)
            self._squares += np.dot(wide, wide)
        self._min, self._max = min(self._min, wide.min()), max(self._max, wide.max())
        self._count = count

    def figures(self) -> dict[str, float | None]:
        if not self._count:
            return dict.fromkeys(("min", "max", "mean", "std", "l2"))
        return {
            "min": float(self._min),
            "max": float(self._max),
            "mean": float(self._mean),
            "std": float(np.sqrt(self._squares_about_mean / self._count)),
            "l2": float(np.sqrt(self._squares)),
        }


def _numbers(data: npt.NDArray[Any], dtype: str) -> npt.NDArray[Any]:
    if dtype == "bfloat16":
        return (data.astype(np.uint32) << 16).view(np.float32)
    return data


def _zeros(data: npt.NDArray[Any], dtype: str) -> int:
    if dtype in _EXPONENT:
        return int(data.size - np.count_nonzero(data.view(np.uint16) << 1))
    return int(np.count_nonzero(data == 0))


def _finite(data: npt.NDArray[Any], dtype: str) -> npt.NDArray[np.bool_] | None:
    """Which elements are finite; None when all are."""
    if dtype in _EXPONENT:
        exponent = np.uint16(_EXPONENT[dtype])
        finite = (data.view(np.uint16) & exponent) != exponent
    elif data.dtype.kind in "fc":
        finite = np.isfinite(data)
    else:
        return None
    return None if finite.all() else finite


# Two odd constants per lane: the golden ratio and the multipliers of Steele, Lea and Flood,
# "Fast Splittable Pseudorandom Number Generators" (2014), whose finaliser the mixing is.
_LANES = (
    (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)),
    (np.uint64(0x94D049BB133111EB), np.uint64(0xD6E8FEB86659FD93)),
)


def _mixed(
    bits: npt.NDArray[np.uint64],
    with_what: npt.NDArray[np.uint64],
    lane: tuple[np.uint64, np.uint64],
    width: int,
) -> npt.NDArray[np.uint64]:
    """64 bits for each `width` elements, which depend on all bits of each and of its company."""
    offset, _ = lane
    mixed = _finalised(_finalised(with_what + offset, lane) ^ bits, lane)
    if width == 1:
        return mixed
    rows: npt.NDArray[np.uint64] = mixed.reshape(-1, width).sum(axis=1)
    return _finalised(rows, lane)


def _finalised(
    bits: npt.NDArray[np.uint64], lane: tuple[np.uint64, np.uint64]
) -> npt.NDArray[np.uint64]:
    first, second = lane
    bits = (bits ^ (bits >> np.uint64(30))) * second
    bits = (bits ^ (bits >> np.uint64(27))) * first
    return bits ^ (bits >> np.uint64(31))


def _wide(data: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """The bits of each element as a number of 64."""
    return data.view(f"u{data.itemsize}").astype(np.uint64)


def _list_ends(lengths: npt.NDArray[Any], size: int) -> npt.NDArray[np.int64]:
    """Where each list ends; padding behind the last list is a list of its own.

    Raises:
        ValueError: the lengths are not those of lists among so many elements.
    """
    if lengths.size and lengths.min() < 0:
        raise ValueError("a list has a negative length")
    ends = np.cumsum(lengths, dtype=np.int64)
    if ends.size and ends[-1] > size:
        raise ValueError(f"lists of {ends[-1]} elements, but only {size} elements for their keys")
    return ends


def _of_tensor(tensor: Any) -> Snapshot:
    if case := oddity(tensor):
        raise TypeError(f"cannot digest a {case} tensor")
    layout = layout_of(tensor)
    host = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
    if layout.dtype == "bfloat16":
        import torch  # noqa: PLC0415 - a tensor is here, so torch is too; readers have none

        host = host.view(torch.int16)
    return with_data(layout, _flat(host.numpy(), layout.dtype))


def _of_array(array: npt.NDArray[Any]) -> Snapshot:
    layout = Layout(dtype=array.dtype.name, shape=array.shape, device="cpu")
    return with_data(layout, _flat(array, layout.dtype))


def with_data(layout: Layout, data: npt.NDArray[Any]) -> Snapshot:
    """A snapshot of that layout; `data` as `Snapshot` has it."""
    return Snapshot(dtype=layout.dtype, shape=layout.shape, device=layout.device, data=data)


def _flat(array: npt.NDArray[Any], dtype: str) -> npt.NDArray[Any]:
    storage = storage_dtype(dtype)
    flat = np.ascontiguousarray(array).reshape(-1)
    if dtype == "bool":
        # A reinterpreted byte may hold another truth than 1.
        flat = flat.view(np.uint8) != 0
    data: npt.NDArray[Any] = flat.astype(flat.dtype.newbyteorder("<"), copy=False).view(storage)
    return data


def _int64(value: Any) -> npt.NDArray[np.int64]:
    try:
        return np.asarray(value, dtype=np.int64)
    except OverflowError:
        raise OverflowError("cannot digest an int that does not fit into int64") from None
