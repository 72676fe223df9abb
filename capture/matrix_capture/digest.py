"""From a value to a digest: what is hashed, how, and which figures go with it."""

from dataclasses import dataclass
from math import prod
from typing import Any

import blake3
import numpy as np
import numpy.typing as npt

BLOCK_BYTES = 2**20

# numpy has no bfloat16: its bits travel as uint16 under the name torch gives it.
_STORAGE = {"bfloat16": "uint16", "bool": "uint8"} | {
    name: name
    for name in (
        *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64", "complex64", "complex128"),
    )
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """A value as it was when captured, on the host.

    `dtype` is torch's name, `data` the C-order elements as a flat array (bfloat16 as uint16 bits,
    bool as uint8 0 or 1), `device` where it lived.
    """

    dtype: str
    shape: tuple[int, ...]
    device: str
    data: npt.NDArray[Any]

    @property
    def row_bytes(self) -> int:
        """Bytes of one leading row; a 0-d value is one row."""
        return prod(self.shape[1:]) * self.data.itemsize

    @property
    def block_rows(self) -> int:
        """Leading rows per block: a function of dtype and shape alone."""
        return max(1, BLOCK_BYTES // max(1, self.row_bytes))

    @property
    def raw(self) -> memoryview:
        """The bytes of all elements."""
        return self.data.data.cast("B")

    def numbers(self) -> npt.NDArray[Any]:
        """The elements as numbers that numpy can compute with."""
        if self.dtype == "bfloat16":
            return (self.data.astype(np.uint32) << 16).view(np.float32)
        return self.data


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """Counts over all elements, and statistics over the finite ones in float64 (ddof 0).

    Without a finite element, and for complex numbers, there are no statistics.
    """

    nan: int
    inf: int
    zeros: int
    min: float | None
    max: float | None
    mean: float | None
    std: float | None
    l2: float | None


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


def content_hash(snap: Snapshot) -> bytes:
    """BLAKE3 over the ASCII header `<dtype>|<d0,d1,…>|` and the little-endian bytes."""
    return blake3.blake3(_header(snap)).update(snap.raw).digest()


def block_hashes(snap: Snapshot) -> list[bytes]:
    """The first 16 bytes of BLAKE3 over the raw bytes of each block of leading rows."""
    if not snap.data.size:
        return []
    step = snap.block_rows * snap.row_bytes
    starts = range(0, snap.data.nbytes, step)
    return [blake3.blake3(snap.raw[start : start + step]).digest(16) for start in starts]


def multiset_hash(snap: Snapshot, rule: str, key: Snapshot | None = None) -> bytes:
    """An order-insensitive hash under a catalogue order rule: 16 bytes.

    The value is brought into one canonical order that every allowed reordering shares, then hashed
    under the header of `content_hash`, so that equal hashes mean equal values up to that
    reordering. `key` is the value of the artifact that a `per_key:` or `per_list:` rule names; its
    own order counts, since only elements under one and the same key may swap.

    Raises:
        ValueError: the rule is unknown, or lacks its key, or the key does not fit.
    """
    kind = rule.partition(":")[0]
    bits = snap.data.view(f"u{snap.data.itemsize}")
    if kind == "elements":
        return _canonical(snap, np.sort(bits))
    if kind == "rows":
        rows = bits.reshape(snap.shape[0] if snap.shape else 1, prod(snap.shape[1:]))
        return _canonical(snap, rows[np.lexsort(rows.T[::-1])] if rows.shape[1] else rows)
    if kind in ("per_key", "per_list") and key is not None:
        groups = key.data if kind == "per_key" else _list_numbers(key.data, bits.size)
        if groups.size != bits.size:
            raise ValueError(f"{rule}: {groups.size} keys for {bits.size} elements")
        order = np.lexsort((bits, groups))
        return _canonical(snap, bits[order], groups)
    raise ValueError(f"cannot apply order rule {rule!r}")


def figures(snap: Snapshot) -> Figures:
    """Counts and statistics of the elements."""
    numbers = snap.numbers()
    floating = numbers.dtype.kind in "fc"
    nan = int(np.isnan(numbers).sum()) if floating else 0
    inf = int(np.isinf(numbers).sum()) if floating else 0
    zeros = int(numbers.size - np.count_nonzero(numbers))
    finite = numbers[np.isfinite(numbers)] if nan or inf else numbers
    if not finite.size or numbers.dtype.kind == "c":
        return Figures(
            nan=nan, inf=inf, zeros=zeros, min=None, max=None, mean=None, std=None, l2=None
        )
    wide = finite.astype(np.float64)
    # Near the end of float64 the sums leave it; an infinite figure says so, a warning to a
    # pipeline that turns warnings into errors would lose the row.
    with np.errstate(over="ignore", invalid="ignore"):
        return Figures(
            nan=nan,
            inf=inf,
            zeros=zeros,
            min=float(wide.min()),
            max=float(wide.max()),
            mean=float(wide.mean()),
            std=float(wide.std()),
            l2=float(np.sqrt(np.dot(wide, wide))),
        )


def _of_tensor(tensor: Any) -> Snapshot:
    # Strided, dense and real: everything else has no bytes to hash, or several spellings of them.
    layout = str(tensor.layout).removeprefix("torch.")
    for case, holds in (
        (layout, layout != "strided"),
        ("quantized", tensor.is_quantized),
        ("nested", tensor.is_nested),
        ("meta", tensor.is_meta),
    ):
        if holds:
            raise TypeError(f"cannot digest a {case} tensor")
    device = str(tensor.device)
    host = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
    dtype = str(host.dtype).removeprefix("torch.")
    shape = tuple(host.shape)
    if dtype == "bfloat16":
        import torch  # noqa: PLC0415 - a tensor is here, so torch is too; readers have none

        host = host.view(torch.int16)
    return Snapshot(dtype=dtype, shape=shape, device=device, data=_flat(host.numpy(), dtype))


def _of_array(array: npt.NDArray[Any]) -> Snapshot:
    dtype = array.dtype.name
    return Snapshot(dtype=dtype, shape=array.shape, device="cpu", data=_flat(array, dtype))


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


def _header(snap: Snapshot) -> bytes:
    return f"{snap.dtype}|{','.join(map(str, snap.shape))}|".encode("ascii")


def _canonical(snap: Snapshot, *parts: npt.NDArray[Any]) -> bytes:
    hasher = blake3.blake3(_header(snap))
    for part in parts:
        hasher.update(np.ascontiguousarray(part).reshape(-1).data.cast("B"))
    return hasher.digest(16)


def _list_numbers(lengths: npt.NDArray[Any], size: int) -> npt.NDArray[np.int64]:
    """Which list each element belongs to; padding behind the last list is a list of its own."""
    numbers = np.repeat(np.arange(lengths.size), lengths)
    padding = np.full(max(0, size - numbers.size), lengths.size)
    return np.concatenate([numbers, padding])
