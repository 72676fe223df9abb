import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from matrix_capture.digest import content_hash, snapshot
from matrix_capture.index_files import record_index
from matrix_capture.recorder import Recorder


def write(folder: Path, files: Mapping[str, object]) -> Path:
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    return folder


def test_lists_and_metadata_are_read_without_torch(tmp_path: Path) -> None:
    chunk = {
        "embedding_offset": 9,
        "num_passages": 2,
        "passage_offset": 5,
        "num_embeddings": 7,
        "written": "today",
    }
    files = {"doclens.0.json": [3, 4], "doclens.10.json": [1], "0.metadata.json": chunk}
    recorder = Recorder()
    record_index(recorder, write(tmp_path, files))
    rows = recorder.table().to_pylist()
    assert [(row["artifact"], row["part"]) for row in rows] == [
        ("index_chunk_metadata", "0.metadata.json#0"),
        ("index_doclens", "doclens.0.json#0"),
        ("index_doclens", "doclens.10.json#0"),
    ]
    assert {row["scope"] for row in rows} == {"disk"}
    assert rows[0]["digest"] == content_hash(snapshot([5, 2, 7, 9]))
    assert rows[1]["digest"] == content_hash(snapshot([3, 4]))
    assert recorder.scope == "setup"


def test_files_of_paths_and_times_are_left_out(tmp_path: Path) -> None:
    recorder = Recorder()
    record_index(recorder, write(tmp_path, {"plan.json": {"a": 1}, "metadata.json": {"b": 2}}))
    assert recorder.table().num_rows == 0


@pytest.mark.parametrize(
    "name", ["ivf.pt", "0.codes.pt.tmp", "x.codes.pt", "doclens.json", "centroids.ptx"]
)
def test_an_unknown_file_is_an_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(LookupError, match=f"{name}, which the catalogue does not know"):
        record_index(Recorder(), write(tmp_path, {name: []}))


def test_metadata_that_lacks_a_number_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="num_embeddings"):
        record_index(
            Recorder(),
            write(tmp_path, {"0.metadata.json": {"passage_offset": 0, "num_passages": 1}}),
        )
