"""The view of a lane that pins nothing: does each release run today, and if not, what is known?"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from matrix_capture.schema import STAGES
from matrix_compare.known import Known, match, source_url
from matrix_compare.schema import Verdict
from matrix_site.lane import facts, quick
from matrix_site.page import href, release_page
from matrix_site.snapshot import LaneData
from matrix_site.summary import stop
from matrix_site.text import clean, day, joined, moment, plural

PACKAGES = ("transformers", "numpy", "faiss-cpu", "setuptools")
"""What most failures come from; the record has every package."""

_GLYPHS = {"ok": "✓", "failed": Verdict.FAILED.glyph, "not_run": Verdict.NOT_RUN.glyph}


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """How far one stage came."""

    stage: str
    state: str

    @property
    def glyph(self) -> str:
        """The mark that stands for the state."""
        return _GLYPHS[self.state]

    @property
    def word(self) -> str:
        """The state as it is read."""
        return self.state.replace("_", " ")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cause:
    """A known incompatibility that explains a failure; a source is a name and a URL or none."""

    when: str
    cure: str
    sources: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of one release: `told` in words, and the `cause` of a failure that is not new.

    `rows` is how many releases, this one and those below, share the words and the cause; 0 where
    those above tell them.
    """

    release: str
    steps: tuple[Step, ...]
    told: str
    failed: bool
    cause: Cause | None
    versions: tuple[str, ...]
    rows: int = 1

    @property
    def short(self) -> str:
        """What became of it, in two or three words."""
        failed = next((step.stage for step in self.steps if step.state == "failed"), "")
        return f"fails at {failed}" if failed else "runs" if self.whole else "not run to the end"

    @property
    def href(self) -> str:
        """The page of the release, as seen from the root."""
        return href(release_page(self.release))

    @property
    def whole(self) -> bool:
        """Did every stage run?"""
        return all(step.state == "ok" for step in self.steps)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcomes:
    """A lane that pins nothing, the newest release first; `share` is how many run to the end."""

    name: str
    title: str
    facts: tuple[str, ...]
    quick: str
    share: str
    sentence: str
    stages: tuple[str, ...]
    packages: tuple[str, ...]
    outcomes: tuple[Outcome, ...]


def outcomes(lane: LaneData, known: Sequence[Known]) -> Outcomes:
    """Lay out a lane; failures that no row of `known` explains are new."""
    tried = [name for name in lane.releases if name in lane.captures or name in lane.broken]
    found = [_outcome(lane, release, known) for release in reversed(tried)]
    return Outcomes(
        name=lane.name,
        title=lane.settings.title,
        facts=facts(lane),
        quick=quick(lane),
        share=_share(found),
        sentence=_sentence(lane, found),
        stages=STAGES,
        packages=PACKAGES,
        outcomes=_shared(found),
    )


def _outcome(lane: LaneData, release: str, known: Sequence[Known]) -> Outcome:
    if release not in lane.captures:
        nothing = tuple(Step(stage=stage, state="not_run") for stage in STAGES)
        told = stop(lane, release)
        return Outcome(
            release=release,
            steps=nothing,
            told=told,
            failed=False,
            cause=None,
            versions=("",) * len(PACKAGES),
        )
    record = lane.captures[release].record
    row = match(record, known)
    return Outcome(
        release=release,
        steps=tuple(Step(stage=stage, state=record.state(stage)) for stage in STAGES),
        told=stop(lane, release) or _end([record.state(stage) for stage in STAGES]),
        failed=record.failed_stage() is not None,
        cause=_cause(row) if row else None,
        versions=tuple(clean(record.packages.get(name, ""), 20) for name in PACKAGES),
    )


def _end(states: Sequence[str]) -> str:
    """What to say of a run in which nothing failed."""
    left = tuple(stage for stage, state in zip(STAGES, states, strict=True) if state != "ok")
    return f"nothing failed; not run: {joined(left, len(left))}" if left else "runs to the end"


def _cause(row: Known) -> Cause:
    sources = tuple((source, source_url(source)) for source in row.sources)
    return Cause(when=row.when, cure=row.cure, sources=sources)


def _shared(found: Sequence[Outcome]) -> tuple[Outcome, ...]:
    """Neighbours of one story tell it once."""
    shared: list[Outcome] = []
    for _, group in groupby(found, key=lambda one: (one.told, one.cause, one.steps)):
        run = list(group)
        shared += [replace(run[0], rows=len(run)), *(replace(one, rows=0) for one in run[1:])]
    return tuple(shared)


def _share(found: Sequence[Outcome]) -> str:
    whole = sum(one.whole for one in found)
    run = "runs" if whole == 1 else "run"
    return f"{whole} of {plural(len(found), 'torch release')} {run} to the end"


def _sentence(lane: LaneData, found: Sequence[Outcome]) -> str:
    """How many run, and how many fail where; the counts add up to the releases."""
    failed = [one for one in found if one.failed]
    stages = Counter(held.record.failed_stage() for held in lane.captures.values())
    where = tuple(f"{stages[stage]} at {stage}" for stage in STAGES if stages[stage])
    new = sum(one.cause is None for one in failed)
    rest = len(found) - len(failed) - sum(one.whole for one in found)
    parts = [
        _share(found),
        f"{len(failed)} {'fails' if len(failed) == 1 else 'fail'}: {joined(where, len(where))}",
        f"{new} of the failures {'is' if new == 1 else 'are'} new" if new else "no failure is new",
    ][: 3 if failed else 1]
    parts += [f"of {rest} nobody knows the end"] if rest else []
    when = _days(lane)
    return f"{f'Captured {when}: ' if when else ''}{'; '.join(parts)}."


def _days(lane: LaneData) -> str:
    """When the installer was asked: `on 3 May 2026` or `from 3 May 2026 to 5 May 2026`."""
    times = sorted(time for held in lane.captures.values() if (time := moment(held.record.started)))
    if not times:
        return ""
    first, last = day(times[0]), day(times[-1])
    return f"on {first}" if first == last else f"from {first} to {last}"
