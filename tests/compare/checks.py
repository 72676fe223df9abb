"""Checks, plain and hostile, for the tests of whatever tells of them."""

from typing import Any

from hypothesis import strategies as st

from matrix_capture.catalogue import BY_NAME
from matrix_compare.check import SCHEMA_VERSION, Check, Checked, CheckLine, Effect, Ranked, Side
from matrix_compare.policy import Level
from matrix_compare.schema import Verdict
from tests.compare.reports import hostile

SHA = "0123456789abcdef" * 2 + "01234567"


def check_line(artifact: str, verdict: Verdict = Verdict.DIFFERS, **changes: Any) -> CheckLine:
    facts: dict[str, Any] = {"artifact": artifact, "verdict": verdict, "level": Level.ALERT}
    return CheckLine(**facts | changes)


def side(**changes: Any) -> Side:
    facts: dict[str, Any] = {
        "colbert": "0.2.22",
        "stopped": "",
        "seconds": {"index": 50.0, "search": 5.0},
        "index_bytes": 1000,
    }
    return Side(**facts | changes)


def checked(*lines: CheckLine, **changes: Any) -> Checked:
    """What a head changes; without lines all of 180 artifacts are identical."""
    counts = {verdict: sum(one.verdict is verdict for one in lines) for verdict in Verdict}
    facts: dict[str, Any] = {
        "torch": "2.8.0",
        "level": Level.ALERT if lines else Level.PASS,
        "sentence": "",
        "counts": counts | {Verdict.IDENTICAL: 180},
        "starts": tuple(one.artifact for one in lines if one.role == "origin"),
        "lines": lines,
        "doubts": (),
        "base": side(),
        "head": side(),
    }
    return Checked(**facts | changes)


def check_of(*releases: Checked, **changes: Any) -> Check:
    facts: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "lane": "cpu-pinned",
        "number": 402,
        "sha": SHA,
        "started": "2026-05-04T03:02:01+00:00",
        "level": max((one.level for one in releases), key=list(Level).index),
        "releases": releases,
    }
    return Check(**facts | changes)


def ranked(**changes: Any) -> Ranked:
    """Rankings that stay the same."""
    facts = {"queries": 428, "changed": 0, "changed_top": 0, "first": 0, "rescored": 0}
    return Ranked(**facts | changes)


_count = st.integers(0, 2**53)
_seconds = st.floats(min_value=0)
_text = hostile
_level = st.sampled_from(Level)
_verdict = st.sampled_from(Verdict)

_line = st.builds(
    CheckLine,
    artifact=_text | st.sampled_from(sorted(BY_NAME)),
    part=_text,
    scope=_text,
    kind=_text,
    verdict=_verdict,
    level=_level,
    role=_text,
    reason=_text,
    max_abs=st.none() | st.floats(),
    equal_fraction=st.none() | st.floats(),
    largest_at=_text,
)
_stage = st.dictionaries(st.sampled_from(["index", "search"]) | _text, _seconds, max_size=3)
_side = st.builds(
    Side,
    colbert=_text,
    stopped=st.just("") | _text,
    seconds=_stage,
    index_bytes=_count,
    seconds_again=_stage,
    cpu_seconds=st.dictionaries(
        st.just("index"), st.lists(_seconds, max_size=3).map(tuple), max_size=1
    ),
)
_share = st.floats(0, 1)
_effect = st.builds(Effect, measure=_text, base=_share, head=_share, chance=st.booleans())
_ranked = st.builds(
    Ranked,
    queries=_count,
    changed=_count,
    changed_top=_count,
    first=_count,
    rescored=_count,
    effects=st.lists(_effect, max_size=2).map(tuple),
)
_checked = st.builds(
    Checked,
    torch=_text,
    level=_level,
    sentence=_text,
    counts=st.dictionaries(_verdict, _count),
    starts=st.lists(_text, max_size=3).map(tuple),
    lines=st.lists(_line, max_size=4).map(tuple),
    doubts=st.lists(_text, max_size=2).map(tuple),
    base=_side,
    head=_side,
    ranked=st.none() | _ranked,
)

checks = st.builds(
    Check,
    schema_version=st.just(SCHEMA_VERSION),
    lane=_text,
    number=st.just(402),
    sha=st.just(SHA),
    started=_text,
    level=_level,
    releases=st.lists(_checked, min_size=1, max_size=3).map(tuple),
)
"""Checks that a file may hold, nothing of which is to be trusted."""
