from typing import Any

import numpy as np
import pytest

from matrix_capture.digest import Snapshot, content_hash, snapshot
from matrix_capture.settings import Settings
from matrix_capture.values import ValueStore
from matrix_compare.gauge import Gauge
from matrix_compare.metrics import Distances
from matrix_compare.tolerance import read_profiles


def put(store: ValueStore, value: Any) -> bytes:
    snap = snapshot(value)
    store.put(snap, content_hash(snap))
    return content_hash(snap)


def test_a_pair_of_values_is_read_once(
    store: ValueStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = put(store, np.array([1.0])), put(store, np.array([2.0]))
    gauge = Gauge(store, read_profiles(settings))
    reads: list[bytes] = []
    get = ValueStore.get

    def counted(self: ValueStore, digest: bytes) -> Snapshot:
        reads.append(digest)
        return get(self, digest)

    monkeypatch.setattr(ValueStore, "get", counted)
    first = gauge(a, b)
    assert isinstance(first, Distances)
    assert gauge(a, b) is first
    assert reads == [a, b]
    other = gauge(b, a)
    assert isinstance(other, Distances)
    assert (first.max_rel, other.max_rel) == (0.5, 1.0)


def test_what_cannot_be_measured_is_a_reason(store: ValueStore, settings: Settings) -> None:
    gauge = Gauge(store, read_profiles(settings))
    a, b = put(store, np.array([1j])), put(store, np.array([2j]))
    assert gauge(a, b) == "no distance is defined for complex128"
    assert gauge(a, bytes(32)) == "values not kept"
