"""What becomes of search results, if the index is kept and if it is made anew."""

from collections.abc import Iterable
from dataclasses import dataclass

from matrix_compare.advice import Advice, Option
from matrix_compare.change import Effectiveness, RankingChange
from matrix_site.statement import Sources, Statement, statement
from matrix_site.text import number, percent, plural

NOT_MEASURED = "not measured"

TOLD = frozenset({"keep-effectiveness", "re-index-effectiveness", "re-index-stages"})
"""The claims of an advice that are told here; a table has their figures."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One figure of both ways on: `kept` is the old index, `made` a new one."""

    name: str
    kept: str
    made: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """What is said of the results, and the figures, all against what is found now."""

    said: tuple[Statement, ...]
    queries: int
    figures: tuple[Figure, ...]


def effect(advice: Advice, sources: Sources) -> Effect | None:
    """The effect on search, None where nobody measured it."""
    options = advice.keep, advice.reindex
    known = [option.change for option in options if option.change]
    if not known:
        return None
    kept, made = (dict(_figures(option)) for option in options)
    return Effect(
        said=tuple(
            statement(one, sources, brief=one.claim != "re-index-stages")
            for one in advice.sentences
            if one.claim in TOLD
        ),
        queries=known[0].queries,
        figures=tuple(
            Figure(name=name, kept=kept.get(name, NOT_MEASURED), made=made.get(name, NOT_MEASURED))
            for name in dict.fromkeys((*kept, *made))
        ),
    )


def _figures(option: Option) -> Iterable[tuple[str, str]]:
    change = option.change
    if change is None:
        return
    top = change.changed_top
    yield "Queries with the same results, same order", f"{change.same_order:,}"
    yield "and the same scores", f"{change.identical:,}"
    if "1" in top:
        yield "Another first result", f"{top['1']:,}"
    if "10" in top:
        yield "Others among the first 10", f"{top['10']:,}"
        yield (
            "Others below the first 10 only",
            f"{change.queries - change.same_order - top['10']:,}",
        )
    if "10" in change.overlap:
        yield "Of the first 10 stay, whatever their order", percent(change.overlap["10"])
    yield "Rank-biased overlap (least)", f"{_share(change.rbo)} ({_share(change.rbo_least)})"
    if change.tau is not None and change.tau_least is not None:
        yield "Kendall's tau (least)", f"{_share(change.tau)} ({_share(change.tau_least)})"
    yield "Neighbours that swap", _swaps(change)
    yield "Largest change of a score", number(change.largest_score_change)
    for one in change.effectiveness:
        yield one.measure, _measure(one)


def _share(share: float) -> str:
    """A share that does not look whole unless it is."""
    return f"{min(share, 0.9999):.4f}" if share < 1 else "1"


def _swaps(change: RankingChange) -> str:
    flips = change.flips
    if not flips.pairs:
        return "none"
    gap = number(abs(flips.largest_gap))
    queries = plural(flips.queries, "query", "queries")
    return f"{plural(flips.pairs, 'pair')} in {queries}, at most {gap} apart"


def _measure(one: Effectiveness) -> str:
    """Before and after, and what these queries can tell of the difference."""
    difference = one.difference
    return (
        f"{one.a:.4f} → {one.b:.4f}, {difference.mean:+.2g} "
        f"(95%: {difference.low:+.2g} to {difference.high:+.2g})"
    )
