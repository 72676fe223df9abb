from collections.abc import Sequence
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
            ("linear", "differs", "sample"),
        )
    )
    assert found == ["", "origin", "propagated"]


def encoder(layers: Sequence[str], scope: str = "chunk.0", **others: str) -> list[tuple[str, ...]]:
    """What an encoder leaves at the usual depth, layer by layer; `others` are its neighbours."""
    known = {"weights": "identical", "input_ids": "identical", "attention_mask": "identical"}
    known |= {"bert": "differs", "linear": "differs"} | others
    before = [(name, known.pop(name), scope) for name in tuple(known)[:3]]
    inside = [("layers", v, scope, f"encoder.layer.{n}") for n, v in enumerate(layers)]
    return [*before, *inside, *((name, verdict, scope) for name, verdict in known.items())]


def told(cells: list[tuple[str, ...]]) -> list[str]:
    """Every role with the artifact, scope and part that has it."""
    table = rows(*cells)
    return [
        " ".join(filter(None, (role, row["artifact"], row["scope"], row["part"])))
        for row, role in zip(table, roles(table), strict=True)
        if role
    ]


def test_the_first_layer_that_differs_is_the_origin() -> None:
    assert told(encoder(["identical"] * 3 + ["differs"] * 3)) == [
        "origin layers chunk.0 encoder.layer.3",
        "propagated layers chunk.0 encoder.layer.4",
        "propagated layers chunk.0 encoder.layer.5",
        "propagated bert chunk.0",
        "propagated linear chunk.0",
    ]


def test_the_first_layer_of_all_has_none_before_it() -> None:
    found = told(encoder(["differs", "differs"]))
    assert found[:2] == [
        "origin layers chunk.0 encoder.layer.0",
        "propagated layers chunk.0 encoder.layer.1",
    ]
    found = told(encoder(["differs", "differs"], input_ids="differs"))
    assert found[1:3] == [
        "propagated layers chunk.0 encoder.layer.0",
        "propagated layers chunk.0 encoder.layer.1",
    ]


def test_a_layer_that_is_identical_again_absorbs_what_came_in() -> None:
    layers = ["identical", "identical", "differs", "identical", "identical", "differs"]
    assert told(encoder(layers, bert="identical", linear="identical")) == [
        "origin layers chunk.0 encoder.layer.2",
        "absorbed layers chunk.0 encoder.layer.3",
        "origin layers chunk.0 encoder.layer.5",
        "absorbed bert chunk.0",
    ]


def test_what_the_first_layer_absorbed_is_no_excuse_for_a_later_one() -> None:
    layers = ["identical", "identical", "differs"]
    assert told(encoder(layers, input_ids="differs"))[:3] == [
        "origin input_ids chunk.0",
        "absorbed layers chunk.0 encoder.layer.0",
        "origin layers chunk.0 encoder.layer.2",
    ]


def test_layers_of_one_pass_have_their_parents_there() -> None:
    sample = encoder(["identical", "differs"], "sample")
    chunk = encoder(["differs", "differs"], "chunk.0")
    assert [role for role in told([*sample, *chunk]) if " layers " in role] == [
        "origin layers sample encoder.layer.1",
        "origin layers chunk.0 encoder.layer.0",
        "propagated layers chunk.0 encoder.layer.1",
    ]


def test_layers_are_numbers_and_not_words() -> None:
    layers = ["identical"] * 9 + ["differs"] * 3
    assert [role for role in told(encoder(layers)) if " layers " in role] == [
        "origin layers chunk.0 encoder.layer.9",
        "propagated layers chunk.0 encoder.layer.10",
        "propagated layers chunk.0 encoder.layer.11",
    ]


def test_other_tensors_of_a_layer_count_with_it() -> None:
    first, second = (("layers", "differs", "sample", f"encoder.layer.{n}#1") for n in (0, 1))
    assert told([first, second]) == [
        f"origin layers sample {first[3]}",
        f"propagated layers sample {second[3]}",
    ]


def test_a_parameter_of_a_layer_concerns_that_layer() -> None:
    weights = [
        ("weights", "identical", "setup", "bert.embeddings.word_embeddings.weight"),
        ("weights", "identical", "setup", "bert.encoder.layer.0.output.dense.weight"),
        ("weights", "differs", "setup", "bert.encoder.layer.1.output.dense.weight"),
    ]
    layers = [("layers", v, "sample", f"encoder.layer.{n}") for n, v in enumerate(_ONE_LATE)]
    assert told([*weights, *layers]) == [
        "origin weights setup bert.encoder.layer.1.output.dense.weight",
        "propagated layers sample encoder.layer.1",
    ]
    weights = [("weights", "differs", "setup", "bert.embeddings.word_embeddings.weight")]
    layers = [("layers", "differs", "sample", f"encoder.layer.{n}") for n in range(2)]
    assert [role.split()[0] for role in told([*weights, *layers])] == [
        "origin",
        "propagated",
        "propagated",
    ]


@pytest.mark.parametrize("unknown", ["unstable", "missing"])
def test_a_layer_behind_one_that_nobody_knows_is_blamed_on_nobody(unknown: str) -> None:
    layers = ["identical", unknown, "differs", "differs"]
    assert [role for role in told(encoder(layers)) if " layers " in role] == [
        "propagated layers chunk.0 encoder.layer.3"
    ]


_ONE_LATE = ("identical", "differs")
_SUBLAYERS = {
    "attention_self": ".attention.self",
    "attention_output": ".attention.output",
    "intermediate": ".intermediate",
    "output": ".output",
    "layers": "",
}


def sublayers(
    layers: int, first: tuple[int, str], embeddings: str = "identical"
) -> list[tuple[str, ...]]:
    """An encoder at the depth of sublayers that differs from one place on."""
    order = [(layer, name) for layer in range(layers) for name in _SUBLAYERS]
    differs = set(order[order.index(first) :])
    cells: list[tuple[str, ...]] = [("embeddings", embeddings, "sample")]
    for name, path in _SUBLAYERS.items():
        for layer in range(layers):
            verdict = "differs" if (layer, name) in differs else "identical"
            cells.append((name, verdict, "sample", f"encoder.layer.{layer}{path}"))
    return [*cells, ("bert", "differs", "sample")]


@pytest.mark.parametrize("name", _SUBLAYERS)
@pytest.mark.parametrize("layer", [0, 3, 10])
def test_the_first_sublayer_that_differs_is_the_only_origin(name: str, layer: int) -> None:
    found = told(sublayers(12, (layer, name)))
    origins = [role for role in found if role.startswith("origin")]
    assert origins == [f"origin {name} sample encoder.layer.{layer}{_SUBLAYERS[name]}"]
    assert not [role for role in found if role.startswith("absorbed")]


def test_what_enters_the_first_layer_enters_the_others_through_it() -> None:
    cells = sublayers(4, (2, "attention_output"), embeddings="differs")
    origins = [role for role in told(cells) if role.startswith("origin")]
    assert origins == [
        "origin embeddings sample",
        "origin attention_output sample encoder.layer.2.attention.output",
    ]


def test_a_number_in_the_name_of_a_file_is_no_layer() -> None:
    found = roles(
        rows(
            ("residuals", "differs", "chunk.1"),
            ("residuals", "identical", "chunk.0"),
            ("index_residuals", "differs", "disk", "1.residuals.pt"),
        )
    )
    assert found == ["origin", "", "propagated"]
