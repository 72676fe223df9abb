"""The view of an advice: what it answers, what it says and on what grounds, and what it leaves."""

from dataclasses import dataclass

from markupsafe import Markup

from matrix_compare.advice import Advice
from matrix_site import answers, effect
from matrix_site.answers import Answers, advised
from matrix_site.effect import Effect
from matrix_site.statement import Sources, Statement, commands, statement
from matrix_site.text import script

_LONGEST = 4000  # characters of a script


@dataclass(frozen=True, kw_only=True, slots=True)
class AdviceView:
    """An advice on the page of its pair; `statements` are those that stand nowhere else."""

    headline: str
    answers: Answers
    effect: Effect | None
    statements: tuple[Statement, ...]
    not_measured: tuple[Markup, ...]
    requirement: str
    reproduction: Markup
    command: str


def advice_view(advice: Advice, sources: Sources, *, explained: bool = False) -> AdviceView:
    """Lay out an advice; `sources` are where its grounds are.

    Where the pair is `explained` meanwhile, it is not said that nobody knows why.
    """
    searched = effect.effect(advice, sources)
    told = answers.TOLD | effect.TOLD if searched else answers.TOLD
    return AdviceView(
        headline=advice.headline,
        answers=advised(advice, sources),
        effect=searched,
        statements=tuple(
            statement(one, sources) for one in advice.sentences if one.claim not in told
        ),
        not_measured=tuple(
            commands(one.text)
            for one in advice.not_measured
            if not (explained and one.claim == "cause")
        ),
        requirement=advice.requirement,
        reproduction=script(advice.reproduction, _LONGEST),
        command=advice.command,
    )
