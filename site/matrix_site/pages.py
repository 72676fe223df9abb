"""Which pages there are, and what each of them shows."""

from collections.abc import Iterable

from matrix_capture.names import is_build
from matrix_compare.change import Outcome
from matrix_compare.known import read_known
from matrix_site.artifact import artifact_pages
from matrix_site.changes import changes_pages, recent
from matrix_site.comparison import Pair
from matrix_site.crossing import Indexes, indexes
from matrix_site.environment import environment_pages
from matrix_site.incompatibilities import incompatibilities, known_pages
from matrix_site.lane import stale
from matrix_site.method import method_pages
from matrix_site.outcomes import Outcomes, outcomes
from matrix_site.overview import Overview, overview
from matrix_site.page import (
    INDEX,
    INDEXES,
    Page,
    href,
    lane_folder,
    outcomes_page,
    pair_page,
    release_page,
)
from matrix_site.pair import pair_pages
from matrix_site.pull import pull_pages
from matrix_site.release import release_pages
from matrix_site.snapshot import LaneData, Snapshot
from matrix_site.summary import SEVERITY
from matrix_site.text import day, joined, plural

_MOST = 4
"""So many of what came last and of what is known are told on the first page."""

_QUIET = frozenset({"identical", "ran"})
"""What brought nothing new is not among them."""


def pages(snapshot: Snapshot) -> Iterable[Page]:
    """Every page of the site."""
    shown = [lane for lane in snapshot.lanes if not lane.empty]
    if not shown:
        yield _empty(snapshot)
        yield from pull_pages(snapshot)
        return
    compared = [lane for lane in shown if lane.settings.constraints]
    known = read_known()
    ran = [outcomes(lane, known) for lane in shown if not lane.settings.constraints]
    laid_out = [(lane, indexes(lane)) for lane in compared]
    yield _index(snapshot, laid_out, ran)
    if laid_out:
        yield _indexes(laid_out)
    yield from map(_outcomes, ran)
    yield from pair_pages(snapshot)
    yield from release_pages(snapshot)
    yield from artifact_pages(snapshot)
    yield from environment_pages(snapshot)
    yield from known_pages(snapshot)
    yield from changes_pages(snapshot)
    yield from method_pages(snapshot)
    yield from pull_pages(snapshot)


def _empty(snapshot: Snapshot) -> Page:
    return Page(
        path=INDEX,
        template="empty.html",
        title="No captures yet",
        description="What changes in a ColBERT index from one torch release to the next.",
        view={"newest": snapshot.settings.releases[-2:]},
    )


def _index(
    snapshot: Snapshot, laid_out: list[tuple[LaneData, Indexes]], ran: list[Outcomes]
) -> Page:
    views = [
        overview(
            lane,
            _hrefs(snapshot, lane),
            base=href(lane_folder(snapshot.settings, lane.name)),
            stale=stale(lane, snapshot.today, snapshot.settings.site.stale_after_days),
        )
        for lane, _ in laid_out
    ]
    lanes = [(lane, view) for (lane, _), view in zip(laid_out, views, strict=True)]
    sentence = _sentence(snapshot, lanes) if lanes else ran[0].sentence
    return Page(
        path=INDEX,
        template="index.html",
        title="What a torch release changes in a ColBERT index",
        description=sentence,
        view={
            "sentence": sentence,
            "lanes": lanes,
            "indexes": [found for _, found in laid_out],
            "outcomes": [(found, href(outcomes_page(found.name))) for found in ran],
            "releases": _links(snapshot.settings.releases),
            "builds": _links(filter(is_build, snapshot.releases)),
            "recent": [entry for entry in recent(snapshot) if entry.kind not in _QUIET][:_MOST],
            "known": sorted(incompatibilities(snapshot), key=lambda row: not row.shown)[:_MOST],
            # Whoever looks for releases need not hear that nobody captures builds.
            "absent": [
                lane.name for lane in snapshot.lanes if lane.empty and not lane.settings.nightly
            ],
            "legend": SEVERITY,
        },
    )


def _links(releases: Iterable[str]) -> list[tuple[str, str]]:
    """Releases with the URLs of their pages, the newest first."""
    return [(name, href(release_page(name))) for name in reversed([*releases])]


def _indexes(laid_out: list[tuple[LaneData, Indexes]]) -> Page:
    return Page(
        path=INDEXES,
        template="indexes.html",
        title="Which index may be searched with which release",
        description="Indexes built with one torch release, searched with every other.",
        view={"lanes": laid_out},
    )


def _outcomes(found: Outcomes) -> Page:
    return Page(
        path=outcomes_page(found.name),
        template="outcomes.html",
        title=found.title,
        description=found.sentence,
        view={"view": found},
    )


def _hrefs(snapshot: Snapshot, lane: LaneData) -> dict[Pair, str]:
    """Relative URLs of the pages of a lane's pairs from the root."""
    return {pair: href(pair_page(snapshot.settings, lane.name, pair)) for pair in lane.pairs}


def _sentence(snapshot: Snapshot, shown: list[tuple[LaneData, Overview]]) -> str:
    """The date and the counts, which add up to all consecutive pairs of releases.

    Lanes with nightly builds, which tell of what is no release yet, count where there is no other.
    """
    counted = [one for one in shown if not one[0].settings.nightly] or shown
    views = [view for _, view in counted]
    when = day(snapshot.newest) if snapshot.newest else ""
    captured = sum(view.captured for view in views)
    failed = sum(view.failed for view in views)
    identical = sum(view.identical for view in views)
    alike = sum(view.alike for view in views)
    changed = sum(view.changed for view in views)
    open_ = sum(view.uncompared for view in views)
    idle = sum(view.unable for view in views)
    lanes = f" in {len(views)} lanes" if len(views) > 1 else ""
    failures = f" and {failed} failed" if failed else ""
    failures += f" and {idle} cannot run on the GPU" if idle else ""
    total = identical + alike + changed + open_
    of = f"{captured} of " if len(views) == 1 else ""
    number = len(counted[0][0].releases) if of else captured
    captures = (
        f"{f'As of {when}, ' if when else ''}{of}{plural(number, 'torch release')} "
        f"{_are(captured)} captured{failures}{lanes}"
    )
    if not total:
        return f"{captures}; the first pair takes two."
    compared = (
        f"{identical} {_are(identical)} identical throughout, {alike} in the finished index only, "
        f"and {changed} {'changes' if changed == 1 else 'change'} the index"
    )
    rest = f"; {open_} {_are(open_)} not compared yet" if open_ else ""
    searches = _searches([outcome for view in views for outcome in view.searched])
    return f"{captures}; of {plural(total, 'consecutive pair')}, {compared}{rest}.{searches}"


def _searches(found: list[Outcome]) -> str:
    """What becomes of an index that is kept across the changes where that was tried."""
    if not found:
        return ""
    told = {
        f"the same results in {found.count('identical') + found.count('same order')}": True,
        f"others, below rank 10 only, in {found.count('same top 10')}": "same top 10" in found,
        f"others among the first 10 in {found.count('changed')}": "changed" in found,
        f"no answer in {found.count('failed')}": "failed" in found,
    }
    words = joined(tuple(words for words, said in told.items() if said), 4)
    kept = plural(len(found), "index", "indexes")
    return f" Of {kept} kept across these changes, the newer release finds {words}."


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
