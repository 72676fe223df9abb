from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from matrix_capture.digest import content_hash
from matrix_capture.schema import Capture
from matrix_capture.values import ValueStore
from matrix_compare import cascade as module
from matrix_compare.cascade import Cascade, Changes, Flips, Memberships, Spread, buckets_of, cascade
from tests.compare.conftest import Put, as_snapshot, capture_of

Array = npt.NDArray[Any]

NONE = Changes(observed=0, predicted=0, explained=0)
ONE = Changes(observed=1, predicted=1, explained=1)
UNEXPLAINED = Changes(observed=1, predicted=0, explained=0)
DOCLENS = [2, 1, 3]
CENTROIDS = np.eye(3, 8, dtype=np.float32)


def packed(numbers: Array, nbits: int) -> Array:
    """Rows of bucket numbers as colbert-ai packs them, bit by bit."""
    rows = []
    for row in numbers.tolist():
        bits = [number >> place & 1 for number in row for place in range(nbits)]
        octets = [bits[n : n + 8] for n in range(0, len(bits), 8)]
        rows.append([int("".join(map(str, octet)), 2) for octet in octets])
    return np.array(rows, dtype=np.uint8).reshape(len(numbers), numbers.shape[1] * nbits // 8)


def cutoffs_of(nbits: int) -> Array:
    return np.linspace(-0.5, 0.5, 2**nbits - 1).astype(np.float32)


def run(embs: Array, centroids: Array = CENTROIDS, **given: Any) -> dict[str, Any]:
    """A small run, made as colbert-ai makes it; what is given takes the place of what is made."""
    made: dict[str, Any] = {"embs": embs, "index_centroids": centroids, "doclens": DOCLENS}
    made |= {"index_bucket_cutoffs": cutoffs_of(4)} | given
    made.setdefault("codes", (embs @ centroids.T).argmax(axis=1))
    made.setdefault("raw_residuals", (embs - centroids[made["codes"]]).astype(np.float32))
    cutoffs = made["index_bucket_cutoffs"]
    numbers = np.searchsorted(cutoffs, made["raw_residuals"])
    made.setdefault("residuals", packed(numbers, len(cutoffs).bit_length()))
    passages = np.repeat(np.arange(len(made["doclens"])), made["doclens"])
    lists = [np.unique(passages[made["codes"] == n]) for n in range(len(centroids))]
    made.setdefault("index_ivf_lengths", np.array([len(pids) for pids in lists]))
    padding = np.zeros(max(map(len, lists)))
    made.setdefault("index_ivf", np.concatenate([*lists, padding]).astype(np.int32))
    return made


def puts_of(made: dict[str, Any]) -> list[Put]:
    # The order of a list is no concern of these tests, so it needs no true key.
    return [
        Put(
            artifact=name,
            value=value,
            scope="disk" if name.startswith("index_") else "chunk.0",
            key=[0] if name == "index_ivf" else None,
        )
        for name, value in made.items()
    ]


def kept(store: ValueStore, torch: str, puts: Sequence[Put]) -> Capture:
    for put in puts:
        if put.keep:
            snap = as_snapshot(put.value)
            store.put(snap, content_hash(snap))
    return capture_of(torch, puts)


def follow(store: ValueStore, a: dict[str, Any], b: dict[str, Any]) -> Cascade:
    return cascade(kept(store, "2.7.1", puts_of(a)), kept(store, "2.8.0", puts_of(b)), store)


def embeddings() -> Array:
    """Six embeddings; the fourth is a little nearer to the first centroid than to the second."""
    embs = np.zeros((6, 8), dtype=np.float32)
    embs[range(6), [0, 1, 2, 0, 1, 2]] = 1
    embs[3, :2] = 0.75, 0.625
    return embs


def across(by: float) -> Array:
    embs = embeddings()
    embs[3, 1] += by
    return embs


def known(part: Flips | str) -> Flips:
    assert isinstance(part, Flips), part
    return part


def known_lists(part: Memberships | str) -> Memberships:
    assert isinstance(part, Memberships), part
    return part


def only(value: float) -> Spread:
    return Spread(min=value, median=value, max=value)


def test_identical_captures_give_zeros(store: ValueStore) -> None:
    found = follow(store, run(embeddings()), run(embeddings()))
    nothing = Flips(
        elements=6,
        changes=NONE,
        inherited=0,
        margins=None,
        movements=None,
        largest_movement=0.0,
        borderline=0,
        unlike=(0, 0),
    )
    lists = Memberships(elements=(6, 6), gained=NONE, lost=NONE, unlike=(0, 0))
    assert found == Cascade(
        a="2.7.1",
        b="2.8.0",
        codes=nothing,
        buckets=replace(nothing, elements=48),
        memberships=lists,
    )


def test_an_embedding_that_crosses_between_two_centroids(store: ValueStore) -> None:
    found = follow(store, run(embeddings()), run(across(0.25)))
    codes, buckets, lists = known(found.codes), known(found.buckets), known_lists(found.memberships)
    assert codes.changes == ONE
    assert (codes.margins, codes.movements) == (only(0.125), only(0.25))
    assert (codes.largest_movement, codes.borderline, codes.unlike) == (0.25, 1, (0, 0))
    # Its residual is measured from another centroid now, which says nothing about cutoffs.
    assert buckets.changes.observed == buckets.inherited > 0
    assert buckets.margins is None
    assert buckets.largest_movement == 0
    # The fifth, of the same passage, is with the second centroid already.
    assert (lists.gained, lists.lost) == (NONE, ONE)


def test_an_embedding_that_comes_near_the_border_could_have_crossed(store: ValueStore) -> None:
    codes = known(follow(store, run(embeddings()), run(across(0.1171875))).codes)
    assert codes.changes == NONE
    assert codes.borderline == 0
    one_farther = across(0.1171875)
    one_farther[5, 1] += 0.125
    codes = known(follow(store, run(embeddings()), run(one_farther)).codes)
    assert (codes.changes, codes.borderline, codes.margins) == (NONE, 1, None)


def test_centroids_that_move_take_embeddings_along(store: ValueStore) -> None:
    moved = CENTROIDS.copy()
    moved[1, 1] += 0.25
    codes = known(follow(store, run(embeddings()), run(embeddings(), moved)).codes)
    assert codes.changes == ONE
    assert (codes.margins, codes.movements) == (only(0.125), only(0.15625))


def test_a_code_that_flips_without_a_float_is_not_explained(store: ValueStore) -> None:
    flipped = run(embeddings())["codes"].copy()
    flipped[0] = 2
    found = follow(store, run(embeddings()), run(embeddings(), codes=flipped))
    codes, lists = known(found.codes), known_lists(found.memberships)
    assert codes.changes == UNEXPLAINED
    assert (codes.margins, codes.movements) == (only(1.0), only(0.0))
    assert (codes.borderline, codes.unlike) == (0, (0, 1))
    # The list follows from the code, whatever moved that.
    assert (lists.gained, lists.lost) == (ONE, ONE)


@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
@pytest.mark.parametrize("up", [True, False])
def test_a_residual_that_is_pushed_over_a_cutoff(store: ValueStore, nbits: int, up: bool) -> None:
    cutoffs = cutoffs_of(nbits)
    edge = cutoffs[len(cutoffs) // 2]
    raw = np.full((6, 8), 5.0, dtype=np.float32)
    pushed = raw.copy()
    near, beyond = np.float32(edge - 2**-12), np.float32(edge + 2**-11)
    raw[4, 3], pushed[4, 3] = (near, beyond) if up else (beyond, near)
    a, b = (run(embeddings(), index_bucket_cutoffs=cutoffs, raw_residuals=r) for r in (raw, pushed))
    buckets = known(follow(store, a, b).buckets)
    assert buckets.changes == ONE
    assert buckets.inherited == 0
    assert buckets.margins == only(abs(float(raw[4, 3]) - float(edge)))
    assert buckets.movements == only(abs(float(beyond) - float(near)))
    assert (buckets.borderline, buckets.unlike) == (1, (0, 0))


def test_a_cutoff_that_moves_below_a_residual(store: ValueStore) -> None:
    cutoffs = np.array([-0.5, 0.0, 0.5], dtype=np.float32)
    moved = np.array([-0.5, 0.0, 0.25], dtype=np.float32)
    raw = np.zeros((6, 8), dtype=np.float32)
    raw[2, 7] = 0.375
    a, b = (run(embeddings(), index_bucket_cutoffs=c, raw_residuals=raw) for c in (cutoffs, moved))
    buckets = known(follow(store, a, b).buckets)
    assert buckets.changes == ONE
    assert (buckets.margins, buckets.movements) == (only(0.125), only(0.25))


def test_a_residual_that_just_reaches_its_cutoff_was_near_enough(store: ValueStore) -> None:
    cutoffs = np.array([0.5], dtype=np.float32)
    raw = np.full((6, 8), 2.0, dtype=np.float32)
    fallen = raw.copy()
    raw[0, 0], fallen[0, 0] = 0.625, 0.5
    a, b = (run(embeddings(), index_bucket_cutoffs=cutoffs, raw_residuals=r) for r in (raw, fallen))
    buckets = known(follow(store, a, b).buckets)
    assert (buckets.changes, buckets.borderline) == (ONE, 1)
    assert buckets.margins == buckets.movements == only(0.125)


def test_a_residual_on_the_cutoff_belongs_below_it(store: ValueStore) -> None:
    cutoffs = np.array([0.25], dtype=np.float32)
    raw = np.full((6, 8), 0.25, dtype=np.float32)
    above = np.nextafter(raw, np.inf, dtype=np.float32)
    a, b = (run(embeddings(), index_bucket_cutoffs=cutoffs, raw_residuals=r) for r in (raw, above))
    assert (a["residuals"].any(), b["residuals"].all()) == (False, True)
    buckets = known(follow(store, a, b).buckets)
    assert buckets.changes == Changes(observed=48, predicted=48, explained=48)
    assert buckets.margins == only(0.0)


def test_a_bucket_that_flips_without_a_float_is_not_explained(store: ValueStore) -> None:
    flipped = run(embeddings())["residuals"].copy()
    flipped[1, 2] ^= 0b00100000
    buckets = known(follow(store, run(embeddings()), run(embeddings(), residuals=flipped)).buckets)
    assert buckets.changes == UNEXPLAINED
    assert (buckets.borderline, buckets.unlike) == (0, (0, 1))


def test_a_passage_in_another_list_than_its_codes_say(store: ValueStore) -> None:
    a = run(embeddings())
    lists = a["index_ivf"].copy()
    assert lists[:3].tolist() == [0, 2, 0]  # the first and third passage, then the next list
    lists[0] = 1
    found = known_lists(follow(store, a, run(embeddings(), index_ivf=lists)).memberships)
    assert found == Memberships(
        elements=(6, 6), gained=UNEXPLAINED, lost=UNEXPLAINED, unlike=(0, 2)
    )


def test_a_chunk_in_pieces_and_a_collection_in_chunks_add_up(store: ValueStore) -> None:
    def puts(made: dict[str, Any]) -> list[Put]:
        whole = [put for put in puts_of(made) if put.scope == "disk"]
        for chunk, rows, passages in (
            ("chunk.9", slice(3), slice(2)),
            ("chunk.10", slice(3, 6), slice(2, 3)),
        ):
            part = {name: made[name][rows] for name in ("embs", "residuals")}
            part["doclens"] = made["doclens"][passages]
            whole += [Put(artifact=n, value=v, scope=chunk) for n, v in part.items()]
            for name in ("codes", "raw_residuals"):
                values = made[name][rows]
                whole += [
                    Put(artifact=name, value=piece, scope=chunk, occurrence=n)
                    for n, piece in reversed(list(enumerate((values[:1], values[1:]))))
                ]
        return whole

    a, b = run(embeddings()), run(across(0.25))
    found = cascade(kept(store, "2.7.1", puts(a)), kept(store, "2.8.0", puts(b)), store)
    assert found == follow(store, a, b)


def test_only_the_first_repeat_counts(store: ValueStore) -> None:
    again = [replace(put, repeat=1) for put in puts_of(run(across(0.25)))]
    a = kept(store, "2.7.1", puts_of(run(embeddings())) + again)
    assert known(cascade(a, a, store).codes).elements == 6


def test_blocks_make_no_difference(store: ValueStore, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = run(embeddings()), run(across(0.25) + np.float32(0.03125))
    expected = follow(store, a, b)
    monkeypatch.setattr(module, "_BLOCK", 16)
    assert follow(store, a, b) == expected
    monkeypatch.setattr(module, "_BLOCK", 1)
    assert follow(store, a, b) == expected


def test_the_result_is_json(store: ValueStore) -> None:
    found = follow(store, run(embeddings()), run(across(0.25), doclens=[1, 2, 3]))
    content = msgspec.json.decode(msgspec.json.encode(found))
    assert content["codes"] == "doclens of chunk.0 differ, so embeddings have no counterpart"
    assert content["memberships"]["elements"] == [6, 5]
    assert msgspec.convert(content, Cascade) == found


Edit = Callable[[list[Put]], list[Put]]


def without(artifact: str) -> Edit:
    return lambda puts: [put for put in puts if put.artifact != artifact]


def unkept(artifact: str) -> Edit:
    return lambda puts: [replace(p, keep=p.artifact != artifact) for p in puts]


def put_instead(artifact: str, value: Any) -> Edit:
    return lambda puts: [replace(p, value=value) if p.artifact == artifact else p for p in puts]


NAN = np.full((6, 8), np.nan, dtype=np.float32)


@pytest.mark.parametrize(
    ("edit", "part", "reason"),
    [
        (without("codes"), "codes", "no codes in 2.8.0"),
        (without("codes"), "memberships", "no codes in 2.8.0"),
        (without("embs"), "codes", "no embs in chunk.0 of 2.8.0"),
        (without("index_bucket_cutoffs"), "buckets", "no index_bucket_cutoffs in disk of 2.8.0"),
        (without("index_ivf"), "memberships", "no index_ivf in disk of 2.8.0"),
        (unkept("embs"), "codes", "embs: values not kept"),
        (put_instead("doclens", [1, 2, 3]), "buckets", "doclens of chunk.0 differ, so"),
        (put_instead("doclens", [3, 3]), "memberships", "3 and 2 passages"),
        (put_instead("doclens", [3, 2, 2]), "memberships", "codes, doclens and lists of 2.8.0"),
        (put_instead("index_ivf", [0]), "memberships", "codes, doclens and lists of 2.8.0"),
        (put_instead("index_ivf_lengths", [6]), "memberships", "3 and 1 centroids"),
        (put_instead("codes", [1, 2]), "codes", "6 and 2 codes in chunk.0"),
        (put_instead("embs", NAN[:, :4]), "codes", "embs of chunk.0: shape (6, 8) and (6, 4)"),
        (put_instead("index_centroids", NAN[:3]), "codes", "NaN or infinity in index_centroids"),
        (put_instead("embs", NAN), "codes", "NaN or infinity in embs"),
        (put_instead("raw_residuals", NAN), "buckets", "NaN or infinity in raw_residuals"),
        (put_instead("index_bucket_cutoffs", NAN[0, :3]), "buckets", "NaN or infinity in index_b"),
        (put_instead("index_bucket_cutoffs", [0, 1]), "buckets", "15 and 2 cutoffs are not"),
    ],
)
def test_why_a_part_is_not_known(store: ValueStore, edit: Edit, part: str, reason: str) -> None:
    a = kept(store, "2.7.1", puts_of(run(embeddings())))
    # Others than those of a, or they would be read from there.
    b = kept(store, "2.8.0", edit(puts_of(run(across(0.0625)))))
    found = getattr(cascade(a, b, store), part)
    assert isinstance(found, str)
    assert found.startswith(reason)
    assert "\n" not in found


def test_what_both_sides_lack_or_have_in_another_form(store: ValueStore) -> None:
    puts = puts_of(run(embeddings()))
    fewer = kept(store, "2.7.1", put_instead("codes", [1, 2])(puts))
    assert cascade(fewer, fewer, store).codes == "embs of chunk.0: 6 rows for 2 codes"
    narrow = kept(store, "2.7.1", put_instead("residuals", np.zeros((6, 2), np.uint8))(puts))
    expected = "residuals of chunk.0 do not hold 4 bits for each of 8"
    assert cascade(narrow, narrow, store).buckets == expected
    moved = kept(store, "2.8.0", [replace(p, scope=p.scope.replace(".0", ".1")) for p in puts])
    assert cascade(fewer, moved, store).codes == "other chunks in 2.7.1 than in 2.8.0"


def test_a_damaged_value_is_told_without_its_path(store: ValueStore, tmp_path: Path) -> None:
    capture = kept(store, "2.7.1", puts_of(run(embeddings())))
    for file in tmp_path.rglob("*.parquet"):
        file.write_bytes(b"no parquet")
    found = cascade(capture, capture, store)
    for reason in (found.codes, found.buckets, found.memberships):
        assert isinstance(reason, str)
        assert reason.endswith("is unreadable or damaged")
        assert str(tmp_path) not in reason


@given(data=st.data(), nbits=st.sampled_from([1, 2, 4, 8]), rows=st.integers(0, 4))
def test_unpacking_undoes_the_packing(data: st.DataObject, nbits: int, rows: int) -> None:
    numbers = hnp.arrays(np.uint8, (rows, 16), elements=st.integers(0, 2**nbits - 1))
    expected = data.draw(numbers)
    assert np.array_equal(buckets_of(packed(expected, nbits), nbits), expected)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_figures_agree_with_a_slow_reference(data: st.DataObject) -> None:
    quarters = st.integers(-8, 8).map(lambda n: n / 4)
    values = hnp.arrays(np.float32, (6, 8), elements=quarters)
    left = data.draw(values)
    right = np.where(data.draw(hnp.arrays(np.bool_, (6, 8))), left, data.draw(values))
    a, b = (
        run(left),
        run(right, np.roll(CENTROIDS, 1, axis=1) if data.draw(st.booleans()) else CENTROIDS),
    )
    with TemporaryDirectory() as folder:
        found = follow(ValueStore(folder), a, b)
    codes, buckets, lists = known(found.codes), known(found.buckets), known_lists(found.memberships)

    changed = [n for n in range(6) if a["codes"][n] != b["codes"][n]]
    leads, shrunk = [], []
    for n in range(6):
        scores = [(m["embs"][n] @ m["index_centroids"].T).tolist() for m in (a, b)]
        best = scores[0].index(max(scores[0]))
        leads.append(scores[0][best] - max(s for c, s in enumerate(scores[0]) if c != best))
        gains = [after - before for before, after in zip(*scores, strict=True)]
        shrunk.append(max(gains) - gains[best])
    assert codes.changes == Changes(
        observed=len(changed), predicted=len(changed), explained=len(changed)
    )
    assert codes.largest_movement == max(shrunk)
    assert codes.borderline == (sum(lead <= max(shrunk) for lead in leads) if max(shrunk) else 0)
    assert codes.borderline >= codes.changes.predicted
    if changed:
        of = sorted(leads[n] for n in changed)
        assert codes.margins == Spread(min=of[0], median=float(np.median(of)), max=of[-1])

    numbers = [np.searchsorted(m["index_bucket_cutoffs"], m["raw_residuals"]) for m in (a, b)]
    flipped = numbers[0] != numbers[1]
    count = int(flipped.sum())
    assert buckets.changes == Changes(observed=count, predicted=count, explained=count)
    assert buckets.inherited == int(flipped[changed].sum())
    assert buckets.borderline >= count - buckets.inherited
    assert buckets.unlike == codes.unlike == (0, 0)

    filed = [
        {
            (int(c), p)
            for c, p in zip(m["codes"], np.repeat(range(3), DOCLENS).tolist(), strict=True)
        }
        for m in (a, b)
    ]
    assert lists.elements == (len(filed[0]), len(filed[1]))
    assert lists.gained.observed == lists.gained.explained == len(filed[1] - filed[0])
    assert lists.lost.observed == lists.lost.explained == len(filed[0] - filed[1])
