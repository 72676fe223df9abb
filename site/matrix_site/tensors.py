"""What the tensors of a capture look like: dtype and shape of each artifact."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from matrix_capture.schema import read_capture

_COLUMNS = ("artifact", "part", "scope", "dtype", "shape")


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """Tensors of one artifact that have a dtype and a number of axes in common.

    `sizes` has the least and the greatest size along each axis, `parts` and `scopes` are those in
    which such tensors arise, in order of capture.
    """

    dtype: str
    sizes: tuple[tuple[int, int], ...]
    parts: tuple[str, ...]
    scopes: tuple[str, ...]


def read_forms(path: Path) -> dict[str, tuple[Form, ...]]:
    """The forms of every artifact of a capture, in order of capture.

    Raises:
        MatrixError: there is no digest file, or it is not one.
    """
    rows = _distinct(read_capture(path, _COLUMNS).rows)
    groups: dict[tuple[str, str, int], list[Mapping[str, Any]]] = {}
    for row in rows.to_pylist():
        row["shape"] = [int(size) for size in row["shape"].split(",") if size]
        groups.setdefault((row["artifact"], row["dtype"], len(row["shape"])), []).append(row)
    found: dict[str, tuple[Form, ...]] = {}
    for (artifact, dtype, _), members in groups.items():
        found[artifact] = (*found.get(artifact, ()), _form(dtype, members))
    return found


def _distinct(rows: Any) -> Any:
    """Each row once; a capture has a tensor of one shape in many batches and twice for control."""
    words = rows["shape"].cast(pa.list_(pa.string()))
    flat = rows.set_column(_COLUMNS.index("shape"), "shape", pc.binary_join(words, ","))
    # One thread, so that groups come in the order of the rows.
    return flat.group_by(list(_COLUMNS), use_threads=False).aggregate([])


def _form(dtype: str, rows: Iterable[Mapping[str, Any]]) -> Form:
    members = list(rows)
    shapes = [row["shape"] for row in members]
    return Form(
        dtype=dtype,
        sizes=tuple((min(sizes), max(sizes)) for sizes in zip(*shapes, strict=True)),
        parts=tuple(dict.fromkeys(row["part"] for row in members if row["part"])),
        scopes=tuple(dict.fromkeys(row["scope"] for row in members if row["scope"])),
    )
