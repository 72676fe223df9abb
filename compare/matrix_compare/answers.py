"""What facts come down to: a word for each question, and all of it in one line."""

from collections.abc import Iterator

from matrix_compare.advice import Change, Index, Option
from matrix_compare.change import Effectiveness, RankingChange
from matrix_compare.facts import Facts, stopped
from matrix_compare.origin import DIFFERING
from matrix_compare.schema import Verdict


def index_answer(facts: Facts) -> Index:
    """May an index of a be kept?

    It may where it was searched with b and is not measurably worse than it is now. Where the two
    releases make the same index bit by bit, another one would be no better.
    """
    keep = facts.keep
    if keep.state == "failed":
        return "unknown" if facts.reindex.state == "failed" else "re-index"
    if keep.change is None:
        return "unknown"
    return "re-index" if losses_of(keep.change) and not facts.identical_index else "keep"


def ranking_answer(facts: Facts) -> Change:
    """Does the ranking change, if one does as the index answer says?"""
    return {"keep": facts.keep.ranking, "re-index": facts.reindex.ranking, "unknown": "unknown"}[
        index_answer(facts)
    ]


def training_answer(facts: Facts) -> Change:
    """Does the same training end in the same weights?"""
    verdicts = {row["verdict"] for row in facts.judged("train") if row["kind"] == "final"}
    if verdicts & DIFFERING:
        return "changes"
    return "same" if verdicts == {Verdict.IDENTICAL} else "unknown"


def losses_of(change: RankingChange) -> tuple[Effectiveness, ...]:
    """The measures that are worse by more than chance: their intervals lie below nought."""
    return tuple(found for found in change.effectiveness if found.difference.high < 0)


def gains_of(change: RankingChange) -> tuple[Effectiveness, ...]:
    """The measures that are better by more than chance."""
    return tuple(found for found in change.effectiveness if found.difference.low > 0)


def search_command(facts: Facts) -> str:
    """What makes the searches of the pair: both indexes must be on record before they are."""
    captured = facts.own.state == facts.reindex.state == "ok"
    return facts.session("search" if captured else "matrix")


def headline(facts: Facts) -> str:
    """The advice in one line."""
    parts = [*_outcome(facts)]
    if (training := training_answer(facts)) != "unknown":
        parts.append(f"training {'stays the same' if training == 'same' else 'changes'}")
    return f"{facts.a.torch} → {facts.b.torch}: {'; '.join(parts)}"


def _outcome(facts: Facts) -> Iterator[str]:
    stop = stopped(facts.b)
    if stop:
        yield f"{facts.b.torch} stops at {stop.stage}{stop.colon}"
    index = index_answer(facts)
    if index != "unknown":
        yield "keep the index" if index == "keep" else "re-index"
        yield ranking_phrase(facts.keep if index == "keep" else facts.reindex)
    elif not stop and (before := stopped(facts.a)):
        yield f"{facts.a.torch} stops at {before.stage}, so there is nothing to hold it against"
    elif not stop and facts.obstacles:
        yield "it runs, but the two captures are not comparable"
    elif not stop:
        yield "whether the index can be kept was not measured"
        if facts.identical_index:
            yield "the finished index is the same bit by bit"


def ranking_phrase(option: Option) -> str:
    """What becomes of the ranking, without figures but for the number of queries."""
    change = option.change
    if change is None:
        return "whether the ranking changes was not measured"
    if option.ranking == "same":
        return f"the ranking is the same for all {change.queries} queries"
    first = change.changed_top["10"]
    if first:
        return f"the first 10 results change for {first} of {change.queries} queries"
    below = change.queries - change.same_order
    return f"only results below the first 10 change, for {below} of {change.queries} queries"
