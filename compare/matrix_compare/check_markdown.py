"""A check as Markdown: the summary of a job, a check run, a comment."""

from collections.abc import Iterator

from matrix_capture.schema import STAGES
from matrix_compare.check import Check, Checked, CheckLine
from matrix_compare.finding import facts, finding, outcome
from matrix_compare.markdown import bold, code, folded, table
from matrix_compare.policy import Level
from matrix_compare.report import plain

_LIMIT = 60_000
"""Bytes of the text: GitHub takes no check run or comment of more than 65,535 characters."""


def check_markdown(check: Check) -> str:
    """The answer first, then each release with what there is to say of it, the rest folded.

    Whatever a capture named stands in a code span: no markup, link or mention comes out of it. What
    does not fit is counted.
    """
    whole = f"{bold(check.level)}: {finding(check, _quote)}"
    told = [whole if len(whole.encode()) < _LIMIT // 4 else bold(check.level), ""]
    room = _LIMIT - 1_000 - _size(told[0])
    heads: list[tuple[Checked, str]] = []
    for release in check.releases:
        head = "\n".join(_head(release))
        room -= _size(head)
        if room < 0:
            break
        heads.append((release, head))
    for release, head in heads:
        told.append(head)
        details = "\n".join([*_differences(release), *_seconds(release)])
        if _size(details) <= room:
            room -= _size(details)
            told.append(details)
        else:
            told.append("The details of this release are too long to be shown here.\n")
    if len(heads) < len(check.releases):
        told.append(f"{len(check.releases) - len(heads)} more releases are not shown here.\n")
    return "\n".join(told)


def _head(checked: Checked) -> Iterator[str]:
    yield f"### torch {_quote(checked.torch)}: {checked.level.glyph} {checked.level}\n"
    base, head = _quote(checked.base.colbert), _quote(checked.head.colbert)
    yield f"base {base}, head {head}: {outcome(checked, _quote)}\n"
    for fact in facts(checked, _quote):
        yield f"- {fact}"
    for doubt in checked.doubts:
        yield f"- ! {_quote(doubt)}"
    yield ""


def _differences(checked: Checked) -> Iterator[str]:
    titles = ("policy", "artifact", "where", "verdict", "role", "largest", "why")
    lines = sorted(checked.lines, key=lambda line: -list(Level).index(line.level))
    count = f"{len(lines)} not identical, the worst first"
    yield from folded(count, table(titles, map(_row, lines)))


def _row(line: CheckLine) -> tuple[str, ...]:
    return (
        f"{line.level.glyph} {line.level}",
        _quote(line.artifact),
        _quote(" ".join(filter(None, (line.part, line.scope)))),
        f"{line.verdict.glyph} {line.verdict.replace('_', ' ')}",
        _quote(line.role),
        "" if line.max_abs is None else f"{line.max_abs:.3g}",
        _quote(line.reason),
    )


def _seconds(checked: Checked) -> Iterator[str]:
    """How long each stage took in each run of both; those of a first `load` compile."""
    sides = (checked.base, checked.head)
    runs = [run for side in sides for run in (side.seconds, side.seconds_again)]
    rows = [
        (stage, *(f"{run[stage]:.1f}" if stage in run else "" for run in runs))
        for stage in STAGES
        if any(stage in run for run in runs)
    ]
    titles = ("stage", "base", "again", "head", "again")
    yield from folded("Seconds of each stage, in two runs of each", table(titles, rows))


def _quote(text: str) -> str:
    return code(plain(text)) or "nothing"


def _size(text: str) -> int:
    return len(text.encode()) + 1
