"""What a sentence points to: its evidence, as `advice.Sentence` spells it."""

from collections.abc import Callable, Sequence

from matrix_compare.advice import Option
from matrix_compare.facts import Facts, Row

Told = tuple[str, tuple[str, ...]]
"""A sentence and its evidence."""

Rule = Callable[[Facts], Told | None]
"""Says something of facts, or nothing where it is not true."""


def search_of(option: Option) -> str:
    """The search of an option."""
    return f"rankings:{option.index}/{option.search}"


def searches_of(facts: Facts, option: Option) -> tuple[str, ...]:
    """The search that an option is held against, and its own; where inferred that of b's index."""
    made = facts.reindex if option.state == "inferred" else option
    return search_of(facts.own), search_of(made)


def verdicts_of(rows: Sequence[Row]) -> tuple[str, ...]:
    """The artifacts that some verdicts are about."""
    return tuple(dict.fromkeys(f"verdicts:{row['artifact']}" for row in rows))


def layouts_of(facts: Facts) -> tuple[str, ...]:
    """The captures whose files were looked at."""
    return tuple(f"capture:{side.torch}" for side in facts.mapped)
