"""The pages of pull requests: what a commit of colbert-ai changes, apart from the matrix."""

from collections.abc import Iterable
from dataclasses import dataclass

from msgspec.structs import replace

from matrix_capture.catalogue import BY_NAME
from matrix_capture.schema import STAGES
from matrix_compare.check import Check, Checked, CheckLine, Side
from matrix_compare.finding import facts, finding, outcome
from matrix_compare.policy import Level
from matrix_compare.schema import Verdict
from matrix_site.page import Page, artifact_page, href, pull_page
from matrix_site.snapshot import Snapshot
from matrix_site.summary import SEVERITY, Tally
from matrix_site.text import clean, day, duration, moment, number

_REPOSITORY = "https://github.com/stanford-futuredata/ColBERT"
_MOST = 200
"""So many lines of a release are shown; the worst come first, and a file may claim any number."""

_MOST_RELEASES = 50

_NUMBERS = frozenset({"ranked_pids", "candidate_pids", "pruned_pids", "sample_pids", "ivf"})
"""Artifacts of numbers that are names: how far two of them are apart means nothing."""

_STYLES = {Level.PASS: "proof", Level.ALERT: "close", Level.FAILURE: "differs"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One artifact that is not identical; `href` is its page as seen from the root."""

    artifact: str
    href: str
    place: str
    verdict: Verdict
    level: Level
    role: str
    largest: str
    details: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """Something that both sides have, and how the head's compares with the base's."""

    name: str
    base: str
    head: str
    change: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """What the commit changes under one torch release; of `more` lines only the number is told."""

    torch: str
    level: Level
    style: str
    counts: Tally
    told: tuple[str, ...]
    measures: tuple[Measure, ...]
    lines: tuple[Line, ...]
    more: int
    doubts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pull:
    """A pull request at one commit."""

    number: int
    sha: str
    href: str
    lane: str
    date: str
    level: Level
    style: str
    sentence: str
    releases: tuple[Release, ...]


def pull_pages(snapshot: Snapshot) -> Iterable[Page]:
    """A page for every commit that was checked."""
    for check in snapshot.checks:
        view = _pull(check)
        yield Page(
            path=pull_page(check.number, check.sha),
            template="pull.html",
            title=f"Pull request {check.number} at {check.sha[:7]}",
            description=f"Not part of the matrix. {view.sentence}",
            view={"pull": view},
            listed=False,
        )


def _pull(check: Check) -> Pull:
    started = moment(check.started)
    capped = replace(check, releases=check.releases[:_MOST_RELEASES])
    return Pull(
        number=check.number,
        sha=check.sha,
        href=f"{_REPOSITORY}/pull/{check.number}/commits/{check.sha}",
        lane=check.lane,
        date=day(started) if started else "",
        level=check.level,
        style=_STYLES[check.level],
        sentence=clean(finding(capped, clean), 600),
        releases=tuple(map(_release, capped.releases)),
    )


def _release(checked: Checked) -> Release:
    counts = tuple((verdict, checked.counts.get(verdict, 0)) for verdict in SEVERITY)
    ordered = sorted(checked.lines, key=_severity)
    return Release(
        torch=checked.torch,
        level=checked.level,
        style=_STYLES[checked.level],
        counts=Tally(
            counts=tuple((verdict, count) for verdict, count in counts if count),
            total=sum(count for _, count in counts),
        ),
        told=(clean(outcome(checked, clean), 600), *facts(checked, clean)),
        measures=tuple(_measures(checked.base, checked.head)),
        lines=tuple(map(_line, ordered[:_MOST])),
        more=max(0, len(ordered) - _MOST),
        doubts=tuple(filter(None, checked.doubts[:_MOST])),
    )


def _severity(line: CheckLine) -> tuple[int, int]:
    return -list(Level).index(line.level), SEVERITY.index(line.verdict)


def _line(line: CheckLine) -> Line:
    known = line.artifact in BY_NAME
    details = (
        line.reason,
        f"largest at {line.largest_at}" if line.largest_at else "",
    )
    return Line(
        artifact=line.artifact,
        href=href(artifact_page(line.artifact)) if known else "",
        place=clean(", ".join(filter(None, (line.part, line.scope))), 120),
        verdict=line.verdict,
        level=line.level,
        role=line.role,
        largest="" if line.artifact in _NUMBERS else number(line.max_abs),
        details=clean("; ".join(filter(None, details)), 300),
    )


def _measures(base: Side, head: Side) -> Iterable[Measure]:
    yield Measure(name="colbert-ai", base=base.colbert, head=head.colbert, change="")
    ended = "runs to the end"
    yield Measure(name="outcome", base=base.stopped or ended, head=head.stopped or ended, change="")
    if base.index_bytes and head.index_bytes:
        yield Measure(
            name="index, bytes",
            base=f"{base.index_bytes:,}",
            head=f"{head.index_bytes:,}",
            change=_change(base.index_bytes, head.index_bytes),
        )
    for stage in STAGES:
        if stage != "install" and stage in base.seconds and stage in head.seconds:
            before, after = base.seconds[stage], head.seconds[stage]
            yield Measure(
                name=stage,
                base=duration(before),
                head=duration(after),
                change=_change(before, after),
            )


def _change(before: float, after: float) -> str:
    """How much more or less, in percent; one run of each is no benchmark."""
    if before == after:
        return "the same"
    share = after / before - 1 if before > 0 else float("inf")
    return f"{share:+.0%}" if abs(share) < 100 else "\N{EN DASH}"
