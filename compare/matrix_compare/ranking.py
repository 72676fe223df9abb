"""How two rankings of the same queries differ, and which of them finds more that is relevant."""

from collections.abc import Sequence
from typing import Any

import msgspec


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """A mean over queries and its 95% interval, bootstrapped over the same queries of both."""

    mean: float
    low: float
    high: float


class Effectiveness(msgspec.Struct, frozen=True, kw_only=True):
    """Means of a measure over the queries with known relevant passages; difference: b minus a."""

    measure: str
    a: float
    b: float
    difference: Interval


class Flips(msgspec.Struct, frozen=True, kw_only=True):
    """Neighbours in a ranking of a which b ranks the other way round.

    `queries` counts those that have such a pair, `largest_gap` is the largest difference of the
    two scores in a.
    """

    pairs: int
    queries: int
    largest_gap: float


class RankingChange(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the rankings of a in b, over all queries.

    `identical` counts queries with the same passages in the same order with scores of the same
    bits, `same_order` those with the same passages in the same order. By depth ("1", "10", "100"),
    `changed_top` counts queries whose results to that depth are not the same in the same order,
    and `overlap` is the mean share of a's that b has too. `tau` is None where no query has two
    passages in common. `largest_score_change` is that of a passage found by both.
    """

    queries: int
    identical: int
    same_order: int
    changed_top: dict[str, int]
    overlap: dict[str, float]
    rbo: float
    rbo_least: float
    tau: float | None
    tau_least: float | None
    largest_score_change: float
    flips: Flips
    effectiveness: tuple[Effectiveness, ...]


def ranking_change(a: Any, b: Any, relevant: Sequence[Sequence[int]]) -> RankingChange:
    """What became of the rankings of one search in another.

    Both are tables with `rankings.COLUMNS`; `relevant` has the relevant passages of each query.

    Raises:
        MatrixError: a table does not rank the passages of each query from 1 on, each once.
    """
    raise NotImplementedError
