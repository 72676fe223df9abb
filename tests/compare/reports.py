"""Reports made of verdict rows, plain and hostile, for the tests of every output."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from matrix_capture.catalogue import BY_NAME
from matrix_capture.settings import read_settings
from matrix_compare.cascade import Cascade, Changes, Flips, Spread
from matrix_compare.report import Report, build
from matrix_compare.schema import COLUMNS, Verdict
from tests.compare.conftest import capture_of

BRIEF = settings(max_examples=60, deadline=None)
"""For properties of whole outputs, each of which takes a while to write."""

SETTINGS = read_settings(Path(__file__).parents[2] / "matrix.toml")


def verdict_row(
    artifact: str = "embs", verdict: str = "identical", part: str = "", **changes: Any
) -> dict[str, Any]:
    """A row as compare writes it, without figures unless `changes` has some."""
    kind = BY_NAME[artifact].kind if artifact in BY_NAME else "intermediate"
    empty = dict.fromkeys(COLUMNS.names) | {"role": "", "reason": "", "profile": "", "profiles": []}
    row = {"artifact": artifact, "part": part, "scope": "chunk.0", "kind": kind, "verdict": verdict}
    return empty | row | changes


def report_of(
    rows: Sequence[dict[str, Any]], a: str = "2.7.1", b: str = "2.8.0", **right: Any
) -> Report:
    """The report of some rows; `right` changes the record of the second capture."""
    cascade = right.pop("cascade", None)
    return build(capture_of(a), capture_of(b, **right), rows, SETTINGS, cascade)


def flips(observed: int = 0, **changes: Any) -> Flips:
    """The changed codes of a cascade, all of them predicted."""
    spread = Spread(min=0.25, median=0.5, max=1.0) if observed else None
    found: dict[str, Any] = {
        "elements": 12_000,
        "changes": Changes(observed=observed, predicted=observed, explained=observed),
        "inherited": 0,
        "margins": spread,
        "movements": spread,
        "largest_movement": 1.0,
        "borderline": 0,
        "unlike": (0, 0),
    }
    return Flips(**found | changes)


EVIL = (
    *("|", "a | b", r"\|", "`", "``x``", "\\", "\\`", "<script>alert(1)</script>", "</details>"),
    *("<!--", "]]>", "&amp;", "@user", "a@example.com", "#1", "[x](http://example.com)", "![](y)"),
    *("http://example.com", "www.example.com", "a\nb", "\n\n# Title", "\r", "\x1b[2J", "\x00"),
    *("\u202ertl", "\u2066", "\u2028", "\ud800", "\ufffe", "\x85", "**bold**", "_", "---", " "),
    *("[red]x[/red]", "identical", "x2", "", "$(id)", "{{x}}", "~~~", "\N{ZERO WIDTH SPACE}"),
)
"""What an output might obey instead of showing."""

hostile = st.lists(st.sampled_from(EVIL) | st.text(max_size=5), max_size=4).map("".join)
"""Strings of a capture that may come from anyone."""

_figure = st.none() | st.floats(min_value=0)

rows = st.lists(
    st.builds(
        verdict_row,
        artifact=hostile | st.sampled_from(sorted(BY_NAME)),
        verdict=st.sampled_from([verdict.value for verdict in Verdict]),
        part=hostile,
        scope=hostile,
        reason=hostile,
        role=st.sampled_from(["", "origin", "propagated", "absorbed"]),
        profiles=st.sampled_from([[], ["default", "bitsandbytes"], ["bitsandbytes"]]),
        max_abs=_figure,
        p99_ulp=_figure,
        max_ulp=st.none() | st.integers(0, 2**63 - 1),
        violations=st.none() | st.lists(st.integers(0, 9), min_size=2, max_size=2),
        first_at=st.none() | hostile,
        largest_at=st.none() | hostile,
    ),
    max_size=6,
)
"""Verdict rows of one pair, nothing of which is to be trusted."""


@st.composite
def reports(draw: st.DrawFn) -> Report:
    """A report all of whose strings may be hostile."""
    text = draw(hostile)
    changes: dict[str, Any] = {
        "packages": {"torch": text, text: "1"},
        "host": {"cpu_model": text},
        "cascade": Cascade(a=text, b=text, codes=flips(3), buckets=text, memberships=text),
    }
    return report_of(draw(rows), b=draw(st.just("2.8.0") | hostile), **changes)


def tabled(verdict: Verdict) -> list[dict[str, Any]]:
    """Two rows of one verdict on the finished index and beside it."""
    return [
        verdict_row("codes", verdict.value),
        verdict_row("index_codes", verdict.value, scope="disk"),
    ]
