"""Digests made beside the pipeline are those of the moment of capture."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from matrix_capture.device import Copies, fits
from matrix_capture.digest import content_hash, snapshot
from matrix_capture.recorder import Recorder
from matrix_capture.values import ValueStore

PLACES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")),
]


@pytest.fixture
def copies() -> Iterator[Copies]:
    made = Copies()
    yield made
    made.close()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool]
)
def test_a_later_write_in_place_changes_nothing(copies: Copies, place: str, dtype: Any) -> None:
    tensors = [torch.full((64, 96), i % 2, device=place, dtype=dtype) for i in range(50)]
    expected = [content_hash(snapshot(tensor)) for tensor in tensors]
    found = []
    for tensor in tensors:
        found.append(copies.submit(tensor, content_hash))
        tensor.fill_(1).sub_(tensor) if dtype != torch.bool else tensor.logical_not_()
    assert [future.result() for future in found] == expected


@pytest.mark.parametrize("place", PLACES)
def test_what_is_not_contiguous_is_digested_in_its_order(copies: Copies, place: str) -> None:
    tensor = torch.arange(24, device=place).reshape(4, 6).t()[::2]
    assert copies.submit(tensor, content_hash).result() == content_hash(snapshot(tensor))


@pytest.mark.parametrize("place", PLACES)
def test_rows_are_the_same_as_without(place: Any, tmp_path: Path) -> None:
    tensors = {
        "layers": torch.rand(32, 40, 384, device=place),
        "batches": torch.rand(32, 40, 96, device=place).half(),
        "batch_masks": torch.rand(32, 40, 1, device=place) > 0.5,
        "num_passages": 7,
        "weights": torch.rand(10, 2**20, device=place),  # more than a worker holds
        "bucket_cutoffs": torch.tensor(0.5, device=place),
        "codes": torch.empty(0, dtype=torch.int64, device=place),
    }
    tables = []
    for device in ("cpu", "cuda"):
        recorder = Recorder(ValueStore(tmp_path / device), device=device)
        for name, value in tensors.items():
            recorder.record(name, value)
        tables.append(recorder.table())
        recorder.close()
    assert tables[0].equals(tables[1])
    one, other = ({p.name for p in (tmp_path / d).rglob("*.parquet")} for d in ("cpu", "cuda"))
    assert one == other
    assert len(one) == 5


@pytest.mark.parametrize("place", PLACES)
def test_more_than_may_wait_waits(copies: Copies, place: str) -> None:
    tensors = [torch.full((5 * 2**20,), i, device=place, dtype=torch.float32) for i in range(20)]
    expected = [content_hash(snapshot(tensor)) for tensor in tensors]
    assert [f.result() for f in [copies.submit(t, content_hash) for t in tensors]] == expected


def test_a_failure_reaches_who_waits_for_it(copies: Copies) -> None:
    def fail(_snap: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        copies.submit(torch.ones(3), fail).result()
    assert copies.submit(torch.ones(3), content_hash).result()


@pytest.mark.parametrize(
    ("value", "taken"),
    [
        (torch.ones(3), True),
        (torch.ones(25 * 2**20, dtype=torch.uint8), False),
        (torch.ones(3).to_sparse(), False),
        (torch.ones(3, device="meta"), False),
        ([1, 2], False),
    ],
)
def test_what_is_taken(value: Any, taken: bool) -> None:
    assert fits(value) is taken


def test_what_cannot_be_digested_is_refused_at_once(copies: Copies) -> None:
    with pytest.raises(TypeError, match="cannot digest elements of"):
        copies.submit(torch.ones(3).to(torch.float8_e5m2), content_hash)
