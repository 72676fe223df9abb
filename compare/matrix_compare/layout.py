"""Where the data lie in the files of an index, and where colbert-ai looks for them."""

import re
from typing import Any

import pyarrow.compute as pc

HEADER_BYTES = 320
"""Where colbert-ai takes the data of a mapped file to begin (`residual_embeddings.py`)."""


def data_offsets(rows: Any) -> tuple[int, ...]:
    """The bytes at which the data begin in the files that colbert-ai maps, from digest rows.

    More than one where files are not alike; none where they were not captured.
    """
    found = rows.filter(pc.equal(rows["artifact"], "file_layout")).select(["part", "min"])
    mapped = (row for row in found.to_pylist() if _MAPPED.fullmatch(row["part"]))
    return tuple(sorted({int(row["min"]) for row in mapped if row["min"] is not None}))


_MAPPED = re.compile(r"[0-9]+\.(codes|residuals)\.pt")
