"""Reports as Markdown, for a comment on a pull request or the summary of a job."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from matrix_compare.policy import Level, worst_level
from matrix_compare.report import (
    Group,
    Report,
    facts,
    grounds,
    grouped,
    largest,
    phrase,
    place,
    places,
    reasons,
    ulps,
)
from matrix_compare.schema import Verdict

_LIMIT = 60_000
"""Bytes of the whole text: GitHub takes no comment of more than 65,536 characters."""

_ROWS = 60
_LETTERS = 240
"""What one table and one captured string may take; the JSON form has the rest."""


def markdown(reports: Sequence[Report]) -> str:
    """The reports one after the other, each with its sentence first and what is not identical.

    Whatever a capture named stands in a code span: no markup, link or mention comes out of it. A
    report whose details do not fit keeps its sentence; pairs beyond that are counted.
    """
    heads: list[str] = []
    room = _LIMIT - 1_000
    for first in map(head, reports):
        room -= _size(first)
        if room < 0:
            break
        heads.append(first)
    told = [_overview(reports)] if len(reports) != 1 else []
    for report, first in zip(reports, heads, strict=False):
        told.append(first)
        details = _details(report)
        if _size(details) <= room:
            room -= _size(details)
            told.append(details)
        else:
            told.append("The details of this pair are too long to be shown here.\n")
    if len(heads) < len(reports):
        told.append(f"{len(reports) - len(heads)} more pairs are not shown here.\n")
    return "\n".join(filter(None, told))


def _overview(reports: Sequence[Report]) -> str:
    levels = [report.level for report in reports]
    counts = [f"{levels.count(level)} {level}" for level in Level if level in levels]
    total = ", ".join([f"{len(reports)} pairs", *counts]) if reports else "no pair was compared"
    return f"{bold(worst_level(levels))}: {total}\n"


def head(report: Report) -> str:
    """The sentence, which artifacts make the level what it is, and doubts."""
    pair = code(f"{report.a}...{report.b}")
    lines = [f"{bold(report.level)} in {pair}: {phrase(report.summary, code)}", ""]
    lines += [f"- {level.glyph} {level}: {text}" for level, text in grounds(report, code)]
    lines += [f"- ! {code(doubt)}" for doubt in report.doubts]
    return "\n".join(lines).rstrip() + "\n"


def _details(report: Report) -> str:
    """All but the sentence and its grounds; empty where there is nothing to tell."""
    return "\n".join(
        chain(_differences(report), grounded(report), environment(report), _cascade(report))
    )


def _differences(report: Report) -> Iterator[str]:
    within = "ULPs of 99% / all"
    titles = ("policy", "artifact", "dtype", "verdict", "passes", "largest", within, "where")
    groups = [g for g in grouped(report.lines) if g.first.verdict is not Verdict.IDENTICAL]
    groups.sort(key=_rank)
    yield from table(titles, map(_row, groups))
    same = report.summary.counts[Verdict.IDENTICAL]
    if same:
        yield f"{same} of {len(report.lines)} rows identical, not shown.\n"


def _rank(group: Group) -> tuple[int, bool]:
    """What fails comes first, probes come last; else in the order of the pipeline."""
    return -list(Level).index(group.first.level), group.first.kind == "probe"


def _row(group: Group) -> tuple[str, ...]:
    first = group.first
    return (
        f"{first.level.glyph} {first.level}",
        code(group.label),
        code(first.dtype),
        f"{first.verdict.glyph} {_word(first.verdict)}",
        ", ".join(map(code, first.profiles)),
        largest(group),
        ulps(group),
        "; ".join(places(group, code)) if group.matters else place(group, code),
    )


def grounded(report: Report) -> Iterator[str]:
    """A list of the reasons why artifacts are what they are."""
    told = [f"- {v.glyph} {_word(v)}: {text}" for v, text in reasons(report, code)]
    yield from told[:_ROWS]
    if len(told) > _ROWS:
        yield f"- {len(told) - _ROWS} more reasons"
    if told:
        yield ""


def environment(report: Report) -> Iterator[str]:
    """What else differs between the two environments, folded."""
    entries = [
        (entry.section, code(entry.name), code(entry.a or ""), code(entry.b or ""))
        for entry in report.environment
    ]
    titles = ("", "name", code(report.a), code(report.b))
    count = f"{len(entries)} difference{'s' if len(entries) != 1 else ''}"
    yield from folded(f"Environment: {count}", table(titles, entries))


def _cascade(report: Report) -> Iterator[str]:
    entries = [(code(name), code(figures)) for name, figures in facts(report)]
    yield from folded("Codes, residuals and lists", table(("", "figures"), entries))


def folded(title: str, lines: Iterator[str]) -> Iterator[str]:
    """What is shown on request; nothing where there are no lines."""
    body = list(lines)
    if body:
        # A blank line ends the HTML, so that the table below is Markdown again.
        yield f"<details><summary>{title}</summary>\n"
        yield from body
        yield "</details>\n"


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table of ready cells; nothing where there are no rows."""
    lines = list(rows)
    if not lines:
        return
    yield f"| {' | '.join(titles)} |"
    yield f"|{' --- |' * len(titles)}"
    for cells in lines[:_ROWS]:
        yield f"| {' | '.join(cells)} |"
    yield ""
    if len(lines) > _ROWS:
        yield f"{len(lines) - _ROWS} more lines are not shown.\n"


def code(text: str) -> str:
    """A captured string as a code span; what would end the span or its table cell is spelled out.

    No delimiter is doubled and no pipe escaped: a backslash of the text would undo the escape.
    """
    if len(text) > _LETTERS:
        text = f"{text[: _LETTERS - 1]}…"
    text = text.replace("`", r"\x60").replace("|", r"\x7c")
    return f"`{text}`" if text.strip() else ""


def bold(level: Level) -> str:
    """A level that stands out."""
    return f"**{level.glyph} {level}**"


def _word(verdict: Verdict) -> str:
    return verdict.value.replace("_", " ")


def _size(text: str) -> int:
    return len(text.encode()) + 1
