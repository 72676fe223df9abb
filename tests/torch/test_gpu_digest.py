"""Digests computed on a GPU are those of the host; without a GPU its arithmetic is, in loops."""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import blake3
import pytest
import torch
import xxhash

from matrix_capture import gpu_digest
from matrix_capture.digest import Digest, block_hashes, content_hash, figures, snapshot
from matrix_capture.gpu_digest import GpuDigests, compiled, takes

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
SHAPES = [
    (241,),
    (1000,),
    (32, 8),
    (32, 17, 384),
    (32, 170, 384),  # one layer of the baseline
    (5441, 96),
    (3, 2**20 + 5),  # rows longer than a block
    (70000, 97),
]
NARROW = [torch.float16, torch.bfloat16, torch.uint8, torch.int8, torch.int16]
CASES = [
    *((shape, dtype) for shape in SHAPES for dtype in [*FLOATS, *INTEGERS]),
    *(((2**26 + 301,), dtype) for dtype in NARROW),  # over 65,536 chunks: a third level of merging
]


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    library = tmp_path_factory.mktemp("emulated") / "digest.so"
    sources = [
        f"-I{Path(gpu_digest.__file__).parent}",
        str(Path(__file__).with_name("emulated.cpp")),
    ]
    flags = ["-std=c++17", "-O2", "-Wall", "-Wno-unknown-pragmas", "-shared", "-fPIC"]
    subprocess.run(["c++", *flags, "-o", str(library), *sources], check=True)
    return ctypes.CDLL(str(library))


@pytest.mark.parametrize("header", [b"int64||", b"float32|32,170,384|", b"x" * 64])
@pytest.mark.parametrize(
    "size", [0, 1, 5, 63, 64, 960, 1005, 1017, 1024, 2**18 - 7, 2**18 - 19, 2**18, 10**6, 2**26 + 5]
)
def test_its_content_hash_is_blake3(emulated: ctypes.CDLL, header: bytes, size: int) -> None:
    data = os.urandom(size)
    out = ctypes.create_string_buffer(32)
    emulated.content(data, ctypes.c_uint64(size), header, ctypes.c_uint32(len(header)), out)
    assert out.raw == blake3.blake3(header + data).digest()


@pytest.mark.parametrize(
    "size", [*range(241, 400, 7), 1023, 1024, 1025, 1088, 2049, 2**20 - 7, 2**20]
)
def test_its_block_hash_is_xxh3(emulated: ctypes.CDLL, size: int) -> None:
    data = os.urandom(size)
    out = ctypes.create_string_buffer(16)
    emulated.block(data, ctypes.c_uint64(size), out)
    assert out.raw == xxhash.xxh3_128_digest(data)


@pytest.fixture(scope="module")
def on_gpu(tmp_path_factory: pytest.TempPathFactory) -> GpuDigests:
    nvcc = shutil.which("nvcc")
    assert nvcc, "a GPU without nvcc"
    capability = torch.cuda.get_device_capability()
    return GpuDigests(compiled(nvcc, tmp_path_factory.mktemp("lib"), capability))


def on_host(tensor: Any) -> Digest:
    snap = snapshot(tensor)
    return Digest(
        layout=snap.layout,
        content=content_hash(snap),
        blocks=block_hashes(snap),
        figures=figures(snap, statistics=False),
    )


def random(shape: tuple[int, ...], dtype: Any) -> Any:
    if dtype in INTEGERS:
        return torch.randint(-3 if dtype.is_signed else 0, 4, shape, dtype=dtype, device="cuda")
    tensor = torch.randn(shape, device="cuda").to(dtype)
    flat = tensor.view(-1)
    flat[::7], flat[1::11], flat[2::13], flat[3::17] = 0.0, -0.0, float("nan"), float("-inf")
    return tensor


@needs_gpu
@pytest.mark.parametrize(("shape", "dtype"), CASES, ids=str)
def test_it_is_the_digest_of_the_host(
    on_gpu: GpuDigests, shape: tuple[int, ...], dtype: Any
) -> None:
    tensor = random(shape, dtype)
    assert takes(tensor)
    assert on_gpu.submit(tensor).result() == on_host(tensor)


@needs_gpu
@pytest.mark.parametrize("size", [*range(241, 330), *range(1000, 1100), *range(2030, 2070)])
def test_every_length_near_the_borders_of_stripes_and_chunks(on_gpu: GpuDigests, size: int) -> None:
    tensor = torch.randint(0, 256, (size,), dtype=torch.uint8, device="cuda")
    assert on_gpu.submit(tensor).result() == on_host(tensor)


@needs_gpu
def test_a_later_write_in_place_changes_nothing(on_gpu: GpuDigests) -> None:
    tensors = [torch.randn(64, 384, device="cuda") for _ in range(500)]
    expected = [on_host(tensor) for tensor in tensors]
    pending = []
    for tensor in tensors:
        pending.append(on_gpu.submit(tensor))
        tensor.zero_()
    assert [one.result() for one in pending] == expected


@needs_gpu
def test_what_is_written_before_in_place_is_digested(on_gpu: GpuDigests) -> None:
    """A planted fault: had it digested a stale copy, the two would be equal."""
    tensor = torch.randn(64, 384, device="cuda")
    before = on_gpu.submit(tensor)
    tensor.view(-1)[-1] += 1
    after = on_gpu.submit(tensor)
    assert before.result().content != after.result().content
    assert after.result() == on_host(tensor)


@needs_gpu
def test_what_is_not_contiguous_or_aligned_is_digested_in_its_order(on_gpu: GpuDigests) -> None:
    wide = torch.randn(128, 96, device="cuda")
    for tensor in (wide.t(), wide[::2], wide.view(-1)[1:], wide.half().view(-1)[3:]):
        assert on_gpu.submit(tensor).result() == on_host(tensor)


@needs_gpu
def test_more_digests_than_the_device_holds_at_once(on_gpu: GpuDigests) -> None:
    tensor = torch.randn(2**20, 96, device="cuda")  # 384 blocks, 6 kB of digests
    pending = [on_gpu.submit(tensor) for _ in range(1000)]
    first, last = pending[0].result(), pending[-1].result()
    assert first == last == on_host(tensor)


@needs_gpu
@pytest.mark.parametrize(
    ("tensor", "taken"),
    [
        (lambda: torch.ones(1000, device="cuda"), True),
        (lambda: torch.ones(60, device="cuda"), False),  # a block of 240 bytes
        (lambda: torch.ones(2**18 + 60, device="cuda"), False),  # its last block
        (lambda: torch.ones(1000, device="cuda") > 0, False),
        (lambda: torch.ones(1000, device="cuda") + 0j, False),
        (lambda: torch.ones(1000, device="cuda").to_sparse(), False),
        (lambda: torch.empty(0, device="cuda"), False),
        (lambda: torch.ones(1000), False),
    ],
)
def test_what_is_taken(tensor: Any, taken: bool) -> None:
    assert takes(tensor()) is taken


def test_nothing_on_the_host_is_taken() -> None:
    assert not takes(torch.ones(1000))
    assert not takes([1, 2])
