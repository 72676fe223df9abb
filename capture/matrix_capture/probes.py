"""Probes: fixed lines of torch without ColBERT, as rows like any other."""

from typing import Any

from matrix_capture.recorder import Recorder


def record_probes(recorder: Recorder) -> None:
    """Run every probe under scope `probe`.

    The seeds and shapes of the normalisation and the sort are those of the published study, so that
    its results can be checked against ours.
    """
    import torch  # noqa: PLC0415 - only a pipeline has torch

    with recorder.within("probe"):
        _matrix_probes(torch, recorder)
        _normalize_probe(torch, recorder)
        _sort_probe(torch, recorder)


def _matrix_probes(torch: Any, recorder: Recorder) -> None:
    torch.manual_seed(0)
    left, right = torch.empty(512, 384).uniform_(-1, 1), torch.empty(384, 512).uniform_(-1, 1)
    recorder.record("probe_matmul", left @ right)
    recorder.record("probe_softmax", torch.empty(1024, 96).uniform_(-4, 4).softmax(dim=-1))


def _normalize_probe(torch: Any, recorder: Recorder) -> None:
    torch.manual_seed(13)
    vectors = torch.empty(1024, 96).uniform_(-0.4, 0.4)
    recorder.record("probe_normalize_input", vectors)
    recorder.record("probe_normalize_input_half", vectors.half())
    unit = torch.nn.functional.normalize(vectors, dim=-1)
    recorder.record("probe_normalize", unit)
    recorder.record("probe_normalize_half", unit.half())


def _sort_probe(torch: Any, recorder: Recorder) -> None:
    torch.manual_seed(42)
    codes = torch.randint(0, 16383, (1146937,))
    recorder.record("probe_sort_input", codes)
    ordered = codes.sort()
    recorder.record("probe_sort_values", ordered.values)
    recorder.record("probe_sort_indices", ordered.indices, key=ordered.values)
