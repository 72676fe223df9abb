"""Digests tensors beside a pipeline that has cores to spare, as one on a GPU does."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from matrix_capture.digest import Snapshot, layout_of, oddity, snapshot, storage_dtype, with_data
from matrix_capture.room import Room

_WORKERS = max(2, min(4, (os.cpu_count() or 2) - 2))
_LARGEST = 24 * 2**20  # bytes of the largest tensor that is taken, and of each worker's memory
_IN_FLIGHT = 96 * 2**20  # bytes of copies that wait for a worker

Result = TypeVar("Result")


class Copies:
    """Takes tensors as they are now and has them worked on later, in other threads.

    A tensor is cloned where it is, on a GPU in the order of its own stream: whatever is written to
    it afterwards, the clone holds what was computed. Each worker then copies clones from the GPU
    into page-locked memory of its own, in a stream of its own. All of it takes at most
    `_WORKERS * _LARGEST` bytes of host memory and `_IN_FLIGHT` where the tensors are.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="digest")
        self._own = threading.local()
        self._room = Room(_IN_FLIGHT)

    def submit(self, tensor: Any, work: Callable[[Snapshot], Result]) -> "Future[Result]":
        """Have `work` done on the tensor as it is now.

        Raises:
            TypeError: its elements cannot be digested.
        """
        import torch  # noqa: PLC0415 - only a pipeline has torch

        storage_dtype(layout_of(tensor).dtype)
        self._room.take(tensor.nbytes)
        try:
            plain = tensor.detach().resolve_conj().resolve_neg()
            clone = plain.clone(memory_format=torch.contiguous_format)
            ready = None
            if tensor.is_cuda:
                ready = torch.cuda.Event(blocking=True)
                ready.record()
        except BaseException:
            self._room.give(tensor.nbytes)
            raise
        return self._pool.submit(self._work, [clone], ready, work)

    def close(self) -> None:
        """Wait for all work and end the workers."""
        self._pool.shutdown()

    def _work(self, clones: list[Any], ready: Any, work: Callable[[Snapshot], Result]) -> Result:
        # Taken out of the list so that nothing else holds it: memory on a GPU is scarce.
        clone = clones.pop()
        size = clone.nbytes
        try:
            if ready is None:
                return work(snapshot(clone))
            snap = self._fetch(clone, ready)
            del clone
        finally:
            self._room.give(size)
        return work(snap)

    def _fetch(self, clone: Any, ready: Any) -> Snapshot:
        """The clone in the memory of this thread, which holds it until the next one."""
        import torch  # noqa: PLC0415 - only a pipeline has torch

        own = self._own
        if not hasattr(own, "stream"):
            own.stream = torch.cuda.Stream()
            own.memory = torch.empty(_LARGEST, dtype=torch.uint8, pin_memory=True)
        memory = own.memory[: clone.nbytes]
        with torch.inference_mode(), torch.cuda.stream(own.stream):
            own.stream.wait_event(ready)
            memory.copy_(clone.reshape(-1).view(torch.uint8), non_blocking=True)
            ready.record()
        ready.synchronize()
        layout = layout_of(clone)
        data = memory.numpy().view(storage_dtype(layout.dtype))
        if layout.dtype == "bool":
            data = (data != 0).view(data.dtype)  # a reinterpreted byte may hold another truth
        return with_data(layout, data)


def fits(value: Any) -> bool:
    """Whether a value is a tensor that `Copies` takes: plain, and not too large to be held."""
    return (
        hasattr(value, "detach")
        and oddity(value) is None
        and value.numel() * value.element_size() <= _LARGEST
    )
