"""The two captures of a pair side by side: how far they came, and what moved between them."""

from collections.abc import Mapping
from dataclasses import dataclass

from matrix_capture.schema import STAGES, Record, StageStatus
from matrix_site.comparison import Pair
from matrix_site.snapshot import LaneData
from matrix_site.summary import stop
from matrix_site.text import clean, day, duration, listed, moment

NONE = "\N{EN DASH}"

Records = tuple[Record | None, Record | None]
"""The records of a pair, older release first; None where there is no readable capture."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """One property of both sides."""

    name: str
    a: str
    b: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """The properties of one kind that differ, and how many do not."""

    title: str
    differing: tuple[Fact, ...]
    same: int


def environment(records: Records) -> tuple[Facts, ...]:
    """What differs between the two environments; all of either is on a page of its own."""
    return (
        _facts("Packages", *(record.packages if record else {} for record in records)),
        _facts("Host", *(record.host if record else {} for record in records)),
        _facts("Environment variables", *(record.environ if record else {} for record in records)),
        _facts("Fixed factors", *(record.factors if record else {} for record in records)),
        _facts("Inputs", *(record.inputs if record else {} for record in records)),
    )


def moved(found: tuple[Facts, ...]) -> str:
    """What moves together with torch: a cause is only as good as its control."""
    packages, host, *others = found
    names = tuple(
        fact.name
        for facts in (host, packages, *others)
        for fact in facts.differing
        if fact.name != "torch"
    )
    return f"Not only torch moves between these two, but also {listed(names, 4)}." if names else ""


def missing(records: Records) -> tuple[Fact, ...]:
    """Artifacts that could not be captured, and why."""
    a, b = (record.missing if record else {} for record in records)
    return tuple(_fact(a, b, name) for name in sorted({*a, *b}))


def failures(lane: LaneData, pair: Pair) -> tuple[str, ...]:
    """Where and why either capture stopped."""
    unreadable = "has a digest file that cannot be read"
    return tuple(
        f"torch {release} {why}"
        for release in pair
        if (why := unreadable if release in lane.broken else stop(lane, release))
    )


def captures(a: Mapping[str, str], b: Mapping[str, str]) -> tuple[Fact, ...]:
    """The provenance of both sides beside each other."""
    return tuple(
        Fact(name=name, a=a.get(name) or NONE, b=b.get(name) or NONE)
        for name in (*_PROVENANCE, *STAGES)
        if name not in _SELDOM or a.get(name) or b.get(name)
    )


def provenance(record: Record) -> dict[str, str]:
    """When and with what a side was captured, and the outcome and seconds of each stage."""
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


def _facts(title: str, a: Mapping[str, object], b: Mapping[str, object]) -> Facts:
    """Two mappings side by side; equality is judged before anything is shortened."""
    names = sorted({*a, *b})
    differing = tuple(_fact(a, b, name) for name in names if a.get(name) != b.get(name))
    return Facts(title=title, differing=differing, same=len(names) - len(differing))


def _fact(a: Mapping[str, object], b: Mapping[str, object], name: str) -> Fact:
    return Fact(name=name, a=_value(a, name), b=_value(b, name))


def _value(facts: Mapping[str, object], name: str) -> str:
    return clean(facts.get(name, NONE), 200) or "(empty)"


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
