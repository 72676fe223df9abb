"""A kept index, searched in a process of its own: as it is, mapped, and with a trap in it."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from matrix_capture.cross_index import due, search_kept
from matrix_capture.errors import MatrixError
from matrix_capture.index_files import check_index, index_hash, index_path, layout
from matrix_capture.job import KeptIndex
from matrix_capture.rankings import COLUMNS, Rankings, rankings_path, read_rankings
from matrix_capture.runner import Request
from matrix_capture.schema import Capture

FOUND = COLUMNS.names[3:]


class Harmful:
    """Leaves a file behind when it is loaded."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


@pytest.fixture(scope="module")
def kept(wanted: Request, whole: Capture) -> Path:
    """The index that the capture kept."""
    assert whole.record.state("search") == "ok"
    return index_path(wanted.data, wanted.lane_name, wanted.torch)


@pytest.fixture(scope="module")
def rankings(wanted: Request, kept: Path) -> Rankings:
    """What is found in the index when it stands for that of two releases, and mapped."""
    indexes = [
        KeptIndex(torch=release, folder=str(kept), mmap=mmap)
        for release, mmap in (("1.13.1", False), (wanted.torch, True))
    ]
    search_kept(wanted, indexes)
    return read_rankings(rankings_path(wanted.data, wanted.lane_name))


def test_a_capture_leaves_its_index_and_its_own_search(
    wanted: Request, whole: Capture, kept: Path
) -> None:
    check_index(kept)
    found = read_rankings(rankings_path(wanted.data, wanted.lane_name))
    own = found.search(wanted.torch, wanted.torch)
    assert own is not None
    assert (own.state, own.index, own.seconds) == (
        "ok",
        index_hash(kept),
        whole.record.seconds["search"],
    )
    assert own.capture_code == whole.record.capture_code
    queries = wanted.inputs().queries
    assert found.header.inputs == whole.record.inputs
    assert found.header.relevant == tuple(query.relevant for query in queries)
    rows = found.rows(wanted.torch, wanted.torch)
    assert rows.column("query").unique().to_pylist() == list(range(len(queries)))
    scores = [
        row["digest"]
        for row in whole.rows.to_pylist()
        if (row["artifact"], row["repeat"]) == ("ranked_scores", 0)
    ]
    assert len(scores) == 1
    assert due(wanted, [wanted.torch]) == (
        KeptIndex(torch=wanted.torch, folder=str(kept.absolute()), mmap=True),
    )


def test_a_kept_index_is_searched_as_its_capture_did(wanted: Request, rankings: Rankings) -> None:
    again = rankings.search("1.13.1", wanted.torch)
    assert again is not None
    assert (again.state, again.message) == ("ok", "")
    own, other = (rankings.rows(index, wanted.torch) for index in (wanted.torch, "1.13.1"))
    assert own.num_rows > len(wanted.inputs().queries)
    assert other.select(FOUND).equals(own.select(FOUND))


def test_a_mapped_index_is_searched_right_only_where_its_data_is_assumed(
    wanted: Request, rankings: Rankings, kept: Path
) -> None:
    mapped = rankings.search(wanted.torch, wanted.torch, mmap=True)
    assert mapped is not None
    own = rankings.rows(wanted.torch, wanted.torch).select(FOUND)
    other = rankings.rows(wanted.torch, wanted.torch, mmap=True).select(FOUND)
    right = {layout(kept / name) for name in ("0.codes.pt", "0.residuals.pt")} == {320}
    assert (mapped.state == "ok" and other.equals(own)) == right
    if mapped.state == "failed":
        assert mapped.error
        assert other.num_rows == 0


def test_searching_leaves_an_index_as_it_was(
    wanted: Request, rankings: Rankings, kept: Path
) -> None:
    hashes = {search.index for search in rankings.header.searches}
    assert hashes == {index_hash(kept)}
    assert len(rankings.header.searches) == 3
    assert due(wanted, [wanted.torch]) == ()


def test_a_planted_pickle_is_refused_before_it_is_loaded(
    wanted: Request, kept: Path, tmp_path: Path
) -> None:
    request = dataclasses.replace(wanted, data=tmp_path / "data")
    other, trace = tmp_path / "other", tmp_path / "harm"
    shutil.copytree(kept, other)
    torch.save(Harmful(trace), other / "avg_residual.pt")
    with pytest.raises(MatrixError, match=r"avg_residual\.pt: holds '.*', and not only tensors"):
        search_kept(request, [KeptIndex(torch="1.13.1", folder=str(other), mmap=False)])
    assert not trace.exists()
    assert not request.data.exists()
