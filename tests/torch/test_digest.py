"""Tensors, where torch is installed; the digest of the same bytes is the same without torch."""

import warnings
from collections.abc import Callable
from typing import Any

import blake3
import numpy as np
import pytest
import torch

from matrix_capture.digest import block_hashes, content_hash, figures, snapshot


def defined(dtype: str, shape: tuple[int, ...], raw: bytes) -> bytes:
    return blake3.blake3(f"{dtype}|{','.join(map(str, shape))}|".encode() + raw).digest()


@pytest.mark.parametrize(
    "dtype",
    [
        *("bool", "uint8", "int8", "int16", "int32", "int64"),
        *("float16", "float32", "float64", "complex64", "complex128"),
    ],
)
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (3, 0), (1,), (7,), (4, 6), (2, 3, 4)])
def test_a_tensor_digests_like_the_array(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.random.RandomState(5).randint(-9, 9, shape)
    array = np.asarray(array, np.int64).astype(dtype)
    tensor = torch.from_numpy(array.copy())
    snap = snapshot(tensor)
    assert (snap.dtype, snap.shape, snap.device) == (dtype, shape, "cpu")
    assert content_hash(snap) == content_hash(snapshot(array))
    assert content_hash(snap) == defined(dtype, shape, array.tobytes())
    assert block_hashes(snap) == block_hashes(snapshot(array))


@pytest.mark.parametrize("shape", [(), (0, 3), (3, 0), (5,), (4, 6)])
def test_bfloat16_is_hashed_by_its_bits(shape: tuple[int, ...]) -> None:
    tensor = torch.full(shape, -1.5, dtype=torch.bfloat16)
    snap = snapshot(tensor)
    assert snap.dtype == "bfloat16"
    assert content_hash(snap) == defined("bfloat16", shape, b"\xc0\xbf" * tensor.numel())
    assert figures(snap).min == (-1.5 if tensor.numel() else None)


def test_bits_are_kept() -> None:
    bits = torch.tensor([0x7FC00000, 0x7FC00001, 0x7F800001, -0x80000000], dtype=torch.int64)
    tensor = bits.to(torch.int32).view(torch.float32)
    assert bytes(snapshot(tensor).raw) == bits.to(torch.int32).numpy().tobytes()
    assert content_hash(snapshot(torch.tensor(0.0))) != content_hash(snapshot(torch.tensor(-0.0)))


def _matrix(dtype: Any = None) -> Any:
    return torch.arange(12, dtype=dtype or torch.float32).reshape(3, 4) - 5


VIEWS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "transposed": lambda: (_matrix().T, _matrix().T.contiguous()),
    "bfloat16 transposed": lambda: (
        _matrix(torch.bfloat16).T,
        _matrix(torch.bfloat16).T.contiguous(),
    ),
    "expanded": lambda: (_matrix()[:1].expand(5, 4), _matrix()[:1].repeat(5, 1)),
    "strided": lambda: (_matrix()[::2, 1::2], _matrix()[::2, 1::2].clone()),
    "offset": lambda: (_matrix()[1:], _matrix()[1:].clone()),
    "requires grad": lambda: (_matrix().requires_grad_(), _matrix()),
    "graph": lambda: (_matrix().requires_grad_() * 1, _matrix()),
    "bfloat16 graph": lambda: (
        _matrix(torch.bfloat16).requires_grad_() * 1,
        _matrix(torch.bfloat16),
    ),
    "parameter": lambda: (torch.nn.Parameter(_matrix()), _matrix()),
    "conjugate": lambda: (
        torch.complex(_matrix(), _matrix()).conj(),
        torch.complex(_matrix(), -_matrix()),
    ),
    "negative": lambda: (torch.complex(_matrix(), _matrix()).conj().imag, -_matrix()),
    "channels last": lambda: (
        torch.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last),
        torch.arange(24.0).reshape(1, 2, 3, 4),
    ),
}


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_digests_like_its_plain_copy(name: str) -> None:
    view, plain = VIEWS[name]()
    assert content_hash(snapshot(view)) == content_hash(snapshot(plain))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "bool"])
@pytest.mark.parametrize("inside", [True, False])
def test_inference_tensors(dtype: str, inside: bool) -> None:
    with torch.inference_mode():
        tensor = torch.ones(3, dtype=getattr(torch, dtype))
    with torch.inference_mode(inside):
        found = content_hash(snapshot(tensor))
    assert found == content_hash(snapshot(torch.ones(3, dtype=getattr(torch, dtype))))


def test_a_reinterpreted_bool_is_0_or_1() -> None:
    odd = torch.tensor([2, 0], dtype=torch.uint8).view(torch.bool)
    assert bytes(snapshot(odd).raw) == b"\x01\x00"
    assert odd.view(torch.uint8).tolist() == [2, 0]


def test_a_write_after_the_hash_changes_nothing_recorded() -> None:
    tensor = torch.ones(4)
    snap = snapshot(tensor)
    recorded = content_hash(snap), block_hashes(snap), figures(snap)
    tensor.mul_(2)
    ones = snapshot(torch.ones(4))
    assert recorded == (content_hash(ones), block_hashes(ones), figures(ones))
    # What the docstring warns of: on the CPU the snapshot itself is a view.
    assert content_hash(snap) == content_hash(snapshot(torch.full((4,), 2.0)))


def _quantized() -> Any:
    return torch.quantize_per_tensor(torch.eye(2), 0.1, 0, torch.quint8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: torch.eye(2).to_sparse(), "sparse_coo"),
        (lambda: torch.eye(2).to_sparse_csr(), "sparse_csr"),
        (_quantized, "quantized"),
        (lambda: torch.empty(2, device="meta"), "meta"),
        (lambda: torch.nested.nested_tensor([torch.ones(1), torch.ones(2)]), "nested"),
        (lambda: torch.eye(2).to_mkldnn(), "mkldnn"),
        pytest.param(
            lambda: torch.ones(2).to(torch.float8_e4m3fn),
            "(?i)float8",
            marks=pytest.mark.skipif(not hasattr(torch, "float8_e4m3fn"), reason="torch <2.1"),
        ),
    ],
)
def test_what_has_no_plain_elements_is_an_error(make: Callable[[], Any], message: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls several of these a prototype
        tensor = make()
    with pytest.raises(TypeError, match=message):
        snapshot(tensor)


def test_a_list_of_tensors_is_an_error() -> None:
    with pytest.raises(TypeError, match="Tensor"):
        snapshot([torch.ones(1)])
