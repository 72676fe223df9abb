"""Values that go on in place of those that arise, in a real index of a few passages."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from matrix_capture.digest import Snapshot, content_hash, snapshot
from matrix_capture.index_files import record_index
from matrix_capture.inject import INJECTABLE, Injector, Swap, tensor_of
from matrix_capture.job import Event, Job
from matrix_capture.pipeline import Pipeline, StageError
from matrix_capture.recorder import Recorder
from matrix_capture.values import ValueStore
from matrix_compare.swaps import descendants

Place = tuple[str, str, str, int]
Digests = dict[Place, bytes]

# What each is used for at once; none of these can stay as it was.
NEXT = {
    "normalized": "batches",
    "batches": "D",
    "D": "local_sample_embs",
    "local_sample_embs": "sample",
    "sample": "prenorm_centroids",
    "sample_heldout": "avg_residual",
    "prenorm_centroids": "postnorm_centroids",
    "postnorm_centroids": "centroids",
    "centroids": "index_centroids",
    "heldout_codes": "heldout_centroids",
    "heldout_centroids": "avg_residual",
    "avg_residual": "index_avg_residual",
    "bucket_cutoffs": "index_bucket_cutoffs",
    "bucket_weights": "index_bucket_weights",
    "embs": "raw_residuals",
    "codes": "centroids_of_codes",
    "centroids_of_codes": "raw_residuals",
    "raw_residuals": "residuals",
    "residuals": "index_residuals",
    "codes_sorted_values": "ivf_lengths",
    "codes_sorted_indices": "ivf",
}


class Keeping(Recorder):
    """Remembers every value that could be injected, those that no store keeps too."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[Place, Snapshot] = {}

    def record(self, artifact: str, value: Any, part: str = "", key: Any = None) -> Any:
        if artifact in INJECTABLE:
            number = self._occurrences[artifact, part, self.scope]
            snap = snapshot(value)  # of the very memory that colbert-ai may write to
            self.kept[artifact, part, self.scope, number] = replace(snap, data=snap.data.copy())
        return super().record(artifact, value, part, key)


def digests(run: Pipeline, name: str, recorder: Recorder) -> Digests:
    """What an index is made of, its files included."""
    record_index(recorder, run._index(run.job.collection, name, recorder))
    assert recorder.missing == {}
    names = ("artifact", "part", "scope", "occurrence")
    rows = recorder.table().to_pylist()
    return {tuple(row[name] for name in names): row["digest"] for row in rows}


def pipeline(folder: Path, job: Job) -> Pipeline:
    (folder / "job.json").write_bytes(msgspec.json.encode(job))
    return Pipeline(folder)


@pytest.fixture(scope="module")
def plain(
    imported: Job, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Digests, dict[Place, Snapshot]]:
    """The digests of a run, and the values that could be injected."""
    run = pipeline(tmp_path_factory.mktemp("plain"), imported)
    recorder = Keeping()
    found = digests(run, "plain", recorder)
    run._progress.close()
    return found, recorder.kept


@pytest.fixture
def inject(here: Pipeline, tmp_path: Path) -> Callable[[dict[Place, Snapshot]], Digests]:
    """Runs with other values in some places."""

    def run(values: dict[Place, Snapshot]) -> Digests:
        store = ValueStore(tmp_path / "values")
        injector = Injector(swaps(values, store), store)
        found = digests(here, "injected", Recorder(injector=injector))
        assert injector.left == []
        return found

    return run


def swaps(values: dict[Place, Snapshot], store: ValueStore) -> Iterable[Swap]:
    for (artifact, part, scope, occurrence), snap in values.items():
        digest = content_hash(snap)
        store.put(snap, digest)
        yield Swap(
            artifact=artifact, part=part, scope=scope, occurrence=occurrence, digest=digest.hex()
        )


def flipped(artifact: str, snap: Snapshot) -> Snapshot:
    """A value with one bit changed that matters to whoever takes it."""
    data = snap.data.copy()
    at, bit = _bit(artifact, snap)
    bits = data.view(f"u{data.itemsize}")
    bits[at] ^= bits.dtype.type(1 << bit)
    return replace(snap, data=data)


def _bit(artifact: str, snap: Snapshot) -> tuple[int, int]:
    """An element and a bit of it: the sign of the greatest, or the lowest of a number.

    A place in a sort moves far, to another passage, and stays within.
    """
    numbers: npt.NDArray[Any] = snap.numbers().ravel()
    if numbers.dtype.kind == "f":
        return int(np.abs(numbers).argmax()), 8 * snap.data.itemsize - 1
    if artifact != "codes_sorted_indices":
        return 0, 0
    far = numbers.size.bit_length() - 2
    return int(numbers.argmin()), far


@pytest.mark.parametrize("artifact", INJECTABLE)
def test_the_run_goes_on_with_what_is_injected(
    artifact: str,
    plain: tuple[Digests, dict[Place, Snapshot]],
    inject: Callable[[dict[Place, Snapshot]], Digests],
) -> None:
    if artifact == "half":
        pytest.skip("torch makes float16 embeddings on a GPU only")
    before, kept = plain
    place = next(place for place in kept if place[0] == artifact)
    other = flipped(artifact, kept[place])
    after = inject({place: other})
    assert after.keys() == before.keys()
    assert after[place] == content_hash(other) != before[place]
    moved = [p for p in before if after[p] != before[p]]
    assert moved[0] == place
    assert {p[0] for p in moved} <= {artifact} | descendants([artifact])
    assert NEXT[artifact] in {p[0] for p in moved}


def test_what_equals_the_value_itself_changes_nothing(
    plain: tuple[Digests, dict[Place, Snapshot]],
    inject: Callable[[dict[Place, Snapshot]], Digests],
) -> None:
    before, kept = plain
    assert {place[0] for place in kept} == {*INJECTABLE} - {"half"}
    assert inject(kept) == before


def test_only_the_occurrence_that_is_meant_is_another(
    plain: tuple[Digests, dict[Place, Snapshot]],
    inject: Callable[[dict[Place, Snapshot]], Digests],
) -> None:
    before, kept = plain
    place = ("batches", "", "chunk.0", 1)
    after = inject({place: flipped("batches", kept[place])})
    moved = {p for p in before if after[p] != before[p]}
    assert {p for p in moved if p[0] == "batches"} == {place}
    assert {p[2] for p in moved} <= {"chunk.0", "index", "disk"}


def test_a_place_that_never_comes_is_no_capture(
    imported: Job, tmp_path: Path, plain: tuple[Digests, dict[Place, Snapshot]]
) -> None:
    _, kept = plain
    given = kept["batches", "", "sample", 0]
    wanted = swaps({("batches", "", "sample", 9): given}, ValueStore(imported.values))
    run = pipeline(tmp_path, msgspec.structs.replace(imported, swaps=tuple(wanted)))
    with pytest.raises(StageError):
        run._index_and_use()
    run._progress.close()
    lines = (tmp_path / "progress.jsonl").read_bytes().splitlines()
    last = msgspec.json.decode(lines[-1], type=Event)
    assert (last.stage, last.state, last.error) == ("index", "failed", "MatrixError")
    assert last.message == "1 values were not injected: no batches sample 9 in this run"


@pytest.mark.parametrize(
    "value",
    [
        np.array([[1.5, -0.0], [np.inf, 2.0]], np.float16),
        np.arange(3, dtype=np.int64),
        np.array([True, False]),
        np.array(2.5),
        np.zeros((0, 4), np.float32),
    ],
    ids=lambda value: f"{value.dtype}{list(value.shape)}",
)
def test_a_tensor_has_the_bits_that_it_had(value: npt.NDArray[Any]) -> None:
    snap = snapshot(value)
    assert content_hash(snapshot(tensor_of(snap))) == content_hash(snap)
