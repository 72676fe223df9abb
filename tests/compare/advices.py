"""Facts of a pair as rules are asked about them: everything on record, and something moved."""

from typing import Any

from msgspec.structs import replace

from matrix_capture.schema import STAGES, Control, Observer, StageStatus
from matrix_compare.advice import Option
from matrix_compare.change import Effectiveness, Flips, Interval, RankingChange
from matrix_compare.comparable import Difference
from matrix_compare.facts import Facts, Losses, Mapped, Size
from matrix_compare.requirement import Run
from tests.compare.conftest import LANE, record_of

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
