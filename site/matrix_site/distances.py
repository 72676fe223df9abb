"""The pictures of a pair: how far each step of the pipeline moves, and by how many ULPs."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from markupsafe import Markup

from matrix_compare.schema import Verdict
from matrix_site.comparison import Comparison, Comparisons
from matrix_site.plot import histogram, log_plot, ulp_labels
from matrix_site.summary import CHANGED, summarise
from matrix_site.tables import measured
from matrix_site.text import clean, joined, listed, number, percent

_LAYERS = ("layer_outputs", "layers")
"""What tells of a layer: how far it moves, or where that is not on record whether it does."""

_STEPS = (
    *("linear", "normalized", "D", "sample", "sample_heldout"),
    *("prenorm_centroids", "postnorm_centroids", "centroids"),
    *("avg_residual", "bucket_cutoffs", "bucket_weights"),
    *("index_centroids", "embs", "raw_residuals"),
    *("query_embeddings", "ranked_scores"),
    *("train_scores", "train_loss", "gradient_norm", "trained_projection"),
)
"""What is drawn behind the layers; what is left out is a copy of one of these, or a part of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A picture and what is to be said below it."""

    svg: Markup
    caption: str


@dataclass(frozen=True, slots=True)
class _Point:
    """One place of the plot: its distances, 0 for none at all and None if nobody knows."""

    label: str
    largest: float | None
    mean: float | None


@cache
def by_layer(comparisons: Comparisons) -> Picture | None:
    """Absolute differences over the layers of the encoder and then the steps behind it.

    None where nothing is known to move.
    """
    points = tuple(_points(comparisons))
    if not any(point.largest for point in points):
        return None
    unknown = tuple(point.label for point in points if point.largest is None)
    equal = sum(point.largest == 0 for point in points)
    far = max((point for point in points if point.largest), key=lambda point: point.largest or 0)
    words = [
        "Largest and mean absolute difference of each layer"
        + (", for the first passages of a batch," if any(_sampled(comparisons)) else "")
        + " and then of each step in pipeline order",
        f"{equal} of {len(points)} are equal bit by bit",
    ]
    if unknown:
        words.append(f"of {joined(unknown, 4)} nobody knows how far, for only digests are kept")
    words.append("numbers of passages, codes and packed bytes have no distance")
    told = f"Largest difference {number(far.largest)}, in {far.label}. "
    told += ", ".join(f"{p.label} {_told(p.largest)}" for p in points)
    return Picture(
        svg=log_plot(
            "by-layer",
            "How far each step moves",
            clean(told),
            [point.label for point in points],
            {
                "largest": [point.largest for point in points],
                "mean": [point.mean for point in points],
            },
        ),
        caption="; ".join(words) + ".",
    )


@cache
def ulps(comparisons: Comparisons) -> Picture | None:
    """The ULPs of where it starts or, where they are not on record, of the first behind it."""
    summary = summarise(comparisons)
    first, others = summary.starts[:1], summary.starts[1:]
    words = dict.fromkeys(first, "where it starts")
    for rows, what in (
        ((summary.measured,), "the first of a known size behind where it starts"),
        (others, "where it starts as well"),
        ((summary.largest,), "which moves farthest of the finished index"),
    ):
        words |= dict.fromkeys((row for row in rows if row and row not in words), what)
    row = next((row for row in words if measured(row) and row.ulp_histogram), None)
    if row is None:
        return None
    counts = row.ulp_histogram
    elements, apart = sum(counts), sum(counts[1:])
    caption = (
        f"ULPs between the two in {listed((row.artifact,))}, {words[row]}: {apart:,} of "
        f"{elements:,} elements ({percent(apart / elements) if elements else 0}) are apart, "
        f"by {number(row.max_ulp)} at most."
    )
    return Picture(
        svg=histogram(
            "ulps",
            f"ULPs in {clean(row.artifact, 40)}",
            caption.replace("`", ""),
            ulp_labels(len(counts)),
            counts,
        ),
        caption=caption,
    )


def _sampled(comparisons: Comparisons) -> Iterable[bool]:
    return (row.artifact == _LAYERS[0] for row in comparisons)


def _points(comparisons: Comparisons) -> Iterable[_Point]:
    """The places of the plot; several comparisons of one place are told by the farthest."""
    layers: dict[str, dict[int, list[Comparison]]] = {name: {} for name in _LAYERS}
    steps: dict[str, list[Comparison]] = {name: [] for name in _STEPS}
    for row in comparisons:
        if row.artifact in layers and row.layer is not None:
            layers[row.artifact].setdefault(row.layer, []).append(row)
        elif row.artifact in steps:
            steps[row.artifact].append(row)
    shown = next((found for found in layers.values() if found), {})
    for layer in sorted(shown):
        yield _point(f"layer {layer}", shown[layer])
    for name, rows in steps.items():
        if rows:
            yield _point(name, rows)


def _point(label: str, rows: list[Comparison]) -> _Point:
    known = [row for row in rows if row.verdict in CHANGED and measured(row)]
    if known:
        far = max(known, key=lambda row: row.max_abs or 0)
        return _Point(label, far.max_abs, far.mean_abs)
    same = all(row.verdict is Verdict.IDENTICAL for row in rows)
    return _Point(label, 0.0 if same else None, 0.0 if same else None)


def _told(value: float | None) -> str:
    return "not known" if value is None else number(value) if value else "equal"
