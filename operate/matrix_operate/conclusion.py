"""What the captures of a lane come to: verdicts and advice, made anew where something moved."""

from collections.abc import Callable, Collection
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from matrix_capture.errors import MatrixError
from matrix_capture.settings import Settings
from matrix_capture.values import ValueStore
from matrix_compare.advice import (
    Advice,
    advice_path,
    read_advices,
    record_advices,
    record_crossings,
)
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
    """Write verdicts and distances of a lane, and the advice of its neighbours.

    Values tell more than digests, and they are at hand for a night only. So a pair keeps what they
    told, unless one of its releases has `moved` or the values of both are at hand, which are
    `measurable`. With `anew` no verdict is kept.
    """

    def settled(a: str, b: str) -> bool:
        return {a, b}.isdisjoint(moved) and not {a, b} <= set(measurable)

    captures = load_captures(data, lane, settings).captures
    store = ValueStore(data / "values")
    gauge = Gauge(store, read_profiles(settings), data / "distances.parquet")
    verdicts = compare(captures, gauge, store)
    gauge.save()
    verdicts = _joined(None if anew else _verdicts(data, lane), verdicts, settled)
    write_verdicts(verdicts.table, data, lane)

    evidence = Evidence(data, lane, settings, verdicts.of)
    said, given = _advised(data, lane), []
    for a, b in pairwise(capture.record.torch for capture in captures):
        facts = evidence.facts(a, b)
        if settled(a, b) and (a, b) in said:
            stages = said[a, b].reindex.stages
            facts = replace(facts, reindex=msgspec.structs.replace(facts.reindex, stages=stages))
        given.append(advise(facts))
    # Of releases that are neighbours no more nothing is said any more.
    advice_path(data, lane).unlink(missing_ok=True)
    record_advices(data, lane, given)
    if evidence.rankings:
        record_crossings(data, lane, crossings(evidence.rankings))


def _joined(old: Any, new: Verdicts, settled: Callable[[str, str], bool]) -> Verdicts:
    """The verdicts of each pair: the old rows where it is settled and has any, else the new."""
    parts, places, end = [COLUMNS.empty_table()], {}, 0
    names = None if old is None else pc.binary_join_element_wise(old["a"], old["b"], "...")
    for (a, b), place in new.places.items():
        rows = new.table.slice(place.start, place.stop - place.start)
        if names is not None and settled(a, b):
            kept = old.filter(pc.equal(names, f"{a}...{b}"))
            rows = kept if len(kept) else rows
        parts.append(rows.cast(COLUMNS))
        places[a, b] = slice(end, end := end + len(rows))
    return Verdicts(table=pa.concat_tables(parts), places=places)


def _verdicts(data: Path, lane: str) -> Any:
    """The verdicts on record; None if there are none, or those of another schema."""
    try:
        return read_verdict_table(data, lane)
    except MatrixError:
        return None


def _advised(data: Path, lane: str) -> dict[tuple[str, str], Advice]:
    """The advice on record, by pair."""
    path = advice_path(data, lane)
    advices = read_advices(path).advices if path.exists() else ()
    return {(advice.a, advice.b): advice for advice in advices}
