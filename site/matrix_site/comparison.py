"""What was compared of a pair, read from a verdict file in one go however many pairs it holds."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from matrix_capture.catalogue import POSITION
from matrix_compare.schema import NO_VALUES, Place, Verdict, layer_of, read_verdict_table

Pair = tuple[str, str]
Dtypes = Mapping[Place, str]


class Comparison(msgspec.Struct, frozen=True, kw_only=True, eq=False, omit_defaults=True):
    """One row of a verdict file: its columns, and the dtype that both captures have on record.

    Where they do not have the same it is `float32 → float16`. Nulls are put into words where there
    are words for them. Rows that say the same are one object, whichever pairs they belong to, so
    they are told apart by what they are and not by what they hold. As JSON a row has no columns
    that say nothing.
    """

    artifact: str
    part: str = ""
    scope: str = ""
    kind: str = ""
    stage: str = ""
    dtype: str = ""
    occurrences: int = 0
    identical: int = 0
    verdict: Verdict
    reason: str = ""
    profile: str = ""
    profiles: tuple[str, ...] = ()
    role: str = ""
    max_abs: float | None = None
    mean_abs: float | None = None
    max_rel: float | None = None
    equal_fraction: float | None = None
    p50_ulp: float | None = None
    p99_ulp: float | None = None
    max_ulp: int | None = None
    ulp_histogram: tuple[int, ...] = ()
    violations: tuple[int, ...] = ()
    rtol_needed: float | None = None
    first_occurrence: int | None = None
    first_index: tuple[int, ...] = ()
    first_at: str = ""
    largest_occurrence: int | None = None
    largest_index: tuple[int, ...] = ()
    largest_at: str = ""
    differing_blocks: int | None = None
    differing_occurrences: tuple[int, ...] = ()

    @property
    def place(self) -> Place:
        """What is compared."""
        return self.artifact, self.part, self.scope

    @property
    def layer(self) -> int | None:
        """The layer of the encoder that it lies in, if any."""
        return layer_of(self.artifact, self.part)

    @property
    def unsized(self) -> bool:
        """Does it differ without anybody knowing how far? Only digests were kept of it."""
        return self.verdict is Verdict.DIFFERS and self.reason == NO_VALUES


@dataclass(frozen=True, slots=True, eq=False)
class Comparisons:
    """All comparisons of a pair in pipeline order; pairs that compare alike share one object.

    Whatever is made from one can therefore be remembered by it.
    """

    rows: tuple[Comparison, ...] = ()

    def __iter__(self) -> Iterator[Comparison]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


@cache
def by_artifact(comparisons: Comparisons) -> Mapping[str, tuple[Comparison, ...]]:
    """The comparisons of each artifact, in pipeline order."""
    found: dict[str, list[Comparison]] = {}
    for row in comparisons:
        found.setdefault(row.artifact, []).append(row)
    return {name: tuple(rows) for name, rows in found.items()}


NOTHING = Comparisons()
"""What is known of a pair that was not compared."""


def read_comparisons(
    data: Path, lane: str, releases: Sequence[str], dtypes: Mapping[str, Dtypes]
) -> dict[Pair, Comparisons]:
    """The comparisons of every pair of known releases; `dtypes` are those of each capture.

    Raises:
        MatrixError: there is no verdict file, or it is not one.
    """
    table = read_verdict_table(data, lane)
    known = pa.array(releases, pa.string())
    inside = pc.and_(pc.is_in(table["a"], known), pc.is_in(table["b"], known))
    table = table.filter(inside).drop_columns(["lane"])
    members = _members(table, ["a", "b"])
    rows, which = _unlike(table.drop_columns(["a", "b"]))
    order = [(POSITION.get(row["artifact"], len(POSITION)), row["artifact"]) for row in rows]
    return _shared(members, which, order, rows, dtypes)


def _members(table: Any, keys: list[str]) -> list[tuple[tuple[Any, ...], list[int]]]:
    """The numbers of the rows that share the values of these columns, in order of the first."""
    numbered = table.select(keys).append_column("row", pa.array(range(len(table)), pa.int64()))
    # One thread, so that groups come in the order of the rows.
    groups = numbered.group_by(keys, use_threads=False).aggregate([("row", "list")])
    values = zip(*(groups[key].to_pylist() for key in keys), strict=True)
    return list(zip(values, groups["row_list"].to_pylist(), strict=True))


def _unlike(table: Any) -> tuple[list[dict[str, Any]], list[int]]:
    """The rows without repetition, and for each row of the table which of them it is."""
    flat = table
    for place, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            # Lists are no keys; what they hold, written out, is.
            words = table[field.name].cast(pa.list_(pa.string()))
            flat = flat.set_column(place, field.name, pc.binary_join(words, "\x1f"))
    which = [0] * len(table)
    first = []
    for number, (_, found) in enumerate(_members(flat, flat.column_names)):
        first.append(found[0])
        for row in found:
            which[row] = number
    return table.take(pa.array(first, pa.int64())).to_pylist(), which


def _shared(
    members: Iterable[tuple[tuple[Any, ...], list[int]]],
    which: list[int],
    order: list[tuple[int, str]],
    rows: list[dict[str, Any]],
    dtypes: Mapping[str, Dtypes],
) -> dict[Pair, Comparisons]:
    """Comparisons by pair, in pipeline order; parts and scopes stay in order of capture."""
    made: dict[tuple[int, str], Comparison] = {}
    shared: dict[tuple[tuple[int, ...], int, int], Comparisons] = {}
    found: dict[Pair, Comparisons] = {}
    alike = _alike(dtypes)
    for (a, b), members_of in sorted(members):
        numbers = tuple(sorted((which[row] for row in members_of), key=order.__getitem__))
        key = numbers, alike.get(a, 0), alike.get(b, 0)
        if key not in shared:
            comparisons = (
                _made(made, number, rows[number], dtypes.get(a, {}), dtypes.get(b, {}))
                for number in numbers
            )
            shared[key] = Comparisons(tuple(comparisons))
        found[a, b] = shared[key]
    return found


def _alike(dtypes: Mapping[str, Dtypes]) -> dict[str, int]:
    """A number for each release, the same where all dtypes are; 0 is for no capture."""
    numbers: dict[frozenset[tuple[Place, str]], int] = {}
    return {
        release: numbers.setdefault(frozenset(found.items()), len(numbers) + 1)
        for release, found in dtypes.items()
    }


def _made(
    made: dict[tuple[int, str], Comparison],
    number: int,
    row: dict[str, Any],
    left: Dtypes,
    right: Dtypes,
) -> Comparison:
    """The comparison that says what a row says of these dtypes, which is made once."""
    place = row["artifact"] or "", row["part"] or "", row["scope"] or ""
    key = number, _dtype(left.get(place, ""), right.get(place, ""))
    if key not in made:
        made[key] = _comparison(row, place, key[1])
    return made[key]


def _dtype(a: str, b: str) -> str:
    return f"{a} → {b}" if a and b and a != b else a or b


def _comparison(row: dict[str, Any], place: Place, dtype: str) -> Comparison:
    artifact, part, scope = place
    return Comparison(
        artifact=artifact,
        part=part,
        scope=scope,
        kind=row["kind"] or "",
        stage=row["stage"] or "",
        dtype=dtype,
        occurrences=row["occurrences"] or 0,
        identical=row["identical"] or 0,
        verdict=Verdict(row["verdict"]),
        reason=row["reason"] or "",
        profile=row["profile"] or "",
        profiles=tuple(row["profiles"] or ()),
        role=row["role"] or "",
        max_abs=row["max_abs"],
        mean_abs=row["mean_abs"],
        max_rel=row["max_rel"],
        equal_fraction=row["equal_fraction"],
        p50_ulp=row["p50_ulp"],
        p99_ulp=row["p99_ulp"],
        max_ulp=row["max_ulp"],
        ulp_histogram=tuple(row["ulp_histogram"] or ()),
        violations=tuple(row["violations"] or ()),
        rtol_needed=row["rtol_needed"],
        first_occurrence=row["first_occurrence"],
        first_index=tuple(row["first_index"] or ()),
        first_at=row["first_at"] or "",
        largest_occurrence=row["largest_occurrence"],
        largest_index=tuple(row["largest_index"] or ()),
        largest_at=row["largest_at"] or "",
        differing_blocks=row["differing_blocks"],
        differing_occurrences=tuple(row["differing_occurrences"] or ()),
    )
