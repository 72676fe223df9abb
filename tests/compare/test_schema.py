from collections.abc import Sequence

import pytest

from matrix_compare.schema import in_layers, layer_of, spans


@pytest.mark.parametrize(
    ("artifact", "part", "layer"),
    [
        ("layers", "encoder.layer.3", 3),
        ("layers", "encoder.layer.10#1", 10),
        ("layers", "encoder.layer.0#hidden.7", 0),
        ("layers", "12", 12),
        ("attention_self", "encoder.layer.3.attention.self", 3),
        ("weights", "bert.encoder.layer.11.output.dense.weight", 11),
        ("weights", "bert.embeddings.LayerNorm.bias", None),
        ("bert", "#1", None),
        ("bert", "", None),
        ("layers", "layer4", None),
        ("layers", "9" * 5000, None),
        ("layers", "encoder.layer.\u0663", None),
        ("index_codes", "0.codes.pt", None),
        ("a name from elsewhere", "encoder.layer.3", None),
    ],
)
def test_layer_of_a_part(artifact: str, part: str, layer: int | None) -> None:
    assert layer_of(artifact, part) == layer


@pytest.mark.parametrize(
    ("layers", "told"),
    [
        ([], ""),
        ([3], "3"),
        ([0, 1], "0-1"),
        ([10, 2, 9, 2, 3, 1, 5], "1-3, 5, 9-10"),
    ],
)
def test_runs_of_layers(layers: Sequence[int], told: str) -> None:
    assert spans(layers) == told


def test_one_layer_is_no_plural() -> None:
    assert (in_layers([3, 3]), in_layers([3, 4])) == ("layer 3", "layers 3-4")
