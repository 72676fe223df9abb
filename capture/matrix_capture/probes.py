"""Probes: fixed lines of torch without ColBERT, as rows like any other."""

from functools import partial
from typing import Any

from matrix_capture.catalogue import Device
from matrix_capture.recorder import Recorder


def record_probes(recorder: Recorder, device: Device = "cpu") -> None:
    """Run every probe under scope `probe`: on the CPU, and on the device of the lane as a part.

    The seeds and shapes of the normalisation and the sort are those of the published study, so that
    its results can be checked against ours. All inputs are drawn on the CPU.
    """
    import torch  # noqa: PLC0415 - only a pipeline has torch

    with recorder.within("probe"):
        for place in dict.fromkeys(("cpu", device)):
            probe = partial(recorder.record, part="" if place == "cpu" else place)
            _matrix_probes(torch, probe, place)
            _normalize_probe(torch, probe, place)
            _sort_probe(torch, probe, place)


def _matrix_probes(torch: Any, probe: Any, place: str) -> None:
    torch.manual_seed(0)
    left, right = torch.empty(512, 384).uniform_(-1, 1), torch.empty(384, 512).uniform_(-1, 1)
    probe("probe_matmul", left.to(place) @ right.to(place))
    scores = torch.empty(1024, 96).uniform_(-4, 4)
    probe("probe_softmax", scores.to(place).softmax(dim=-1))


def _normalize_probe(torch: Any, probe: Any, place: str) -> None:
    torch.manual_seed(13)
    vectors = torch.empty(1024, 96).uniform_(-0.4, 0.4).to(place)
    probe("probe_normalize_input", vectors)
    probe("probe_normalize_input_half", vectors.half())
    unit = torch.nn.functional.normalize(vectors, dim=-1)
    probe("probe_normalize", unit)
    probe("probe_normalize_half", unit.half())


def _sort_probe(torch: Any, probe: Any, place: str) -> None:
    torch.manual_seed(42)
    codes = torch.randint(0, 16383, (1146937,)).to(place)
    probe("probe_sort_input", codes)
    ordered = codes.sort()
    probe("probe_sort_values", ordered.values)
    probe("probe_sort_indices", ordered.indices, key=ordered.values)
