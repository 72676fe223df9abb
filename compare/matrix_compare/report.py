"""What is told of a pair of captures: one object, from which every output is written.

Its strings are plain: what a terminal or a parser might obey instead of showing is spelled out.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import msgspec

from matrix_capture.schema import Capture, Record
from matrix_capture.settings import Settings
from matrix_compare.cascade import Cascade, Changes, Flips, Memberships, Spread
from matrix_compare.comparable import Difference, environment_difference
from matrix_compare.policy import COMPARED, Level, Policy, read_policy, worst_level
from matrix_compare.schema import NO_VALUES, NOT_FINITE, Verdict, in_layers, layer_of, spans

SCHEMA_VERSION = 1
"""Of the JSON form of a report."""

Row = Mapping[str, Any]
Quote = Callable[[str], str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One verdict row with its level; figures are those of the verdict file, None if not known.

    `violations` counts per profile the elements outside of it.
    """

    artifact: str
    part: str
    scope: str
    kind: str
    dtype: str
    verdict: Verdict
    level: Level
    role: str
    reason: str
    profile: str
    profiles: tuple[str, ...]
    max_abs: float | None
    mean_abs: float | None
    max_rel: float | None
    equal_fraction: float | None
    rtol_needed: float | None
    p50_ulp: float | None
    p99_ulp: float | None
    max_ulp: int | None
    ulp_histogram: tuple[int, ...]
    violations: dict[str, int]
    first_at: str
    largest_at: str

    @property
    def unsized(self) -> bool:
        """Whether this differs and nobody knows how far."""
        return self.verdict is Verdict.DIFFERS and self.reason == NO_VALUES


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """An artifact in which a difference starts, and the layers of the encoder where it does."""

    artifact: str
    layers: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """A pair in numbers: `counts` has every verdict and adds up to the rows.

    `unsized` of those that differ do so by an unknown amount. Where nobody knows how far any of the
    `starts` moves, `measured` is the first artifact behind them that was measured, else empty.
    """

    counts: dict[Verdict, int]
    unsized: int
    starts: tuple[Start, ...]
    measured: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """All that is told of one pair.

    `level` is that of the worst line, a failure where nothing was compared and no pass where a
    capture did not pass its own controls (`doubts`).
    """

    lane: str
    a: str
    b: str
    sentence: str
    level: Level
    levels: dict[Level, int]
    summary: Summary
    profiles: tuple[str, ...]
    lines: tuple[Line, ...]
    doubts: tuple[str, ...]
    environment: tuple[Difference, ...]
    cascade: Cascade | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """The lines of one artifact that agree in dtype, verdict and profiles."""

    label: str
    lines: tuple[Line, ...]

    @property
    def first(self) -> Line:
        """One of them, for what they agree in."""
        return self.lines[0]

    @property
    def matters(self) -> bool:
        """Whether all that is known is told where there is little room: what starts or fails."""
        return any(line.role == "origin" or line.level is Level.FAILURE for line in self.lines)


def build(
    a: Capture, b: Capture, rows: Sequence[Row], settings: Settings, cascade: Cascade | None = None
) -> Report:
    """The report of a pair; `rows` are its verdict rows.

    Raises:
        MatrixError: the policy of `matrix.toml` does not hold what it should.
    """
    policy = read_policy(settings)
    dtypes = _dtypes(a) | _dtypes(b)
    profiles = tuple(settings.profiles)
    lines = tuple(_line(row, policy, dtypes, profiles) for row in rows)
    doubts = (*doubts_of(a.record), *doubts_of(b.record))
    counts = Counter(line.level for line in lines)
    return Report(
        lane=plain(a.record.lane),
        a=plain(a.record.torch),
        b=plain(b.record.torch),
        sentence=sentence(a.record.torch, b.record.torch, rows),
        level=worst_level([policy.judge_all(rows), Level.ALERT if doubts else Level.PASS]),
        levels={level: counts[level] for level in Level},
        summary=_summary(rows),
        profiles=tuple(map(plain, profiles)),
        lines=lines,
        doubts=doubts,
        environment=_plainly(environment_difference(a.record, b.record), tuple[Difference, ...]),
        cascade=_plainly(cascade, Cascade | None),
    )


def json_of(reports: Sequence[Report], **more: Any) -> bytes:
    """The reports as JSON, with the level of the worst and whatever else goes with them."""
    level = worst_level(report.level for report in reports)
    content = {"schema_version": SCHEMA_VERSION, "level": level, "reports": reports, **more}
    return msgspec.json.format(msgspec.json.encode(content)) + b"\n"


def plain(text: str) -> str:
    """Text that a terminal shows instead of obeying: what is not printable becomes an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


NEEDED = ("artifact", "part", "kind", "verdict", "reason", "role", "max_abs")
"""The columns of the verdict file that a sentence is made from."""


def sentence(a: str, b: str, rows: Sequence[Row]) -> str:
    """The pair in one sentence: how many rows have which verdict, and where a difference starts.

    The counts add up to the number of rows. Where nobody knows how far the start moves, the first
    artifact behind it that was measured is named too.
    """
    return plain(f"{a}...{b}: {phrase(_summary(rows))}")


def phrase(summary: Summary, quote: Quote = str) -> str:
    """A summary in words; `quote` is applied to whatever a capture named."""
    counts = summary.counts
    told = [_counted(verdict, counts[verdict], summary.unsized) for verdict in _TOLD]
    text = ", ".join(filter(None, told)) or "nothing to compare"
    if summary.starts:
        text += f"; starts at {listed([_whereabouts(s, quote) for s in summary.starts])}"
    if summary.measured:
        text += f", measured from {quote(summary.measured)} on"
    return text


def grounds(report: Report, quote: Quote = str) -> Iterator[tuple[Level, str]]:
    """Which artifacts make the level what it is, the worst first; nothing where all is a pass."""
    if not any(line.verdict in COMPARED for line in report.lines):
        yield Level.FAILURE, "nothing was compared"
    # A probe is named last: it tells of the cause, not of the index.
    lines = sorted(report.lines, key=lambda line: line.kind == "probe")
    for level in (Level.FAILURE, Level.ALERT):
        names = [line.artifact for line in lines if line.level is level]
        if names:
            unique = [quote(name) for name in dict.fromkeys(names)]
            rows = f"{len(names)} row{'s' if len(names) > 1 else ''}"
            yield level, f"{rows} ({listed(unique)})"


def grouped(lines: Sequence[Line]) -> Iterator[Group]:
    """Lines that agree in artifact, dtype, verdict and profiles as one; all lines are in one."""
    for name, members in groupby(lines, key=lambda line: line.artifact):
        whole = list(members)
        alike: dict[tuple[Any, ...], list[Line]] = {}
        for line in whole:
            alike.setdefault((line.verdict, line.profiles, line.dtype), []).append(line)
        for found in alike.values():
            if len(found) > 1:
                layers = [layer_of(name, line.part) for line in found]
                known = [layer for layer in layers if layer is not None]
                # Which layers agree matters only where others do not.
                which = spans(known) if layers == known and len(alike) > 1 else ""
                label = f"{name} {which} x{len(found)}" if which else f"{name} x{len(found)}"
            else:
                scope = found[0].scope if len(whole) > 1 else ""
                label = " ".join(filter(None, (name, found[0].part, scope)))
            yield Group(label=label, lines=tuple(found))


def largest(group: Group) -> str:
    """The largest difference of a group; empty where there is none to tell."""
    if _not_finite(group):
        return "not finite"
    if all(line.unsized for line in group.lines):
        return "not kept"
    found = [line.max_abs for line in group.lines if line.max_abs is not None]
    return f"{max(found):.3g}" if found else ""


def ulps(group: Group) -> str:
    """Within how many ULPs 99% and all of the elements lie; empty where it is not known."""
    within = _within(group)
    return f"{within['99%']} / {within['all']}" if within["all"] else ""


def place(group: Group, quote: Quote = str) -> str:
    """Where the largest difference of a group lies; empty where it is not known."""
    line = _extreme(group)
    if line is None or not line.largest_at:
        return ""
    # A group of many says in which of its members.
    member = [line.part, line.scope] if len(group.lines) > 1 else []
    return f"largest at {quote(', '.join(filter(None, [*member, line.largest_at])))}"


def places(group: Group, quote: Quote = str) -> Iterator[str]:
    """All that is known of where a group differs, and how the differences spread."""
    if any(line.role == "origin" for line in group.lines):
        yield "a difference starts here"
    if at := place(group, quote):
        yield at
    line = _extreme(group)
    if line is None:
        return
    if line.first_at and line.first_at != line.largest_at:
        yield f"first at {quote(line.first_at)}"
    if told := [f"{share} within {count}" for share, count in _within(group).items() if count]:
        yield f"ULPs: {', '.join(told)}"
    outside = {quote(name): count for name, count in line.violations.items() if count}
    if told := [f"{count:,} outside {name}" for name, count in outside.items()]:
        yield f"elements: {', '.join(told)}"


def reasons(report: Report, quote: Quote = str) -> Iterator[tuple[Verdict, str]]:
    """Why lines are what they are, each reason once, with the artifacts it holds for."""
    found: dict[tuple[Verdict, str], dict[str, None]] = {}
    for line in report.lines:
        if line.reason:
            found.setdefault((line.verdict, line.reason), {})[line.artifact] = None
    for (verdict, reason), names in found.items():
        more = ", so nobody knows how far they are apart" if reason == NO_VALUES else ""
        yield verdict, f"{quote(reason)}{more} ({listed([quote(name) for name in names])})"


def facts(report: Report) -> Iterator[tuple[str, str]]:
    """What became of the integers of the index, part by part; nothing without a cascade."""
    found = report.cascade
    if found is not None:
        parts = {"codes": found.codes, "buckets": found.buckets, "lists": found.memberships}
        for name, part in parts.items():
            yield name, part if isinstance(part, str) else _told(part)


def doubts_of(record: Record) -> Iterator[str]:
    """Which of a capture's own controls it did not pass."""
    control, observer = record.control, record.observer
    if control and not control.identical:
        count = f"{control.unstable_tensors} of {control.tensors} tensors"
        yield plain(
            f"torch {record.torch}: {count} differ between two runs of one environment "
            f"({listed(control.unstable)})"
        )
    if observer and not observer.identical:
        names = listed(observer.differing)
        yield plain(f"torch {record.torch}: watching changes the index ({names})")


def listed(names: Sequence[str]) -> str:
    """The first three names and how many more there are."""
    if not names:
        return "not named"
    shown = list(names[:3])
    if len(names) > len(shown):
        shown.append(f"{len(names) - len(shown)} more")
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))


# The order of the counts: from what is quiet to what was never judged.
_TOLD = (
    Verdict.IDENTICAL,
    Verdict.REORDERED,
    Verdict.CLOSE,
    Verdict.DIFFERS,
    Verdict.UNSTABLE,
    Verdict.MISSING,
    Verdict.FAILED,
    Verdict.NOT_COMPARABLE,
    Verdict.NOT_RUN,
)


def _line(
    row: Row,
    policy: Policy,
    dtypes: Mapping[tuple[str, str, str], str],
    profiles: Sequence[str],
) -> Line:
    name, part, scope = row["artifact"], row["part"], row["scope"]
    violations = row.get("violations") or ()
    return Line(
        artifact=plain(name),
        part=plain(part),
        scope=plain(scope),
        kind=row["kind"],
        dtype=plain(dtypes.get((name, part, scope), "")),
        verdict=Verdict(row["verdict"]),
        level=policy.judge(row),
        role=row["role"],
        reason=plain(row["reason"]),
        profile=plain(row["profile"]),
        profiles=tuple(map(plain, row["profiles"])),
        ulp_histogram=tuple(row.get("ulp_histogram") or ()),
        violations=dict(zip(map(plain, profiles), violations, strict=False)),
        first_at=plain(row.get("first_at") or ""),
        largest_at=plain(row.get("largest_at") or ""),
        **{figure: row.get(figure) for figure in _FIGURES},
    )


_FIGURES = (
    *("max_abs", "mean_abs", "max_rel", "equal_fraction", "rtol_needed"),
    *("p50_ulp", "p99_ulp", "max_ulp"),
)


def _summary(rows: Sequence[Row]) -> Summary:
    counts = Counter(row["verdict"] for row in rows)
    starts = [row for row in rows if row["role"] == "origin"]
    # A probe that moves with the pipeline shows the cause again; it is not where that starts.
    starts = [row for row in starts if row["kind"] != "probe"] or starts
    behind = (
        row["artifact"]
        for row in rows
        if row["kind"] != "probe" and row["max_abs"] is not None and row["role"] == "propagated"
    )
    layers: dict[str, set[int]] = {}
    for row in starts:
        found = layers.setdefault(row["artifact"], set())
        if (layer := layer_of(row["artifact"], row["part"])) is not None:
            found.add(layer)
    return Summary(
        counts={verdict: counts[verdict.value] for verdict in _TOLD},
        unsized=sum(_unsized(row) for row in rows),
        starts=tuple(
            Start(artifact=plain(name), layers=tuple(sorted(found)))
            for name, found in layers.items()
        ),
        measured=plain(next(behind, "")) if starts and all(map(_unsized, starts)) else "",
    )


def _unsized(row: Row) -> bool:
    return bool(row["verdict"] == Verdict.DIFFERS and row["reason"] == NO_VALUES)


def _whereabouts(start: Start, quote: Quote) -> str:
    name = quote(start.artifact)
    return f"{name} in {in_layers(start.layers)}" if start.layers else name


def _counted(verdict: Verdict, count: int, unsized: int) -> str:
    if not count:
        return ""
    word = verdict.value.replace("_", " ")
    if verdict is not Verdict.DIFFERS:
        return f"{count} {word}"
    known = f" ({unsized} of them by an unknown amount)" if unsized else ""
    return f"{count} {'differ' if count > 1 else word}{known}"


def _plainly(value: Any, kind: Any) -> Any:
    """A value of some kind, made again of plain strings at any depth."""
    return msgspec.convert(_strings_plain(msgspec.to_builtins(value)), kind)


def _strings_plain(value: Any) -> Any:
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, dict):
        return {name: _strings_plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strings_plain(inner) for inner in value]
    return value


def _told(part: Flips | Memberships) -> str:
    """A part of a cascade in words; figures that are nought as a rule are told if they are not."""
    unlike = [f"{_both(part.unlike)} come out otherwise in float64"] if any(part.unlike) else []
    if isinstance(part, Memberships):
        gained, lost = _changed(part.gained, "gained"), _changed(part.lost, "lost")
        return "; ".join([f"{_both(part.elements)} memberships", gained, lost, *unlike])
    told = [_changed(part.changes, f"of {part.elements:,} changed")]
    if part.margins and part.movements:
        told += [f"margins {_range(part.margins)}, moved by {_range(part.movements)}"]
    if part.borderline:
        told += [f"{part.borderline:,} lay within reach of the largest movement"]
    if part.inherited:
        told += [f"{part.inherited:,} for the sake of another centroid"]
    return "; ".join([*told, *unlike])


def _changed(changes: Changes, what: str) -> str:
    text = f"{changes.observed:,} {what}"
    if not (changes.observed or changes.predicted):
        return text
    return f"{text} ({changes.predicted:,} predicted, {changes.explained:,} are both)"


def _range(spread: Spread) -> str:
    if spread.min == spread.max:
        return f"{spread.max:.3g}"
    return f"{spread.min:.3g} to {spread.max:.3g}"


def _both(counts: tuple[int, int]) -> str:
    return f"{counts[0]:,} and {counts[1]:,}"


def _within(group: Group) -> dict[str, str]:
    """The ULPs that shares of the elements lie within, in words; empty where not known."""
    # Elements without a distance lie within none, but the figures leave them out.
    lines = () if _not_finite(group) else group.lines
    figures: dict[str, list[float | None]] = {
        "half": [line.p50_ulp for line in lines],
        "99%": [line.p99_ulp for line in lines],
        "all": [line.max_ulp for line in lines],
    }
    known = {share: [f for f in found if f is not None] for share, found in figures.items()}
    return {share: _short(max(found)) if found else "" for share, found in known.items()}


def _short(count: float) -> str:
    if count < 1_000_000:
        return f"{count:,.0f}"
    return re.sub(r"e\+0*", "e", f"{count:.1e}")


def _not_finite(group: Group) -> bool:
    return any(NOT_FINITE in line.reason for line in group.lines)


def _extreme(group: Group) -> Line | None:
    """The line with the largest difference, None where no difference is known."""
    measured = [line for line in group.lines if line.max_abs is not None]
    return max(measured, key=lambda line: line.max_abs or 0.0, default=None)


def _dtypes(capture: Capture) -> dict[tuple[str, str, str], str]:
    columns = [
        capture.rows.column(name).to_pylist() for name in ("artifact", "part", "scope", "dtype")
    ]
    return {(name, part, scope): dtype for name, part, scope, dtype in zip(*columns, strict=True)}
