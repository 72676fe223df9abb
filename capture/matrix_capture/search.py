"""Answers the lane's queries with colbert-ai's searcher; runs where torch is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from matrix_capture.launch import configured
from matrix_capture.rankings import COLUMNS, DEPTH


def ranked(
    index: Path,
    *,
    checkpoint: str,
    collection: Sequence[str],
    queries: Sequence[str],
    root: Path,
    mmap: bool = False,
) -> list[list[tuple[int, int, float]]]:
    """The best passages of each query in the index: passage, rank from 1 and score.

    `root` is where colbert-ai may write.
    """
    from colbert import Searcher  # noqa: PLC0415 - only a pipeline has it
    from colbert.infra import ColBERTConfig, Run, RunConfig  # noqa: PLC0415

    run = configured(RunConfig, nranks=1, root=str(root), experiment="runs")
    with Run().context(run):
        searcher = Searcher(
            index.name,
            checkpoint=checkpoint,
            collection=list(collection),
            config=configured(ColBERTConfig, load_index_with_mmap=mmap),
            index_root=str(index.parent),
        )
        if not queries:
            return []  # which a tokenizer refuses
        found = searcher.search_all(dict(enumerate(queries)), k=DEPTH).data
    return [found[query] for query in range(len(queries))]


def ranking_rows(
    found: Sequence[Sequence[tuple[int, int, float]]],
    *,
    index_torch: str,
    search_torch: str,
    mmap: bool,
) -> Any:
    """Rankings as a table with the columns of the rankings file."""
    flat = [(query, *result) for query, results in enumerate(found) for result in results]
    query, pid, rank, score = zip(*flat, strict=True) if flat else ((), (), (), ())
    whose = ([value] * len(flat) for value in (index_torch, search_torch, mmap))
    return pa.table([*whose, query, rank, pid, score], schema=COLUMNS)
