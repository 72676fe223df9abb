"""The captures of a lane side by side: what each has, and which contents are the same."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from matrix_capture.catalogue import POSITION, SCOPES, Artifact
from matrix_capture.schema import Capture
from matrix_compare.verdict import Cell, artifact_of, cell_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One artifact, part and scope that some capture of the lane has.

    `keys` are the columns in this scope of the artifact that the order rule refers to.
    """

    artifact: Artifact
    part: str
    scope: str
    keys: tuple[int, ...]


class Alignment:
    """Captures by columns, columns in the order of catalogue, scope and part.

    `content` numbers what a capture has in a column: equal numbers mean equal digests in every
    occurrence. It is -1 where the capture has nothing and -2 where the numbers cannot settle it,
    because repeats disagree or repeat 0 has nothing. `count` is the number of occurrences.
    """

    def __init__(self, captures: Sequence[Capture]) -> None:
        rows = _stacked(captures)
        found, places = _contents(rows)
        self._rows = rows.select(_OF_A_CELL)
        self.columns, place = _columns(places)
        at = found["capture"].to_numpy(), place[found["place"].to_numpy()]
        shape = (len(captures), len(self.columns))
        self.content: npt.NDArray[np.int64] = np.full(shape, -1, dtype=np.int64)
        self.content[at] = found["content"].to_numpy()
        self.count: npt.NDArray[np.int64] = np.zeros(shape, dtype=np.int64)
        self.count[at] = found["count"].to_numpy()
        self._numbers = found["numbers"].combine_chunks()
        self._where = np.full(shape, -1, dtype=np.int64)
        self._where[at] = np.arange(len(found))

    def cells(self, places: Collection[tuple[int, int]]) -> dict[tuple[int, int], Cell]:
        """The rows of some captures in some columns; a capture that has none there is left out."""
        found = [(place, self._where[place].item()) for place in places]
        found = [(place, where) for place, where in found if where >= 0]
        numbers = self._numbers.take(pa.array([where for _, where in found], pa.int64()))
        rows = self._rows.take(numbers.flatten()).to_pylist()
        ends = np.cumsum(numbers.value_lengths().to_numpy(zero_copy_only=False)).tolist()
        return {
            place: cell_of(rows[start:end])
            for (place, _), start, end in zip(found, [0, *ends], ends, strict=False)
        }


_OF_A_CELL = [
    *("repeat", "occurrence", "dtype", "shape", "digest", "multiset", "blocks", "numel", "nan")
]


def _stacked(captures: Sequence[Capture]) -> Any:
    """All rows of all captures, with the number of the capture and of the row."""
    tables = [
        capture.rows.append_column("capture", pa.array([place] * len(capture.rows), pa.int32()))
        for place, capture in enumerate(captures)
    ]
    # In one piece: taking single rows of lists out of many chunks costs milliseconds each.
    table = pa.concat_tables(tables).combine_chunks()
    return table.append_column("number", pa.array(range(len(table)), pa.int64()))


_CONTENTS = """
create temp table runs as
    select capture, artifact, part, scope, repeat,
        any_value(stage) as stage,
        count(*) as count,
        list(number order by occurrence, seq) as numbers,
        flatten(list([occurrence, same] order by occurrence, seq)) as content
    from digests
    group by all;
create temp table places as
    select *, row_number() over (order by artifact, part, scope) - 1 as place
    from (select artifact, part, scope, min(stage) as stage from runs group by all);
"""
_FOUND = """
with found as (
    select capture, place,
        coalesce(any_value(count) filter (where repeat = 0), 0) as count,
        flatten(list(numbers order by repeat)) as numbers,
        any_value(content) filter (where repeat = 0) as content,
        count(distinct content) = 1 as stable
    from runs join places using (artifact, part, scope)
    group by all
)
select capture, place, count, numbers,
    case when stable and content is not null
        then dense_rank() over (order by content) - 1 else -2 end as content
from found
order by capture, place
"""


def _numbered(rows: Any) -> Any:
    """A number for each row, the same for the same digest and multiset hash.

    A multiset hash counts, lest a capture without one hides that others have it.
    """
    digest, multiset = (
        rows[name].combine_chunks().dictionary_encode(null_encoding="encode")
        for name in ("digest", "multiset")
    )
    numbers = digest.indices.to_numpy().astype(np.int64) * len(multiset.dictionary)
    return pa.array(numbers + multiset.indices.to_numpy())


def _contents(rows: Any) -> tuple[Any, list[dict[str, Any]]]:
    """What each capture has in each place, all occurrences of repeat 0 in one; and the places."""
    needed = ["capture", "number", "seq", "repeat", "stage", "artifact", "part", "scope"]
    digests = rows.select([*needed, "occurrence"]).append_column("same", _numbered(rows))
    with duckdb.connect() as connection:
        connection.register("digests", digests)
        connection.execute(_CONTENTS)
        found = connection.sql(_FOUND).to_arrow_table()
        places: list[dict[str, Any]] = (
            connection.sql("from places order by place").to_arrow_table().to_pylist()
        )
    return found, places


def _columns(places: list[dict[str, Any]]) -> tuple[list[Column], npt.NDArray[np.int64]]:
    """The columns in order, and which of them each place is."""
    ordered = sorted(places, key=_order)
    by_scope: dict[tuple[str, str], list[int]] = {}
    for number, row in enumerate(ordered):
        by_scope.setdefault((row["artifact"], row["scope"]), []).append(number)
    columns = []
    for row in ordered:
        artifact = artifact_of(row["artifact"], row["stage"])
        keys = tuple(by_scope.get((artifact.order_key or "", row["scope"]), ()))
        columns.append(Column(artifact=artifact, part=row["part"], scope=row["scope"], keys=keys))
    numbers = np.empty(len(places), np.int64)
    numbers[[row["place"] for row in ordered]] = np.arange(len(places))
    return columns, numbers


def _order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    name, part, scope = row["artifact"], row["part"], row["scope"]
    pass_name = scope.partition(".")[0]
    place = SCOPES.index(pass_name) if pass_name in SCOPES else len(SCOPES)
    position = POSITION.get(name, len(POSITION))
    return (position, name, place, _natural(scope), _natural(part), scope, part)


def _natural(text: str) -> tuple[tuple[int, str], ...]:
    """A key that sorts `chunk.2` before `chunk.10`."""
    # Of two numbers without leading zeros the longer is the larger: no need of int() and its limit.
    pieces = re.split(r"0*([0-9]+)", text)
    return tuple((len(piece) if n % 2 else 0, piece) for n, piece in enumerate(pieces))
