"""What became of one pair of captures: the counts, where it starts, and the sentence about it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from matrix_capture.schema import STAGES, run_stage
from matrix_compare.schema import Verdict, in_layers
from matrix_site.comparison import Comparison, Comparisons, Pair
from matrix_site.snapshot import LaneData
from matrix_site.text import clean, joined, listed, number, plural, ticked

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
    """How many of each verdict, worst first and without zeros, and their total.

    `unsized` of those that differ do so by an unknown amount.
    """

    counts: tuple[tuple[Verdict, int], ...]
    total: int
    unsized: int = 0

    @property
    def worst(self) -> Verdict:
        """The verdict that stands for all; nothing at all is `not_run`."""
        return self.counts[0][0] if self.counts else Verdict.NOT_RUN

    @property
    def words(self) -> str:
        """`2 differ, 1 identical`."""
        return ", ".join(self._counted(*count) for count in self.counts) or "not compared"

    @property
    def vague(self) -> bool:
        """Is the worst that is known a difference of unknown size?"""
        return self.worst is Verdict.DIFFERS and self.unsized == self.of(Verdict.DIFFERS)

    def of(self, *verdicts: Verdict) -> int:
        """How many there are of these verdicts together."""
        return sum(n for verdict, n in self.counts if verdict in verdicts)

    def _counted(self, verdict: Verdict, count: int) -> str:
        if verdict is not Verdict.DIFFERS:
            return f"{count:,} {word(verdict)}"
        known = f" ({self.unsized:,} by an unknown amount)" if self.unsized else ""
        return f"{count:,} {'differ' if count > 1 else word(verdict)}{known}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """A pair in short.

    `finals` counts what the finished index holds on disk, of which `largest` moves farthest;
    `starts` is one comparison for each artifact of the pipeline where a divergence starts, in
    pipeline order, and `layers` says in which layers of the encoder it does; `measured` is the
    first behind them of a known size; `probes` are the probes that changed.
    """

    tally: Tally
    finals: Tally
    starts: tuple[Comparison, ...]
    layers: Mapping[str, str]
    measured: Comparison | None
    probes: tuple[str, ...]
    largest: Comparison | None
    reason: str


def word(verdict: Verdict) -> str:
    """A verdict as it is read: `not comparable`."""
    return verdict.value.replace("_", " ")


def tally(comparisons: Iterable[Comparison]) -> Tally:
    """Count verdicts."""
    rows = tuple(comparisons)
    counter = Counter(row.verdict for row in rows)
    unsized = sum(row.unsized for row in rows)
    counts = tuple((verdict, counter[verdict]) for verdict in SEVERITY if counter[verdict])
    return Tally(counts=counts, total=counter.total(), unsized=unsized)


@cache
def summarise(comparisons: Comparisons) -> Summary:
    """Sum up the comparisons of a pair."""
    rows = comparisons.rows
    changed = [row for row in rows if row.verdict in CHANGED]
    pipeline = [row for row in changed if row.kind != "probe"]
    starting = [row for row in pipeline if row.role == "origin"] or pipeline[:1]
    counts = tally(rows)
    finished = [row for row in rows if row.kind == "final" and run_stage(row.stage) == "index"]
    moved = [(row.max_abs, row) for row in finished if row.verdict in CHANGED and row.max_ulp]
    far = [(distance, row) for distance, row in moved if distance is not None]
    starts = {row.artifact: row for row in sorted(starting, key=_distance)}
    layers: dict[str, list[int]] = {}
    for row in starting:
        if row.layer is not None:
            layers.setdefault(row.artifact, []).append(row.layer)
    behind = [row for row in pipeline if row.role == "propagated" and row.max_abs is not None]
    measured = [row for row in behind if row.artifact == behind[0].artifact]
    return Summary(
        tally=counts,
        finals=tally(finished),
        starts=tuple(starts[name] for name in dict.fromkeys(row.artifact for row in starting)),
        layers={name: in_layers(found) for name, found in layers.items()},
        measured=max(measured, key=_distance, default=None),
        probes=tuple(dict.fromkeys(row.artifact for row in changed if row.kind == "probe")),
        largest=max(far, key=lambda pair: pair[0])[1] if far else None,
        reason=next((r.reason for r in rows if r.reason and r.verdict is counts.worst), ""),
    )


def start(summary: Summary) -> str:
    """Where a divergence starts, in a few words."""
    if not summary.tally.total:
        return "not compared yet"
    if summary.starts:
        return f"starts at {joined(_whereabouts(summary), 2)}"
    return f"only in {listed(summary.probes, 2)}" if summary.probes else "no change seen"


def finals(summary: Summary) -> str:
    """What becomes of the finished index, in a few words."""
    counts = summary.finals
    if counts.worst is Verdict.IDENTICAL:
        return f"finished index: all {counts.total} identical"
    return f"finished index: {counts.words}"


def stop(lane: LaneData, release: str) -> str:
    """Where and why a capture stopped: `failed at install: OSError: …`; empty if it did not."""
    if release in lane.broken:
        return "its digest file cannot be read; capture the release again"
    stage = _failed_stage(lane, release)
    if stage is None:
        why = unable(lane, release)
        return f"did not run: {why}" if why else ""
    status = lane.captures[release].record.status[stage]
    why = ": ".join(part for part in (status.error, status.message) if part)
    return clean(f"failed at {stage}" + (f": {why}" if why else ""), 300)


def unable(lane: LaneData, release: str) -> str:
    """Why a release cannot run on the machine of its capture; empty if it can."""
    captured = lane.captures.get(release)
    if captured is None or captured.record.failed_stage():
        return ""
    status = captured.record.status
    stages = (status[stage] for stage in STAGES if stage in status)
    why = (stage.message for stage in stages if stage.state == "not_run" and stage.message)
    return clean(next(why, ""), 300)


def headline(lane: LaneData, pair: Pair, summary: Summary) -> str:
    """What happened between two releases: is it identical, where does it start, how large is it?"""
    counts = summary.tally
    verdicts = {verdict for verdict, _ in counts.counts}
    reason = clean(summary.reason, 300) or "the verdicts give no reason"
    if verdicts <= {Verdict.FAILED, Verdict.NOT_RUN}:
        stops = [f"torch {release} {why}" for release in pair if (why := _stopped(lane, release))]
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


def _stopped(lane: LaneData, release: str) -> str:
    """Where a capture stopped without the reason, which the page tells beside the sentence."""
    stage = _failed_stage(lane, release)
    if stage:
        return f"failed at {stage}"
    return "did not run" if unable(lane, release) else ""


def _distance(row: Comparison) -> float:
    return -1.0 if row.max_abs is None else row.max_abs


def _whereabouts(summary: Summary) -> tuple[str, ...]:
    """Where it starts: `layers` in layer 3."""

    def place(name: str) -> str:
        layers = summary.layers.get(name)
        return f"{ticked(name)} in {clean(layers, 40)}" if layers else ticked(name)

    return tuple(place(row.artifact) for row in summary.starts)


def _change(summary: Summary) -> str:
    if summary.starts:
        first, where = summary.starts[0], _whereabouts(summary)
        also = f", and also at {joined(where[1:])}" if where[1:] else ""
        return (
            f"Not identical: it starts at {where[0]} "
            f"(stage {clean(first.stage, 40)}){_by(first, summary.measured)}{also}."
        )
    if summary.probes:
        return f"The pipeline does not change, only the probes do: {listed(summary.probes)}."
    return "Nothing changes where both sides can be compared."


def _by(first: Comparison, measured: Comparison | None) -> str:
    """How far the start moves; where nobody knows, how far the first behind it does."""
    if first.unsized:
        if measured is None:
            return ", by an unknown amount"
        return (
            f", by an unknown amount; {ticked(measured.artifact)} behind it "
            f"{'is close' if measured.verdict is Verdict.CLOSE else 'differs'}, "
            f"by at most `{number(measured.max_abs)}`"
        )
    # The distance between elements that only swapped places means nothing.
    known = first.max_abs if first.verdict is not Verdict.REORDERED else None
    return f", by at most `{number(known)}`" if known else ""


def _largest(summary: Summary) -> str:
    """How far the index moves; of packed bytes and codes a distance means nothing."""
    if summary.largest is None:
        return ""
    distance = number(summary.largest.max_abs)
    return f", by at most `{distance}` in {listed((summary.largest.artifact,))}"


def _unknown(counts: Tally) -> str:
    unknown = counts.total - counts.of(Verdict.IDENTICAL, *CHANGED)
    return f"No answer for {plural(unknown, 'comparison')}." if unknown else ""
