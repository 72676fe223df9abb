"""What a capture and the pipeline process it starts tell each other, as JSON."""

import msgspec

from matrix_capture.catalogue import Depth, Device
from matrix_capture.inject import Swap
from matrix_capture.optrace import Site
from matrix_capture.schema import Observer


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What one run of the pipeline is to do."""

    torch: str
    repeat: int
    threads: int
    device: Device
    depth: Depth
    kmeans: Device
    checkpoint: str
    collection: tuple[str, ...]
    config: dict[str, int]
    values: str
    extensions: str
    swaps: tuple[Swap, ...] = ()
    site: Site | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A stage that started, ended or failed, after `seconds` in it."""

    stage: str
    state: str
    seconds: float = 0.0
    error: str = ""
    message: str = ""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What only this process can know of the environment and of its own taps."""

    torch_build: str
    host: dict[str, str | int]
    missing: dict[str, str]
    observer: Observer | None
