from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matrix_capture.catalogue import BY_NAME, CATALOGUE
from matrix_capture.digest import Snapshot, content_hash
from matrix_capture.errors import MatrixError
from matrix_capture.schema import COLUMNS, Capture
from matrix_capture.values import ValueStore
from matrix_compare.location import Locator
from tests.compare.conftest import Put, as_snapshot, capture_of, record_of, row_of

DIM = 8
Mask = list[bool]
"""Which tokens of a passage are kept."""


class Memory(ValueStore):
    """A store that needs no disk."""

    def __init__(self) -> None:
        self.values: dict[bytes, Snapshot] = {}

    def put(self, snap: Snapshot, digest: bytes) -> None:
        self.values[digest] = snap

    def get(self, digest: bytes) -> Snapshot:
        if digest not in self.values:
            raise MatrixError("no such value")
        return self.values[digest]


class Run:
    """A collection indexed as colbert-ai does it; an embedding says whose it is.

    The first numbers of a token's embedding are the passage and the token's place in it.
    """

    def __init__(self, collection: Sequence[Mask], *, bsize: int, group: int, seed: int) -> None:
        self.collection = collection
        self.bsize = bsize
        self.group = group  # passages per call
        self.random = np.random.default_rng(seed)
        self.puts: list[Put] = []
        self._occurrences: Counter[tuple[str, str]] = Counter()

    def put(self, artifact: str, scope: str, value: Any, part: str = "") -> None:
        number = self._occurrences[artifact, scope + part]
        self._occurrences[artifact, scope + part] += 1
        self.puts.append(
            Put(artifact=artifact, scope=scope, part=part, value=value, occurrence=number)
        )

    def encode(self, scope: str, pids: Sequence[int]) -> Any:
        self.put("num_passages", scope, len(pids))
        kept = []
        for start in range(0, len(pids), self.group):
            kept += self._call(scope, pids[start : start + self.group])
        doclens = [len(rows) for rows in kept]
        self.put("doclens", scope, doclens)
        return np.concatenate(kept)

    def _call(self, scope: str, pids: Sequence[int]) -> list[Any]:
        masks = [self.collection[pid] for pid in pids]
        longest = max(map(len, masks))
        order = np.arange(len(pids))
        if len(pids) > self.bsize:
            self.random.shuffle(order)  # the sort is not stable
            order = np.array(sorted(order.tolist(), key=lambda n: len(masks[n])))
        self.put("reverse_indices", scope, np.argsort(order))
        batches = [order[at : at + self.bsize] for at in range(0, len(order), self.bsize)]
        for batch in batches:
            self.put("input_ids", scope, np.zeros((len(batch), longest), np.int64))
        kept = {}
        for batch in batches:
            embeddings = np.zeros((len(batch), longest, DIM), np.float32)
            embeddings[:, :, 0] = np.array([[pids[n]] for n in batch])
            embeddings[:, :, 1] = np.arange(longest)
            mask = np.zeros((len(batch), longest, 1), bool)
            for row, n in enumerate(batch):
                mask[row, : len(masks[n]), 0] = masks[n]
                kept[n] = embeddings[row][mask[row, :, 0]]
            self.put("layers", scope, embeddings, part="encoder.layer.1")
            self.put("bert", scope, embeddings[:, 0], part="#pooler_output")
            self.put("batches", scope, embeddings)
            self.put("batch_masks", scope, mask)
        passages = [kept[n] for n in range(len(pids))]
        self.put("D", scope, np.concatenate(passages))
        return passages

    def sample(self, pids: Sequence[int]) -> None:
        self.put("sample_pids", "sample", sorted(pids))
        embeddings = self.encode("sample", sorted(pids))
        self.put("local_sample_embs", "sample", embeddings)
        self.put("centroids", "sample", np.zeros((4, DIM), np.float32))

    def chunks(self, size: int, split: int) -> None:
        """Chunks of so many passages, compressed so many embeddings at a time."""
        everything = []
        for n, start in enumerate(range(0, len(self.collection), size)):
            scope = f"chunk.{n}"
            pids = range(start, min(start + size, len(self.collection)))
            embeddings = self.encode(scope, pids)
            everything.append(embeddings)
            self.put("embs", scope, embeddings)
            for at in range(0, len(embeddings), split):
                self.put("raw_residuals", scope, embeddings[at : at + split])
            packed = np.zeros((len(embeddings), DIM // 2), np.uint8)
            self.put("residuals", scope, packed)
            self.put("index_residuals", "disk", packed, part=f"{n}.residuals.pt#0")
            doclens = [sum(self.collection[pid]) for pid in pids]
            self.put("index_doclens", "disk", doclens, part=f"doclens.{n}.json#0")
        self.put("codes_before_sort", "index", np.zeros(sum(map(len, everything)), np.int64))

    def embeddings(self, pids: Sequence[int]) -> list[tuple[int, int, int, int]]:
        """Passage, token, place among the kept and number of these, of each embedding in order."""
        return [
            (pid, token, kept, sum(self.collection[pid]))
            for pid in pids
            for kept, token in enumerate(np.flatnonzero(self.collection[pid]).tolist())
        ]


def locator(puts: Sequence[Put], store: ValueStore | None = None) -> Locator:
    store = Memory() if store is None else store
    for put in puts:
        if put.keep:
            snap = as_snapshot(put.value)
            store.put(snap, content_hash(snap))
    return Locator(capture_of("2.7.1", puts), store)


def tell(told: Locator, put: Put, *index: int) -> str:
    return told.tell(put.artifact, put.part, put.scope, put.occurrence, index)


# The right passage, however colbert-ai put them together.

MASKS = st.lists(st.booleans(), max_size=5).map(lambda rest: [True, *rest])


@st.composite
def runs(draw: st.DrawFn) -> tuple[Run, list[int], int]:
    collection = draw(st.lists(MASKS, min_size=1, max_size=11))
    run = Run(
        collection,
        bsize=draw(st.integers(1, 4)),
        group=draw(st.integers(1, 11)),
        seed=draw(st.integers(0, 9)),
    )
    pids = draw(st.sets(st.integers(0, len(collection) - 1), min_size=1))
    size = draw(st.integers(1, 12))
    run.sample(sorted(pids))
    run.chunks(size, split=draw(st.integers(1, 9)))
    return run, sorted(pids), size


@settings(max_examples=40, deadline=None)
@given(runs())
def test_a_place_in_a_batch_is_that_of_the_passage_it_holds(drawn: tuple[Run, Any, Any]) -> None:
    run, *_ = drawn
    told = locator(run.puts)
    for put in run.puts:
        if put.artifact in ("batches", "layers"):
            rows, tokens, _ = put.value.shape
            for row in range(rows):
                pid, _token = put.value[row, 0, :2].astype(int)
                words = f"batch {put.occurrence}, passage {pid}, token {tokens - 1}, dimension 3"
                assert tell(told, put, row, tokens - 1, 3) == words
        elif put.artifact == "bert":
            for row, vector in enumerate(put.value):
                words = f"batch {put.occurrence}, passage {int(vector[0])}, index [3]"
                assert tell(told, put, row, 3) == words


@settings(max_examples=40, deadline=None)
@given(runs())
def test_a_kept_embedding_is_that_of_its_token(drawn: tuple[Run, list[int], int]) -> None:
    run, pids, size = drawn
    told = locator(run.puts)
    everything = run.embeddings(range(len(run.collection)))
    sampled = run.embeddings(pids)
    rows: Counter[tuple[str, str]] = Counter()
    for put in run.puts:
        if put.artifact not in ("D", "local_sample_embs", "embs", "raw_residuals"):
            continue
        if put.scope == "sample":
            first, expected, suffix = 0, sampled, " of the sample"
        else:
            first = len(run.embeddings(range(int(put.scope.removeprefix("chunk.")) * size)))
            expected, suffix = everything, ""
        for row, vector in enumerate(put.value):
            number = first + rows[put.artifact, put.scope]
            rows[put.artifact, put.scope] += 1
            pid, token, kept, of = expected[number]
            assert (pid, token) == (int(vector[0]), int(vector[1]))
            assert tell(told, put, row, 5) == (
                f"passage {pid}, token {token} (kept token {kept} of {of}, "
                f"embedding {number}{suffix}), dimension 5"
            )
    for row, (pid, token, kept, of) in enumerate(everything):
        assert told.tell("codes_before_sort", "", "index", 0, [row]) == (
            f"passage {pid}, token {token} (kept token {kept} of {of}, embedding {row})"
        )


@settings(max_examples=20, deadline=None)
@given(runs())
def test_lengths_and_residuals_of_a_chunk_are_told_alike_in_the_run_and_on_disk(
    drawn: tuple[Run, list[int], int],
) -> None:
    run, pids, size = drawn
    told = locator(run.puts)
    for place, pid in enumerate(pids):
        assert told.tell("doclens", "", "sample", 0, [place]) == f"passage {pid}"
    for pid in range(len(run.collection)):
        n, place = divmod(pid, size)
        both = {
            told.tell("doclens", "", f"chunk.{n}", 0, [place]),
            told.tell("index_doclens", f"doclens.{n}.json#0", "disk", 0, [place]),
        }
        assert both == {f"passage {pid}"}
    for put in run.puts:
        if put.artifact == "index_residuals":
            chunk = f"chunk.{put.part.partition('.')[0]}"
            for row in range(len(put.value)):
                words = tell(told, put, row, 3)
                assert words == told.tell("residuals", "", chunk, 0, [row, 3])
                assert words.startswith("passage ")
                assert words.endswith("), byte 3 (dimensions 6 to 7)")


def test_reverse_indices_are_told_by_the_passages_of_their_call() -> None:
    run = Run([[True]] * 5, bsize=1, group=2, seed=0)
    run.sample([1, 2, 4])
    told = locator(run.puts)
    calls = [put for put in run.puts if put.artifact == "reverse_indices"]
    assert [tell(told, calls[0], 0), tell(told, calls[0], 1), tell(told, calls[1], 0)] == [
        "passage 1",
        "passage 2",
        "passage 4",
    ]


# What does not fit is not believed.


def small() -> Run:
    """Five passages of three tokens, the middle one not kept, in calls of four, batches of two."""
    run = Run([[True, False, True]] * 5, bsize=2, group=4, seed=3)
    run.sample([0, 1, 2, 3, 4])
    run.chunks(3, split=4)
    return run


def changed(
    puts: Sequence[Put], artifact: str, scope: str = "sample", occurrence: int = 0, **changes: Any
) -> list[Put]:
    place = (artifact, scope, occurrence)
    there = [(put.artifact, put.scope, put.occurrence) == place for put in puts]
    assert sum(there) == 1
    return [replace(put, **changes) if here else put for put, here in zip(puts, there, strict=True)]


def without(puts: Sequence[Put], artifact: str, scope: str = "sample") -> list[Put]:
    found = [put for put in puts if (put.artifact, put.scope) != (artifact, scope)]
    assert len(found) < len(puts)
    return found


Fault = Callable[[Sequence[Put]], Sequence[Put]]

PERMUTED = [1, 0, 3, 2]
BATCH_FAULTS: dict[str, Fault] = {
    "absent": lambda puts: without(puts, "reverse_indices"),
    "not kept": lambda puts: changed(puts, "reverse_indices", keep=False),
    "a place twice": lambda puts: changed(puts, "reverse_indices", value=[0, 0, 2, 3]),
    "negative": lambda puts: changed(puts, "reverse_indices", value=[-1, 1, 2, 3]),
    "giant": lambda puts: changed(puts, "reverse_indices", value=[2**62, 1, 2, 3]),
    "not whole": lambda puts: changed(puts, "reverse_indices", value=np.arange(4.0)),
    "a matrix": lambda puts: changed(puts, "reverse_indices", value=np.array([PERMUTED])),
    "a single number": lambda puts: changed(puts, "reverse_indices", value=1),
    "the end of a call within a batch": lambda puts: changed(
        puts, "reverse_indices", value=[0, 1, 2]
    ),
    "one occurrence is another": lambda puts: changed(
        puts, "reverse_indices", extra={"occurrence": 9}
    ),
    "batches of another size": lambda puts: changed(
        puts, "input_ids", occurrence=1, value=np.zeros((1, 3), np.int64)
    ),
    "unknown batches": lambda puts: without(puts, "input_ids"),
    "unknown passages": lambda puts: without(puts, "sample_pids"),
    "too few passages": lambda puts: changed(puts, "sample_pids", value=[0]),
    "another number of passages": lambda puts: changed(puts, "num_passages", value=6),
    "passages twice": lambda puts: changed(puts, "sample_pids", value=[0, 0, 1, 2, 3]),
    "an impossible shape": lambda puts: changed(puts, "input_ids", extra={"shape": [-1, 3]}),
    "a giant shape": lambda puts: changed(puts, "input_ids", extra={"shape": [2**62, 3]}),
    "giant shapes, whose sum comes back to 0": lambda puts: [
        *(
            replace(put, occurrence=put.occurrence + 4)
            if put.artifact == "reverse_indices"
            else put
            for put in puts
        ),
        *(
            Put(
                artifact="reverse_indices",
                scope="sample",
                occurrence=n,
                value=[0],
                extra={"shape": [2**62]},
            )
            for n in range(4)
        ),
    ],
    "another length": lambda puts: changed(puts, "reverse_indices", extra={"shape": [3]}),
    "without a digest": lambda puts: changed(puts, "reverse_indices", extra={"digest": None}),
    "no shape": lambda puts: changed(puts, "input_ids", extra={"shape": None}),
}


@pytest.mark.parametrize("fault", BATCH_FAULTS)
def test_a_batch_that_does_not_fit_is_told_by_its_own_numbers(
    fault: str, store: ValueStore
) -> None:
    told = locator(BATCH_FAULTS[fault](small().puts), store)
    words = told.tell("batches", "", "sample", 1, [1, 2, 3])
    assert words == "batch 1, passage 1 of the batch, token 2, dimension 3"


@pytest.mark.parametrize(
    "harmless",
    [
        lambda puts: puts,
        lambda puts: changed(puts, "reverse_indices", value=PERMUTED),
        lambda puts: changed(puts, "reverse_indices", value=np.array(PERMUTED, np.int32)),
        lambda puts: changed(puts, "reverse_indices", occurrence=1, keep=False),
        lambda puts: changed(puts, "reverse_indices", "chunk.0", keep=False),
        # Kept by another capture then.
        lambda puts: changed(puts, "reverse_indices", extra={"stored": False}),
        lambda puts: [*puts, replace(puts[0], repeat=1, value=[9])],
        lambda puts: without(puts, "doclens"),
    ],
)
def test_a_batch_that_fits_is_not_doubted(harmless: Fault) -> None:
    told = locator(harmless(small().puts))
    assert "of the batch" not in told.tell("batches", "", "sample", 1, [1, 2, 3])


ROW_FAULTS: dict[str, Fault] = {
    "absent": lambda puts: without(puts, "doclens"),
    "too few": lambda puts: changed(puts, "doclens", value=[2, 2, 2, 2]),
    "another sum": lambda puts: changed(puts, "doclens", value=[2, 2, 2, 2, 3]),
    "negative": lambda puts: changed(puts, "doclens", value=[2, 2, 2, 6, -2]),
    "sum beyond int64": lambda puts: changed(
        puts, "doclens", value=[2**63 - 1, 2**63 - 1, 8, 2, 2]
    ),
    "a matrix": lambda puts: changed(puts, "doclens", value=np.array([[2, 2, 2, 2, 2]])),
    "a passage too many": lambda puts: changed(puts, "doclens", value=[2, 2, 2, 2, 1, 1]),
    "one call is absent": lambda puts: changed(puts, "D", extra={"occurrence": 5}),
    "unknown passages": lambda puts: without(puts, "sample_pids"),
}


@pytest.mark.parametrize("fault", ROW_FAULTS)
def test_an_embedding_that_does_not_fit_is_told_by_its_own_number(fault: str) -> None:
    told = locator(ROW_FAULTS[fault](small().puts))
    words = "embedding 1 of the pass, dimension 3"
    assert told.tell("D", "", "sample", 1, [1, 3]) == words


MASK_FAULTS: dict[str, Fault] = {
    "absent": lambda puts: without(puts, "batch_masks"),
    "another count": lambda puts: changed(
        puts, "batch_masks", occurrence=2, value=np.ones((1, 3, 1), bool)
    ),
    "flat": lambda puts: changed(puts, "batch_masks", occurrence=2, value=np.ones((1, 3), bool)),
    "too few": lambda puts: [
        put for put in puts if (put.artifact, put.occurrence) != ("batch_masks", 2)
    ],
    "unknown batches": lambda puts: without(puts, "reverse_indices"),
    "another call": lambda puts: changed(puts, "reverse_indices", occurrence=1, value=[9]),
}


@pytest.mark.parametrize("fault", MASK_FAULTS)
def test_without_a_mask_that_fits_only_kept_tokens_are_counted(fault: str) -> None:
    told = locator(MASK_FAULTS[fault](small().puts))
    words = "passage 4, kept token 1 of 2 (embedding 9 of the sample), dimension 3"
    assert told.tell("D", "", "sample", 1, [1, 3]) == words


def test_with_all_of_them_the_token_is_told() -> None:
    words = "passage 4, token 2 (kept token 1 of 2, embedding 9 of the sample), dimension 3"
    assert locator(small().puts).tell("D", "", "sample", 1, [1, 3]) == words


def test_a_chunk_is_numbered_only_with_all_before_it() -> None:
    puts = small().puts
    whole = "passage 3, token 2 (kept token 1 of 2, embedding 7), dimension 0"
    assert locator(puts).tell("embs", "", "chunk.1", 0, [1, 0]) == whole
    # The finished index has the lengths too.
    seen = without(puts, "doclens", "chunk.0")
    assert locator(seen).tell("embs", "", "chunk.1", 0, [1, 0]) == whole
    unseen = without(seen, "index_doclens", "disk")
    told = locator(unseen)
    assert told.tell("embs", "", "chunk.1", 0, [1, 0]) == "embedding 1 of the chunk, dimension 0"
    assert told.tell("batches", "", "chunk.1", 0, [1, 0, 0]).startswith("batch 0, passage 1 of")
    assert told.tell("codes_before_sort", "", "index", 0, [7]) == "embedding 7"
    longer = changed(puts, "codes_before_sort", "index", value=np.zeros(11, np.int64))
    assert locator(longer).tell("codes_before_sort", "", "index", 0, [7]) == "embedding 7"
    assert told.tell("batches", "", "chunk.0", 0, [1, 0, 0]) in (
        f"batch 0, passage {n}, token 0, dimension 0" for n in range(3)
    )


@pytest.mark.parametrize(
    "scope", ["chunk.7", "chunk.99999999999", "chunk.-1", "chunk.", "disk", ""]
)
def test_a_pass_that_cannot_be(scope: str) -> None:
    puts = [*small().puts, Put(artifact="codes", scope=scope, value=np.zeros(6, np.int64))]
    assert locator(puts).tell("codes", "", scope, 0, [1]) == "embedding 1 of the chunk"


# Everything else.


def test_a_place_in_the_inverted_file_is_in_the_list_of_a_centroid() -> None:
    puts = [
        Put(artifact="ivf", scope="index", value=np.arange(8, dtype=np.int32), key=[2, 0, 3]),
        Put(artifact="ivf_lengths", scope="index", value=[2, 0, 3]),
        Put(artifact="index_ivf", scope="disk", part="ivf.pid.pt#0", value=[1] * 5, key=[5]),
        Put(artifact="index_ivf_lengths", scope="disk", part="ivf.pid.pt#1", value=[5]),
    ]
    told = locator(puts)
    assert [tell(told, puts[0], place) for place in (0, 1, 2, 4, 5, 7)] == [
        "list of centroid 0, place 0",
        "list of centroid 0, place 1",
        "list of centroid 2, place 0",
        "list of centroid 2, place 2",
        "padding behind the lists, place 0",
        "padding behind the lists, place 2",
    ]
    assert tell(told, puts[2], 4) == "list of centroid 0, place 4"
    assert tell(locator(puts[:1]), puts[0], 4) == "place 4 in the lists"
    twice = [*puts, replace(puts[3], part="ivf.pid.pt#2")]
    assert tell(locator(twice), puts[2], 4) == "place 4 in the lists"


@pytest.mark.parametrize(
    ("artifact", "place", "words"),
    [
        ("ranked_pids", 0, "query 0, rank 1"),
        ("ranked_pids", 1, "query 0, rank 2"),
        # The query between them has no results.
        ("ranked_pids", 2, "query 2, rank 1"),
        ("ranked_scores", 4, "query 2, rank 3"),
        ("pruned_pids", 4, "query 2, candidate 2"),
        ("candidate_pids", 3, "query 2, candidate 1"),
    ],
)
def test_a_place_in_what_was_found_is_in_the_list_of_a_query(
    artifact: str, place: int, words: str
) -> None:
    kind = artifact.partition("_")[0]
    value = np.arange(5, dtype=np.float32 if artifact == "ranked_scores" else np.int64)
    key = value.astype(np.float32) if kind == "ranked" else [2, 0, 3]
    lists = Put(artifact=artifact, scope="query", value=value, key=key)
    lengths = Put(artifact=f"{kind}_lengths", scope="query", value=[2, 0, 3])
    assert tell(locator([lists, lengths]), lists, place) == words
    # Lengths of another search tell nothing.
    other = replace(lengths, value=[2, 1, 3])
    assert " of the queries" in tell(locator([lists, other]), lists, place)
    assert " of the queries" in tell(locator([lists]), lists, place)


@pytest.mark.parametrize(
    ("nbits", "byte", "words"),
    [
        (1, 1, "byte 1 (dimensions 8 to 15)"),
        (2, 3, "byte 3 (dimensions 12 to 15)"),
        (4, 5, "byte 5 (dimensions 10 to 11)"),
        (8, 5, "byte 5 (dimension 5)"),
        (9, 5, "byte 5"),
        (2.5, 4, "byte 4"),
    ],
)
def test_a_byte_of_a_residual_holds_the_dimensions_packed_into_it(
    nbits: float, byte: int, words: str
) -> None:
    dim = 16
    puts = [
        Put(artifact="residuals", value=np.zeros((2, int(dim * nbits / 8)), np.uint8)),
        Put(artifact="centroids", scope="sample", value=np.zeros((3, dim), np.float32)),
    ]
    assert tell(locator(puts), puts[0], 1, byte) == f"embedding 1 of the chunk, {words}"
    assert tell(locator(puts[:1]), puts[0], 1, byte) == f"embedding 1 of the chunk, byte {byte}"
    if "dimension" in words:
        # Packed as colbert-ai does it, only that byte changes with those dimensions.
        numbers = [int(n) for n in words.partition("dimension")[2].strip("s )").split(" to ")]
        for changed_dim in range(dim):
            bits = np.zeros((dim, int(nbits)), np.uint8)
            bits[changed_dim] = 1
            inside = numbers[0] <= changed_dim <= numbers[-1]
            assert bool(np.packbits(bits.ravel())[byte]) == inside


@pytest.mark.parametrize(
    ("artifact", "part", "shape", "index", "words"),
    [
        ("weights", "linear.weight", (96, 384), [3, 40], "linear.weight, row 3, column 40"),
        ("weights", "linear.bias", (96,), [3], "linear.bias, row 3"),
        ("weights", "conv", (2, 3, 4), [1, 2, 3], "conv, index [1, 2, 3]"),
        ("weights", "scale", (), [], "the value"),
        ("sample_pids", "", (9,), [3], "passage 3 of the sample"),
        ("num_passages", "", (), [], "the value"),
        ("sample", "", (9, 4), [3, 1], "row 3 of the sample, dimension 1"),
        ("heldout_codes", "", (9,), [3], "row 3 of the held-out sample"),
        ("postnorm_centroids", "", (9, 4), [3, 1], "centroid 3, dimension 1"),
        ("index_centroids", "centroids.pt#0", (9, 4), [3, 1], "centroid 3, dimension 1"),
        ("bucket_cutoffs", "", (15,), [3], "cutoff 3"),
        ("index_bucket_weights", "buckets.pt#1", (16,), [3], "bucket 3"),
        ("avg_residual", "", (), [], "the value"),
        ("index_avg_residual", "avg_residual.pt#0", (1,), [0], "index [0]"),
        ("codes_sorted_indices", "", (9,), [3], "place 3 in the sort"),
        ("ivf_lengths", "", (9,), [3], "centroid 3"),
        ("probe_matmul", "", (9, 9), [3, 1], "row 3, column 1"),
        ("probe_sort_input", "", (9,), [3], "place 3"),
        ("index_chunk_metadata", "0.metadata.json#0", (4,), [3], "first embedding"),
        ("index_chunk_metadata", "0.metadata.json#0", (5,), [3], "number 3 of the chunk"),
        ("input_ids", "", (9, 4), [3, 1], "batch 0, passage 3 of the batch, token 1"),
        ("batch_masks", "", (9, 4, 1), [3, 1, 0], "batch 0, passage 3 of the batch, token 1"),
        ("centroids", "", (9, 4, 2), [3, 1, 1], "index [3, 1, 1]"),
        ("something", "", (9, 4, 2), [3, 1, 1], "index [3, 1, 1]"),
        ("something", "", (), [], "the value"),
    ],
)
def test_what_has_no_passage(
    artifact: str, part: str, shape: tuple[int, ...], index: list[int], words: str
) -> None:
    put = Put(
        artifact=artifact, part=part, scope="x", value=np.zeros(shape, np.float32), keep=False
    )
    told = locator([replace(put, key=[1] * 9)])
    assert tell(told, put, *index) == words
    assert tell(locator([]), put, *index) == words.replace(
        "first embedding", "number 3 of the chunk"
    )


def test_every_artifact_can_be_told() -> None:
    told = locator([])
    for artifact in CATALOGUE:
        words = told.tell(artifact.name, "", "chunk.0", 0, [2] * len(artifact.axes))
        assert "index" not in words
        assert words


# Captures come from anywhere.

NUMBERS = st.integers(-3, 12) | st.sampled_from([2**31, 2**62, 2**63 - 1, -(2**63)])
VALUES = st.one_of(
    st.lists(NUMBERS, max_size=6),
    st.lists(NUMBERS, min_size=1, max_size=4).map(lambda ns: np.array([ns], np.int64)),
    st.just(np.zeros((2, 3, 1), bool)),
    st.just(np.full((2, 0, 1), True)),
    st.just(np.array([np.nan, 1.0])),
    st.just(7),
)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "shape": st.none() | st.lists(NUMBERS, max_size=4) | st.just([None]),
        "occurrence": st.integers(-(2**31), 2**31 - 1) | st.none() | st.integers(0, 3),
        "digest": st.none() | st.just(bytes(32)),
        "stored": st.none() | st.booleans(),
        "part": st.none() | st.sampled_from(["", "0.codes.pt#0", "99999999999.codes.pt#0"]),
        "scope": st.none() | st.sampled_from(["sample", "chunk.0", "chunk.1", "index", "disk"]),
    },
)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_nothing_in_a_capture_is_too_odd(data: st.DataObject) -> None:
    puts = small().puts
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(puts) - 1))
        changes: dict[str, Any] = {"extra": data.draw(CHANGES)}
        if BY_NAME[puts[at].artifact].order == "none" and data.draw(st.booleans()):
            changes["value"] = data.draw(VALUES)
        puts[at] = replace(puts[at], **changes)
    told = locator(puts)
    for _ in range(8):
        put = data.draw(st.sampled_from(puts))
        index = data.draw(st.lists(NUMBERS, max_size=4) | st.just([1, 1]) | st.just([1, 1, 0]))
        part, scope = put.extra.get("part", put.part), put.extra.get("scope", put.scope)
        occurrence = data.draw(st.sampled_from([0, 1, -1, 2**40]))
        assert told.tell(put.artifact, part or "", scope or "", occurrence, index)


@pytest.mark.parametrize(
    ("index", "occurrence"), [([4, 0, 0], 0), ([-1, 0, 0], 0), ([0, 0, 0], 9), ([0, 0, 0], -1)]
)
def test_an_element_that_the_capture_does_not_have(index: list[int], occurrence: int) -> None:
    words = locator(small().puts).tell("batches", "", "sample", occurrence, index)
    assert words.startswith(f"batch {occurrence}, passage {index[0]} of the batch, ")


def test_a_damaged_value_is_as_good_as_none(store: ValueStore, tmp_path: Path) -> None:
    puts = small().puts
    told = locator(puts, store)
    assert told.tell("doclens", "", "sample", 0, [1]) == "passage 1"
    pids = content_hash(as_snapshot([0, 1, 2, 3, 4])).hex()
    (tmp_path / "values" / pids[:2] / f"{pids}.parquet").write_bytes(b"PAR1")
    damaged = Locator(capture_of("2.7.1", puts), store)
    assert damaged.tell("doclens", "", "sample", 0, [1]) == "passage 1 of the pass"
    # It was read before that.
    assert told.tell("doclens", "", "sample", 0, [1]) == "passage 1"


def test_a_value_that_is_shorter_than_it_says_is_as_good_as_none() -> None:
    short = Snapshot(dtype="int64", shape=(4,), device="cpu", data=np.arange(3))
    told = locator(changed(small().puts, "reverse_indices", value=short))
    words = "batch 0, passage 1 of the batch, token 0, dimension 0"
    assert told.tell("batches", "", "sample", 0, [1, 0, 0]) == words


def test_values_are_read_once_and_only_where_they_are_needed() -> None:
    class Counted(Memory):
        reads = 0

        def get(self, digest: bytes) -> Snapshot:
            self.reads += 1
            return super().get(digest)

    store = Counted()
    told = locator(small().puts, store)
    told.tell("centroids", "", "sample", 0, [1, 2])
    assert store.reads == 0
    for row in (0, 1):
        told.tell("batches", "", "sample", 0, [row, 0, 0])
    assert store.reads == 3  # reverse_indices, sample_pids, num_passages


def test_an_empty_capture() -> None:
    empty = Capture(record=record_of(), rows=pa.Table.from_pylist([], schema=COLUMNS))
    assert Locator(empty, Memory()).tell("D", "", "sample", 0, [1, 2]) == (
        "embedding 1 of the pass, dimension 2"
    )


def test_the_run_of_these_tests_is_what_a_capture_has() -> None:
    """Else the tests above would prove nothing about the catalogue's shapes."""
    for put in small().puts:
        row = row_of(put)
        if put.artifact != "bert":
            assert len(row["shape"]) == len(BY_NAME[put.artifact].axes), put.artifact
