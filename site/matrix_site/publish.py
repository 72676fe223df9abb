"""From a snapshot of the data to the whole site."""

from pathlib import Path

from matrix_site.assets import assets
from matrix_site.page import ARTIFACTS, CHANGES, INDEX, INDEXES, KNOWN, METHOD
from matrix_site.pages import pages
from matrix_site.render import Frame, write_site
from matrix_site.snapshot import Snapshot
from matrix_site.text import day


def publish(snapshot: Snapshot, out: Path, url: str | None = None) -> int:
    """Write the site to `out`, replacing an earlier one; returns how many pages it has.

    `url` is where it will be reached, in place of the settings' own.

    Raises:
        MatrixError: `out` holds something that is no site.
    """
    found = list(pages(snapshot))
    there = {page.path for page in found}
    settings = snapshot.settings.site
    newest = snapshot.newest
    frame = Frame(
        date=day(newest) if newest else "",
        day=newest.date().isoformat() if newest else "",
        stale_after_days=settings.stale_after_days,
        url=url or settings.url,
        places=tuple(place for place in _PLACES if place[0] in there),
    )
    return write_site(frame, found, assets(snapshot, found, frame), out)


_PLACES = (
    (INDEX, "Matrix"),
    (INDEXES, "Indexes"),
    (ARTIFACTS, "Artifacts"),
    (KNOWN, "Known incompatibilities"),
    (CHANGES, "Changes"),
    (METHOD, "Method"),
)
