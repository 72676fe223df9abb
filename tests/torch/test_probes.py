import blake3
import torch

from matrix_capture.catalogue import CATALOGUE
from matrix_capture.probes import record_probes
from matrix_capture.recorder import Recorder


def test_every_probe_is_recorded_once_under_its_scope() -> None:
    recorder = Recorder()
    record_probes(recorder)
    rows = recorder.table().to_pylist()
    probes = [artifact.name for artifact in CATALOGUE if artifact.source == "matrix_capture.probes"]
    assert sorted(row["artifact"] for row in rows) == sorted(probes)
    assert {(row["scope"], row["occurrence"]) for row in rows} == {("probe", 0)}


def test_probes_do_not_depend_on_what_ran_before() -> None:
    first, second = Recorder(), Recorder()
    record_probes(first)
    torch.rand(17)
    record_probes(second)
    assert first.table() == second.table()


def test_the_inputs_are_those_of_the_seeds() -> None:
    recorder = Recorder()
    record_probes(recorder)
    found = {row["artifact"]: row for row in recorder.table().to_pylist()}
    torch.manual_seed(42)
    codes = torch.randint(0, 16383, (1146937,))
    raw = codes.numpy().tobytes()
    assert found["probe_sort_input"]["digest"] == blake3.blake3(b"int64|1146937|" + raw).digest()
    torch.manual_seed(13)
    vectors = torch.empty(1024, 96).uniform_(-0.4, 0.4)
    raw = vectors.numpy().tobytes()
    digest = blake3.blake3(b"float32|1024,96|" + raw).digest()
    assert found["probe_normalize_input"]["digest"] == digest


def test_another_sort_is_the_same_multiset() -> None:
    recorder = Recorder()
    keys = torch.tensor([0, 0, 1])
    for indices in ([2, 0, 1], [0, 2, 1], [2, 1, 0]):
        recorder.record("probe_sort_values", keys)
        recorder.record("probe_sort_indices", torch.tensor(indices), key=keys)
    rows = [r for r in recorder.table().to_pylist() if r["artifact"] == "probe_sort_indices"]
    one, swapped, wrong = (row["multiset"] for row in rows)
    assert one == swapped != wrong
