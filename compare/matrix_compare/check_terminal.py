"""A check as a person reads it in the terminal: one screen, the answer first."""

from rich.console import Console
from rich.text import Text

from matrix_compare.check import Check, Checked
from matrix_compare.finding import facts, finding, outcome
from matrix_compare.policy import Level
from matrix_compare.report import plain
from matrix_compare.terminal import STYLES


def print_check(console: Console, check: Check) -> None:
    """Print what the head changes, over all releases and under each."""
    _print(console, f"{check.level.glyph} {check.level}: {finding(check, plain)}", check.level)
    for release in check.releases:
        _print_release(console, release)


def _print_release(console: Console, checked: Checked) -> None:
    title = f"torch {checked.torch}: base {checked.base.colbert}, head {checked.head.colbert}"
    console.print()
    console.print(Text(plain(title), style="bold"), soft_wrap=True)
    level = checked.level
    _print(console, f"{level.glyph} {level}: {outcome(checked, plain)}", level)
    for fact in facts(checked, plain):
        console.print(Text(f"  {fact}"), soft_wrap=True)
    for doubt in checked.doubts:
        _print(console, f"  ! {plain(doubt)}", Level.ALERT)


def _print(console: Console, text: str, level: Level) -> None:
    console.print(Text(text, style=STYLES[level]), soft_wrap=True)
