"""What the site has besides pages: the feed, the API, badges, a card, and copies of the data."""

from collections.abc import Iterable, Sequence

from matrix_site.banner import badges, site_card
from matrix_site.copies import copies
from matrix_site.endpoints import endpoints
from matrix_site.feed import feed
from matrix_site.page import FEED, Asset, Page
from matrix_site.render import Frame, environment
from matrix_site.snapshot import Snapshot

SITEMAP = "sitemap.xml"


def assets(snapshot: Snapshot, pages: Sequence[Page], frame: Frame) -> Iterable[Asset]:
    """Every file that is no page, one at a time."""
    sentence = pages[0].description
    yield from _listings(snapshot, pages, frame)
    yield from endpoints(snapshot, sentence, frame.url)
    yield from badges(snapshot)
    yield site_card(snapshot, sentence, (frame.url,))
    for lane in snapshot.lanes:
        yield from copies(lane)


def _listings(snapshot: Snapshot, pages: Sequence[Page], frame: Frame) -> Iterable[Asset]:
    jinja = environment()
    for path, view in ((SITEMAP, {"pages": pages}), (FEED, {"feed": feed(snapshot)})):
        xml = jinja.get_template(path).render(frame=frame, path=path, **view)
        yield Asset(path=path, content=xml.encode("utf-8"))
