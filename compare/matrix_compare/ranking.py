"""How two rankings of the same queries differ, and which of them finds more of what is relevant.

Queries and passages count from 0, ranks from 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pytrec_eval import RelevanceEvaluator

from matrix_capture.errors import MatrixError
from matrix_compare.change import Effectiveness, Flips, Interval, RankingChange

DEPTHS = (1, 10, 100)

_PERSISTENCE = 0.9
"""The chance to look at the next result too: the first ten have 86% of the weight."""

_CUTOFF = 10
"""How many results count for effectiveness."""

_MEASURES = {"MRR@10": "recip_rank", "nDCG@10": "ndcg_cut_10", "Recall@10": "recall_10"}
"""What trec_eval calls them."""

_DRAWS = 9999

Floats = npt.NDArray[np.float64]
_Numbers = npt.NDArray[np.int64]


def ranking_change(a: Any, b: Any, relevant: Sequence[Sequence[int]]) -> RankingChange:
    """What became of the rankings of one search in another.

    `a` and `b` are tables with `rankings.COLUMNS`, `relevant` the passages known to answer each
    query: a query without is not counted for effectiveness, one without results is counted.

    Raises:
        MatrixError: there are no queries, or a table does not rank different passages of each from
            1 on by finite scores.
    """
    if not relevant:
        raise MatrixError("rankings of no queries have nothing to compare; search again")
    old, new = _ranking(a, len(relevant)), _ranking(b, len(relevant))
    both = _Shared.of(old, new)
    moved = {depth: both.differ(depth) for depth in DEPTHS}
    ordered = ~both.differ(max(old.longest, new.longest))
    rbo = np.where(ordered, 1.0, _rank_biased_overlap(both))
    tau = _taus(both)
    change = np.abs(both.score_a.astype(np.float64) - both.score_b)
    return RankingChange(
        queries=len(relevant),
        identical=int((ordered & ~both.counted(both.score_bits_differ).astype(bool)).sum()),
        same_order=int(ordered.sum()),
        changed_top={str(depth): int(moved[depth].sum()) for depth in DEPTHS},
        overlap={str(depth): float(both.overlap(depth).mean()) for depth in DEPTHS},
        rbo=float(max(rbo.mean(), rbo.min())),  # a mean is rounded, and may fall below them all
        rbo_least=float(rbo.min()),
        tau=float(tau.mean()) if tau.size else None,
        tau_least=float(tau.min()) if tau.size else None,
        largest_score_change=float(change.max(initial=0)),
        flips=_flips(both),
        effectiveness=_effectiveness(old, new, relevant, alike=not moved[_CUTOFF].any()),
    )


def first_change(a: Any, b: Any, queries: int) -> int:
    """The first rank at which any query has another passage; 0 if none has.

    Raises:
        MatrixError: as `ranking_change`.
    """
    old, new = _ranking(a, queries), _ranking(b, queries)
    both = _Shared.of(old, new)
    depths = range(1, max(old.longest, new.longest) + 1)
    return next((depth for depth in depths if both.differ(depth).any()), 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ranking:
    """One search: its rows in order of query and rank, and the number of results per query.

    `key` tells rows apart by query and passage.
    """

    query: _Numbers
    rank: _Numbers
    pid: _Numbers
    key: _Numbers
    score: npt.NDArray[np.float32]
    lengths: _Numbers

    @property
    def longest(self) -> int:
        return int(self.lengths.max())


def _ranking(table: Any, queries: int) -> _Ranking:
    query, rank, pid = (
        table[name].to_numpy().astype(np.int64) for name in ("query", "rank", "pid")
    )
    score = table["score"].to_numpy()
    inside = (query >= 0) & (query < queries)
    _expect(inside, table, f"is not one of the {queries} of the lane")
    lengths = np.bincount(query, minlength=queries)
    expected = np.arange(len(query)) - (np.cumsum(lengths) - lengths)[query] + 1
    in_order = np.diff(query, prepend=query[:1]) >= 0
    _expect(in_order & (rank == expected), table, "is not ranked from 1 on")
    _expect(pid >= 0, table, "has a passage below 0")
    key = query << 32 | pid
    _, first = np.unique(key, return_index=True)
    new = np.zeros(len(key), bool)
    new[first] = True
    _expect(new, table, "has a passage twice")
    _expect(np.isfinite(score), table, "has a score of NaN or infinity")
    return _Ranking(query=query, rank=rank, pid=pid, key=key, score=score, lengths=lengths)


def _expect(holds: npt.NDArray[np.bool_], table: Any, otherwise: str) -> None:
    """Refuse a table, naming the query of its first row for which something does not hold."""
    if holds.all():
        return
    row = table.slice(int(np.argmin(holds)), 1).to_pylist()[0]
    raise MatrixError(
        f"rankings of torch {row['search_torch']} in the index of {row['index_torch']}: query "
        f"{row['query']} {otherwise}; search again"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Shared:
    """The passages that both found, query after query in the order of a."""

    query: _Numbers
    rank_a: _Numbers
    rank_b: _Numbers
    score_a: npt.NDArray[np.float32]
    score_b: npt.NDArray[np.float32]
    lengths_a: _Numbers
    lengths_b: _Numbers

    @classmethod
    def of(cls, a: _Ranking, b: _Ranking) -> "_Shared":
        _, in_a, in_b = np.intersect1d(a.key, b.key, assume_unique=True, return_indices=True)
        order = np.argsort(in_a)
        in_a, in_b = in_a[order], in_b[order]
        return cls(
            query=a.query[in_a],
            rank_a=a.rank[in_a],
            rank_b=b.rank[in_b],
            score_a=a.score[in_a],
            score_b=b.score[in_b],
            lengths_a=a.lengths,
            lengths_b=b.lengths,
        )

    @property
    def reached(self) -> _Numbers:
        """The depth from which on both have the passage."""
        return np.maximum(self.rank_a, self.rank_b)

    @property
    def score_bits_differ(self) -> npt.NDArray[np.bool_]:
        """Whether the scores of a passage are not the same, bit by bit."""
        bits: npt.NDArray[np.bool_] = self.score_a.view(np.uint32) != self.score_b.view(np.uint32)
        return bits

    def counted(self, passages: npt.NDArray[np.bool_]) -> _Numbers:
        """How many of these passages each query has."""
        return np.bincount(self.query[passages], minlength=len(self.lengths_a))

    def differ(self, depth: int) -> npt.NDArray[np.bool_]:
        """Which queries have other results to a depth, or the same in another order."""
        same = self.counted((self.rank_a == self.rank_b) & (self.rank_a <= depth))
        head_a, head_b = (np.minimum(n, depth) for n in (self.lengths_a, self.lengths_b))
        differ: npt.NDArray[np.bool_] = (same != head_a) | (same != head_b)
        return differ

    def overlap(self, depth: int) -> Floats:
        """The share of a's first results among b's; where a has none, 1 if b has none either."""
        found = self.counted(self.reached <= depth)
        share = found / np.clip(self.lengths_a, 1, depth)
        return np.where(self.lengths_a > 0, share, self.lengths_b == 0)


def _rank_biased_overlap(both: _Shared) -> Floats:
    """The extrapolated rank-biased overlap of each query; 1 for two rankings without results.

    Webber, Moffat and Zobel, A similarity measure for indefinite rankings, ACM Transactions on
    Information Systems 28 (4), 2010, equation 32. The lists may be of different lengths.
    """
    p = _PERSISTENCE
    short = np.minimum(both.lengths_a, both.lengths_b)[:, None]
    long = np.maximum(both.lengths_a, both.lengths_b)[:, None]
    depth = np.arange(1, max(1, int(long.max())) + 1)
    cells = both.query * len(depth) + both.reached - 1
    arrivals = np.bincount(cells, minlength=len(short) * len(depth))
    common = arrivals.reshape(len(short), len(depth)).cumsum(axis=1)
    # An empty ranking has nothing in common, whatever it is divided by.
    last, longest = np.maximum(short, 1), np.maximum(long, 1)
    at_last, at_longest = (np.take_along_axis(common, end - 1, axis=1) for end in (last, longest))
    # Below its end the shorter one is taken to agree as it did there.
    beyond = np.maximum(depth - short, 0) * at_last / last
    seen = np.where(depth <= long, (common + beyond) / depth * p**depth, 0).sum(axis=1)
    rest = ((at_longest - at_last) / longest + at_last / last) * p**longest
    value = np.minimum((1 - p) / p * seen + rest[:, 0], 1.0)
    return np.where(long[:, 0] > 0, value, 1.0)


def _taus(both: _Shared) -> Floats:
    """Kendall's tau of each query of which both found two passages or more."""
    ends = np.cumsum(np.bincount(both.query, minlength=len(both.lengths_a)))
    disordered = set(both.query[1:][_falls(both)].tolist())
    taus = []
    for query, ranks in enumerate(np.split(both.rank_b, ends[:-1])):
        if len(ranks) > 1:
            taus.append(_tau(ranks) if query in disordered else 1.0)
    return np.array(taus)


def _tau(ranks: _Numbers) -> float:
    # Half a second to load, for what two captures seldom need.
    from scipy import stats  # noqa: PLC0415

    return float(stats.kendalltau(np.arange(len(ranks)), ranks).statistic)


def _falls(both: _Shared) -> npt.NDArray[np.bool_]:
    """Which shared passages come before their predecessor in b; the first has none."""
    same_query = both.query[1:] == both.query[:-1]
    falls: npt.NDArray[np.bool_] = same_query & (both.rank_b[1:] < both.rank_b[:-1])
    return falls


def _flips(both: _Shared) -> Flips:
    flipped = _falls(both) & (np.diff(both.rank_a) == 1)
    gaps = -np.diff(both.score_a.astype(np.float64))[flipped]
    return Flips(
        pairs=int(flipped.sum()),
        queries=len(np.unique(both.query[1:][flipped])),
        largest_gap=float(gaps.max(initial=0)),
    )


_Judged = Mapping[str, Mapping[str, int]]


def _effectiveness(
    a: _Ranking, b: _Ranking, relevant: Sequence[Sequence[int]], *, alike: bool
) -> tuple[Effectiveness, ...]:
    """Every measure of both; `alike` says that the results which count are the same."""
    judged = {
        str(query): {str(pid): 1 for pid in pids} for query, pids in enumerate(relevant) if pids
    }
    if not judged:
        return ()
    old = _measured(a, judged)
    new = old if alike else _measured(b, judged)
    return tuple(
        Effectiveness(
            measure=name,
            a=float(of_a.mean()),
            b=float(of_b.mean()),
            difference=_interval(of_b - of_a),
        )
        for name, of_a, of_b in zip(_MEASURES, old, new, strict=True)
    )


def _measured(ranking: _Ranking, judged: _Judged) -> list[Floats]:
    """For each measure its value for each judged query, 0 for one without results."""
    # trec_eval ranks by score and equal scores by name, so it is given a score that falls with each
    # rank. It has no reciprocal rank with a cutoff: what is behind is left out.
    run: dict[str, dict[str, float]] = {}
    counts = ranking.rank <= _CUTOFF
    columns = (ranking.query, ranking.rank, ranking.pid)
    for query, rank, pid in zip(*(column[counts].tolist() for column in columns), strict=True):
        run.setdefault(str(query), {})[str(pid)] = float(-rank)
    found = RelevanceEvaluator(judged, set(_MEASURES.values())).evaluate(run)
    return [
        np.array([found[query][name] if query in found else 0.0 for query in judged])
        for name in _MEASURES.values()
    ]


def _interval(differences: Floats) -> Interval:
    """The mean of a difference over queries and its percentile bootstrap interval."""
    mean = float(differences.mean())
    if (differences == differences[0]).all():
        return Interval(mean=mean, low=mean, high=mean)
    from scipy import stats  # noqa: PLC0415

    # A difference is of one query in a and b, so drawing differences draws both together.
    bounds = stats.bootstrap(
        (differences,),
        np.mean,
        n_resamples=_DRAWS,
        batch=1000,
        method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    return Interval(mean=mean, low=float(bounds.low), high=float(bounds.high))
