"""The view of an advice: what it answers, what it says and on what grounds, and what it leaves."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from matrix_capture.catalogue import BY_NAME
from matrix_compare.advice import Advice, Sentence
from matrix_site.text import clean, script

_LONGEST = 4000  # characters of a script

_STYLES = {
    "keep": "proof",
    "same": "proof",
    "yes": "proof",
    "changes": "close",
    "re-index": "differs",
    "no": "differs",
    "unknown": "missing",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A question in a word or two, the word that answers it, and the style of that."""

    question: str
    word: str
    style: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground:
    """What a sentence rests on, and where on the site that is; without a place, no `href`."""

    name: str
    href: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """One thing that is said, and its grounds."""

    text: str
    grounds: tuple[Ground, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class AdviceView:
    """An advice on the page of its pair."""

    headline: str
    answers: tuple[Answer, ...]
    statements: tuple[Statement, ...]
    not_measured: tuple[str, ...]
    requirement: str
    reproduction: Markup
    command: str


def advice_view(advice: Advice) -> AdviceView:
    """Lay out an advice."""
    answers = {
        "index": advice.index,
        "ranking": advice.ranking,
        "runs": advice.runs,
        "training": advice.training,
    }
    return AdviceView(
        headline=advice.headline,
        answers=tuple(
            Answer(question=question, word=word, style=_STYLES[word])
            for question, word in answers.items()
        ),
        statements=tuple(
            Statement(text=sentence.text, grounds=tuple(_grounds(sentence)))
            for sentence in advice.sentences
        ),
        not_measured=tuple(sentence.text for sentence in advice.not_measured),
        requirement=advice.requirement,
        reproduction=script(advice.reproduction, _LONGEST),
        command=advice.command,
    )


def _grounds(sentence: Sentence) -> Iterable[Ground]:
    """The grounds of a sentence, several of one kind as one."""
    kinds: dict[str, list[str]] = {}
    for reference in sentence.evidence:
        kind, _, name = reference.partition(":")
        kinds.setdefault(kind, []).append(name)
    for kind, names in kinds.items():
        if kind == "verdicts":
            shown = [name for name in names if name in BY_NAME]
            yield from (Ground(name=name, href=f"#a-{name}") for name in shown[:_MOST])
        elif kind in _PLACES:
            word, href = _PLACES[kind]
            yield Ground(name=_named(word, names), href=href)


_MOST = 4
_PLACES = {
    "explanation": ("the explanation", "#why"),
    "capture": ("capture", "#environment"),
    "rankings": ("rankings", ""),
    "known": ("known", ""),
    "reproduction": ("the script below", ""),
}


def _named(word: str, names: Sequence[str]) -> str:
    told = [clean(name, 40) for name in names if name]
    if len(told) > _MOST:
        return f"{word}s of {told[0]} to {told[-1]}"
    return f"{word} {', '.join(told)}" if told else word
