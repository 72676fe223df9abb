from pathlib import Path

import pytest
import torch

from matrix_capture.digest import content_hash, snapshot
from matrix_capture.index_files import record_index
from matrix_capture.recorder import Recorder


def test_lengths_are_recorded_before_the_lists_they_belong_to(tmp_path: Path) -> None:
    ivf, lengths = torch.tensor([3, 1, 2, 0]), torch.tensor([2, 1])
    torch.save((ivf, lengths), tmp_path / "ivf.pid.pt")
    torch.save((torch.ones(2), torch.zeros(3)), tmp_path / "buckets.pt")
    torch.save(torch.tensor(0.5), tmp_path / "avg_residual.pt")
    recorder = Recorder()
    record_index(recorder, tmp_path)
    rows = recorder.table().to_pylist()
    assert [(row["artifact"], row["part"]) for row in rows] == [
        ("index_avg_residual", "avg_residual.pt#0"),
        ("index_bucket_cutoffs", "buckets.pt#0"),
        ("index_bucket_weights", "buckets.pt#1"),
        ("index_ivf_lengths", "ivf.pid.pt#1"),
        ("index_ivf", "ivf.pid.pt#0"),
    ]
    assert rows[-1]["digest"] == content_hash(snapshot([3, 1, 2, 0]))
    assert rows[-1]["multiset"] is not None


def test_lists_reordered_within_themselves_are_the_same_multiset(tmp_path: Path) -> None:
    found = []
    for ivf in ([3, 1, 2], [1, 3, 2], [2, 3, 1]):
        torch.save((torch.tensor(ivf), torch.tensor([2, 1])), tmp_path / "ivf.pid.pt")
        recorder = Recorder()
        record_index(recorder, tmp_path)
        found.append(recorder.table().to_pylist()[-1]["multiset"])
    assert found[0] == found[1] != found[2]


def test_another_number_of_tensors_is_an_error(tmp_path: Path) -> None:
    torch.save((torch.ones(1), torch.ones(1), torch.ones(1)), tmp_path / "buckets.pt")
    with pytest.raises(ValueError, match="longer"):
        record_index(Recorder(), tmp_path)
