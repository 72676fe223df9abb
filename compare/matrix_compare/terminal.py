"""A report as a person reads it in the terminal: the sentence, what it is worth, one table."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from matrix_capture.catalogue import BY_NAME
from matrix_compare.policy import Level
from matrix_compare.report import (
    Line,
    Report,
    facts,
    grounds,
    grouped,
    largest,
    listed,
    place,
    places,
    plain,
    reasons,
    ulps,
)
from matrix_compare.schema import Verdict

_WIDE = 115
"""Columns from which there is room for descriptions, ULPs and the places of all differences."""

_SECTIONS = {
    "final": "Final artifacts",
    "intermediate": "Intermediate artifacts",
    "probe": "Probes",
}

# Both are readable on dark and on light ground; the glyph says the same without colour.
STYLES = {Level.PASS: "", Level.ALERT: "dark_orange3", Level.FAILURE: "red"}


def print_report(console: Console, report: Report) -> None:
    """Print one pair: the sentence, the level with its grounds, the table, places and reasons."""
    console.print(Text(report.sentence, style="bold"), soft_wrap=True)
    for level, text in grounds(report):
        console.print(Text(f"{level.glyph} {level}: {text}", style=STYLES[level]))
    for doubt in report.doubts:
        console.print(Text(f"! {doubt}", style=STYLES[Level.ALERT]))
    if not report.lines:
        return
    wide = console.width >= _WIDE
    console.print()
    console.print(_table(report, wide=wide))
    console.print()
    notes = _notes(report, wide=wide)
    if notes.row_count:
        console.print(notes)
        console.print()
    for verdict, text in reasons(report):
        console.print(Text(f"{verdict.glyph} {_word(verdict)}: {text}"))
    if names := [entry.name for entry in report.environment]:
        count = f"{len(names)} difference{'s' if len(names) > 1 else ''}"
        console.print(Text(f"environment: {count} ({listed(names)})"))
    console.print()


def say(console: Console, text: str) -> None:
    """Print a line of any length, without what a terminal would obey."""
    console.print(Text(plain(text)), soft_wrap=True)


def _table(report: Report, *, wide: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, expand=wide)
    table.add_column(width=1)
    table.add_column("artifact", overflow="fold", min_width=22, max_width=26)
    if wide:
        table.add_column("description", ratio=1)
    table.add_column("dtype", overflow="fold")
    table.add_column("equal", no_wrap=True)
    for name in report.profiles:
        table.add_column(Text(name))
    table.add_column("largest\ndiff.", justify="right", no_wrap=True)
    if wide:
        table.add_column("ULPs of\n99% / all", justify="right", no_wrap=True)
    for kind, title in _SECTIONS.items():
        groups = list(grouped([line for line in report.lines if line.kind == kind]))
        if groups:
            table.add_section()
            table.add_row("", Text(title, style="bold"))
        for group in groups:
            first = group.first
            style = STYLES[first.level]
            # What is identical stays quiet, and in one line.
            quiet = first.verdict is Verdict.IDENTICAL
            known = None if quiet else BY_NAME.get(first.artifact)
            table.add_row(
                Text("" if first.level is Level.PASS else first.level.glyph, style=style),
                Text(group.label, style=style),
                *([Text(known.meaning if known else "")] if wide else []),
                Text(first.dtype),
                Text(f"{first.verdict.glyph} {_word(first.verdict)}", style=style),
                *(Text(_passes(first, name)) for name in report.profiles),
                Text(largest(group)),
                *([Text(ulps(group))] if wide else []),
                style="dim" if quiet else "",
            )
    return table


def _notes(report: Report, *, wide: bool) -> Table:
    """Where artifacts differ: of what starts or fails in full, of others where there is room."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(overflow="fold", max_width=26)
    table.add_column(overflow="fold")
    # A probe comes last: it tells of the cause, not of the index.
    for group in grouped(sorted(report.lines, key=lambda line: line.kind == "probe")):
        told = list(places(group)) if group.matters else [place(group)] if wide else []
        if any(told):
            table.add_row(Text(group.label), Text("\n".join(told)))
    for name, figures in facts(report):
        table.add_row(Text(name), Text(figures))
    return table


def _passes(line: Line, profile: str) -> str:
    """Whether a line passes a profile; empty where nothing was measured element by element."""
    if line.verdict is Verdict.IDENTICAL:
        return "= pass"
    if line.verdict is Verdict.CLOSE or line.max_abs is not None:
        return "≈ pass" if profile in line.profiles else "≠ fail"
    return ""


def _word(verdict: Verdict) -> str:
    return verdict.value.replace("_", " ")
