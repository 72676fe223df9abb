"""From facts to advice: every rule is asked, and what is true is said."""

from msgspec.structs import replace

from matrix_compare.advice import MMAP_REPRODUCTION, SCHEMA_VERSION, Advice, Option, Sentence
from matrix_compare.answers import headline, index_answer, ranking_answer, training_answer
from matrix_compare.claims import RULES
from matrix_compare.facts import Facts, stopped
from matrix_compare.report import plain
from matrix_compare.unmeasured import UNMEASURED


def advise(facts: Facts) -> Advice:
    """The advice for a pair; its strings are plain, whatever the captures hold."""
    told = [(claim, rule(facts)) for claim, rule in RULES.items()]
    untold = [(claim, rule(facts)) for claim, rule in UNMEASURED.items()]
    return Advice(
        schema_version=SCHEMA_VERSION,
        lane=facts.lane,
        a=facts.a.torch,
        b=facts.b.torch,
        headline=plain(headline(facts)),
        index=index_answer(facts),
        ranking=ranking_answer(facts),
        runs="no" if stopped(facts.b) else "yes",
        training=training_answer(facts),
        keep=_plain(facts.keep),
        reindex=_plain(facts.reindex),
        sentences=tuple(
            Sentence(claim=claim, text=plain(said[0]), evidence=tuple(map(plain, said[1])))
            for claim, said in told
            if said
        ),
        not_measured=tuple(
            Sentence(claim=claim, text=plain(text)) for claim, text in untold if text
        ),
        requirement=facts.run.requirement if facts.run else "",
        reproduction=MMAP_REPRODUCTION if any(side.shifted for side in facts.mapped) else "",
        command=facts.session("advise"),
    )


def _plain(option: Option) -> Option:
    return replace(option, error=plain(option.error))
