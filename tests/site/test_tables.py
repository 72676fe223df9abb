"""The tables of a pair: which comparisons share a line, and which figures a line has."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_compare.schema import Verdict
from matrix_site.comparison import Comparison, Comparisons
from matrix_site.tables import NONE, Line, Table, tables
from tests.site.test_distances import moved, row

PROFILES = ("default", "bitsandbytes")


def made(*rows: Comparison) -> tuple[Table, ...]:
    return tables(Comparisons(rows), PROFILES, "../../")


def line(*rows: Comparison) -> Line:
    (found,) = (one for table in made(*rows) for one in table.lines)
    return found


@pytest.mark.parametrize(
    "changes",
    [
        {"max_ulp": None, "dtype": "int64"},
        {"max_ulp": None, "dtype": "uint8"},
        {"verdict": Verdict.REORDERED},
    ],
)
def test_what_is_no_distance_is_never_shown_as_one(changes: Any) -> None:
    found = line(moved("ranked_pids", 270.0, largest_at="query 413", **changes))
    assert found.figures is not None
    assert (found.figures.largest, found.figures.mean, found.figures.ulps) == (NONE, NONE, NONE)
    assert "270" not in found.notes
    assert "largest" not in found.notes


def test_a_profile_that_fails_says_for_how_many_elements() -> None:
    found = line(moved("D", 1e-3, violations=(1057, 0), profiles=("bitsandbytes",)))
    assert found.figures is not None
    assert found.figures.passes == ("no (1,057)", "yes")


def test_two_ulps_are_told_the_usual_and_the_largest() -> None:
    found = line(moved("D", 1e-3, p99_ulp=2.0, max_ulp=34394))
    assert found.figures is not None
    assert found.figures.ulps == "2 / 34,394"


def test_what_is_identical_says_no_more() -> None:
    found = line(row("D"))
    assert (found.figures, found.notes, found.equal) == (None, "", "yes")


def test_an_artifact_of_no_catalogue_has_no_page() -> None:
    found = line(moved("<script>", 1.0, kind="other"))
    assert (found.href, found.anchor) == ("", "")
    assert found.notes.startswith("not in the catalogue")


FIGURE = st.sampled_from([None, 1e-7, 2e-7])
ROWS = st.builds(
    row,
    st.sampled_from(["D", "layers", "index_codes"]),
    st.sampled_from(["", "encoder.layer.1", "encoder.layer.2"]),
    kind=st.sampled_from(["intermediate", "final", "probe", "?"]),
    verdict=st.sampled_from(Verdict),
    max_abs=FIGURE,
    mean_abs=FIGURE,
    rtol_needed=FIGURE,
    max_ulp=st.sampled_from([None, 3]),
    equal_fraction=st.sampled_from([None, 0.5]),
    violations=st.sampled_from([(), (3, 0)]),
    largest_at=st.sampled_from(["", "here"]),
)


@given(st.lists(ROWS, max_size=12))
def test_every_comparison_has_its_place_and_lines_tell_of_all_they_stand_for(
    rows: list[Comparison],
) -> None:
    found = made(*rows)
    lines = [one for table in found for one in table.lines]
    assert sum(table.counts.total for table in found) == len(rows)
    assert sum(len(one.places) for one in lines) == len(rows)
    anchors = [one.anchor for one in lines if one.anchor]
    assert len(anchors) == len(set(anchors)) == len({row.artifact for row in rows})
    # Each comparison by itself says what the line that it is in says.
    alone = {
        (one.artifact, one.verdict, one.figures, one.notes) for r in rows for one in (line(r),)
    }
    assert alone == {(one.artifact, one.verdict, one.figures, one.notes) for one in lines}
