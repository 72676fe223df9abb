"""What an advice says of rankings, and of indexes that are mapped instead of loaded."""

from collections.abc import Sequence
from typing import Literal

from matrix_compare.advice import Option
from matrix_compare.answers import gains_of, losses_of, ranking_phrase
from matrix_compare.change import Effectiveness, RankingChange
from matrix_compare.facts import Facts, Mapped
from matrix_compare.layout import HEADER_BYTES
from matrix_compare.references import Rule, Told, layouts_of, searches_of
from matrix_compare.report import listed

Way = Literal["keep", "re-index"]

_STAY = "no measure moves by more than chance"
_WAYS = {"keep": "If the index is kept", "re-index": "After re-indexing"}


def ranking_same(way: Way) -> Rule:
    """The ranking stays as it is."""

    def rule(facts: Facts) -> Told | None:
        option = _option(facts, way)
        change = option.change
        if change is None or option.ranking != "same":
            return None
        moved = change.queries - change.identical
        scores = "scores included"
        if moved:
            scores = f"though scores move in {moved} by at most {change.largest_score_change:.2g}"
        return f"{_WAYS[way]}, {ranking_phrase(option)}, {scores}.", searches_of(facts, option)

    return rule


def ranking_changes(way: Way) -> Rule:
    """The ranking changes, and how much."""

    def rule(facts: Facts) -> Told | None:
        option = _option(facts, way)
        change = option.change
        if change is None or option.ranking != "changes":
            return None
        text = f"{_WAYS[way]}, {ranking_phrase(option)}; {_figures(change)}."
        return text, searches_of(facts, option)

    return rule


def effectiveness(way: Way) -> Rule:
    """What is found that is relevant, and whether that is more or less."""

    def rule(facts: Facts) -> Told | None:
        option = _option(facts, way)
        if option.change is None or not option.change.effectiveness:
            return None
        worse, better = losses_of(option.change), gains_of(option.change)
        moved = [
            f"{_are(held)} {word}" for held, word in ((worse, "worse"), (better, "better")) if held
        ]
        outcome = f"{' and '.join(moved)} by more than chance" if moved else _STAY
        text = f"{_WAYS[way]}, {outcome}: {measures(option.change.effectiveness)}."
        return text, searches_of(facts, option)

    return rule


def stages(facts: Facts) -> Told | None:
    """Which stages of the search changed results."""
    found = facts.reindex.stages
    if found is None or facts.reindex.ranking != "changes":
        return None
    counts = {
        "candidates": found.candidates,
        "pruning": found.pruning,
        "scores": found.scores,
        "ties": found.ties,
        "an unknown stage": found.unknown,
    }
    total = sum(counts.values())
    if not total:
        return None
    shown = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
    text = f"Of {total} results that change among the first 10 of either side, changed by: {shown}."
    names = ("candidate_pids", "pruned_pids", "ranked_scores", "ranked_pids")
    return text, tuple(f"verdicts:{name}" for name in names)


# What becomes of an index that is mapped.


def mmap_shifted(facts: Facts) -> Told | None:
    """Who maps an index reads it from the wrong byte on."""
    shifted = [side for side in facts.mapped if side.shifted]
    if not shifted:
        return None
    right = [side for side in facts.mapped if side.offsets and not side.shifted]
    found = dict.fromkeys(side.offsets for side in shifted)
    held = " and ".join(
        f"{' or '.join(map(str, offsets))} in an index of "
        f"{' or '.join(side.torch for side in shifted if side.offsets == offsets)}"
        for offsets in found
    )
    more = f"; an index of {right[0].torch} is read right" if right else ""
    text = (
        f"Do not map an index of {' or '.join(side.torch for side in shifted)} "
        f"(load_index_with_mmap=True): colbert-ai skips {HEADER_BYTES} bytes of a file, but the "
        f"data begin at byte {held}, so all is read shifted, which loading does not notice{more}."
    )
    return text, (*layouts_of(facts), "reproduction")


def mmap_breaks(facts: Facts) -> Told | None:
    """An index that could be mapped no longer can be, once made anew."""
    a, b = facts.mapped
    if not (a.offsets and not a.shifted and b.shifted):
        return None
    text = (
        f"Who maps the index must keep it: that of {a.torch} is read right, one that "
        f"{b.torch} makes is not."
    )
    return text, layouts_of(facts)


def mmap_mends(facts: Facts) -> Told | None:
    """An index that could not be mapped can be, once made anew."""
    a, b = facts.mapped
    if not (a.shifted and b.offsets and not b.shifted):
        return None
    text = (
        f"Who maps the index should re-index: one that {b.torch} makes is read right, that of "
        f"{a.torch} is not."
    )
    return text, layouts_of(facts)


def mmap_measured(facts: Facts) -> Told | None:
    """What was found in mapped indexes."""
    found = [side for side in facts.mapped if side.error or side.change]
    if not found:
        return None
    told = "; ".join(f"that of {side.torch} {_mapped(side)}" for side in found)
    text = f"Mapped instead of loaded, and searched with {facts.b.torch}, an index: {told}."
    evidence = (f"rankings:{side.torch}/{facts.b.torch}/mmap" for side in found)
    return text, tuple(evidence)


def measures(found: Sequence[Effectiveness]) -> str:
    """Each measure before and after, and the interval of the difference."""
    return ", ".join(
        f"{one.measure} {one.a:.4f} → {one.b:.4f} ({one.difference.mean:+.2g}, 95% "
        f"{one.difference.low:+.2g} to {one.difference.high:+.2g})"
        for one in found
    )


def _are(found: Sequence[Effectiveness]) -> str:
    return f"{listed([one.measure for one in found])} {'is' if len(found) == 1 else 'are'}"


def _option(facts: Facts, way: Way) -> Option:
    return facts.keep if way == "keep" else facts.reindex


def _figures(change: RankingChange) -> str:
    parts = [
        f"the first 100 in {change.changed_top['100']}",
        f"{_part(change.overlap['10'])} of the first 10 stay",
        f"rank-biased overlap {_share(change.rbo)}, {_share(change.rbo_least)} at least",
        f"scores move by {change.largest_score_change:.2g} at most",
    ]
    flips = change.flips
    if flips.pairs:
        swaps = (
            "2 neighbours swap" if flips.pairs == 1 else f"{flips.pairs} pairs of neighbours swap"
        )
        queries = "1 query" if flips.queries == 1 else f"{flips.queries} queries"
        parts.append(f"{swaps}, in {queries}, {abs(flips.largest_gap):.2g} apart at most")
    return "; ".join(parts)


def _part(share: float) -> str:
    return "all" if share == 1 else f"on average {min(share, 0.9999):.2%}"


def _share(share: float) -> str:
    """A share that does not look whole unless it is."""
    return f"{min(share, 0.9999):.4f}" if share < 1 else "1"


def _mapped(side: Mapped) -> str:
    if side.change is None:
        return f"fails: {side.error}"
    change = side.change
    if change.same_order == change.queries:
        return f"gives the same for all {change.queries} queries"
    return (
        f"gives other results for {change.queries - change.same_order} of {change.queries} "
        f"queries, for {change.changed_top['10']} among the first 10"
    )
