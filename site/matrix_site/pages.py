"""Which pages there are, where they lie, and what each of them shows."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from urllib.parse import quote

from matrix_compare.known import read_known
from matrix_site.advice import advice_view
from matrix_site.crossing import indexes
from matrix_site.outcomes import outcomes
from matrix_site.overview import Overview, align, overview
from matrix_site.pair import pair_view
from matrix_site.snapshot import LaneData, Pair, Snapshot
from matrix_site.summary import SEVERITY
from matrix_site.text import day, moment, plural


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """One file of the site: its path below the root, its template, and the template's variables."""

    path: str
    template: str
    view: dict[str, Any]

    @property
    def root(self) -> str:
        """From this page to the root, as a relative URL."""
        return "../" * self.path.count("/")


def pages(snapshot: Snapshot) -> Iterable[Page]:
    """Every page of the site."""
    releases = snapshot.settings.releases
    shown = [lane for lane in snapshot.lanes if not lane.empty]
    dated: dict[str, Any] = {"date": _date(snapshot)}
    if not shown:
        view = {**dated, "newest": releases[-2:]}
        yield Page(path="index.html", template="empty.html", view=view)
        return
    compared = [lane for lane in shown if lane.settings.constraints]
    known = read_known()
    ran = [outcomes(lane, releases, known) for lane in shown if not lane.settings.constraints]
    hrefs = {lane.name: _hrefs(snapshot, lane) for lane in compared}
    views = [overview(lane, releases, hrefs[lane.name]) for lane in compared]
    yield Page(
        path="index.html",
        template="index.html",
        view={
            **dated,
            "sentence": _sentence(snapshot, views) if views else ran[0].sentence,
            "lanes": list(zip(compared, views, strict=True)),
            "indexes": [indexes(lane, releases) for lane in compared],
            "outcomes": ran,
            "absent": [lane.name for lane in snapshot.lanes if lane.empty],
            "legend": SEVERITY,
        },
    )
    profiles = tuple(snapshot.settings.profiles)
    for lane in compared:
        neighbours = _neighbours(lane, releases)
        for pair in lane.pairs:
            older, newer = neighbours.get(pair, (None, None))
            view = {
                **dated,
                "pair": pair_view(lane, pair, profiles),
                "advices": [
                    advice_view(lane.advices[way])
                    for way in (pair, pair[::-1])
                    if way in lane.advices
                ],
                "older": (older, hrefs[lane.name][older]) if older else (),
                "newer": (newer, hrefs[lane.name][newer]) if newer else (),
            }
            yield Page(path=pair_path(snapshot, lane, pair), template="pair.html", view=view)


def pair_path(snapshot: Snapshot, lane: LaneData, pair: Pair) -> str:
    """Where the page of a pair lies: below the lane's name, but for the first lane of the settings.

    Its parts are names of `matrix.toml`, never of the data.
    """
    first = next(iter(snapshot.settings.lanes))
    below = "" if lane.name == first else f"{lane.name}/"
    return f"{below}pair/{pair[0]}...{pair[1]}/index.html"


def _hrefs(snapshot: Snapshot, lane: LaneData) -> dict[Pair, str]:
    """Relative URLs from the root; the file is named so that they work without a server."""
    return {pair: quote(pair_path(snapshot, lane, pair)) for pair in lane.pairs}


def _neighbours(
    lane: LaneData, releases: tuple[str, ...]
) -> dict[Pair, tuple[Pair | None, Pair | None]]:
    """For each consecutive pair the one before and the one after it."""
    consecutive = [pair for pair in pairwise(align(lane, releases)) if pair in lane.pairs]
    around = [None, *consecutive, None]
    return {pair: (around[place], around[place + 2]) for place, pair in enumerate(consecutive)}


def _date(snapshot: Snapshot) -> str:
    """The day of the newest capture; the clock of the machine that renders is never asked."""
    times = [
        time
        for lane in snapshot.lanes
        for captured in lane.captures.values()
        if (time := moment(captured.record.started))
    ]
    return day(max(times)) if times else ""


def _sentence(snapshot: Snapshot, views: list[Overview]) -> str:
    """The date and the counts, which add up to all consecutive pairs."""
    date = _date(snapshot)
    captured = sum(view.captured for view in views)
    failed = sum(view.failed for view in views)
    identical = sum(view.identical for view in views)
    changed = sum(view.changed for view in views)
    open_ = sum(view.uncompared for view in views)
    idle = sum(view.unable for view in views)
    lanes = f" in {len(views)} lanes" if len(views) > 1 else ""
    failures = f" and {failed} failed" if failed else ""
    failures += f" and {idle} cannot run on the GPU" if idle else ""
    total = identical + changed + open_
    captures = (
        f"{f'As of {date}, ' if date else ''}{plural(captured, 'torch release')} "
        f"{_are(captured)} captured{failures}{lanes}"
    )
    if not total:
        return f"{captures}; the first pair takes two."
    compared = f"{identical} {_are(identical)} identical and {changed} {_are(changed)} not"
    rest = f"; {open_} {_are(open_)} not compared yet" if open_ else ""
    return f"{captures}; of {plural(total, 'consecutive pair')}, {compared}{rest}."


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
