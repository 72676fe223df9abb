import pickle
import shutil
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from colbert.indexing.codecs.residual_embeddings import ResidualEmbeddings

from matrix_capture.digest import content_hash, snapshot
from matrix_capture.errors import MatrixError
from matrix_capture.index_files import check_index, index_hash, layout, record_index
from matrix_capture.recorder import Recorder


def test_lengths_are_recorded_before_the_lists_they_belong_to(tmp_path: Path) -> None:
    ivf, lengths = torch.tensor([3, 1, 2, 0]), torch.tensor([2, 1])
    torch.save((ivf, lengths), tmp_path / "ivf.pid.pt")
    torch.save((torch.ones(2), torch.zeros(3)), tmp_path / "buckets.pt")
    torch.save(torch.tensor(0.5), tmp_path / "avg_residual.pt")
    recorder = Recorder()
    record_index(recorder, tmp_path)
    rows = [row for row in recorder.table().to_pylist() if row["artifact"] != "file_layout"]
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
        (row,) = (r for r in recorder.table().to_pylist() if r["artifact"] == "index_ivf")
        found.append(row["multiset"])
    assert found[0] == found[1] != found[2]


def test_another_number_of_tensors_is_an_error(tmp_path: Path) -> None:
    torch.save((torch.ones(1), torch.ones(1), torch.ones(1)), tmp_path / "buckets.pt")
    with pytest.raises(ValueError, match="longer"):
        record_index(Recorder(), tmp_path)


# Where the data lies.

ASSUMED = 320
"""Bytes that colbert-ai skips when it maps a file."""


def first(file: Path) -> Any:
    loaded = torch.load(file)
    return loaded[0] if isinstance(loaded, tuple) else loaded


def test_at_its_layout_each_file_has_the_bytes_of_its_first_tensor(index: Path) -> None:
    files = sorted(index.glob("*.pt"))
    assert len(files) == 6
    for file in files:
        data = first(file).contiguous().numpy().tobytes()
        offset = layout(file)
        assert data
        assert file.read_bytes()[offset : offset + len(data)] == data, file.name


def test_the_layout_of_each_file_is_recorded(index: Path) -> None:
    recorder = Recorder()
    record_index(recorder, index)
    rows = [row for row in recorder.table().to_pylist() if row["artifact"] == "file_layout"]
    assert {row["part"]: row["max"] for row in rows} == {
        file.name: layout(file) for file in index.glob("*.pt")
    }


def mapped(index: Path) -> tuple[Any, Any]:
    """The codes and residuals of an index as colbert-ai reads them from its mapped files."""
    count = len(torch.load(index / "0.codes.pt"))
    found = ResidualEmbeddings.load_chunks(str(index), range(1), count, load_index_with_mmap=True)
    return found.codes, found.residuals


def stored(index: Path) -> tuple[Any, Any]:
    return torch.load(index / "0.codes.pt"), torch.load(index / "0.residuals.pt")


def agree(one: tuple[Any, Any], other: tuple[Any, Any]) -> list[bool]:
    return [torch.equal(a, b) for a, b in zip(one, other, strict=True)]


def test_a_mapped_index_is_read_shifted_where_the_layout_is_another(index: Path) -> None:
    before = index_hash(index)
    expected = [layout(index / name) == ASSUMED for name in ("0.codes.pt", "0.residuals.pt")]
    assert agree(mapped(index), stored(index)) == expected
    # By what lies between, neither more nor less.
    offset = (layout(index / "0.codes.pt") - ASSUMED) // 4
    codes, real = mapped(index)[0], stored(index)[0]
    assert torch.equal(codes[offset:], real[: len(real) - offset])
    assert index_hash(index) == before


def moved(file: Path, place: int) -> None:
    """Write a file of torch anew, with the data of its one tensor at another place."""
    with zipfile.ZipFile(file) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    members.sort(key=lambda member: not member[0].endswith(("/data.pkl", "/data/0")))
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            if name.endswith("/data/0"):
                assert archive.fp is not None
                padding = place - archive.fp.tell() - 30 - len(name) - 4
                info.extra = struct.pack("<2sH", b"FB", padding) + bytes(padding)
            archive.writestr(info, content)


def test_an_index_with_its_data_where_it_is_assumed_is_mapped_right(
    index: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(index, other)
    for name in ("0.codes.pt", "0.residuals.pt"):
        moved(other / name, ASSUMED)
        assert layout(other / name) == ASSUMED
    assert agree(stored(other), stored(index)) == [True, True]
    assert agree(mapped(other), stored(index)) == [True, True]
    # Planted: the same file, but for the place.
    moved(other / "0.codes.pt", ASSUMED + 64)
    assert agree(stored(other), stored(index)) == [True, True]
    assert agree(mapped(other), stored(index)) == [False, True]


def test_this_release_writes_where_it_is_known_to(index: Path) -> None:
    release = tuple(map(int, torch.__version__.split(".")[:2]))
    known = 320 if release < (2, 1) else 448 if release < (2, 7) else 704
    assert {layout(file) for file in index.glob("0.*.pt")} == {known}


# What it may hold.


def test_an_index_of_colbert_may_be_loaded(index: Path) -> None:
    check_index(index)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int32, torch.bool])
def test_tensors_of_any_kind_may_be_loaded(dtype: Any, tmp_path: Path) -> None:
    whole = torch.ones(4, 3).to(dtype)
    for number, value in enumerate([whole, whole.T, whole[1:], (whole, whole), torch.ones(0)]):
        torch.save(value, tmp_path / f"{number}.codes.pt")
    check_index(tmp_path)


class Harmful:
    """Leaves a file behind when it is loaded."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
def test_what_does_harm_is_refused_and_would_have_done_it(
    zipped: bool, protocol: int, tmp_path: Path
) -> None:
    trace = tmp_path / "harm"
    value = (torch.ones(2), Harmful(trace))
    file = tmp_path / "ivf.pid.pt"
    torch.save(
        value,
        file,
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=zipped,
    )
    with pytest.raises(MatrixError, match=r"ivf\.pid\.pt: .*; capture the release again$"):
        check_index(tmp_path)
    assert not trace.exists()
    torch.load(file, weights_only=False)
    assert trace.exists()


def test_a_pickle_in_front_of_an_archive_is_refused_and_would_have_run(tmp_path: Path) -> None:
    trace = tmp_path / "harm"
    file = tmp_path / "ivf.pid.pt"
    torch.save(torch.ones(2), file)
    check_index(tmp_path)
    file.write_bytes(pickle.dumps(Harmful(trace), 2) + file.read_bytes())
    with pytest.raises(MatrixError, match=r"not as torch\.save writes it"):
        check_index(tmp_path)
    assert not trace.exists()
    with pytest.raises(RuntimeError, match="Invalid magic number"):
        torch.load(file, weights_only=False)
    assert trace.exists()
