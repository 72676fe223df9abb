"""Copies of the Parquet files that pages tell of."""

from collections.abc import Iterable
from pathlib import Path

from matrix_site.page import Asset
from matrix_site.snapshot import LaneData

_MOST = 2**26  # bytes of a file that is copied; hosts of static sites refuse 100 MB


def data_path(lane: LaneData, release: str = "") -> str:
    """Where the site has the digests of a release, or else the verdicts of a lane, as Parquet.

    Empty where nothing is copied: there is no file, it cannot be read, or it is too large.
    """
    if not release:
        return f"data/verdicts/{lane.name}.parquet" if _copied(lane.verdicts) else ""
    held = lane.captures.get(release)
    return (
        f"data/digests/{lane.name}/torch-{release}.parquet" if held and _copied(held.path) else ""
    )


def copies(lane: LaneData) -> Iterable[Asset]:
    """The files of a lane, byte for byte."""
    if lane.verdicts and (path := data_path(lane)):
        yield Asset(path=path, content=lane.verdicts.read_bytes())
    for release, held in lane.captures.items():
        if path := data_path(lane, release):
            yield Asset(path=path, content=held.path.read_bytes())


def _copied(source: Path | None) -> bool:
    return source is not None and source.stat().st_size <= _MOST
