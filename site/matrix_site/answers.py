"""What a change of torch means, in a word and a sentence for each question."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from matrix_compare.advice import Advice
from matrix_compare.change import Crossing
from matrix_compare.schema import Verdict
from matrix_site.comparison import Comparisons, Pair
from matrix_site.crossing import told
from matrix_site.snapshot import LaneData
from matrix_site.statement import Sources, Statement, commands, statement
from matrix_site.summary import CHANGED, headline, stop, summarise, tally


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The word that answers a question, its style and glyph, and what is said to it."""

    question: str
    word: str
    style: str
    glyph: str
    said: tuple[Statement, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """May the index be kept; what of the ranking if not; does it run; what of training."""

    index: Answer
    ranking: Answer
    runs: Answer
    training: Answer


TOLD = frozenset(
    {
        *("keep", "keep-follows", "keep-in-vain", "does-not-load", "kept-is-worse", "no-search"),
        *("index-unknown", "index-identical", "keep-ranking-same", "keep-ranking-changes"),
        *("re-index-ranking-same", "re-index-ranking-changes", "does-not-run", "runs"),
        *("training-same", "training-changes"),
    }
)
"""The claims of an advice that its answers tell."""

_STYLES = {
    "keep": ("proof", "✓"),
    "yes": ("proof", "✓"),
    "same": ("proof", "="),
    "same index": ("proof", "="),
    "changes": ("close", "≠"),
    "re-index": ("differs", "↻"),
    "no": ("differs", "!"),
    "unknown": ("missing", "?"),
}


def advised(advice: Advice, sources: Sources) -> Answers:
    """The answers of an advice."""
    return Answers(
        index=_answer(_KEEP, advice.index, _index(advice, sources)),
        ranking=_answer(_RANKING, advice.reindex.ranking, _ranking(advice, sources)),
        runs=_answer(
            _runs(advice.b), advice.runs, _said(advice, sources, ("does-not-run", "runs"))
        ),
        training=_answer(
            _TRAINING,
            advice.training,
            _said(advice, sources, ("training-same", "training-changes")),
        ),
    )


def judged(lane: LaneData, pair: Pair, command: str, searched: Crossing | None) -> Answers:
    """What can be said without an advice; `command` leads to one.

    `searched` is what b finds in the index of a, if that was tried.
    """
    a, b = pair
    rows = lane.pairs[pair]
    summary = summarise(rows)
    again = f"Not measured; {command} has the index of {a} searched with {b}."
    if not summary.tally.of(Verdict.IDENTICAL, *CHANGED):
        again = headline(lane, pair, summary).replace("`", "")
    index, ranking = "unknown", "unknown"
    kept, made = again, again
    if searched:
        index = _KEPT.get(searched.outcome, "unknown")
        made = f"Not told yet; {command} says it."
        again = f"Searched with {b}, the index of {a} gives {told(searched)}. {command} says more."
        kept = again
    if summary.finals.worst is Verdict.IDENTICAL:
        ranking = "same index"
        kept = f"To re-index would make the same one. {again}"
        made = (
            f"All {summary.finals.total} tensors of the finished index are the same, bit by bit. "
            "Whether a search finds the same in it was not measured."
        )
    why = stop(lane, b)
    ran = b in lane.captures and not why
    return Answers(
        index=_answer(_KEEP, index, [Statement(text=commands(kept))]),
        ranking=_answer("If I re-index", ranking, [Statement(text=commands(made))]),
        runs=_answer(
            _runs(b),
            "yes" if ran else "no" if why else "unknown",
            [Statement(text=commands(f"torch {b} {why}."))] if why else [],
        ),
        training=_answer(_TRAINING, _trained(rows), []),
    )


@cache
def _trained(rows: Comparisons) -> str:
    """Whether the trained weights change, in the word of an advice."""
    ends = tally(row for row in rows if row.kind == "final" and row.stage == "train")
    if ends.worst is Verdict.IDENTICAL:
        return "same"
    return "changes" if ends.of(*CHANGED) else "unknown"


_KEPT = {"identical": "keep", "same order": "keep", "failed": "re-index"}
"""What the search of a kept index allows to say where no measure was taken of it."""

_KEEP = "Keep my index?"
_RANKING = "If I re-index, my ranking"
_TRAINING = "My training"


def _runs(release: str) -> str:
    return f"Does torch {release} run?"


def _answer(question: str, word: str, said: Sequence[Statement]) -> Answer:
    style, glyph = _STYLES[word]
    return Answer(question=question, word=word, style=style, glyph=glyph, said=tuple(said))


def _index(advice: Advice, sources: Sources) -> list[Statement]:
    keeps = ("keep", "keep-follows", "keep-in-vain")
    others = ("does-not-load", "kept-is-worse", "no-search", "index-unknown")
    said = _said(advice, sources, (*keeps, *others))
    return said + _said(advice, sources, ("keep-ranking-same", "keep-ranking-changes"), brief=True)


def _ranking(advice: Advice, sources: Sources) -> list[Statement]:
    said = _said(
        advice, sources, ("re-index-ranking-same", "re-index-ranking-changes"), brief=True
    ) + _said(advice, sources, ("index-identical",))
    if said:
        return said
    untold = (one for one in advice.not_measured if one.claim == "re-index-search")
    return [Statement(text=commands(f"Not measured: {one.text}.")) for one in untold]


def _said(
    advice: Advice, sources: Sources, claims: Sequence[str], *, brief: bool = False
) -> list[Statement]:
    return [
        statement(sentence, sources, brief=brief)
        for sentence in advice.sentences
        if sentence.claim in claims
    ]
