"""What a check comes to, in words: the same in a terminal, a summary, an annotation, on a page.

Whatever a capture named goes through `quote`: nothing else that it says is told.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from matrix_compare.check import Check, Checked, CheckLine, Effect, Ranked, Side
from matrix_compare.policy import COMPARED, Level
from matrix_compare.schema import NOT_FINITE, Verdict

Quote = Callable[[str], str]

FINISHED = {"index_": "the index", "ranked_": "rankings", "trained_": "trained weights"}
"""What is left at the end of a run, by how the names of its artifacts begin."""

_MOVED = (Verdict.CLOSE, Verdict.DIFFERS)
_ALIKE = (Verdict.IDENTICAL, Verdict.REORDERED)

_NAMES = 6
"""So many artifacts are named in a sentence."""

_NOISE = 0.2
"""A smaller change of speed is never told: two runs are no benchmark."""


def finding(check: Check, quote: Quote = str) -> str:
    """The whole check in one sentence; releases that come to the same are named together."""
    found: dict[str, list[str]] = {}
    for release in sorted(check.releases, key=lambda one: -list(Level).index(one.level)):
        found.setdefault(outcome(release, quote), []).append(quote(release.torch))
    return "; ".join(f"{text}, with torch {_listed(names)}" for text, names in found.items())


def outcome(checked: Checked, quote: Quote = str) -> str:
    """What the head does to what colbert-ai makes under one torch release."""
    base, head = checked.base, checked.head
    if base.stopped:
        then = f"the head {quote(head.stopped)}" if head.stopped else "the head runs to the end"
        return f"cannot tell, because the base {quote(base.stopped)}; {then}"
    if head.stopped:
        return f"breaks: the head {quote(head.stopped)}"
    if not any(checked.counts.get(verdict) for verdict in COMPARED):
        why = next((line.reason for line in checked.lines if line.reason), "there is nothing")
        return f"cannot tell, because nothing was compared: {quote(why)}"
    return "; ".join(filter(None, (_changes(checked), _unknown(checked.lines, quote))))


def facts(checked: Checked, quote: Quote = str) -> Iterator[str]:
    """What there is to say of one release, a sentence each, beside its outcome and its doubts."""
    told = [_counted(v, checked.counts[v]) for v in Verdict if checked.counts.get(v)]
    starts = [quote(name) for name in checked.starts]
    yield f"artifacts: {', '.join(told)}" + (f"; starts at {_listed(starts)}" if starts else "")
    moved = [line.artifact for line in checked.lines if line.verdict in _MOVED]
    if moved:
        yield f"not the same: {_listed([quote(name) for name in dict.fromkeys(moved)])}"
    odd = [line.artifact for line in checked.lines if NOT_FINITE in line.reason]
    if odd:
        yield f"{NOT_FINITE} in {_listed([quote(name) for name in dict.fromkeys(odd)])}"
    yield _size(checked)
    yield _rankings(checked, quote)
    yield f"trained weights: {_state(checked, 'trained_')}"
    if speed := _speed(checked.base, checked.head):
        yield speed


def _changes(checked: Checked) -> str:
    """What is not the same, and what is."""
    if not checked.lines:
        return "changes nothing"
    states = {name: _state(checked, prefix) for prefix, name in FINISHED.items()}
    changed = [name for name, state in states.items() if state.startswith("not the same")]
    kept = [name for name, state in states.items() if state.startswith("identical")]
    rest = f"; {_listed(kept)} stay the same bit by bit" if kept else ""
    if changed:
        return f"changes {_listed(changed)}{rest}"
    moved = {line.artifact for line in checked.lines if line.verdict in _MOVED}
    if moved:
        what = "artifact" if len(moved) == 1 else "artifacts"
        return f"changes {len(moved)} {what} on the way{rest}"
    if any(line.verdict not in _ALIKE for line in checked.lines):
        return f"changes nothing that was compared{rest}"
    return f"changes nothing but the order{rest}"


def _unknown(lines: Iterable[CheckLine], quote: Quote) -> str:
    """Which artifacts nobody can tell of, and the first reason."""
    lost = [line for line in lines if line.verdict not in (*_MOVED, *_ALIKE)]
    if not lost:
        return ""
    names = _listed([quote(name) for name in dict.fromkeys(line.artifact for line in lost)])
    why = next((line.reason for line in lost if line.reason), lost[0].verdict)
    return f"cannot tell about {names}: {quote(why)}"


def _state(checked: Checked, prefix: str) -> str:
    """What became of the artifacts whose names begin so; of what was not compared it says that."""
    found = [line for line in checked.lines if line.artifact.startswith(prefix)]
    if any(line.verdict in _MOVED for line in found):
        count = len(found)
        return f"not the same in {count} {'tensor' if count == 1 else 'tensors'}"
    if found and all(line.verdict is Verdict.REORDERED for line in found):
        return "the same in another order"
    return "not compared" if found or not checked.counts.get(Verdict.IDENTICAL) else _SAME


_SAME = "identical, bit by bit"


def _size(checked: Checked) -> str:
    state = f"index: {_state(checked, 'index_')}"
    before, after = checked.base.index_bytes, checked.head.index_bytes
    if not (before and after):
        return state
    if before == after:
        return f"{state}; {after:,} bytes, as before"
    return f"{state}; {after:,} bytes instead of {before:,}"


def _rankings(checked: Checked, quote: Quote) -> str:
    ranked = checked.ranked
    if ranked is None:
        return f"rankings: {_state(checked, 'ranked_')}"
    told = _reordering(ranked)
    effects = [_effect(effect, quote) for effect in ranked.effects if not effect.chance]
    return "; ".join([f"rankings: {told}", *effects])


def _reordering(ranked: Ranked) -> str:
    if ranked.changed:
        return (
            f"{ranked.changed:,} of {ranked.queries:,} queries have other results, from rank "
            f"{ranked.first} on, {ranked.changed_top:,} of them within the first ten"
        )
    same = f"the same results for all {ranked.queries:,} queries"
    return f"{same}, with other scores for {ranked.rescored:,}" if ranked.rescored else same


def _effect(effect: Effect, quote: Quote) -> str:
    return f"{quote(effect.measure)} {effect.base:.3f} → {effect.head:.3f}, beyond chance"


def _speed(base: Side, head: Side) -> str:
    """Whether indexing is slower or faster, as far as all runs agree on that.

    Time on the clock alone may be the machine's fault, of which others may have made use.
    """
    runs = ((base.seconds, head.seconds), (base.seconds_again, head.seconds_again))
    clock = [b["index"] / a["index"] for a, b in runs if a.get("index") and "index" in b]
    cpus = (base.cpu_seconds.get("index", ()), head.cpu_seconds.get("index", ()))
    cpu = [b / a for a, b in zip(*cpus, strict=False) if a]
    if not clock:
        return ""
    told = f"{_ratios(clock)} times as long on the clock"
    if len(clock) < len(runs) or len(cpu) < len(runs):
        return f"indexing took {told}, which says little without two runs of each"
    told += f", {_ratios(cpu)} times the work of the CPU, in two runs of each"
    apart = max(_NOISE, *(max(kind) - min(kind) for kind in (clock, cpu)))
    if min(*clock, *cpu) - 1 > apart:
        return f"indexing is slower: {told}"
    if 1 - max(*clock, *cpu) > apart:
        return f"indexing is faster: {told}"
    return f"indexing takes as long, as far as can be told ({told})"


def _ratios(found: Sequence[float]) -> str:
    return " and ".join(f"{ratio:.2f}" for ratio in found)


def _counted(verdict: Verdict, count: int) -> str:
    word = "differ" if verdict is Verdict.DIFFERS and count > 1 else verdict.replace("_", " ")
    return f"{count:,} {word}"


def _listed(names: Sequence[str]) -> str:
    shown = list(names[:_NAMES])
    if len(names) > len(shown):
        shown.append(f"{len(names) - len(shown)} more")
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))
