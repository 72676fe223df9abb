"""The view of one pair: its tables, the two environments, and how to repeat it."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from matrix_capture.catalogue import BY_NAME
from matrix_capture.schema import STAGES, Control, Observer, Record, StageStatus
from matrix_compare.schema import Verdict, in_layers
from matrix_site.comparison import Comparison, Comparisons, Pair
from matrix_site.explanation import ExplanationView, explanation_view
from matrix_site.snapshot import LaneData
from matrix_site.summary import Tally, headline, stop, summarise, tally
from matrix_site.text import clean, day, duration, listed, moment, number, percent, plural

NONE = "\N{EN DASH}"
UNSIZED = "only digests are kept, so nobody knows how far it moves"
"""What a line says instead of a size."""

_MEASURED = frozenset({Verdict.REORDERED, Verdict.CLOSE, Verdict.DIFFERS, Verdict.UNSTABLE})
_KINDS = {
    "final": (
        "Final artifacts",
        "what is left at the end: the finished index on disk, the rankings, the trained weights",
    ),
    "intermediate": ("Intermediate artifacts", "tensors on the way to the index"),
    "probe": (
        "Probes",
        "what torch does without ColBERT around it: a few fixed lines, and how it lays out a file",
    ),
    "": ("Other artifacts", "not in the catalogue of this release of the site"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of a table: a comparison, or several that say the same, at several `places`.

    `layers` are those of the encoder that all places lie in.
    """

    artifact: str
    anchor: str
    places: tuple[str, ...]
    layers: str
    meaning: str
    dtype: str
    equal: str
    passes: tuple[str, ...]
    largest: str
    verdict: Verdict
    unsized: bool
    role: str
    details: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """The comparisons of one kind; the counts add up to `counts.total`."""

    title: str
    caption: str
    counts: Tally
    lines: tuple[Line, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """One property of both environments."""

    name: str
    a: str
    b: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """A group of properties: those that differ, and those that do not."""

    title: str
    differing: tuple[Fact, ...]
    same: tuple[Fact, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """Another page."""

    name: str
    href: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Unstable:
    """The tensors of one release that do not equal themselves, or the first of them."""

    release: str
    total: int
    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PairView:
    """Everything on the page of one pair.

    `explain` is the command that explains it, or explains it again; empty where nothing in the
    pipeline changes.
    """

    lane: str
    title: str
    quick: bool
    a: str
    b: str
    headline: str
    counts: Tally
    moved: str
    why: ExplanationView | None
    explain: str
    controls: tuple[str, ...]
    unstable: tuple[Unstable, ...]
    profiles: tuple[str, ...]
    tables: tuple[Table, ...]
    captures: tuple[Fact, ...]
    environment: tuple[Facts, ...]
    failures: tuple[str, ...]
    reasoned: bool
    missing: tuple[Fact, ...]
    command: str


def pair_view(lane: LaneData, pair: Pair, profiles: tuple[str, ...]) -> PairView:
    """Lay out the page of one pair."""
    rows = lane.pairs[pair]
    summary = summarise(rows)
    sides = (lane.captures.get(release) for release in pair)
    records = tuple(side.record if side else None for side in sides)
    environment = _environment(records)
    explanation = lane.explanations.get(pair)
    a, b = (record.torch_build if record else "" for record in records)
    failures = _failures(lane, pair)
    return PairView(
        lane=lane.name,
        title=lane.settings.title,
        quick=lane.quick,
        a=pair[0],
        b=pair[1],
        headline=headline(lane, pair, summary),
        counts=summary.tally,
        moved=_moved(environment),
        why=explanation_view(explanation, (a, b)) if explanation else None,
        explain=_explain(lane, pair, records) if explanation or summary.starts else "",
        controls=_controls(pair, records, summary.tally),
        unstable=tuple(_unstable(pair, records)),
        profiles=profiles,
        tables=_tables(rows, profiles),
        captures=_captures(records),
        environment=environment,
        failures=failures,
        reasoned=bool(failures),
        missing=_missing(records),
        command=_command("matrix", lane, pair, records),
    )


@cache
def _tables(comparisons: Comparisons, profiles: tuple[str, ...]) -> tuple[Table, ...]:
    """A table for each kind; pairs that compare alike share them."""
    tables = []
    anchored: set[str] = set()
    for kind, (title, caption) in _KINDS.items():
        # An unknown kind goes to the last table, so that the tables add up to all comparisons.
        found = [row for row in comparisons if (row.kind if row.kind in _KINDS else "") == kind]
        if found or kind:
            table = Table(
                title=title,
                caption=caption,
                counts=tally(found),
                lines=tuple(_lines(found, profiles, anchored)),
            )
            tables.append(table)
    return tuple(tables)


def _lines(
    rows: Sequence[Comparison], profiles: tuple[str, ...], anchored: set[str]
) -> Iterable[Line]:
    for alike in _folded(rows):
        name = alike[0].artifact
        yield _line(tuple(alike), profiles, first=name in BY_NAME and name not in anchored)
        anchored.add(name)


@cache
def _line(alike: tuple[Comparison, ...], profiles: tuple[str, ...], *, first: bool) -> Line:
    """One line; lines of other pairs that say the same are the same object."""
    row = alike[0]
    known = BY_NAME.get(row.artifact)
    return Line(
        artifact=row.artifact,
        anchor=f"a-{row.artifact}" if first else "",
        places=tuple(_places(alike)),
        layers=_layers(alike),
        meaning=known.meaning if known else "not in the catalogue",
        dtype=row.dtype or NONE,
        equal=_equal(row) if len({_equal(other) for other in alike}) == 1 else "in part",
        passes=tuple(_passes(row, profile) for profile in profiles),
        largest=number(row.max_abs) if row.verdict in _MEASURED else NONE,
        verdict=row.verdict,
        unsized=row.unsized,
        role=row.role,
        details=(UNSIZED,) if row.unsized else tuple(_details(row)),
    )


def _folded(rows: Sequence[Comparison]) -> Iterable[list[Comparison]]:
    """Parts and scopes of one artifact that have the same to say; measured differences never do.

    Where nobody knows how far they differ, how many of their occurrences do sets none apart.
    """
    groups: dict[tuple[object, ...], list[Comparison]] = {}
    for row in rows:
        told = row.artifact, row.verdict, row.reason, row.role, row.dtype
        counts = () if row.unsized else (_equal(row), *_details(row))
        own = row.place if row.max_abs is not None else None
        groups.setdefault((told, counts, own), []).append(row)
    return groups.values()


def _places(alike: Sequence[Comparison]) -> Iterable[str]:
    """Where the comparisons of a line are, and how many of each are equal if that is not one."""
    uneven = len({_equal(row) for row in alike}) > 1
    for row in alike:
        place = clean(", ".join(name for name in (row.part, row.scope) if name), 120)
        if place:
            yield f"{place}: {_equal(row)} equal" if uneven else place


def _layers(alike: Sequence[Comparison]) -> str:
    """`layer 3`, `layers 0-2`; empty unless all of them lie in a layer."""
    found = [row.layer for row in alike]
    known = [layer for layer in found if layer is not None]
    return "" if len(known) < len(found) else in_layers(known)


def _equal(row: Comparison) -> str:
    if row.verdict not in _MEASURED | {Verdict.IDENTICAL}:
        return NONE
    if row.identical == row.occurrences:
        return "yes"
    return f"{row.identical:,} of {row.occurrences:,}" if row.identical else "no"


def _passes(row: Comparison, profile: str) -> str:
    if row.verdict is Verdict.IDENTICAL or profile in row.profiles:
        return "yes"
    known = row.verdict in _MEASURED - {Verdict.UNSTABLE} and not row.unsized
    return "no" if known else NONE


def _details(row: Comparison) -> Iterable[str]:
    """What is known about a difference beyond its largest distance."""
    if row.reason:
        yield clean(row.reason, 200)
    if row.verdict not in _MEASURED:
        return
    if row.occurrences > 1 and row.differing_occurrences:
        yield f"in {len(row.differing_occurrences):,} of {row.occurrences:,} occurrences"
    if row.equal_fraction is not None:
        yield f"{percent(row.equal_fraction)} equal"
    if row.mean_abs:
        yield f"mean {number(row.mean_abs)}"
    if row.rtol_needed:
        yield f"needs rtol {number(row.rtol_needed)}"
    if row.max_ulp:
        yield f"at most {row.max_ulp:,} ulp"
    if row.largest_at:
        yield f"largest at {clean(row.largest_at, 200)}"


def _facts(title: str, a: Mapping[str, object], b: Mapping[str, object]) -> Facts:
    """Two mappings side by side; equality is judged before anything is shortened."""
    differing: list[Fact] = []
    same: list[Fact] = []
    for name in sorted({*a, *b}):
        fact = Fact(name=name, a=_value(a, name), b=_value(b, name))
        (same if a.get(name) == b.get(name) else differing).append(fact)
    return Facts(title=title, differing=tuple(differing), same=tuple(same))


def _value(facts: Mapping[str, object], name: str) -> str:
    return clean(facts.get(name, NONE), 200) or "(empty)"


def _environment(records: tuple[Record | None, ...]) -> tuple[Facts, ...]:
    return (
        _facts("Packages", *(record.packages if record else {} for record in records)),
        _facts("Host", *(record.host if record else {} for record in records)),
        _facts("Environment variables", *(record.environ if record else {} for record in records)),
        _facts("Fixed factors", *(record.factors if record else {} for record in records)),
        _facts("Inputs", *(record.inputs if record else {} for record in records)),
    )


def _moved(environment: tuple[Facts, ...]) -> str:
    """What moves together with torch: a cause is only as good as its control."""
    packages, host, *others = environment
    names = tuple(
        fact.name
        for facts in (host, packages, *others)
        for fact in facts.differing
        if fact.name != "torch"
    )
    return f"Not only torch moves between these two, but also {listed(names, 4)}." if names else ""


def _controls(pair: Pair, records: tuple[Record | None, ...], counts: Tally) -> tuple[str, ...]:
    """The A/A control and the observer certificate of both sides, one sentence each."""
    lines = []
    for release, record in zip(pair, records, strict=True):
        if record is None:
            lines.append(f"torch {release}: no readable capture, so no control.")
            continue
        repeats = _repeats(record.repeats, record.control)
        lines.append(f"torch {release}: {repeats}; {_certificate(record.observer)}.")
    unstable = counts.of(Verdict.UNSTABLE)
    lines.append(
        f"{plural(unstable, 'comparison')} unstable: two runs of one environment disagree."
        if unstable
        else "No comparison is unstable."
    )
    return tuple(lines)


def _repeats(runs: int, control: Control | None) -> str:
    if control is None or runs < 2:
        if runs > 1:
            return f"A/A control of {runs} runs, its outcome not on record"
        return "no A/A control, so nothing tells a difference from noise"
    if control.identical:
        return f"A/A control: {plural(control.tensors, 'tensor')} the same in {runs} runs"
    many = f"{control.unstable_tensors:,} of {plural(control.tensors, 'tensor')}"
    return f"A/A control not passed: {many} not the same in {runs} runs"


def _unstable(pair: Pair, records: tuple[Record | None, ...]) -> Iterable[Unstable]:
    for release, record in zip(pair, records, strict=True):
        control = record.control if record else None
        if control and not control.identical:
            names = tuple(clean(name, 120) for name in control.unstable)
            yield Unstable(release=release, total=control.unstable_tensors, names=names)


def _certificate(observer: Observer | None) -> str:
    if observer is None:
        return "no observer certificate"
    if observer.identical:
        tensors = plural(observer.tensors, "tensor")
        return f"observer certificate: {tensors} of the index identical with and without taps"
    names = listed(observer.differing) or "tensors not named"
    return f"observer certificate refused: taps change {names}"


def _captures(records: tuple[Record | None, ...]) -> tuple[Fact, ...]:
    """When and with what both sides were captured, and the outcome and seconds of each stage."""
    a, b = (_provenance(record) if record else {} for record in records)
    return tuple(
        Fact(name=name, a=a.get(name) or NONE, b=b.get(name) or NONE)
        for name in (*_PROVENANCE, *STAGES)
        if name not in _SELDOM or a.get(name) or b.get(name)
    )


_PROVENANCE = (
    *("torch build", "captured", "by", "options", "note"),
    *("colbert-ai", "GPU", "CPU", "libraries", "k-means"),
)
_SELDOM = {"note", "GPU", "k-means"}
_GPU = {"gpu": "", "gpu_compute_capability": "compute capability ", "gpu_driver": "driver "}
_LIBRARIES = {
    "cuda": "CUDA ",
    "cublas": "cuBLAS ",
    "cudnn": "cuDNN ",
    "mkl": "MKL ",
    "onednn": "oneDNN ",
}


def _provenance(record: Record) -> dict[str, str]:
    time = moment(record.started)
    code = record.capture_code
    options = (f"{name} = {value}" for name, value in sorted(record.options.items()))
    shown = {
        "torch build": clean(record.torch_build, 60),
        "captured": f"{day(time)}, {time:%H:%M} UTC" if time else clean(record.started, 40),
        "by": f"matrix_capture {clean(code.version, 30)}, {clean(code.hash, 13)}",
        "options": clean("; ".join(options), 200) or "none",
        "note": clean(record.note, 200),
        "colbert-ai": clean(record.factors.get("colbert-ai", ""), 200),
        "GPU": _told(record.host, _GPU),
        "CPU": clean(record.host.get("cpu_model", ""), 80),
        "libraries": _told(record.host, _LIBRARIES),
        "k-means": clean(record.factors.get("kmeans", ""), 80),
    }
    return shown | {stage: _outcome(record, stage) for stage in STAGES}


def _told(facts: Mapping[str, object], names: Mapping[str, str]) -> str:
    """Some facts in one line, each behind its word."""
    known = (f"{word}{clean(facts[name], 80)}" for name, word in names.items() if name in facts)
    return ", ".join(known)


def _outcome(record: Record, stage: str) -> str:
    status = record.status.get(stage, StageStatus(state="not_run"))
    seconds = record.seconds.get(stage)
    why = ": ".join(filter(None, (status.error, status.message)))
    shown = (
        status.state.replace("_", " "),
        "" if seconds is None else duration(seconds),
        clean(why, 120),
    )
    return ", ".join(filter(None, shown))


def _failures(lane: LaneData, pair: Pair) -> tuple[str, ...]:
    unreadable = "has a digest file that cannot be read"
    return tuple(
        f"torch {release} {why}"
        for release in pair
        if (why := unreadable if release in lane.broken else stop(lane, release))
    )


def _missing(records: tuple[Record | None, ...]) -> tuple[Fact, ...]:
    facts = _facts("", *(record.missing if record else {} for record in records))
    return (*facts.differing, *facts.same)


def _explain(lane: LaneData, pair: Pair, records: tuple[Record | None, ...]) -> str:
    """What explains this pair; nothing does where values were injected."""
    if any(record and "inject" in record.options for record in records):
        return ""
    return _command("explain", lane, pair, records)


def _command(session: str, lane: LaneData, pair: Pair, records: tuple[Record | None, ...]) -> str:
    """What runs a session on this pair; options come from the data, so they are quoted."""
    base = lane.name.partition("+")[0]
    words = ["nox", "-s", session, "--", *pair, "--lane", base]
    options = next((record.options for record in records if record), {}) if lane.quick else {}
    for name, value in sorted(options.items()):
        words += [f"--{clean(name, 40)}", clean(value, 80)]
    return shlex.join(words)
