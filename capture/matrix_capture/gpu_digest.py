"""Digests tensors on the GPU that they live on, in the order of its own stream.

Nothing is copied but the digests: 64 bytes and a hash per block for each tensor.
"""

import ctypes
import functools
import subprocess
from pathlib import Path
from typing import Any

import blake3

from matrix_capture.digest import Digest, Figures, Layout, layout_of, oddity

_SOURCE = Path(__file__).with_name("digest.cu")
_ARENA = 4 * 2**20  # bytes of digests that wait on the device to be fetched
_COUNTS, _BLOCKS = 32, 64  # where they begin in what digest.cu writes
_HEADER = 64  # bytes of a header that digest.cu has room for
_SMALLEST = 241  # bytes: XXH3 treats shorter blocks in ways that digest.cu does not know
_KINDS = {"float16": 1, "bfloat16": 2, "float32": 3, "float64": 4} | dict.fromkeys(
    ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"), 0
)


def compiled(nvcc: str, folder: Path, capability: tuple[int, int]) -> Path:
    """The shared library made from `digest.cu` for a GPU, compiled into `folder` on first use.

    Raises:
        subprocess.CalledProcessError: nvcc fails.
    """
    target = f"sm_{capability[0]}{capability[1]}"
    name = blake3.blake3(_SOURCE.read_bytes()).hexdigest(8)
    library = folder / f"digest-{name}-{target}.so"
    if not library.exists():
        making = library.with_suffix(".partial")
        flags = ["-O3", "-std=c++17", "-shared", "-Xcompiler", "-fPIC", f"-arch={target}"]
        command = [nvcc, *flags, "-o", str(making), str(_SOURCE)]
        subprocess.run(command, check=True, capture_output=True, text=True)
        making.rename(library)
    return library


class GpuDigests:
    """Takes tensors as they are now; their digests are fetched together, later."""

    def __init__(self, library: Path) -> None:
        self._library = _opened(str(library))
        self._arena: _Arena | None = None

    def submit(self, tensor: Any) -> "Pending":
        """Have a tensor digested that `takes` says fits."""
        import torch  # noqa: PLC0415 - only a pipeline has torch

        layout = layout_of(tensor)
        block = layout.block_rows * layout.row_bytes
        plain = tensor.detach().contiguous()
        if plain.data_ptr() % 16:
            plain = plain.clone()
        need = _BLOCKS + 16 * -(-layout.nbytes // block)
        if self._arena is None or not self._arena.fits(need):
            self._arena = _Arena(plain.device)
        start = self._arena.reserve(need)
        scratch = torch.empty(
            self._library.scratch_bytes(layout.nbytes), dtype=torch.uint8, device=plain.device
        )
        header = layout.header
        status = self._library.digest(
            plain.data_ptr(),
            layout.nbytes,
            header,
            len(header),
            block,
            _KINDS[layout.dtype],
            layout.itemsize,
            scratch.data_ptr(),
            self._arena.address + start,
            torch.cuda.current_stream(plain.device).cuda_stream,
        )
        if status:
            raise RuntimeError(f"digest.cu: CUDA error {status}")
        return Pending(layout, self._arena, start)


class Pending:
    """A digest that may still be on the device."""

    def __init__(self, layout: Layout, arena: "_Arena", start: int) -> None:
        self._layout, self._arena, self._start = layout, arena, start

    def result(self) -> Digest:
        """Fetch it, with all others that wait; the pipeline's work until now is waited for."""
        block = self._layout.block_rows * self._layout.row_bytes
        number = -(-self._layout.nbytes // block)
        content = self._arena.content[self._start : self._start + _BLOCKS + 16 * number]
        nan, inf, zeros = (
            int.from_bytes(content[_COUNTS + 8 * i : _COUNTS + 8 * i + 8], "little")
            for i in range(3)
        )
        hashes = content[_BLOCKS:]
        return Digest(
            layout=self._layout,
            content=content[:_COUNTS],
            blocks=[hashes[16 * i : 16 * i + 16] for i in range(number)],
            figures=Figures(nan=nan, inf=inf, zeros=zeros),
        )


def takes(tensor: Any) -> bool:
    """Whether a value is a tensor on a GPU that digest.cu can digest."""
    if not getattr(tensor, "is_cuda", False) or oddity(tensor) or tensor.is_neg():
        return False
    layout = layout_of(tensor)
    if layout.dtype not in _KINDS or len(layout.header) > _HEADER or layout.nbytes < _SMALLEST:
        return False
    rest = layout.nbytes % (layout.block_rows * layout.row_bytes)
    return rest == 0 or rest >= _SMALLEST


class _Arena:
    """Memory on a device for the digests of many tensors, fetched once."""

    def __init__(self, device: Any) -> None:
        import torch  # noqa: PLC0415 - only a pipeline has torch

        self._memory = torch.empty(_ARENA, dtype=torch.uint8, device=device)
        self._used = 0
        self._closed = False
        self.address = self._memory.data_ptr()

    def fits(self, size: int) -> bool:
        return not self._closed and self._used + size <= _ARENA

    def reserve(self, size: int) -> int:
        start = self._used
        self._used += -(-size // 16) * 16
        return start

    @functools.cached_property
    def content(self) -> bytes:
        self._closed = True
        fetched: bytes = self._memory[: self._used].cpu().numpy().tobytes()
        del self._memory
        return fetched


@functools.cache
def _opened(library: str) -> ctypes.CDLL:
    opened = ctypes.CDLL(library)
    pointer, size, number = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int
    opened.scratch_bytes.argtypes, opened.scratch_bytes.restype = [size], size
    opened.digest.restype = number
    opened.digest.argtypes = [
        *(pointer, size, ctypes.c_char_p, ctypes.c_uint32, size),
        *(number, number, pointer, pointer, pointer),
    ]
    return opened
