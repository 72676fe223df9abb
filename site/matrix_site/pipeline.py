"""The picture of the pipeline for a pair: what changed, and where that starts."""

from functools import cache

from markupsafe import Markup

from matrix_capture.catalogue import CATALOGUE
from matrix_compare.schema import Verdict
from matrix_site.comparison import Comparison, Comparisons, by_artifact
from matrix_site.graph import Mark, pipeline_graph
from matrix_site.page import artifact_page, href
from matrix_site.summary import CHANGED, SEVERITY, finals, start, summarise, word


@cache
def pipeline(comparisons: Comparisons, root: str) -> Markup | None:
    """The graph of all that was compared, None where nothing changed.

    `root` leads from its page to that of the site.
    """
    if not any(row.verdict in CHANGED for row in comparisons):
        return None
    summary, by_name = summarise(comparisons), by_artifact(comparisons)
    marks = ((name, _mark(rows)) for name, rows in by_name.items() if not _quiet(rows))
    return _drawn(
        f"{start(summary)}; {finals(summary)}".replace("`", ""),
        tuple(artifact.name for artifact in CATALOGUE if artifact.name in by_name),
        tuple(marks),
        root,
    )


@cache
def _drawn(
    description: str, names: tuple[str, ...], marks: tuple[tuple[str, Mark], ...], root: str
) -> Markup:
    """Pairs that differ in other numbers but in the same places share their picture."""
    return pipeline_graph(
        "graph",
        "The pipeline",
        description,
        names,
        dict(marks),
        lambda name: root + href(artifact_page(name)),
    )


def _quiet(rows: tuple[Comparison, ...]) -> bool:
    return all(row.verdict is Verdict.IDENTICAL for row in rows)


def _mark(rows: tuple[Comparison, ...]) -> Mark:
    """What became of an artifact: the worst verdict over all its parts and passes."""
    worst = min((row.verdict for row in rows), key=SEVERITY.index)
    vague = worst is Verdict.DIFFERS and all(
        row.unsized for row in rows if row.verdict is Verdict.DIFFERS
    )
    return Mark(
        style=f"{worst.value}{' unsized' if vague else ''}",
        glyph=worst.glyph,
        word=word(worst) + (" by an unknown amount" if vague else ""),
        origin=any(row.role == "origin" and row.verdict in CHANGED for row in rows),
    )
