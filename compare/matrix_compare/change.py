"""What becomes of rankings, in structs; readers need not have what it was measured with."""

from typing import Literal

import msgspec


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """A mean over queries and its 95% interval, from 9,999 draws of as many queries."""

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
    """Neighbours in a ranking of a that both have and b ranks the other way round.

    `queries` counts those that have such a pair; `largest_gap` is the largest difference of the two
    scores in a, 0 if there is no such pair.
    """

    pairs: int
    queries: int
    largest_gap: float


class RankingChange(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the rankings of a in b.

    `same_order` counts queries with the same passages in the same order, `identical` those whose
    scores have the same bits too. By depth ("1", "10", "100") `changed_top` counts queries whose
    first results, in order, are not the same, and `overlap` is the mean share of a's first results
    that are among b's, whatever their order. `rbo` is the mean rank-biased overlap and `tau` the
    mean of Kendall's tau over the passages that both found, None if no query has two of them; each
    with that of the query where it is least. `largest_score_change` is that of a passage that both
    found. `effectiveness` is empty if no relevant passage is known.
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


class Attribution(msgspec.Struct, frozen=True, kw_only=True):
    """How many results each stage changed.

    A result is a passage at a rank among the first ten of a query. It has changed where the other
    capture does not have that passage at that rank; those of a and those of b are all counted, so a
    passage that moves within the first ten counts twice.

    A passage that only one side has as a candidate was changed there; of the others, one that only
    one side scores in full, by pruning; one that both score and one does not return, by its score.
    What both return has moved because others came before it or no longer do: they entered or left
    as candidates or by pruning, or changed places with it. That was a tie if the two have one score
    on either side, else their scores did it. Of several reasons the first counts, in this order.
    `unknown` are results where a capture ranks what it did not score, or scores what was no
    candidate.
    """

    candidates: int
    pruning: int
    scores: int
    ties: int
    unknown: int


Outcome = Literal["identical", "same order", "same top 10", "changed", "failed", "unknown"]
"""From best to worst: the same scores too; the same passages in the same order at every rank; at
the first ten ranks; not even there; no answer. `unknown` has nothing to be held against."""


class Crossing(msgspec.Struct, frozen=True, kw_only=True):
    """One search held against that of the release that built the index, which loaded it.

    Of `queries`, `changed` have other passages or another order, `changed_top` at the first ten
    ranks. `error` is the exception's type and first line where the search failed.
    """

    index: str
    search: str
    mmap: bool
    outcome: Outcome
    queries: int = 0
    changed: int = 0
    changed_top: int = 0
    error: str = ""
