"""What the captures of a lane come to: verdicts and advice, made anew where something moved."""

from collections.abc import Callable, Collection
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from matrix_capture.errors import MatrixError
from matrix_capture.settings import Settings
from matrix_capture.values import ValueStore
from matrix_compare.advice import advice_path, read_advices, record_advices, record_crossings
from matrix_compare.advising import advise
from matrix_compare.captures import load_captures
from matrix_compare.crossing import crossings
from matrix_compare.evidence import Evidence
from matrix_compare.gauge import Gauge
from matrix_compare.pairs import Verdicts, compare
from matrix_compare.schema import COLUMNS, read_verdict_table, write_verdicts
from matrix_compare.tolerance import read_profiles


def conclude(
    data: Path,
    lane: str,
    settings: Settings,
    *,
    moved: Collection[str],
    measurable: Collection[str],
    anew: bool = False,
) -> None:
    """Write verdicts, distances and advice of a lane.

    Values tell more than digests, and they are at hand for a night only. So a pair keeps what was
    said of it, unless one of its releases has `moved` or the values of both are at hand, which are
    `measurable`. With `anew` no verdict is kept.
    """

    def settled(a: str, b: str) -> bool:
        return {a, b}.isdisjoint(moved) and not {a, b} <= set(measurable)

    captures = load_captures(data, lane, settings).captures
    store = ValueStore(data / "values")
    gauge = Gauge(store, read_profiles(settings), data / "distances.parquet")
    verdicts = compare(captures, gauge, store)
    gauge.save()
    old = None if anew else _verdicts(data, lane)
    write_verdicts(_joined(old, verdicts, settled), data, lane)

    evidence = Evidence(data, lane, settings)
    said = _advised(data, lane)
    names = pairwise(capture.record.torch for capture in captures)
    asked = [pair for pair in names if pair not in said or not settled(*pair)]
    record_advices(data, lane, [advise(evidence.facts(*pair)) for pair in asked])
    evidence.save()
    if evidence.rankings:
        record_crossings(data, lane, crossings(evidence.rankings))


def _joined(old: Any, new: Verdicts, settled: Callable[[str, str], bool]) -> Any:
    """The verdicts of each pair: the old rows where it is settled and has any, else the new."""
    parts = [COLUMNS.empty_table()]
    names = None if old is None else pc.binary_join_element_wise(old["a"], old["b"], "...")
    for (a, b), place in new.places.items():
        rows = new.table.slice(place.start, place.stop - place.start)
        if names is not None and settled(a, b):
            kept = old.filter(pc.equal(names, f"{a}...{b}"))
            rows = kept if len(kept) else rows
        parts.append(rows.cast(COLUMNS))
    return pa.concat_tables(parts)


def _verdicts(data: Path, lane: str) -> Any:
    """The verdicts on record; None if there are none, or those of another schema."""
    try:
        return read_verdict_table(data, lane)
    except MatrixError:
        return None


def _advised(data: Path, lane: str) -> set[tuple[str, str]]:
    """The pairs that were advised on."""
    path = advice_path(data, lane)
    return {(one.a, one.b) for one in read_advices(path).advices} if path.exists() else set()
