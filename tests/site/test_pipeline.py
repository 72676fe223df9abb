"""The picture of the pipeline for a pair."""

from typing import Any

import pytest

from matrix_compare.schema import NO_VALUES, Verdict
from matrix_site.comparison import Comparisons
from matrix_site.pipeline import pipeline
from tests.site.test_distances import moved, row

VAGUE: dict[str, Any] = {"verdict": Verdict.DIFFERS, "reason": NO_VALUES}


def drawn(*rows: Any) -> str:
    found = pipeline(Comparisons(rows), "../../")
    assert found is not None
    return str(found)


def test_where_nothing_changed_there_is_no_picture() -> None:
    rows = (row("D"), row("sample", verdict=Verdict.MISSING))
    assert pipeline(Comparisons(rows), "../../") is None


@pytest.mark.parametrize(
    ("rows", "style", "title"),
    [
        ([moved("D", 1e-7, role="origin")], "close origin", "D: close, origin"),
        ([moved("D", 1e-7), row("D", verdict=Verdict.MISSING)], "missing", "D: missing"),
        ([row("D", **VAGUE)], "differs unsized", "D: differs by an unknown amount"),
        ([row("D", **VAGUE), moved("D", 1, verdict=Verdict.DIFFERS)], "differs", "D: differs"),
    ],
)
def test_a_node_tells_the_worst_of_its_comparisons(rows: list[Any], style: str, title: str) -> None:
    text = drawn(*rows, row("batches"), moved("sample", 1e-7))
    assert f'<a href="../../artifact/D/index.html" class="{style}"><title>{title}</title>' in text
    assert '<a href="../../artifact/batches/index.html"><path' in text


def test_only_what_the_catalogue_knows_is_drawn() -> None:
    text = drawn(moved("D", 1e-7), moved("<script>", 1e-7))
    assert "script" not in text
