"""What became of one pair of captures: the counts, where it starts, and the sentence about it."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from matrix_compare.schema import Verdict
from matrix_site.snapshot import Comparison, LaneData, Pair
from matrix_site.text import clean, listed, number, plural

SEVERITY = (
    Verdict.FAILED,
    Verdict.DIFFERS,
    Verdict.MISSING,
    Verdict.NOT_RUN,
    Verdict.NOT_COMPARABLE,
    Verdict.UNSTABLE,
    Verdict.CLOSE,
    Verdict.REORDERED,
    Verdict.IDENTICAL,
)
"""Worst first: what broke, then what nobody knows, then change within limits, then no change.

Where several verdicts share one mark, the first of this list is the one shown: what is unknown
never hides behind what passed.
"""

CHANGED = frozenset({Verdict.DIFFERS, Verdict.CLOSE, Verdict.REORDERED})
"""Something is known and it is not the same; all others but `identical` mean nobody knows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """How many of each verdict, worst first and without zeros, and their total."""

    counts: tuple[tuple[Verdict, int], ...]
    total: int

    @property
    def worst(self) -> Verdict:
        """The verdict that stands for all; nothing at all is `not_run`."""
        return self.counts[0][0] if self.counts else Verdict.NOT_RUN

    @property
    def words(self) -> str:
        """`2 differ, 1 identical`."""
        counted = (
            f"{n:,} differ" if verdict is Verdict.DIFFERS and n > 1 else f"{n:,} {word(verdict)}"
            for verdict, n in self.counts
        )
        return ", ".join(counted) or "not compared"

    def of(self, *verdicts: Verdict) -> int:
        """How many there are of these verdicts together."""
        return sum(n for verdict, n in self.counts if verdict in verdicts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """A pair in short.

    `finals` counts what the index holds on disk; `starts` is one comparison for each artifact of
    the pipeline where a divergence starts, in pipeline order; `probes` are the probes that changed;
    `largest` is the final artifact of floats that moves farthest.
    """

    tally: Tally
    finals: Tally
    starts: tuple[Comparison, ...]
    probes: tuple[str, ...]
    largest: Comparison | None
    reason: str


def word(verdict: Verdict) -> str:
    """A verdict as it is read: `not comparable`."""
    return verdict.value.replace("_", " ")


def tally(comparisons: Iterable[Comparison]) -> Tally:
    """Count verdicts."""
    counter = Counter(comparison.verdict for comparison in comparisons)
    counts = tuple((verdict, counter[verdict]) for verdict in SEVERITY if counter[verdict])
    return Tally(counts=counts, total=counter.total())


def summarise(comparisons: Iterable[Comparison]) -> Summary:
    """Sum up the comparisons of a pair, which come in pipeline order and may be none."""
    rows = tuple(comparisons)
    changed = [row for row in rows if row.verdict in CHANGED]
    pipeline = [row for row in changed if row.kind != "probe"]
    starting = [row for row in pipeline if row.role == "origin"] or pipeline[:1]
    counts = tally(rows)
    moved = [(row.max_abs, row) for row in changed if row.kind == "final" and row.max_ulp]
    far = [(distance, row) for distance, row in moved if distance is not None]
    return Summary(
        tally=counts,
        finals=tally(row for row in rows if row.kind == "final"),
        starts=tuple({row.artifact: row for row in reversed(starting)}.values())[::-1],
        probes=tuple(dict.fromkeys(row.artifact for row in changed if row.kind == "probe")),
        largest=max(far, key=lambda pair: pair[0])[1] if far else None,
        reason=next((r.reason for r in rows if r.reason and r.verdict is counts.worst), ""),
    )


def start(summary: Summary) -> str:
    """Where a divergence starts, in a few words."""
    if not summary.tally.total:
        return "not compared yet"
    if summary.starts:
        return f"starts at {listed(tuple(row.artifact for row in summary.starts), 2)}"
    return f"only in {listed(summary.probes, 2)}" if summary.probes else "no change seen"


def finals(summary: Summary) -> str:
    """What becomes of the finished index, in a few words."""
    counts = summary.finals
    if counts.worst is Verdict.IDENTICAL:
        return f"final artifacts: all {counts.total} identical"
    return f"final artifacts: {counts.words}"


def stop(lane: LaneData, release: str) -> str:
    """Where and why a capture stopped: `failed at install: OSError: …`; empty if it did not."""
    stage = _failed_stage(lane, release)
    if stage is None:
        return ""
    status = lane.captures[release].record.status[stage]
    why = ": ".join(part for part in (status.error, status.message) if part)
    return clean(f"failed at {stage}" + (f": {why}" if why else ""), 300)


def headline(lane: LaneData, pair: Pair, summary: Summary) -> str:
    """What happened between two releases: is it identical, where does it start, how large is it?"""
    counts = summary.tally
    verdicts = {verdict for verdict, _ in counts.counts}
    reason = clean(summary.reason, 300) or "the verdicts give no reason"
    if verdicts <= {Verdict.FAILED, Verdict.NOT_RUN}:
        stages = [(release, _failed_stage(lane, release)) for release in pair]
        stops = [f"torch {release} failed at {stage}" for release, stage in stages if stage]
        return f"Nothing to compare: {' and '.join(stops) or reason}."
    if verdicts == {Verdict.NOT_COMPARABLE}:
        return f"Not comparable: {reason}."
    if verdicts == {Verdict.IDENTICAL}:
        return f"Identical: all {plural(counts.total, 'comparison')} agree bit for bit."
    index = f"{finals(summary).capitalize()}{_largest(summary)}."
    return " ".join([_change(summary), index, _unknown(counts)]).strip()


def _failed_stage(lane: LaneData, release: str) -> str | None:
    captured = lane.captures.get(release)
    return captured.record.failed_stage() if captured else None


def _change(summary: Summary) -> str:
    if summary.starts:
        first, *others = summary.starts
        names = listed(tuple(row.artifact for row in others))
        # The distance between elements that only swapped places means nothing.
        measured = first.max_abs if first.verdict is not Verdict.REORDERED else None
        by = f", by at most `{number(measured)}`" if measured else ""
        also = f", and independently at {names}" if others else ""
        return (
            f"Not identical: it starts at {listed((first.artifact,))} "
            f"(stage {clean(first.stage, 40)}){by}{also}."
        )
    if summary.probes:
        return f"The pipeline does not change, only the probes do: {listed(summary.probes)}."
    return "Nothing changes where both sides can be compared."


def _largest(summary: Summary) -> str:
    """How far the index moves; of packed bytes and codes a distance means nothing."""
    if summary.largest is None:
        return ""
    distance = number(summary.largest.max_abs)
    return f", by at most `{distance}` in {listed((summary.largest.artifact,))}"


def _unknown(counts: Tally) -> str:
    unknown = counts.total - counts.of(Verdict.IDENTICAL, *CHANGED)
    return f"No answer for {plural(unknown, 'comparison')}." if unknown else ""
