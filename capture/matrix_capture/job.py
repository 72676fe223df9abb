"""What a capture and the pipeline process it starts tell each other, as JSON."""

from pathlib import Path

import msgspec

from matrix_capture.catalogue import Depth, Device
from matrix_capture.collection import Query
from matrix_capture.inject import Swap
from matrix_capture.optrace import Site
from matrix_capture.schema import Observer

INDEX_FOLDER = Path("runs", "indexes", "index")
"""Where in its folder a run leaves the index."""


class KeptIndex(msgspec.Struct, frozen=True, kw_only=True):
    """A finished index of a release, and whether it is to be mapped into memory."""

    torch: str
    folder: str
    mmap: bool


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What one run of the pipeline is to do.

    With `indexes` it builds none and searches those, one after the other.
    """

    torch: str
    repeat: int
    threads: int
    device: Device
    depth: Depth
    kmeans: Device
    checkpoint: str
    collection: tuple[str, ...]
    queries: tuple[Query, ...] = ()
    config: dict[str, int]
    values: str
    extensions: str
    swaps: tuple[Swap, ...] = ()
    site: Site | None = None
    indexes: tuple[KeptIndex, ...] = ()


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A stage that started, ended or failed, after `seconds` and `cpu` seconds in it."""

    stage: str
    state: str
    seconds: float = 0.0
    cpu: float = 0.0
    error: str = ""
    message: str = ""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What only this process can know of the environment and of its own taps."""

    torch_build: str
    host: dict[str, str | int]
    missing: dict[str, str]
    substituted: dict[str, str]
    observer: Observer | None
