"""What the site has besides pages: the feed, the API, badges, a card, and copies of the data."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from matrix_site.feed import feed
from matrix_site.page import FEED, Asset, Page
from matrix_site.render import Frame, environment
from matrix_site.snapshot import LaneData, Snapshot

SITEMAP = "sitemap.xml"

_MOST = 2**26  # bytes of a file that is copied; hosts of static sites refuse 100 MB


def assets(snapshot: Snapshot, pages: Sequence[Page], frame: Frame) -> Iterable[Asset]:
    """Every file that is no page, one at a time."""
    yield from _listings(snapshot, pages, frame)
    for lane in snapshot.lanes:
        yield from _copies(lane)


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


def _listings(snapshot: Snapshot, pages: Sequence[Page], frame: Frame) -> Iterable[Asset]:
    jinja = environment()
    for path, view in ((SITEMAP, {"pages": pages}), (FEED, {"feed": feed(snapshot)})):
        xml = jinja.get_template(path).render(frame=frame, path=path, **view)
        yield Asset(path=path, content=xml.encode("utf-8"))


def _copies(lane: LaneData) -> Iterable[Asset]:
    """The files that pages link to, byte for byte."""
    if lane.verdicts and (path := data_path(lane)):
        yield Asset(path=path, content=lane.verdicts.read_bytes())
    for release, held in lane.captures.items():
        if path := data_path(lane, release):
            yield Asset(path=path, content=held.path.read_bytes())


def _copied(source: Path | None) -> bool:
    return source is not None and source.stat().st_size <= _MOST
