"""Which artifacts to swap between two releases, and what a swap proved."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from matrix_capture.catalogue import BY_NAME, CATALOGUE, POSITION
from matrix_capture.inject import INJECTABLE
from matrix_capture.schema import Capture
from matrix_capture.values import ValueStore
from matrix_compare.schema import Verdict

Rows = Sequence[Mapping[str, Any]]
Scopes = dict[str, tuple[int, ...]]


def origins(rows: Rows) -> dict[str, Scopes]:
    """Where differences start, in pipeline order: for each artifact the occurrences by pass.

    Probes are no part of the pipeline.
    """
    found: dict[str, dict[str, set[int]]] = {}
    for row in rows:
        if row["role"] == "origin" and row["kind"] != "probe":
            scopes = found.setdefault(row["artifact"], {})
            scopes.setdefault(row["scope"], set()).update(row["differing_occurrences"] or ())
    return {
        name: {scope: tuple(sorted(numbers)) for scope, numbers in found[name].items()}
        for name in sorted(found, key=lambda name: POSITION.get(name, len(POSITION)))
    }


def stand_in(artifact: str, scopes: Scopes, source: Capture, store: ValueStore) -> tuple[str, ...]:
    """What to inject for an origin, as `artifact[:occurrence]`; nothing where nothing will do.

    The origin itself if it can be swapped and its values are at hand, else the first that can among
    what is made from it. Occurrences are named where only some differ.
    """
    behind = descendants([artifact])
    names = [name for name in INJECTABLE if name == artifact or name in behind]
    for name in sorted(names, key=lambda name: (name != artifact, POSITION[name])):
        held = _digests(source, name)
        wanted = {(scope, n) for scope, numbers in scopes.items() for n in numbers}
        if not held or not all(digest in store for digest in held.values()):
            continue
        if wanted < held.keys():
            return tuple(f"{name}:{n}" for n in sorted({n for _, n in wanted}))
        return (name,)
    return ()


def remains(rows: Rows, injected: Iterable[str]) -> dict[str, Verdict]:
    """What still differs and should not, with the worst verdict of each artifact.

    What comes before the swap differs as it did; what is unstable proves nothing.
    """
    names = {label.partition(":")[0] for label in injected}
    upstream = ancestors(names) - descendants(names) - names
    found: dict[str, Verdict] = {}
    for row in rows:
        verdict = Verdict(row["verdict"])
        quiet = verdict in (Verdict.IDENTICAL, Verdict.UNSTABLE)
        if not quiet and row["kind"] != "probe" and row["artifact"] not in upstream:
            known = found.get(row["artifact"], verdict)
            found[row["artifact"]] = max(known, verdict, key=_WORST.index)
    return found


def ancestors(names: Collection[str]) -> set[str]:
    """Everything that some artifacts are made from."""
    found: set[str] = set()
    todo = list(names)
    while todo:
        entry = BY_NAME.get(todo.pop())
        for parent in entry.parents if entry else ():
            if parent not in found:
                found.add(parent)
                todo.append(parent)
    return found


def descendants(names: Collection[str]) -> set[str]:
    """Everything that is made from some artifacts."""
    found: set[str] = set()
    for entry in CATALOGUE:  # parents come first
        if any(parent in names or parent in found for parent in entry.parents):
            found.add(entry.name)
    return found


_WORST = (
    Verdict.REORDERED,
    Verdict.CLOSE,
    Verdict.DIFFERS,
    Verdict.MISSING,
    Verdict.NOT_COMPARABLE,
    Verdict.NOT_RUN,
    Verdict.FAILED,
)


def _digests(source: Capture, artifact: str) -> dict[tuple[str, int], bytes]:
    """What the source has of an artifact, by pass and occurrence."""
    columns = ("artifact", "scope", "occurrence", "digest")
    rows = zip(*(source.rows.column(name).to_pylist() for name in columns), strict=True)
    return {(scope, n): digest for name, scope, n, digest in rows if name == artifact}
