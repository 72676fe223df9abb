"""From a snapshot of the data to the whole site."""

from pathlib import Path

from matrix_site.pages import date, pages
from matrix_site.render import Frame, write_site
from matrix_site.snapshot import Snapshot


def publish(snapshot: Snapshot, out: Path, url: str | None = None) -> int:
    """Write the site to `out`, replacing an earlier one; returns how many pages it has.

    `url` is where it will be reached, in place of the settings' own.

    Raises:
        MatrixError: `out` holds something that is no site.
    """
    frame = Frame(date=date(snapshot), url=url or snapshot.settings.site.url)
    return write_site(frame, list(pages(snapshot)), (), out)
