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
from matrix_capture.schema import Capture, Record
from matrix_compare.schema import NO_VALUES, Verdict, in_layers, layer_of, layer_spans
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

    The counts add up to the number of rows. Where nobody knows how far the start moves, the first
    artifact behind it that was measured is named too.
    """
    counts = Counter(row["verdict"] for row in rows)
    unsized = sum(_unsized(row) for row in rows)
    told = [_counted(verdict, counts[verdict], unsized) for verdict in _TOLD if counts[verdict]]
    text = f"{a}...{b}: {', '.join(told) or 'nothing to compare'}"
    starts = [row for row in rows if row["role"] == "origin"]
    # A probe that moves with the pipeline shows the cause again; it is not where that starts.
    starts = [row for row in starts if row["kind"] != "probe"] or starts
    if not starts:
        return plain(text)
    text += f"; starts at {_listed(_whereabouts(starts))}"
    measured = (
        row["artifact"]
        for row in rows
        if row["kind"] != "probe" and row["max_abs"] is not None and row["role"] == "propagated"
    )
    if all(map(_unsized, starts)) and (first := next(measured, "")):
        text += f", measured from {first} on"
    return plain(text)


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
    for note in (*_notes(rows), *_doubts(a.record), *_doubts(b.record)):
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
                layers = [layer_of(name, row["part"]) for row in members]
                known = [layer for layer in layers if layer is not None]
                # Which layers agree matters only where others do not.
                which = layer_spans(known) if layers == known and len(alike) > 1 else ""
                label = f"{name} {which} x{len(members)}" if which else f"{name} x{len(members)}"
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
    if all(map(_unsized, line.rows)):
        return "not kept"
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
        more = ", so nobody knows how far they are apart" if reason == NO_VALUES else ""
        yield plain(f"{verdict.glyph} {word}: {reason}{more} ({_listed(names)})")


def _doubts(record: Record) -> Iterator[str]:
    """Which of a capture's own controls it did not pass."""
    control, observer = record.control, record.observer
    if control and not control.identical:
        count = f"{control.unstable_tensors} of {control.tensors} tensors"
        yield plain(
            f"! torch {record.torch}: {count} differ between two runs of one environment "
            f"({_listed(control.unstable)})"
        )
    if observer and not observer.identical:
        names = _listed(observer.differing)
        yield plain(f"! torch {record.torch}: watching changes the index ({names})")


def _unsized(row: Row) -> bool:
    """Whether a row differs and nobody knows how far."""
    return bool(row["verdict"] == Verdict.DIFFERS and row["reason"] == NO_VALUES)


def _whereabouts(rows: Sequence[Row]) -> list[str]:
    """The artifacts of some rows, each with the layers of the encoder that it lies in."""
    layers: dict[str, set[int]] = {}
    for row in rows:
        found = layers.setdefault(row["artifact"], set())
        if (layer := layer_of(row["artifact"], row["part"])) is not None:
            found.add(layer)
    return [f"{name} in {in_layers(found)}" if found else name for name, found in layers.items()]


def _counted(verdict: Verdict, count: int, unsized: int) -> str:
    word = verdict.value.replace("_", " ")
    if verdict is not Verdict.DIFFERS:
        return f"{count} {word}"
    known = f" ({unsized} of them by an unknown amount)" if unsized else ""
    return f"{count} {'differ' if count > 1 else word}{known}"


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "not named"
    shown = list(names[:3])
    if len(names) > len(shown):
        shown.append(f"{len(names) - len(shown)} more")
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))


def _dtypes(capture: Capture) -> dict[tuple[str, str, str], str]:
    columns = [
        capture.rows.column(name).to_pylist() for name in ("artifact", "part", "scope", "dtype")
    ]
    return {(name, part, scope): dtype for name, part, scope, dtype in zip(*columns, strict=True)}
