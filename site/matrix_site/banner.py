"""What is told of the site elsewhere: a badge for each lane, and the picture of a link to it."""

from collections.abc import Iterable
from itertools import pairwise

import msgspec

from matrix_compare.schema import Verdict
from matrix_site.badge import badge_svg, shield
from matrix_site.card import Segment, card
from matrix_site.comparison import NOTHING
from matrix_site.overview import align
from matrix_site.page import Asset
from matrix_site.snapshot import LaneData, Snapshot
from matrix_site.summary import CHANGED, SEVERITY, summarise
from matrix_site.text import plural

CARD = "card.png"
_SAME = "one box, one finished index"
_SUBJECT = "ColBERT \N{MULTIPLICATION SIGN} torch"


def badge_file(lane: str, suffix: str = "json") -> str:
    """The path of a lane's badge: `json` is an endpoint for shields.io, `svg` a picture."""
    return f"badge/{lane}.{suffix}"


def badges(snapshot: Snapshot) -> Iterable[Asset]:
    """The badges of every lane, of those without a capture as well; only the first is unnamed."""
    first = next(iter(snapshot.settings.lanes))
    for lane in snapshot.lanes:
        label = _SUBJECT if lane.name == first else f"{_SUBJECT}, {lane.name}"
        message, style = _words(lane)
        endpoint = msgspec.json.encode(shield(label, message, style))
        yield Asset(path=badge_file(lane.name), content=endpoint + b"\n")
        picture = badge_svg(label, message, style).encode("utf-8")
        yield Asset(path=badge_file(lane.name, "svg"), content=picture)


def site_card(snapshot: Snapshot, sentence: str, lines: tuple[str, ...]) -> Asset:
    """The picture of the whole site: a strip of releases for each lane that is compared."""
    strips = [
        (f"{lane.settings.title}: {_SAME}", tuple(_segments(lane)))
        for lane in snapshot.lanes
        if lane.settings.constraints and align(lane)
    ]
    return Asset(path=CARD, content=card(sentence, lines, strips))


def _words(lane: LaneData) -> tuple[str, str]:
    """What a badge says, and the verdict that gives it its colour."""
    tried = len(lane.captures) + len(lane.broken)
    if not tried:
        return "not captured", Verdict.NOT_RUN.value
    if not lane.settings.constraints:
        ran = sum(held.whole for held in lane.captures.values())
        style = Verdict.IDENTICAL if ran == tried else Verdict.FAILED
        return f"{ran} of {plural(tried, 'release')} run", style.value
    found = _steps(lane)
    if not found:
        return f"{plural(tried, 'release')} captured", Verdict.NOT_RUN.value
    changes = sum(verdict in CHANGED for verdict in found)
    unknown = len(found) - changes - found.count(Verdict.IDENTICAL)
    words = f"{plural(changes, 'index change')} in {plural(len(found) + 1, 'release')}"
    words += f", {unknown} unknown" if unknown else ""
    return words, min(found, key=SEVERITY.index).value


def _steps(lane: LaneData) -> list[Verdict]:
    """What each release but the first makes of the finished index of the one before."""
    pairs = pairwise(align(lane))
    return [summarise(lane.pairs.get(pair, NOTHING)).finals.worst for pair in pairs]


def _segments(lane: LaneData) -> Iterable[Segment]:
    """Bands of releases with the same finished index, each in the style of what it began with."""
    first, *later = align(lane)
    bands = [(Verdict.IDENTICAL, [first])]
    for release, verdict in zip(later, _steps(lane), strict=True):
        if verdict is Verdict.IDENTICAL:
            bands[-1][1].append(release)
        else:
            bands.append((verdict, [release]))
    for verdict, band in bands:
        yield "\N{EN DASH}".join(dict.fromkeys((band[0], band[-1]))), len(band), verdict.value
