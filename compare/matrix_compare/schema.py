"""The verdict file: the contract between compare and everything that reads verdicts.

One Parquet file per lane, one row per pair of releases, artifact, part and scope.
"""

import re
from collections.abc import Collection, Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from matrix_capture.catalogue import BY_NAME
from matrix_capture.errors import MatrixError
from matrix_capture.schema import write_atomically

NO_VALUES = "values not kept"
"""The reason of a difference whose size nobody knows: one side or both have only digests."""

NOT_FINITE = "NaN or infinity"
"""What a reason says where elements have no distance."""

Place = tuple[str, str, str]
"""Artifact, part and scope: what one row of a verdict file is about."""


class Verdict(StrEnum):
    """What became of an artifact between two captures; the order is that of precedence."""

    FAILED = "failed"
    NOT_RUN = "not_run"
    NOT_COMPARABLE = "not_comparable"
    MISSING = "missing"
    UNSTABLE = "unstable"
    IDENTICAL = "identical"
    REORDERED = "reordered"
    CLOSE = "close"
    DIFFERS = "differs"

    @property
    def glyph(self) -> str:
        """One character for tables."""
        return _GLYPHS[self]

    @property
    def meaning(self) -> str:
        """One sentence for legends."""
        return _MEANINGS[self]


_GLYPHS = {
    Verdict.FAILED: "!",
    Verdict.NOT_RUN: "\N{EN DASH}",
    Verdict.NOT_COMPARABLE: "⊘",
    Verdict.MISSING: "?",
    Verdict.UNSTABLE: "~",
    Verdict.IDENTICAL: "=",
    Verdict.REORDERED: "⇄",
    Verdict.CLOSE: "≈",
    Verdict.DIFFERS: "≠",
}

_MEANINGS = {
    Verdict.FAILED: "the run stopped before this artifact",
    Verdict.NOT_RUN: "there is no capture, or the release cannot run on this GPU",
    Verdict.NOT_COMPARABLE: "inputs, host or a fixed factor differ",
    Verdict.MISSING: "present on one side only; never counts as a pass",
    Verdict.UNSTABLE: "differs between two runs of one environment; not blamed on torch",
    Verdict.IDENTICAL: "same dtype, shape and bits",
    Verdict.REORDERED: "the same elements in an order that the pipeline does not depend on",
    Verdict.CLOSE: "within a tolerance profile",
    Verdict.DIFFERS: "outside every profile, or another shape or dtype",
}

COLUMNS = pa.schema(
    [
        ("lane", pa.string()),
        ("a", pa.string()),
        ("b", pa.string()),
        ("artifact", pa.string()),
        ("part", pa.string()),
        ("scope", pa.string()),
        ("kind", pa.string()),
        ("stage", pa.string()),
        ("occurrences", pa.int32()),
        ("identical", pa.int32()),
        ("verdict", pa.string()),
        ("reason", pa.string()),
        ("profile", pa.string()),
        ("profiles", pa.list_(pa.string())),
        ("role", pa.string()),
        ("max_abs", pa.float64()),
        ("mean_abs", pa.float64()),
        ("max_rel", pa.float64()),
        ("equal_fraction", pa.float64()),
        ("max_ulp", pa.int64()),
        ("p99_ulp", pa.float64()),
        ("rtol_needed", pa.float64()),
        ("first_index", pa.list_(pa.int64())),
        ("differing_blocks", pa.int32()),
        ("differing_occurrences", pa.list_(pa.int32())),
        # Beyond the contract's columns: more of the same measurement.
        ("p50_ulp", pa.float64()),
        ("ulp_histogram", pa.list_(pa.int64())),
        ("violations", pa.list_(pa.int64())),
        ("first_occurrence", pa.int32()),
        ("largest_occurrence", pa.int32()),
        ("largest_index", pa.list_(pa.int64())),
        ("first_at", pa.string()),
        ("largest_at", pa.string()),
    ]
)


def layer_of(artifact: str, part: str) -> int | None:
    """The encoder layer that a part lies in: 3 for `encoder.layer.3.output#1`; None for no layer.

    Only what belongs to the encoder has layers: elsewhere a number in a part is that of a file.
    """
    known = BY_NAME.get(artifact)
    if known is None or known.stage != "encode":
        return None
    # Longer numbers are no layers, and int() refuses the longest.
    found = re.search(r"(?:^|\.)([0-9]{1,6})(?=[.#]|$)", part)
    return int(found[1]) if found else None


def spans(numbers: Iterable[int]) -> str:
    """Numbers in order, runs as one: `0-2, 4`."""
    found: list[list[int]] = []
    for number in sorted(set(numbers)):
        if found and number == found[-1][-1] + 1:
            found[-1][1:] = [number]
        else:
            found.append([number])
    return ", ".join("-".join(map(str, span)) for span in found)


def in_layers(layers: Collection[int]) -> str:
    """`layer 3`, `layers 0-2, 4`."""
    return f"layer{'s' if len(set(layers)) > 1 else ''} {spans(layers)}"


def verdict_path(data: Path, lane: str) -> Path:
    """Where the verdicts of a lane live below the data folder."""
    return data / "verdicts" / f"{lane}.parquet"


def list_lanes(data: Path) -> list[str]:
    """The lanes that have verdicts."""
    return sorted(
        path.name.removesuffix(".parquet") for path in (data / "verdicts").glob("*.parquet")
    )


def write_verdicts(table: Any, data: Path, lane: str) -> Path:
    """Write the verdicts of a lane, replacing them atomically; returns the path.

    `table` has `COLUMNS`, strings in any encoding.
    """
    path = verdict_path(data, lane)
    # Without Arrow's own schema, readers see plain strings however they were encoded here.
    write_atomically(path, table, store_schema=False)
    return path


def read_verdicts(data: Path, lane: str) -> list[dict[str, Any]]:
    """Read the verdicts of a lane as dictionaries keyed by column name.

    Raises:
        MatrixError: as `read_verdict_table`.
    """
    rows: list[dict[str, Any]] = read_verdict_table(data, lane).to_pylist()
    return rows


def read_verdict_table(data: Path, lane: str) -> Any:
    """Read the verdicts of a lane as a table with `COLUMNS`.

    Raises:
        MatrixError: there are none, or the file is not a verdict file.
    """
    path = verdict_path(data, lane)
    if not path.exists():
        raise MatrixError(f"{path}: no verdicts for lane {lane}; run nox -s compare first")
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        table = table.select(COLUMNS.names).cast(COLUMNS)
        table.validate(full=True)
    except (pa.ArrowException, OSError, KeyError, UnicodeDecodeError) as error:
        raise MatrixError(f"{path}: not a readable verdict file ({error}); delete it") from None
    known = {verdict.value for verdict in Verdict}
    for found in table["verdict"].unique().to_pylist():
        if found not in known:
            raise MatrixError(f"{path}: unknown verdict {found!r}; delete the file")
    return table
