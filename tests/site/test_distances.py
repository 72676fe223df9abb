"""What the pictures of a pair are drawn from."""

from typing import Any

from matrix_compare.schema import NO_VALUES, Verdict
from matrix_site.comparison import Comparison, Comparisons
from matrix_site.distances import by_layer, ulps


def row(artifact: str, part: str = "", **changes: Any) -> Comparison:
    """A comparison of a float, identical unless said otherwise."""
    facts: dict[str, Any] = {
        **{"artifact": artifact, "part": part, "scope": "sample", "kind": "intermediate"},
        **{"stage": "encode", "dtype": "float32", "occurrences": 1, "identical": 1},
        "verdict": Verdict.IDENTICAL,
    }
    return Comparison(**(facts | changes))


def moved(artifact: str, largest: float, part: str = "", **changes: Any) -> Comparison:
    facts = {"verdict": Verdict.CLOSE, "max_abs": largest, "mean_abs": largest / 10, "max_ulp": 3}
    return row(artifact, part, **(facts | changes))


def told(*rows: Comparison) -> str:
    """The description of the plot, which names every point."""
    drawn = by_layer(Comparisons(rows))
    assert drawn is not None
    return str(drawn.svg).partition("<desc")[2].partition(">")[2].partition("</desc>")[0]


def test_layers_come_in_order_and_then_the_steps_in_that_of_the_pipeline() -> None:
    rows = [moved("layer_outputs", 10.0**-n, f"encoder.layer.{n}") for n in (10, 2, 9)]
    text = told(row("D"), moved("normalized", 3e-7), *rows)
    assert text == (
        "Largest difference 1.0e-02, in layer 2. layer 2 1.0e-02, layer 9 1.0e-09, "
        "layer 10 1.0e-10, normalized 3.0e-07, D equal"
    )


def test_several_passes_are_told_by_the_farthest() -> None:
    text = told(moved("D", 1e-7), moved("D", 4e-7, scope="chunk.0"), row("D", scope="chunk.1"))
    assert text == "Largest difference 4.0e-07, in D. D 4.0e-07"


def test_without_the_outputs_of_layers_a_layer_is_equal_or_not_known() -> None:
    vague: dict[str, Any] = {"verdict": Verdict.DIFFERS, "reason": NO_VALUES, "identical": 0}
    layers = [
        row("layers", "encoder.layer.0"),
        row("layers", "encoder.layer.1", **vague),
        row("layers", "encoder.layer.1", scope="chunk.0"),
    ]
    rows = (*layers, moved("D", 1e-7))
    assert told(*rows) == (
        "Largest difference 1.0e-07, in D. layer 0 equal, layer 1 not known, D 1.0e-07"
    )
    drawn = by_layer(Comparisons(rows))
    assert drawn is not None
    assert "of layer 1 nobody knows how far, for only digests are kept" in drawn.caption
    measured = moved("layer_outputs", 2e-7, "encoder.layer.1")
    assert "layer 1 2.0e-07" in told(*rows, measured)


def test_what_is_no_distance_is_not_drawn() -> None:
    """Not of passage numbers, nor of packed bytes, nor of elements that swapped places."""
    numbers: dict[str, Any] = {"verdict": Verdict.DIFFERS, "max_abs": 270.0, "max_ulp": None}
    rows = [
        row("ranked_pids", dtype="int64", **numbers),
        row("residuals", dtype="uint8", **numbers),
        moved("ranked_scores", 5.0, verdict=Verdict.REORDERED),
        row("sample", verdict=Verdict.MISSING),
    ]
    assert by_layer(Comparisons(tuple(rows))) is None
    assert told(*rows, moved("D", 1e-7)) == (
        "Largest difference 1.0e-07, in D. D 1.0e-07, sample not known, ranked_scores not known"
    )


def test_nothing_that_moves_is_no_picture() -> None:
    assert by_layer(Comparisons((row("D"),))) is None
    assert ulps(Comparisons((row("D"),))) is None


def test_the_ulps_are_those_of_where_it_starts() -> None:
    start = moved("normalized", 6e-8, role="origin", ulp_histogram=(96, 3, 1))
    behind = moved("D", 6e-8, role="propagated", ulp_histogram=(1, 99))
    drawn = ulps(Comparisons((start, behind)))
    assert drawn is not None
    assert drawn.caption == (
        "ULPs between the two in `normalized`, where it starts: 4 of 100 elements (4%) are apart, "
        "by 3 at most."
    )
    vague = row("layers", "encoder.layer.0", verdict=Verdict.DIFFERS, reason=NO_VALUES)
    drawn = ulps(Comparisons((vague, behind)))
    assert drawn is not None
    assert "in `D`, the first of a known size behind where it starts: 99 of 100" in drawn.caption
