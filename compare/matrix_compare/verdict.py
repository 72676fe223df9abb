"""The verdict of one artifact, part and scope between two captures."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from matrix_capture.catalogue import BY_NAME, Artifact
from matrix_capture.schema import STAGES, Record, run_stage
from matrix_compare.metrics import Distances, worst
from matrix_compare.schema import NOT_FINITE, Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class Occurrence:
    """What a verdict needs of one digest row."""

    number: int
    dtype: str
    shape: tuple[int, ...]
    digest: bytes
    multiset: bytes | None
    blocks: tuple[bytes, ...]
    numel: int
    nan: int


Gauging = Callable[[Occurrence, Occurrence], Distances | str]
"""The distances of the second value from the first, or the reason why there are none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """All rows of one artifact, part and scope in one capture.

    `occurrences` are those of repeat 0, the ones compared. `unstable` says where another repeat
    has other bits, `uneven` where it has another number of occurrences; both are empty if none.
    """

    occurrences: tuple[Occurrence, ...]
    unstable: str = ""
    uneven: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One capture's view of a cell; `cell` is None where the capture has no such rows."""

    record: Record
    cell: Cell | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A verdict with its grounds, over all occurrences."""

    verdict: Verdict
    reason: str = ""
    occurrences: int = 0
    identical: int = 0
    differing_occurrences: tuple[int, ...] = ()
    differing_blocks: int | None = None
    profile: str = ""
    profiles: tuple[str, ...] = ()
    distances: Distances | None = None


def cell_of(rows: Iterable[Mapping[str, Any]]) -> Cell:
    """Gather the digest rows of one artifact, part and scope, of any repeat and in any order.

    A repeat without rows for it says nothing: a capture may repeat only a part of the run.
    """
    repeats: dict[int, list[Occurrence]] = {}
    for row in sorted(rows, key=lambda row: (row["repeat"], row["occurrence"])):
        repeats.setdefault(row["repeat"], []).append(_occurrence(row))
    first = {occurrence.number: occurrence.digest for occurrence in repeats.get(0, [])}
    unstable = uneven = ""
    for repeat, occurrences in repeats.items():
        others = {occurrence.number: occurrence.digest for occurrence in occurrences}
        for number in sorted(first.keys() & others.keys()):
            if first[number] != others[number] and not unstable:
                unstable = f"repeats 0 and {repeat} disagree at occurrence {number}"
        if first.keys() != others.keys() and not uneven:
            uneven = f"occurrences: {len(first)} in repeat 0, {len(others)} in repeat {repeat}"
    return Cell(occurrences=tuple(repeats.get(0, ())), unstable=unstable, uneven=uneven)


def artifact_of(name: str, stage: str) -> Artifact:
    """The catalogue's entry; an unknown name is an intermediate without rules or parents."""
    unknown = Artifact(
        name=name,
        stage=stage,
        kind="intermediate",
        parents=(),
        meaning="not in the catalogue",
        source="",
    )
    return BY_NAME.get(name, unknown)


def judge(
    artifact: Artifact,
    a: Side,
    b: Side,
    *,
    obstacles: tuple[str, ...],
    key_identical: bool,
    gauge: Gauging,
) -> Finding:
    """The first verdict that applies, in the order of precedence of `Verdict`.

    `obstacles` are the reasons why the two captures are not comparable; `key_identical` says
    whether the artifact that the order rule refers to is identical in this scope.
    """
    counts = [len(side.cell.occurrences) if side.cell else 0 for side in (a, b)]
    stopped = stop(artifact, a, fewer=counts[0] < counts[1]) or stop(
        artifact, b, fewer=counts[1] < counts[0]
    )
    if stopped:
        verdict, reason = stopped
        return Finding(verdict=verdict, reason=reason, occurrences=max(counts))
    if obstacles:
        return Finding(
            verdict=Verdict.NOT_COMPARABLE, reason="; ".join(obstacles), occurrences=max(counts)
        )
    missing = _missing(artifact, a, b)
    if missing or a.cell is None or b.cell is None:
        return Finding(verdict=Verdict.MISSING, reason=missing, occurrences=max(counts))
    unstable = "; ".join(filter(None, (_unstable(a), _unstable(b))))
    if unstable:
        return _unequal(Verdict.UNSTABLE, unstable, a.cell, _differing(a.cell, b.cell))
    return compare_cells(artifact, a.cell, b.cell, key_identical=key_identical, gauge=gauge)


def compare_cells(
    artifact: Artifact, a: Cell, b: Cell, *, key_identical: bool, gauge: Gauging
) -> Finding:
    """The verdict of two stable cells with the same occurrences: it depends on them alone."""
    pairs = _differing(a, b)
    if not pairs:
        count = len(a.occurrences)
        return Finding(verdict=Verdict.IDENTICAL, occurrences=count, identical=count)
    if _reordered(artifact, pairs, key_identical=key_identical):
        return _unequal(Verdict.REORDERED, f"order rule {artifact.order}", a, pairs)
    unlike = next(filter(None, (_unlike(x, y) for x, y in pairs)), "")
    if unlike:
        return _unequal(Verdict.DIFFERS, unlike, a, pairs)
    found = [gauge(x, y) for x, y in pairs]
    without = next((reason for reason in found if isinstance(reason, str)), "")
    if without:
        return _unequal(Verdict.DIFFERS, without, a, pairs)
    same = sum(o.numel for o in a.occurrences) - sum(x.numel for x, _ in pairs)
    parts = [item for item in found if isinstance(item, Distances)]
    distances = worst(parts, [x.number for x, _ in pairs], same)
    if distances.profiles:
        return _unequal(Verdict.CLOSE, "", a, pairs, distances)
    reason = "outside every profile"
    if distances.unordered:
        plural = "" if distances.unordered == 1 else "s"
        reason += f"; {NOT_FINITE} in {distances.unordered} element{plural}"
    return _unequal(Verdict.DIFFERS, reason, a, pairs, distances)


def stop(artifact: Artifact, side: Side, *, fewer: bool = False) -> tuple[Verdict, str] | None:
    """Whether the run stopped before it made (all of) an artifact, and how it did.

    `fewer` says that the other side has more occurrences of it.
    """
    record = side.record
    if side.cell is not None and not fewer:
        return None
    stage = run_stage(artifact.stage)
    failed = record.failed_stage()
    if failed is not None and STAGES.index(failed) <= STAGES.index(stage):
        status = record.status[failed]
        why = ": ".join(filter(None, (status.error, status.message)))
        reason = f"{record.torch} stopped at {failed}"
        return Verdict.FAILED, f"{reason}: {why}" if why else reason
    if side.cell is None and record.state(stage) == "not_run":
        reason = f"{record.torch} did not run {stage}"
        before = STAGES[: STAGES.index(stage) + 1]
        told = (record.status[name] for name in before if name in record.status)
        why = next((status.message for status in told if status.state == "not_run"), "")
        return Verdict.NOT_RUN, f"{reason}: {why}" if why else reason
    return None


def _occurrence(row: Mapping[str, Any]) -> Occurrence:
    return Occurrence(
        number=row["occurrence"],
        dtype=row["dtype"],
        shape=tuple(row["shape"]),
        digest=row["digest"],
        multiset=row["multiset"],
        blocks=tuple(row["blocks"] or ()),
        numel=max(0, row["numel"] or 0),
        nan=row["nan"] or 0,
    )


def _missing(artifact: Artifact, a: Side, b: Side) -> str:
    """The reason if the sides do not have the same occurrences, else empty."""
    absent = [side for side in (a, b) if not (side.cell and side.cell.occurrences)]
    if absent:
        tap = next((s for s in absent if artifact.name in s.record.missing), absent[0])
        reason = tap.record.missing.get(artifact.name)
        torch = " and ".join(side.record.torch for side in absent)
        return f"not in {torch}: {reason}" if reason else f"not in {torch}"
    numbers = [[o.number for o in side.cell.occurrences] for side in (a, b) if side.cell]
    if numbers[0] == numbers[1]:
        return ""
    if len(numbers[0]) == len(numbers[1]):
        odd = sorted(set(numbers[0]) ^ set(numbers[1]))
        return f"occurrences {odd} are on one side only"
    names = a.record.torch, b.record.torch
    return f"{len(numbers[0])} occurrences in {names[0]}, {len(numbers[1])} in {names[1]}"


def _unstable(side: Side) -> str:
    cell = side.cell
    if cell is None:
        return ""
    # A run that failed may have stopped in the middle of a repeat; that is no disagreement.
    uneven = cell.uneven if cell.uneven and not side.record.failed_stage() else ""
    reason = cell.unstable or uneven
    return f"{side.record.torch}: {reason}" if reason else ""


def _differing(a: Cell, b: Cell) -> list[tuple[Occurrence, Occurrence]]:
    both = zip(a.occurrences, b.occurrences, strict=True)
    return [(x, y) for x, y in both if x.digest != y.digest]


def _reordered(
    artifact: Artifact, pairs: list[tuple[Occurrence, Occurrence]], *, key_identical: bool
) -> bool:
    if artifact.order == "none" or (artifact.order_key is not None and not key_identical):
        return False
    return all(
        x.multiset is not None and x.multiset == y.multiset and not _unlike(x, y) for x, y in pairs
    )


def _unlike(x: Occurrence, y: Occurrence) -> str:
    """In which way dtype or shape differ; empty if they do not."""
    reasons = []
    if x.dtype != y.dtype:
        reasons.append(f"dtype {x.dtype} and {y.dtype}")
    if x.shape != y.shape:
        reasons.append(f"shape {x.shape} and {y.shape}")
    return ", ".join(reasons)


def _unequal(
    verdict: Verdict,
    reason: str,
    a: Cell,
    pairs: list[tuple[Occurrence, Occurrence]],
    distances: Distances | None = None,
) -> Finding:
    """What is found of a cell of which these occurrences differ."""
    profiles = distances.profiles if distances else ()
    blocks = None
    if not any(_unlike(x, y) for x, y in pairs):
        blocks = sum(p != q for x, y in pairs for p, q in zip_longest(x.blocks, y.blocks))
    return Finding(
        verdict=verdict,
        reason=reason,
        occurrences=len(a.occurrences),
        identical=len(a.occurrences) - len(pairs),
        differing_occurrences=tuple(x.number for x, _ in pairs),
        differing_blocks=blocks,
        profile=profiles[0] if profiles else "",
        profiles=profiles,
        distances=distances,
    )
