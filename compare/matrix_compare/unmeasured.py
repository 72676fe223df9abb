"""What an advice does not say, each with the facts under which it goes unsaid."""

from collections.abc import Callable, Mapping

from matrix_capture.rankings import DEPTH
from matrix_capture.schema import STAGES
from matrix_compare.answers import search_command, training_answer
from matrix_compare.facts import Facts, stopped
from matrix_compare.origin import DIFFERING
from matrix_compare.policy import COMPARED
from matrix_compare.report import doubts_of, listed

Rule = Callable[[Facts], str | None]


def _hosts(facts: Facts) -> str:
    cpu, gpu = facts.b.host.get("cpu_model", "this one"), facts.b.host.get("gpu")
    if facts.device == "cpu":
        return f"any GPU, and any CPU but {cpu}: this lane runs on that alone"
    return f"any CPU, and any GPU but {gpu or 'this one'}: this lane runs on that alone"


def _collection(facts: Facts) -> str | None:
    size = facts.size
    if size is None:
        return None
    chunks = "one chunk" if size.chunks == 1 else f"{size.chunks} chunks"
    return (
        f"larger collections: this one has {size.passages:,} passages, {size.embeddings:,} "
        f"embeddings, {chunks}"
    )


def _queries(facts: Facts) -> str | None:
    if not facts.queries:
        return None
    return f"other queries than the {facts.queries} of this lane, and what lies beyond rank {DEPTH}"


def _stale(facts: Facts) -> str | None:
    if not facts.stale:
        return None
    return (
        "searches: those on record are of other inputs than the captures; "
        f"{facts.session('matrix')} --fresh makes others"
    )


def _stopped(facts: Facts) -> str | None:
    stops = [f"{torch} stops at {stage}" for torch, stage in _stops(facts).items()]
    return f"all that comes later: {' and '.join(stops)}" if stops else None


def _own_search(facts: Facts) -> str | None:
    own = facts.own
    if _settled(facts) or own.state == "ok":
        return None
    return f"the ranking as it is now: {own.search} did not search its own index"


def _reindex_search(facts: Facts) -> str | None:
    option = facts.reindex
    if _settled(facts) or option.state == "ok":
        return None
    return f"the ranking after re-indexing: {option.search} did not search its own index"


def _cross_search(facts: Facts) -> str | None:
    keep = facts.keep
    if _settled(facts) or keep.state in ("ok", "failed"):
        return None
    return (
        f"whether the files of an index of {keep.index} load with {keep.search}, and what is found "
        f"in it; {search_command(facts)} tells"
    )


def _effectiveness(facts: Facts) -> str | None:
    changes = [option.change for option in (facts.keep, facts.reindex) if option.change]
    if not changes or all(change.effectiveness for change in changes):
        return None
    return "whether more or less is found that is relevant: nobody knows what is, in this lane"


def _stages(facts: Facts) -> str | None:
    option = facts.reindex
    if option.ranking != "changes" or option.stages:
        return None
    return "which stage of the search changed the results: what it passes on is not on record"


def _mmap(facts: Facts) -> str | None:
    if facts.device == "cuda":
        return "what is found in a mapped index: colbert-ai refuses to map one on a GPU"
    if _settled(facts):
        return None
    missing = [side.torch for side in facts.mapped if not (side.error or side.change)]
    if not missing:
        return None
    whose = " or ".join(missing)
    return f"what is found in a mapped index of {whose}; {search_command(facts)} tells"


def _training(facts: Facts) -> str | None:
    if facts.obstacles or _stops(facts) or training_answer(facts) != "unknown":
        return None
    return "training: the weights after it are not on record on both sides, or not stable"


def _long_training(facts: Facts) -> str | None:
    if training_answer(facts) == "unknown" or facts.losses is None:
        return None
    return f"training of more than {len(facts.losses.a)} steps"


def _controls(facts: Facts) -> str | None:
    found = [doubt for record in (facts.a, facts.b) for doubt in doubts_of(record)]
    if not found:
        return None
    return f"what a capture that did not pass its own controls can tell: {'; '.join(found)}"


def _no_controls(facts: Facts) -> str | None:
    bare = [
        record.torch
        for record in (facts.a, facts.b)
        if not stopped(record) and not (record.control and record.observer)
    ]
    if not bare:
        return None
    whose = " and ".join(bare)
    return f"whether the capture of {whose} equals itself, and whether watching changed it"


def _unclear(facts: Facts) -> str | None:
    unclear = [row for row in facts.index if row["verdict"] not in COMPARED]
    if not unclear or facts.obstacles or _stops(facts):
        return None
    names = listed(list(dict.fromkeys(row["artifact"] for row in unclear)))
    verdicts = ", ".join(dict.fromkeys(row["verdict"].replace("_", " ") for row in unclear))
    return f"{len(unclear)} tensors of the finished index ({names}: {verdicts})"


def _cause(facts: Facts) -> str | None:
    if facts.explanation or not _differs(facts):
        return None
    return f"why they differ; {facts.session('explain')} finds out"


def _companions(facts: Facts) -> str | None:
    moved = [found.name for found in facts.environment if found.name != "torch"]
    if not moved or not _differs(facts):
        return None
    others = "one other thing" if len(moved) == 1 else f"{len(moved)} other things"
    return f"whether torch itself did it: {others} moved with it ({listed(moved)})"


def _gaps(facts: Facts) -> str | None:
    if facts.run is None or not facts.run.gaps:
        return None
    return (
        f"{len(facts.run.gaps)} releases that {facts.run.requirement} allows and that have no "
        f"capture ({listed(facts.run.gaps)})"
    )


def _requirement(facts: Facts) -> str | None:
    if facts.run or stopped(facts.b):
        return None
    return f"what colbert-ai could require: {facts.b.torch} did not search"


UNMEASURED: Mapping[str, Rule] = {
    "hosts": _hosts,
    "collection": _collection,
    "queries": _queries,
    "stale-searches": _stale,
    "stopped": _stopped,
    "own-search": _own_search,
    "cross-search": _cross_search,
    "re-index-search": _reindex_search,
    "effectiveness": _effectiveness,
    "stages": _stages,
    "mmap": _mmap,
    "training": _training,
    "long-training": _long_training,
    "controls-failed": _controls,
    "controls-absent": _no_controls,
    "index-unclear": _unclear,
    "cause": _cause,
    "companions": _companions,
    "requirement-gaps": _gaps,
    "requirement-unknown": _requirement,
}
"""The rule of each, in the order in which they are told."""


def _stops(facts: Facts) -> dict[str, str]:
    """Where either run stopped, so that nothing behind can be measured."""
    found = {record.torch: stopped(record) for record in (facts.a, facts.b)}
    return {torch: stop.stage for torch, stop in found.items() if stop}


def _settled(facts: Facts) -> bool:
    """Whether it is told elsewhere why searches are not on record, if they are not."""
    held_up = [stage for stage in _stops(facts).values() if stage != STAGES[-1]]
    return bool(facts.stale or facts.obstacles or held_up)


def _differs(facts: Facts) -> bool:
    return any(row["verdict"] in DIFFERING for row in facts.rows)
