"""Which values are swapped, without torch; that they really go on is tested where torch is."""

from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_capture.digest import content_hash, snapshot
from matrix_capture.errors import MatrixError
from matrix_capture.inject import (
    INJECTABLE,
    Injection,
    Injector,
    Swap,
    injection_label,
    read_injection,
    swaps,
    swaps_hash,
)
from matrix_capture.runner import Request
from matrix_capture.schema import Capture
from matrix_capture.settings import read_settings
from matrix_capture.values import ValueStore
from tests.compare.conftest import Put, capture_of

ROOT = Path(__file__).parents[2]
BATCHES = Injection(artifact="batches", source="2.7.1")


def hashed(value: Any) -> str:
    return content_hash(snapshot(value)).hex()


def swap(occurrence: int = 0, **changes: Any) -> Swap:
    given = {"artifact": "batches", "part": "", "scope": "sample", "digest": "00" * 32}
    return Swap(occurrence=occurrence, **(given | changes))


# What is asked for.


@pytest.mark.parametrize(
    ("text", "artifact", "occurrence", "source"),
    [
        ("batches=2.7.1", "batches", None, "2.7.1"),
        ("batches:0=2.7.1", "batches", 0, "2.7.1"),
        ("codes_sorted_indices:12=1.13.1", "codes_sorted_indices", 12, "1.13.1"),
        ("D=2.10.0", "D", None, "2.10.0"),
        ("D=2.16.0.dev20261121", "D", None, "2.16.0.dev20261121"),
    ],
)
def test_an_injection_is_read_and_told(
    text: str, artifact: str, occurrence: int | None, source: str
) -> None:
    found = read_injection(text)
    assert found == Injection(artifact=artifact, occurrence=occurrence, source=source)
    assert found.label == text


@given(
    artifact=st.sampled_from(INJECTABLE),
    occurrence=st.none() | st.integers(0, 999_999_999),
    source=st.tuples(*[st.integers(0, 99)] * 3).map(lambda v: ".".join(map(str, v))),
)
def test_a_label_is_read_back(artifact: str, occurrence: int | None, source: str) -> None:
    injection = Injection(artifact=artifact, occurrence=occurrence, source=source)
    assert read_injection(injection.label) == injection


@pytest.mark.parametrize(
    "text",
    [
        *("", "batches", "batches=", "=2.7.1", "batches:=2.7.1", "batches:-1=2.7.1"),
        *("batches:1.5=2.7.1", "batches:1234567890=2.7.1", "batches:²=2.7.1"),
        *("batches=2.7", "batches=2.7.1+cu128", "batches=2.7.1 ", "batches=2.7.1\n"),
        *("batches = 2.7.1", "../batches=2.7.1", "batches=2.7.1,D=2.7.1", "batches=\u0662.7.1"),
    ],
)
def test_what_is_no_injection_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(
        MatrixError, match=r"is no artifact\[:occurrence\]=release, such as"
    ) as caught:
        read_injection(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("artifact", ["weights", "input_ids", "layers", "ivf", "nonsense"])
def test_what_cannot_be_swapped_is_refused_with_what_can(artifact: str) -> None:
    told = rf"^'{artifact}' cannot be swapped \(no .*\); normalized, half, "
    with pytest.raises(MatrixError, match=told):
        read_injection(f"{artifact}=2.7.1")


def test_labels_are_sorted_however_they_were_given() -> None:
    texts = ["codes=2.7.1", "batches:2=2.7.1", "batches:10=2.7.1"]
    labels = {injection_label(map(read_injection, order)) for order in permutations(texts)}
    assert labels == {"batches:10=2.7.1,batches:2=2.7.1,codes=2.7.1"}
    assert injection_label(()) == ""


# What a capture has there.


def source(*extra: Put) -> Capture:
    """Two runs of two passes of two batches."""
    puts = [
        Put(artifact="batches", scope=scope, occurrence=n, repeat=repeat, value=np.full(2, n))
        for repeat in (0, 1)
        for scope in ("sample", "chunk.0")
        for n in (0, 1)
    ]
    return capture_of("2.7.1", [*puts, Put(artifact="D", scope="sample", value=1), *extra])


def test_without_an_occurrence_all_are_swapped() -> None:
    found = swaps(BATCHES, source())
    assert [(s.scope, s.occurrence) for s in found] == [
        ("sample", 0),
        ("sample", 1),
        ("chunk.0", 0),
        ("chunk.0", 1),
    ]
    assert {s.artifact for s in found} == {"batches"}
    assert found[1].digest == hashed(np.full(2, 1))


def test_an_occurrence_is_swapped_in_every_pass() -> None:
    found = swaps(Injection(artifact="batches", source="2.7.1", occurrence=1), source())
    assert found == [
        swap(1, scope=scope, digest=hashed(np.full(2, 1))) for scope in ("sample", "chunk.0")
    ]


@pytest.mark.parametrize("text", ["codes=2.7.1", "batches:2=2.7.1"])
def test_what_the_capture_has_not_is_told_in_one_line(text: str) -> None:
    with pytest.raises(MatrixError) as caught:
        swaps(read_injection(text), source())
    assert str(caught.value) == f"{text}: that capture has nothing to inject there"


def test_what_differs_from_itself_is_no_value_to_swap() -> None:
    other = Put(artifact="batches", scope="chunk.0", occurrence=1, repeat=1, value=np.ones(9))
    with pytest.raises(MatrixError) as caught:
        swaps(BATCHES, source(other))
    assert str(caught.value) == (
        "batches=2.7.1: batches chunk.0 1 differs between two runs of that release"
    )
    # What is stable can be.
    first = Injection(artifact="batches", source="2.7.1", occurrence=0)
    assert len(swaps(first, source(other))) == 2


def test_a_release_that_is_not_on_record_is_told_with_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    request = Request(
        settings=read_settings(ROOT / "matrix.toml"),
        lane="cpu-pinned",
        torch="2.8.0",
        data=tmp_path,
        cache=tmp_path,
    )
    assert request.swaps() == ()
    with pytest.raises(MatrixError) as caught:
        replace(request, injections=(BATCHES,)).swaps()
    assert str(caught.value) == (
        "batches=2.7.1: no capture of torch 2.7.1 in lane cpu-pinned; nox -s capture-2.7.1 makes it"
    )


# All that is injected, in one hash.


def test_a_hash_is_of_the_places_and_their_values_in_any_order() -> None:
    first, second = swap(0), swap(1)
    assert swaps_hash(()) == ""
    assert swaps_hash([first, second]) == swaps_hash(iter([second, first]))
    others = [
        swap(2),
        swap(0, scope="chunk.0"),
        swap(0, part="x"),
        swap(0, artifact="D"),
        swap(0, digest="01" * 32),
    ]
    assert len({swaps_hash([s]) for s in [first, *others]}) == len(others) + 1
    assert swaps_hash([first]) != swaps_hash([first, second])


# Handing out.


def test_a_place_that_is_not_meant_keeps_its_value(tmp_path: Path) -> None:
    injector = Injector([swap(1)], ValueStore(tmp_path))
    value = object()
    assert injector(("batches", "", "sample", 0), value) is value
    assert injector.left == [("batches", "", "sample", 1)]


def test_a_value_that_is_not_in_the_store_is_told(tmp_path: Path) -> None:
    injector = Injector([swap(0)], ValueStore(tmp_path))
    with pytest.raises(MatrixError, match="no such value; capture the release again"):
        injector(("batches", "", "sample", 0), np.zeros(1))
