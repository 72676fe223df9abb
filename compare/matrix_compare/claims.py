"""Every sentence that an advice may hold, each with the facts under which it is true."""

from collections.abc import Mapping, Sequence

from matrix_capture.schema import STAGES
from matrix_compare.answers import index_answer, losses_of, search_command, training_answer
from matrix_compare.change import RankingChange
from matrix_compare.explained import conclusion
from matrix_compare.facts import Facts, Row, stopped
from matrix_compare.origin import DIFFERING
from matrix_compare.ranking_claims import (
    effectiveness,
    measures,
    mmap_breaks,
    mmap_measured,
    mmap_mends,
    mmap_shifted,
    ranking_changes,
    ranking_same,
    stages,
)
from matrix_compare.references import Rule, Told, search_of, searches_of, verdicts_of
from matrix_compare.report import listed
from matrix_compare.requirement import SAME, same_index
from matrix_compare.schema import Verdict

# Does it run?


def _runs(facts: Facts) -> Told | None:
    if stopped(facts.b):
        return None
    done = [stage for stage in STAGES if facts.b.state(stage) == "ok"]
    text = f"torch {facts.b.torch} runs with the packages of this lane: {', '.join(done)} pass."
    return text, (f"capture:{facts.b.torch}",)


def _does_not_run(facts: Facts) -> Told | None:
    stop = stopped(facts.b)
    if stop is None:
        return None
    text = f"torch {facts.b.torch} stops at {stop.stage}{stop.colon}."
    return text, (f"capture:{facts.b.torch}",)


def _cure(facts: Facts) -> Told | None:
    if facts.known is None:
        return None
    known = facts.known
    return (
        f"That is known: {known.when}; the cure is {known.cure}; behind it another error may show.",
        (f"known:{known.id}",),
    )


def _cure_unknown(facts: Facts) -> Told | None:
    if facts.known or facts.b.failed_stage() is None:
        return None
    text = "No cure is known yet: none of the known incompatibilities looks like this."
    return text, (f"capture:{facts.b.torch}",)


def _a_does_not_run(facts: Facts) -> Told | None:
    stop = stopped(facts.a)
    if stop is None:
        return None
    text = f"torch {facts.a.torch}, where this starts from, stops at {stop.stage}{stop.colon}."
    return text, (f"capture:{facts.a.torch}",)


def _not_comparable(facts: Facts) -> Told | None:
    if not facts.obstacles:
        return None
    text = f"The two captures cannot be held against each other: {'; '.join(facts.obstacles)}."
    return text, (f"capture:{facts.a.torch}", f"capture:{facts.b.torch}")


# May the index be kept? Exactly one of these answers.


def _keep(facts: Facts) -> Told | None:
    keep = facts.keep
    if keep.state != "ok" or keep.change is None or losses_of(keep.change):
        return None
    loads = f"searched with {keep.search}, that of {keep.index} loads"
    return f"Keep the index: {loads}, and {_no_worse(keep.change)}.", searches_of(facts, keep)


def _keep_follows(facts: Facts) -> Told | None:
    keep = facts.keep
    if keep.state != "inferred" or keep.change is None or losses_of(keep.change):
        return None
    text = (
        f"Keep the index: that of {keep.search} is the same bit by bit, so what it finds in its "
        f"own it would find in that of {keep.index}, which was not searched; "
        f"{_no_worse(keep.change)}."
    )
    return text, (*searches_of(facts, facts.reindex), *verdicts_of(facts.index))


def _keep_in_vain(facts: Facts) -> Told | None:
    change = facts.keep.change
    if change is None or not losses_of(change) or not facts.identical_index:
        return None
    text = (
        f"Keep the index, for to re-index would make the same one; with {facts.keep.search} it "
        f"does worse than now: {measures(losses_of(change))}."
    )
    return text, (*searches_of(facts, facts.keep), *verdicts_of(facts.index))


def _does_not_load(facts: Facts) -> Told | None:
    keep = facts.keep
    if keep.state != "failed" or facts.reindex.state == "failed":
        return None
    text = f"Re-index: searching the index of {keep.index} with {keep.search} fails: {keep.error}."
    return text, (search_of(keep),)


def _kept_is_worse(facts: Facts) -> Told | None:
    change = facts.keep.change
    if change is None or not losses_of(change) or facts.identical_index:
        return None
    text = (
        f"Re-index: with {facts.keep.search} the index of {facts.keep.index} does worse than now: "
        f"{measures(losses_of(change))}."
    )
    return text, searches_of(facts, facts.keep)


def _no_search(facts: Facts) -> Told | None:
    if facts.keep.state != "failed" or facts.reindex.state != "failed":
        return None
    text = (
        f"To re-index is no way out: with {facts.b.torch} neither the index of {facts.a.torch} nor "
        f"its own can be searched: {facts.keep.error}."
    )
    return text, (search_of(facts.keep), search_of(facts.reindex))


def _index_unknown(facts: Facts) -> Told | None:
    if index_answer(facts) != "unknown" or facts.keep.state == "failed":
        return None
    a, b = facts.a.torch, facts.b.torch
    captures = f"capture:{a}", f"capture:{b}"
    unknown = "Whether the index can be kept is not known"
    for record in (facts.b, facts.a):
        if (stop := stopped(record)) and stop.stage != "train":
            return f"{unknown}: torch {record.torch} stops at {stop.stage}.", captures
    if facts.obstacles:
        return f"{unknown}: the captures are not comparable.", captures
    if facts.own.state != "ok":
        again = f"{facts.session('matrix')} --fresh" if facts.stale else facts.session("matrix")
        return f"{unknown}: {a} has not searched its own index; {again} has it do so.", captures
    return (
        f"{unknown}: nobody searched the index of {a} with {b}; {search_command(facts)} does so.",
        captures,
    )


# What becomes of the index itself.


def _index_identical(facts: Facts) -> Told | None:
    if not facts.identical_index:
        return None
    text = (
        f"The finished index is the same bit by bit in all its {len(facts.index)} tensors: to "
        "re-index would make the one that is there."
    )
    return text, verdicts_of(facts.index)


def _index_reordered(facts: Facts) -> Told | None:
    if not same_index(facts.rows) or facts.identical_index:
        return None
    moved = [row for row in facts.index if row["verdict"] == Verdict.REORDERED]
    text = (
        f"The finished index means the same: {len(moved)} of its {len(facts.index)} tensors "
        f"({_names(moved)}) in another order, the others bit by bit."
    )
    return text, verdicts_of(moved)


def _index_differs(facts: Facts) -> Told | None:
    moved = [row for row in facts.index if row["verdict"] in DIFFERING]
    if all(row["verdict"] in SAME for row in moved):
        return None
    kinds = {
        verdict: [row for row in moved if row["verdict"] == verdict]
        for verdict in (Verdict.REORDERED, Verdict.CLOSE, Verdict.DIFFERS)
    }
    shown = "; ".join(f"{verdict}: {_names(rows)}" for verdict, rows in kinds.items() if rows)
    text = (
        f"To re-index makes another index: {len(moved)} of {len(facts.index)} tensors are not the "
        f"same ({shown})."
    )
    return text, verdicts_of(moved)


# Training, the cause, and what colbert-ai could require.


def _training_same(facts: Facts) -> Told | None:
    if training_answer(facts) != "same":
        return None
    steps = f"{len(facts.losses.a)} steps of " if facts.losses else ""
    text = f"Training is the same: after {steps}fine-tuning the weights are equal bit by bit."
    return text, verdicts_of(facts.judged("train"))


def _training_changes(facts: Facts) -> Told | None:
    if training_answer(facts) != "changes":
        return None
    moved = [row for row in facts.judged("train") if row["verdict"] in DIFFERING]
    ends = _names([row for row in moved if row["kind"] == "final"])
    return f"Training changes: {_loss(facts)}; not the same at the end: {ends}.", verdicts_of(moved)


def _explained(facts: Facts) -> Told | None:
    if facts.explanation is None:
        return None
    return f"Why: {conclusion(facts.explanation)}.", ("explanation",)


def _requirement(facts: Facts) -> Told | None:
    run = facts.run
    if run is None:
        return None
    first, last = run.releases[0], run.releases[-1]
    held = (
        f"no captured release next to {first} makes the same and searches it"
        if first == last
        else f"all {len(run.releases)} captured releases from {first} to {last} make the same, but "
        "for its order, and search it"
    )
    text = (
        f"To keep the finished index as it is, colbert-ai could require {run.requirement}: {held}."
    )
    return text, tuple(f"capture:{name}" for name in run.releases)


RULES: Mapping[str, Rule] = {
    "does-not-run": _does_not_run,
    "cure": _cure,
    "cure-unknown": _cure_unknown,
    "a-does-not-run": _a_does_not_run,
    "not-comparable": _not_comparable,
    "keep": _keep,
    "keep-follows": _keep_follows,
    "keep-in-vain": _keep_in_vain,
    "does-not-load": _does_not_load,
    "kept-is-worse": _kept_is_worse,
    "no-search": _no_search,
    "index-unknown": _index_unknown,
    "index-identical": _index_identical,
    "index-reordered": _index_reordered,
    "index-differs": _index_differs,
    "keep-ranking-same": ranking_same("keep"),
    "keep-ranking-changes": ranking_changes("keep"),
    "keep-effectiveness": effectiveness("keep"),
    "re-index-ranking-same": ranking_same("re-index"),
    "re-index-ranking-changes": ranking_changes("re-index"),
    "re-index-effectiveness": effectiveness("re-index"),
    "re-index-stages": stages,
    "mmap-shifted": mmap_shifted,
    "mmap-breaks": mmap_breaks,
    "mmap-mends": mmap_mends,
    "mmap-measured": mmap_measured,
    "training-same": _training_same,
    "training-changes": _training_changes,
    "explained": _explained,
    "runs": _runs,
    "requirement": _requirement,
}
"""The rule of each claim, in the order in which they are told."""


def _no_worse(change: RankingChange) -> str:
    if not change.effectiveness:
        return "nobody measured its effectiveness"
    return "no measure of effectiveness is worse by more than chance"


def _names(rows: Sequence[Row]) -> str:
    return listed(list(dict.fromkeys(row["artifact"] for row in rows)))


def _loss(facts: Facts) -> str:
    found = facts.losses
    if found is None:
        return "the loss was not compared"
    steps = len(found.a)
    if found.first is None:
        return f"the loss of all {steps} steps is the same"
    a, b = found.a[-1], found.b[-1]
    return (
        f"the loss first differs in step {found.first} of {steps} and ends at {a:.8g} and {b:.8g}, "
        f"{abs(a - b):.2g} apart"
    )
