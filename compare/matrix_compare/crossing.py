"""What each release finds in the index of another, against the release that built it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from matrix_capture.errors import MatrixError
from matrix_capture.names import release_order
from matrix_capture.rankings import DEPTH, Rankings, Search
from matrix_compare.change import Crossing, Outcome
from matrix_compare.facts import error_line


def crossings(rankings: Rankings) -> tuple[Crossing, ...]:
    """Every search on record, in order of release: index, then search, then mapped or not."""
    return tuple(
        sorted(
            _crossings(rankings),
            key=lambda one: (release_order(one.index), release_order(one.search), one.mmap),
        )
    )


def _crossings(rankings: Rankings) -> Iterator[Crossing]:
    # The search that others are held against is read once.
    grid = cache(partial(_Grid.of, rankings))
    for search in rankings.header.searches:
        found = Crossing(
            index=search.index_torch, search=search.search_torch, mmap=search.mmap, outcome="failed"
        )
        own = rankings.search(search.index_torch, search.index_torch)
        if search.state == "failed":
            yield replace(found, error=error_line(search.error, search.message))
        elif own is None or own.state == "failed" or own.index != search.index:
            # Of an index that was built anew meanwhile, nothing is known of what was found before.
            yield replace(found, outcome="unknown")
        else:
            yield _held_against(found, grid(own), grid(search))


def _held_against(found: Crossing, own: "_Grid", other: "_Grid") -> Crossing:
    moved = own.pids != other.pids
    changed, top = moved.any(axis=1), moved[:, :_TOP].any(axis=1)
    outcome: Outcome = "changed" if top.any() else "same top 10" if changed.any() else "same order"
    if not changed.any() and np.array_equal(own.score_bits, other.score_bits):
        outcome = "identical"
    return replace(
        found,
        outcome=outcome,
        queries=len(moved),
        changed=int(changed.sum()),
        changed_top=int(top.sum()),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Grid:
    """One search as arrays of query by rank; -1 and 0 where a query has fewer results."""

    pids: npt.NDArray[np.int32]
    score_bits: npt.NDArray[np.int32]

    @classmethod
    def of(cls, rankings: Rankings, search: Search) -> "_Grid":
        """The grid of a search.

        Raises:
            MatrixError: it ranks another query, or beyond the last rank.
        """
        rows = rankings.rows(search.index_torch, search.search_torch, mmap=search.mmap)
        query, rank, pid, score = (
            rows[name].to_numpy() for name in ("query", "rank", "pid", "score")
        )
        shape = len(rankings.header.relevant), DEPTH
        if rows.num_rows and not (
            0 <= query.min() <= query.max() < shape[0] and 1 <= rank.min() <= rank.max() <= DEPTH
        ):
            name = f"{search.index_torch} searched with {search.search_torch}"
            raise MatrixError(f"rankings of {name}: a query or a rank that there is not; {_CURE}")
        grid = cls(pids=np.full(shape, -1, np.int32), score_bits=np.zeros(shape, np.int32))
        grid.pids[query, rank - 1] = pid
        grid.score_bits[query, rank - 1] = score.view(np.int32)
        return grid


_TOP = 10
_CURE = "move the file out of the data folder and search again"
