"""Where it differs: origins and the finished index, in words."""

from typing import Any

import pytest

from matrix_compare.schema import NO_VALUES, Verdict
from matrix_site.comparison import Comparisons
from matrix_site.places import Place, places
from matrix_site.tables import NONE, UNSIZED
from tests.site.test_distances import moved, row


def only(*rows: Any) -> Place:
    (found,) = places(Comparisons(rows)).shown
    return found


def test_only_where_it_starts_and_the_index_are_told() -> None:
    rows = (
        moved("normalized", 1e-7, role="origin", first_at="batch 0", largest_at="batch 1"),
        moved("D", 1e-7, role="propagated"),
        moved("index_centroids", 1e-7, kind="final", stage="codec", role="propagated"),
        moved("ranked_scores", 1e-7, kind="final", stage="search", role="propagated"),
        moved("probe_normalize", 1e-7, kind="probe", stage="probe", role="origin"),
        row("index_codes", kind="final", stage="index"),
    )
    found = places(Comparisons(rows)).shown
    assert [one.artifact for one in found] == ["normalized", "index_centroids"]
    assert (found[0].anchor, found[0].passes) == ("a-normalized", "sample")
    assert (found[0].first, found[0].largest) == ("batch 0", "batch 1")


def test_passes_that_say_the_same_are_one() -> None:
    facts = {"role": "origin", "first_at": "batch 0"}
    found = only(moved("D", 1e-7, **facts), moved("D", 1e-7, scope="chunk.0", **facts))
    assert found.passes == "sample and chunk.0"


@pytest.mark.parametrize(
    ("changes", "extent"),
    [
        ({"occurrences": 18, "identical": 0}, "all 18 occurrences"),
        (
            {"occurrences": 18, "identical": 14, "differing_occurrences": (0, 1, 2, 7)},
            "4 of 18 occurrences (0-2, 7)",
        ),
        ({"identical": 0, "equal_fraction": 0.75, "differing_blocks": 2}, "25% of elements"),
        ({"identical": 0, "equal_fraction": 0.99999999}, "<0.01% of elements"),
        ({"identical": 0, "differing_blocks": 2}, "2 blocks"),
        ({"identical": 0}, NONE),
    ],
)
def test_how_much_of_it_differs(changes: Any, extent: str) -> None:
    assert only(moved("D", 1e-7, role="origin", **changes)).extent == extent


def test_the_largest_difference_of_packed_bytes_is_nowhere() -> None:
    facts = {
        "kind": "final",
        "stage": "index",
        "dtype": "uint8",
        "first_at": "x",
        "largest_at": "x",
    }
    found = only(moved("index_residuals", 208, max_ulp=None, **facts))
    assert (found.first, found.largest) == ("x", NONE)


def test_where_only_digests_are_kept_nobody_knows_where() -> None:
    vague = {"verdict": Verdict.DIFFERS, "reason": NO_VALUES, "role": "origin"}
    assert only(row("layers", "encoder.layer.0", **vague)).first == UNSIZED


def test_many_are_counted() -> None:
    rows = [moved("D", 1e-9, role="origin", first_at=str(n)) for n in range(20)]
    found = places(Comparisons(tuple(rows)))
    assert len(found.shown) + found.more == 20
    assert found.more
