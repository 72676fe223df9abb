"""What advice is made from: facts of a pair of which all is on record, and files that hold some."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from msgspec.structs import replace

from matrix_capture.rankings import COLUMNS, SCHEMA_VERSION, Header, Search, record_searches
from matrix_capture.schema import STAGES, CaptureCode, Control, Observer, StageStatus
from matrix_compare.advice import Option
from matrix_compare.change import Effectiveness, Flips, Interval, RankingChange
from matrix_compare.comparable import Difference
from matrix_compare.facts import Facts, Losses, Mapped, Size
from matrix_compare.requirement import Run
from tests.compare.conftest import LANE, Maker, Put, record_of

QUERIES = 428


def measured(low: float = -0.001, high: float = 0.002, name: str = "nDCG@10") -> Effectiveness:
    """A measure whose difference lies in an interval."""
    mean = (low + high) / 2
    return Effectiveness(
        measure=name, a=0.5, b=0.5 + mean, difference=Interval(mean=mean, low=low, high=high)
    )


def changed(**changes: Any) -> RankingChange:
    """What becomes of rankings: 5 of 428 change, 3 among the first ten."""
    found = RankingChange(
        queries=QUERIES,
        identical=200,
        same_order=QUERIES - 5,
        changed_top={"1": 1, "10": 3, "100": 5},
        overlap={"1": 0.997, "10": 0.9995, "100": 0.99997},
        rbo=0.99999,
        rbo_least=0.93,
        tau=0.999,
        tau_least=0.9,
        largest_score_change=0.000012,
        flips=Flips(pairs=4, queries=3, largest_gap=0.0000021),
        effectiveness=(measured(),),
    )
    return replace(found, **changes)


def same(**changes: Any) -> RankingChange:
    """Rankings that stay as they are, to the last bit of their scores."""
    found = changed(
        identical=QUERIES,
        same_order=QUERIES,
        changed_top={"1": 0, "10": 0, "100": 0},
        overlap={"1": 1.0, "10": 1.0, "100": 1.0},
        rbo=1.0,
        rbo_least=1.0,
        largest_score_change=0.0,
        flips=Flips(pairs=0, queries=0, largest_gap=0.0),
    )
    return replace(found, **changes)


def option(index: str, change: RankingChange | None = None, **changes: Any) -> Option:
    """An index searched with 2.8.0."""
    found = Option(index=index, search="2.8.0", state="ok" if change else "unknown", change=change)
    if change:
        stays = change.same_order == change.queries
        found = replace(found, ranking="same" if stays else "changes")
    return replace(found, **changes)


def row(artifact: str, verdict: str, stage: str = "index", kind: str = "final") -> dict[str, Any]:
    """One verdict row, as far as rules look."""
    return {"artifact": artifact, "verdict": verdict, "stage": stage, "kind": kind}


INDEX = ("index_centroids", "index_codes", "index_residuals", "index_ivf")


def rows(index: str = "close", training: str = "identical", **more: str) -> tuple[Any, ...]:
    """Verdicts on the finished index, of which all but the codes are `index`, and on training."""
    verdicts = dict.fromkeys(INDEX, index) | {"index_codes": "identical"} | more
    return (
        *(row(name, verdict) for name, verdict in verdicts.items()),
        row("train_loss", training, "train", "intermediate"),
        row("trained_weights", training, "train"),
    )


def ran(**changes: str) -> dict[str, StageStatus]:
    """A run through all stages, but for the states given."""
    return {
        stage: StageStatus(
            state=changes.get(stage, "ok"),  # type: ignore[arg-type]
            error="ImportError" if changes.get(stage) == "failed" else "",
            message="no module\nsecond line" if changes.get(stage) == "failed" else "",
        )
        for stage in STAGES
    }


def recorded(torch: str, **changes: Any) -> Any:
    """A record whose controls passed."""
    given = {
        "status": ran(),
        "control": Control(identical=True, tensors=9),
        "observer": Observer(identical=True, tensors=9),
    }
    return record_of(torch, **(given | changes))


FACTS = Facts(
    lane=LANE,
    device="cpu",
    options="",
    a=recorded("2.7.1"),
    b=recorded("2.8.0"),
    obstacles=(),
    rows=rows(),
    own=option("2.7.1", same(), search="2.7.1"),
    keep=option("2.7.1", changed()),
    reindex=option("2.8.0", changed()),
    mapped=(
        Mapped(torch="2.7.1", offsets=(704,), change=changed()),
        Mapped(torch="2.8.0", offsets=(704,), change=changed()),
    ),
    queries=QUERIES,
    stale=False,
    losses=Losses(a=(0.7, 0.6), b=(0.7, 0.6), first=None),
    size=Size(passages=576, embeddings=33_698, chunks=1),
    known=None,
    explanation=None,
    environment=(
        Difference(section="packages", name="torch", a="2.7.1", b="2.8.0"),
        Difference(section="packages", name="triton", a="3.3", b="3.4"),
    ),
    run=Run(releases=("2.8.0",), gaps=()),
)


# On disk.

A, B = "2.7.1", "2.8.0"
RELEVANT = ((3,), (1, 2), ())
INPUTS = {"checkpoint": "aa", "collection": "bb"}

Found = Sequence[Sequence[tuple[int, float]]]
"""For each query the passages and their scores, the best first."""

FOUND: Found = ([(3, 9.0), (1, 8.0)], [(2, 7.0), (4, 6.0)], [(5, 5.0)])
SWAPPED: Found = ([(1, 9.0), (3, 8.5)], [(2, 7.0), (4, 6.0)], [(5, 5.0)])


def search(
    index: str, torch: str, found: Found | None, *, mmap: bool = False, files: str = ""
) -> tuple[Search, Any]:
    """A search and its rows; without any it failed."""
    rows = [
        (index, torch, mmap, query, rank, pid, score)
        for query, results in enumerate(found or ())
        for rank, (pid, score) in enumerate(results, start=1)
    ]
    columns = list(map(list, zip(*rows, strict=True))) if rows else [[] for _ in COLUMNS]
    made = Search(
        index_torch=index,
        search_torch=torch,
        mmap=mmap,
        state="failed" if found is None else "ok",
        index=files or f"files of {index}",
        started="2026-01-01T00:00:00+00:00",
        seconds=1.0,
        capture_code=CaptureCode(version="0.1.0", hash="00"),
        error="" if found else "RuntimeError",
        message="" if found else "torn\nsecond line",
    )
    return made, pa.table(columns, schema=COLUMNS)


def index_puts(centroid: float = 1.0, offset: int = 704) -> list[Put]:
    """A finished index of five passages and six embeddings, and how its files are laid out."""
    values = {
        ("index_centroids", "centroids.pt#0"): np.array([[centroid]], np.float16),
        ("index_codes", "0.codes.pt#0"): np.arange(4, dtype=np.int32),
        ("index_codes", "1.codes.pt#0"): np.arange(2, dtype=np.int32),
        ("index_doclens", "doclens.0.json#0"): np.array([2, 1, 1]),
        ("index_doclens", "doclens.1.json#0"): np.array([1, 1]),
        # Of the files only two are mapped; another one has two tensors.
        ("file_layout", "buckets.pt"): np.array([offset + 64, offset + 4096]),
        ("file_layout", "0.codes.pt"): np.array([offset]),
        ("file_layout", "0.residuals.pt"): np.array([offset]),
    }
    return [
        Put(artifact=artifact, part=part, scope="disk", value=value)
        for (artifact, part), value in values.items()
    ]


def training_puts(*losses: float) -> list[Put]:
    puts = [
        Put(artifact="train_loss", scope="step", occurrence=n, value=np.float32(loss))
        for n, loss in enumerate(losses)
    ]
    weights = np.array([losses[-1]], np.float32)
    return [*puts, Put(artifact="trained_weights", part="linear", scope="step", value=weights)]


def write_pair(
    make: Maker,
    data: Path,
    *,
    a: Sequence[Put] = (),
    b: Sequence[Put] = (),
    searches: Sequence[tuple[Search, Any]] = (),
    inputs: dict[str, str] = INPUTS,
    **record: Any,
) -> None:
    """Write two captures that ran to the end, and searches; `record` changes that of b."""
    make(A, a or index_puts(), status=ran())
    make(B, b or index_puts(), **({"status": ran()} | record))
    header = Header(schema_version=SCHEMA_VERSION, lane=LANE, inputs=inputs, relevant=RELEVANT)
    if searches:
        record_searches(data, header, searches)
