"""Copies tensors from a GPU and digests them beside the pipeline, which does not wait."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from matrix_capture.digest import Snapshot, storage_dtype

LARGEST = 32 * 2**20
"""Bytes of the largest tensor that is taken: what one worker's page-locked memory holds."""

_WORKERS = max(2, min(6, (os.cpu_count() or 2) - 1))
_IN_FLIGHT = 192 * 2**20  # bytes of copies that wait on the device

Result = TypeVar("Result")


class Copies:
    """Takes tensors as they are now and works on them later, in other threads.

    A tensor is cloned on its device, in the order of its own stream: whatever is written to it
    afterwards, the clone holds what was computed. Each worker then copies clones into page-locked
    memory of its own, in a stream of its own. All of it takes at most `_WORKERS * LARGEST` bytes of
    host memory and `_IN_FLIGHT` on the device.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="digest")
        self._own = threading.local()
        self._room = _Room(_IN_FLIGHT)

    def submit(self, tensor: Any, work: Callable[[Snapshot], Result]) -> "Future[Result]":
        """Have `work` done on the tensor as it is now.

        Raises:
            TypeError: its elements cannot be digested.
        """
        import torch  # noqa: PLC0415 - only a pipeline has torch

        dtype = str(tensor.dtype).removeprefix("torch.")
        storage_dtype(dtype)
        self._room.take(tensor.numel() * tensor.element_size())
        plain = tensor.detach().resolve_conj().resolve_neg()
        clone = plain.clone(memory_format=torch.contiguous_format)
        ready = torch.cuda.Event(blocking=True)
        ready.record()
        return self._pool.submit(self._work, clone, dtype, ready, work)

    def close(self) -> None:
        """Wait for all work and end the workers."""
        self._pool.shutdown()

    def _work(
        self, clone: Any, dtype: str, ready: Any, work: Callable[[Snapshot], Result]
    ) -> Result:
        import torch  # noqa: PLC0415 - only a pipeline has torch

        size = clone.numel() * clone.element_size()
        try:
            if not hasattr(self._own, "stream"):
                self._own.stream = torch.cuda.Stream()
                self._own.memory = torch.empty(LARGEST, dtype=torch.uint8, pin_memory=True)
            memory = self._own.memory[:size]
            with torch.inference_mode(), torch.cuda.stream(self._own.stream):
                self._own.stream.wait_event(ready)
                memory.copy_(clone.reshape(-1).view(torch.uint8), non_blocking=True)
                ready.record()
            ready.synchronize()
            shape, device = tuple(clone.shape), str(clone.device)
        finally:
            del clone
            self._room.give(size)
        data = memory.numpy().view(storage_dtype(dtype))
        if dtype == "bool":
            data = (data != 0).view(data.dtype)  # a reinterpreted byte may hold another truth
        return work(Snapshot(dtype=dtype, shape=shape, device=device, data=data))


class _Room:
    """So many bytes, of which some are taken; who wants more waits."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._changed = threading.Condition()

    def take(self, size: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._free >= size)
            self._free -= size

    def give(self, size: int) -> None:
        with self._changed:
            self._free += size
            self._changed.notify_all()
