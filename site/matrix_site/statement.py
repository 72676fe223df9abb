"""One thing that is said, and what it rests on, as a page shows it."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from matrix_capture.catalogue import BY_NAME
from matrix_compare.advice import Sentence
from matrix_site.text import clean, coded

_MOST = 4  # grounds of one kind that are named one by one


@dataclass(frozen=True, kw_only=True, slots=True)
class Sources:
    """Where the grounds of advice are found, as URLs seen from its page.

    `environments` are by release, `known` incompatibilities by their id; `rankings` is the file
    that has all figures. `anchors` are those of the page itself.
    """

    environments: Mapping[str, str]
    known: Mapping[str, str]
    rankings: str
    anchors: Collection[str]

    def anchor(self, name: str) -> str:
        """A place of the page itself, empty if it has no such place."""
        return f"#{name}" if name in self.anchors else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground:
    """What a statement rests on, and where that is; without a place, no `href`."""

    name: str
    href: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """A sentence, its commands set as code, and its grounds."""

    text: Markup
    grounds: tuple[Ground, ...] = ()


def statement(sentence: Sentence, sources: Sources, *, brief: bool = False) -> Statement:
    """A sentence of an advice; `brief` is what stands before the figures that a table shows."""
    text = sentence.text
    if brief:
        text = re.split(r"[;:] ", text, maxsplit=1)[0].rstrip(".") + "."
    return Statement(text=commands(text), grounds=tuple(_grounds(sentence, sources)))


def commands(text: str) -> Markup:
    """A text of the data with its commands set as code."""
    return coded(_COMMAND.split(clean(text)))


# Neither a release nor the value of an option ends in a stop, which is that of the sentence.
_COMMAND = re.compile(
    r"(nox -s [a-z]+ -- [0-9](?:[\w.]*\w)? [0-9](?:[\w.]*\w)?"
    r"(?: --fresh| --(?:lane|passages|depth|colbert|inputs) [^\s;,]*[^\s;,.])*)"
)


def _grounds(sentence: Sentence, sources: Sources) -> Iterable[Ground]:
    """The grounds of a sentence; of one kind all that there is room for, or their span."""
    kinds: dict[str, list[str]] = {}
    for reference in sentence.evidence:
        kind, _, name = reference.partition(":")
        kinds.setdefault(kind, []).append(name)
    for kind, names in kinds.items():
        if kind == "verdicts":
            shown = [name for name in names if name in BY_NAME]
            for name in shown[:_MOST]:
                yield Ground(name=name, href=sources.anchor(f"a-{name}"))
        elif kind == "capture" and len(names) <= _MOST:
            for name in names:
                yield Ground(
                    name=_named(kind, [name]),
                    href=sources.environments.get(name, "") or sources.anchor("environment"),
                )
        elif kind == "known":
            for name in names:
                yield Ground(name=_named(kind, [name]), href=sources.known.get(name, ""))
        elif kind == "rankings":
            yield Ground(name=_named(kind, names), href=sources.rankings)
        elif kind in _WORDS:
            word, anchor = _WORDS[kind]
            yield Ground(name=_named(word, names), href=sources.anchor(anchor))


_WORDS = {
    "capture": ("capture", "environment"),
    "explanation": ("the explanation", "why"),
    "reproduction": ("the script below", "mapping"),
}
"""What other kinds of grounds are called, and where on the page they are."""


def _named(word: str, names: Sequence[str]) -> str:
    told = [clean(name, 40) for name in names if name]
    if len(told) > _MOST:
        return f"{word}s of {told[0]} to {told[-1]}"
    return f"{word} {', '.join(told)}" if told else word
