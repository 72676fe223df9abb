from typing import Any

import pytest

from matrix_compare.origin import roles


def rows(*cells: tuple[str, ...]) -> list[dict[str, Any]]:
    """One row per (artifact, verdict, scope, part); scope and part may be left out."""
    names = ("artifact", "verdict", "scope", "part")
    return [dict(zip(names, (*cell, "", "")[:4], strict=True)) for cell in cells]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([("prenorm_centroids", "identical"), ("postnorm_centroids", "identical")], ["", ""]),
        (
            [
                ("prenorm_centroids", "identical"),
                ("postnorm_centroids", "close"),
                ("centroids", "differs"),
            ],
            ["", "origin", "propagated"],
        ),
        (
            [("prenorm_centroids", "close"), ("postnorm_centroids", "identical")],
            ["origin", "absorbed"],
        ),
        (
            [
                ("codes_sorted_values", "identical"),
                ("codes_sorted_indices", "reordered"),
                ("ivf", "identical"),
            ],
            ["", "origin", "absorbed"],
        ),
        # Nobody knows what an unstable or missing parent would have been.
        ([("prenorm_centroids", "unstable"), ("postnorm_centroids", "differs")], ["", ""]),
        ([("prenorm_centroids", "missing"), ("postnorm_centroids", "differs")], ["", ""]),
        ([("prenorm_centroids", "close"), ("postnorm_centroids", "unstable")], ["origin", ""]),
        ([("prenorm_centroids", "close"), ("postnorm_centroids", "failed")], ["origin", ""]),
        # A parent that nobody captured is passed over; a root has none.
        ([("postnorm_centroids", "differs")], ["origin"]),
        ([("weights", "differs")], ["origin"]),
        ([("a name from elsewhere", "differs")], [""]),
        ([], []),
    ],
)
def test_roles(cells: list[tuple[str, ...]], expected: list[str]) -> None:
    assert roles(rows(*cells)) == expected


def test_parents_are_those_of_the_same_scope() -> None:
    found = roles(
        rows(
            ("D", "differs", "sample"),
            ("D", "identical", "chunk.0"),
            ("embs", "identical", "chunk.0"),
            ("embs", "differs", "chunk.1"),
        )
    )
    assert found == ["origin", "", "", "propagated"]


def test_a_parent_counts_with_all_its_parts() -> None:
    found = roles(
        rows(
            ("weights", "identical", "setup", "a"),
            ("weights", "close", "setup", "b"),
            ("batches", "differs", "sample"),
        )
    )
    assert found == ["", "origin", "propagated"]
