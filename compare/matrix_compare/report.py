"""What a person reads in the terminal: one sentence and one table per pair of releases."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from matrix_capture.catalogue import BY_NAME
from matrix_capture.schema import Capture
from matrix_compare.schema import Verdict
from matrix_compare.verdict import NOT_FINITE

Row = Mapping[str, Any]
Dtypes = Mapping[tuple[str, str, str], str]

_WIDE = 110
"""Columns from which there is room for the artifacts' descriptions."""

_SECTIONS = {
    "final": "Final artifacts",
    "intermediate": "Intermediate artifacts",
    "probe": "Probes",
}


def plain(text: str) -> str:
    """Text that a terminal shows instead of obeying: what is not printable becomes an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def sentence(a: str, b: str, rows: Sequence[Row]) -> str:
    """The pair in one sentence: how many rows have which verdict, and where a difference starts.

    The counts add up to the number of rows.
    """
    counts = Counter(row["verdict"] for row in rows)
    told = [_counted(verdict, counts[verdict]) for verdict in _TOLD if counts[verdict]]
    text = f"{a}...{b}: {', '.join(told) or 'nothing to compare'}"
    starts = [row for row in rows if row["role"] == "origin"]
    # A probe that moves with the pipeline shows the cause again; it is not where that starts.
    starts = [row for row in starts if row["kind"] != "probe"] or starts
    origins = list(dict.fromkeys(row["artifact"] for row in starts))
    return plain(f"{text}; starts at {_listed(origins)}" if origins else text)


def print_pair(
    console: Console, a: Capture, b: Capture, rows: Sequence[Row], profiles: Sequence[str]
) -> None:
    """Print the sentence, the table and the reasons of one pair; `rows` are its verdict rows."""
    console.print(
        Text(sentence(a.record.torch, b.record.torch, rows), style="bold"), soft_wrap=True
    )
    if not rows:
        return
    console.print(_table(rows, profiles, _dtypes(a) | _dtypes(b), described=console.width >= _WIDE))
    for note in _notes(rows):
        console.print(Text(note))
    console.print()


# The order of the counts: from what is quiet to what was never judged.
_TOLD = (
    Verdict.IDENTICAL,
    Verdict.REORDERED,
    Verdict.CLOSE,
    Verdict.DIFFERS,
    Verdict.UNSTABLE,
    Verdict.MISSING,
    Verdict.FAILED,
    Verdict.NOT_COMPARABLE,
    Verdict.NOT_RUN,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Line:
    """One line of the table: the rows of an artifact that agree in dtype, verdict and profiles."""

    label: str
    dtype: str
    rows: tuple[Row, ...]


def _table(
    rows: Sequence[Row], profiles: Sequence[str], dtypes: Dtypes, *, described: bool
) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, expand=described)
    table.add_column("artifact", overflow="fold", min_width=22, ratio=3 if described else None)
    if described:
        table.add_column("description", ratio=4)
    table.add_column("dtype", overflow="fold")
    table.add_column("equal", no_wrap=True)
    for name in profiles:
        table.add_column(Text(plain(name)))
    table.add_column("largest\ndifference", justify="right", no_wrap=True)
    for kind, title in _SECTIONS.items():
        lines = list(_lines([row for row in rows if row["kind"] == kind], dtypes))
        if lines:
            table.add_section()
            table.add_row(Text(title, style="bold"))
        for line in lines:
            first = line.rows[0]
            verdict = Verdict(first["verdict"])
            meaning = BY_NAME[first["artifact"]].meaning if first["artifact"] in BY_NAME else ""
            table.add_row(
                Text(line.label),
                *([Text(meaning)] if described else []),
                Text(line.dtype),
                Text(f"{verdict.glyph} {verdict.value.replace('_', ' ')}"),
                *(Text(_passes(first, name)) for name in profiles),
                Text(_largest(line)),
                style="dim" if verdict is Verdict.IDENTICAL else "",
            )
    return table


def _lines(rows: Sequence[Row], dtypes: Dtypes) -> Iterator[_Line]:
    for name, group in groupby(rows, key=lambda row: row["artifact"]):
        whole = list(group)
        alike: dict[tuple[Any, ...], list[Row]] = {}
        for row in whole:
            dtype = dtypes.get((row["artifact"], row["part"], row["scope"]), "")
            alike.setdefault((row["verdict"], *row["profiles"], dtype), []).append(row)
        for (*_, dtype), members in alike.items():
            if len(members) > 1:
                label = f"{name} x{len(members)}"
            else:
                only = members[0]
                scope = only["scope"] if len(whole) > 1 else ""
                label = " ".join(filter(None, (name, only["part"], scope)))
            yield _Line(label=plain(label), dtype=plain(dtype), rows=tuple(members))


def _passes(row: Row, profile: str) -> str:
    """Whether a row passes a profile; empty where nothing was measured element by element."""
    if row["verdict"] == Verdict.IDENTICAL:
        return "= pass"
    if row["verdict"] == Verdict.CLOSE or row["max_abs"] is not None:
        return "≈ pass" if profile in row["profiles"] else "≠ fail"
    return ""


def _largest(line: _Line) -> str:
    if any(NOT_FINITE in row["reason"] for row in line.rows):
        return "not finite"
    found = [row["max_abs"] for row in line.rows if row["max_abs"] is not None]
    return f"{max(found):.3g}" if found else ""


def _notes(rows: Sequence[Row]) -> Iterator[str]:
    """Why the rows are what they are, each reason once, with the artifacts it holds for."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row["reason"] and row["verdict"] != Verdict.REORDERED:
            names = reasons.setdefault((row["verdict"], row["reason"]), [])
            if row["artifact"] not in names:
                names.append(row["artifact"])
    for (value, reason), names in reasons.items():
        verdict = Verdict(value)
        word = verdict.value.replace("_", " ")
        yield plain(f"{verdict.glyph} {word}: {reason} ({_listed(names)})")


def _counted(verdict: Verdict, count: int) -> str:
    word = verdict.value.replace("_", " ")
    return f"{count} {'differ' if verdict is Verdict.DIFFERS and count > 1 else word}"


def _listed(names: Sequence[str]) -> str:
    shown = list(names[:3])
    if len(names) > len(shown):
        shown.append(f"{len(names) - len(shown)} more")
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))


def _dtypes(capture: Capture) -> dict[tuple[str, str, str], str]:
    columns = [
        capture.rows.column(name).to_pylist() for name in ("artifact", "part", "scope", "dtype")
    ]
    return {(name, part, scope): dtype for name, part, scope, dtype in zip(*columns, strict=True)}
