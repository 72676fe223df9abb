"""What can be found out about one call of an operation that two releases answer differently."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from matrix_capture.call import Call
from matrix_capture.catalogue import Device
from matrix_capture.experiment import Outcome, Variant
from matrix_capture.values import ValueStore
from matrix_compare import reproduction
from matrix_compare.explanation import Control, Reference, Reproduction, Shapes
from matrix_compare.laboratory import Side
from matrix_compare.shapes import shapes, variants

FACTORS: dict[Device, dict[str, dict[str, str]]] = {
    "cpu": {
        "one thread": {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        "no vector instructions": {"ATEN_CPU_CAPABILITY": "default"},
        "AVX2": {"ATEN_CPU_CAPABILITY": "avx2"},
        "MKL, one code path": {"MKL_CBWR": "COMPATIBLE"},
        "oneDNN, SSE4.1": {"ONEDNN_MAX_CPU_ISA": "SSE41", "DNNL_MAX_CPU_ISA": "SSE41"},
    },
    "cuda": {
        "no TF32": {"NVIDIA_TF32_OVERRIDE": "0"},
        "no cuBLASLt": {"DISABLE_ADDMM_CUDA_LT": "1"},
        "cuBLAS, fixed workspace": {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"},
    },
}
"""What is held fixed, one at a time, when a call is made again: variables by name."""

_AS_CAPTURED = Variant()


class Operation:
    """One call in two environments; what its captured input gives is known from the start."""

    def __init__(self, call: Call, a: Side, b: Side, store: ValueStore) -> None:
        self._call, self._store = call, store
        self._sides = a, b
        self.outcomes = self._both([_AS_CAPTURED], keep=True)[0]

    @property
    def differs(self) -> bool:
        """Whether the call, alone and with the captured input, differs between the two."""
        a, b = self.outcomes
        return a.outputs != b.outputs

    def reference(self) -> Reference | None:
        """How far both are from float64; None for what is not computed in floats."""
        double = self._sides[1].experiment(self._call, [Variant(double=True)], keep=True)[0]
        if double.error or not double.outputs:
            return None
        a, b, exact = (self._value(outcome) for outcome in (*self.outcomes, double))
        if exact.dtype != np.float64 or not a.shape == b.shape == exact.shape:
            return None
        return _distances(a, b, exact)

    def controls(self) -> tuple[Control, ...]:
        """The call again with one factor held at a time."""
        a, b = self.outcomes
        found = []
        for name, environ in FACTORS[self._sides[0].request.fixed.device].items():
            one, other = self._both([_AS_CAPTURED], environ=environ)[0]
            found.append(
                Control(
                    name=name,
                    environ=environ,
                    same=one.outputs == other.outputs,
                    moved=(one.outputs != a.outputs, other.outputs != b.outputs),
                )
            )
        return tuple(found)

    def reproduction(self, name: str) -> Reproduction | None:
        """The smallest script that shows the difference when both run it; None if none does."""
        for made in (reproduction.candidates(self._call), self._excerpts()):
            outcomes = self._both(made)
            shown = [v for v, (one, other) in zip(made, outcomes, strict=True) if _part(one, other)]
            for variant in shown[:_TRIES]:
                text = reproduction.script(
                    self._call,
                    variant,
                    results=len(self.outcomes[0].outputs),
                    threads=self._sides[0].threads,
                    values=self._store,
                )
                if text:
                    a, b = (side.script(text) for side in self._sides)
                    found = Reproduction(name=name, script=text, seed=variant.seed, printed=(a, b))
                    if found.differs:
                        return found
        return None

    def shapes(self) -> Shapes | None:
        """The call at many batch sizes and lengths; None if it has no rows."""
        return sweep(self._call, *self._sides)

    def _excerpts(self) -> list[Variant]:
        """Parts of the captured input around the first element that differs."""
        a, b = (self._value(outcome) for outcome in self.outcomes)
        if a.shape != b.shape or not a.size:
            return []
        at = np.argwhere(a != b)
        return reproduction.excerpts(self._call, at[0].tolist()) if len(at) else []

    def _value(self, outcome: Outcome) -> npt.NDArray[Any]:
        """The first tensor of an outcome."""
        snap = self._store.get(bytes.fromhex(outcome.outputs[0]))
        return snap.numbers().reshape(snap.shape)

    def _both(self, made: Sequence[Variant], **how: Any) -> list[tuple[Outcome, Outcome]]:
        a, b = (side.experiment(self._call, made, **how) for side in self._sides)
        return list(zip(a, b, strict=True))


def sweep(call: Call, a: Side, b: Side) -> Shapes | None:
    """A call on random inputs at many batch sizes and lengths; None if it has no rows."""
    made = variants(call)
    if not made:
        return None
    return shapes(call, *(side.experiment(call, made) for side in (a, b)))


_TRIES = 3  # scripts that are run before the search goes on elsewhere


def _part(one: Outcome, other: Outcome) -> bool:
    """Whether two outcomes took the same and gave something else."""
    usable = not (one.error or other.error) and one.inputs == other.inputs
    return usable and one.outputs != other.outputs


def _distances(
    a: npt.NDArray[Any], b: npt.NDArray[Any], exact: npt.NDArray[np.float64]
) -> Reference:
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    from_a, from_b, apart = abs(wide_a - exact), abs(wide_b - exact), abs(wide_a - wide_b)
    moved = apart > 0
    nearer_a = int((moved & (from_a < from_b)).sum())
    nearer_b = int((moved & (from_b < from_a)).sum())
    elements = int(moved.sum())
    return Reference(
        max_a=float(from_a.max(initial=0)),
        max_b=float(from_b.max(initial=0)),
        max_ab=float(apart.max(initial=0)),
        mean_a=float(from_a.mean()),
        mean_b=float(from_b.mean()),
        mean_ab=float(apart.mean()),
        elements=elements,
        nearer=(nearer_a, nearer_b, elements - nearer_a - nearer_b),
    )
