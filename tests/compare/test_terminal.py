import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from rich.console import Console

from matrix_capture.schema import Control, Observer, StageStatus
from matrix_capture.settings import Settings
from matrix_capture.values import ValueStore
from matrix_compare.cascade import Cascade
from matrix_compare.gauge import Gauge
from matrix_compare.pairs import compare
from matrix_compare.policy import Level
from matrix_compare.report import Report, build
from matrix_compare.terminal import print_report
from matrix_compare.tolerance import read_profiles
from tests.compare.conftest import Maker, Put, capture_of, pipeline_puts, status_of
from tests.compare.reports import BRIEF, flips, report_of, reports, verdict_row

EN_DASH = "\N{EN DASH}"
EMBS = np.linspace(-1, 1, 12).astype(np.float16).reshape(3, 4)


@pytest.fixture
def show(make: Maker, settings: Settings, store: ValueStore) -> Any:
    def show(
        a: Sequence[Put], b: Sequence[Put], width: int = 120, color: bool = False, **right: Any
    ) -> str:
        for torch, puts, record in (("2.7.1", a, {}), ("2.8.0", b, right)):
            make(torch, puts, **record)
        before, after = capture_of("2.7.1", a), capture_of("2.8.0", b, **right)
        verdicts = compare([before, after], Gauge(store, read_profiles(settings)), store)
        out = io.StringIO()
        console = Console(file=out, width=width, highlight=False, force_terminal=color)
        print_report(console, build(before, after, verdicts.of("2.7.1", "2.8.0"), settings))
        return out.getvalue()

    return show


def line(text: str, start: str) -> list[str]:
    """The words of the one line of the table that begins so, behind the mark of its level."""
    (found,) = (line for line in text.splitlines() if line[3:].startswith(start))
    return found.split()


@pytest.mark.parametrize("width", [80, 120])
def test_table(show: Any, width: int) -> None:
    changed = pipeline_puts(
        EMBS + np.float16(0.0001), codes=np.array([2, 0, 1, 0, 2, 6], dtype=np.int32)
    )
    text = show(pipeline_puts(EMBS), changed, width)
    assert text.startswith("2.7.1...2.8.0: 6 identical, 1 close, 1 differs; starts at embs\n")
    assert all(len(row) <= width for row in text.splitlines())
    assert line(text, "weights")[:2] == ["weights", "x3"]
    assert line(text, "weights")[-7:] == ["float32", "=", "identical", "=", "pass", "=", "pass"]
    embs = line(text, "embs")
    at = embs.index("float16")
    assert embs[:2] == ["▲", "embs"]
    assert embs[at : at + 7] == ["float16", "≈", "close", "≠", "fail", "≈", "pass"]
    assert line(text, "codes ")[-7:] == ["≠", "differs", "≠", "fail", "≠", "fail", "5"]
    # ULPs and descriptions of what is not identical are for those who have room.
    assert ("99% / all" in text) == ("token embeddings" in text) == (width == 120)
    assert "a parameter of the checkpoint" not in text
    assert "≠ differs: outside every profile (codes)" in text


def test_sections_come_in_order_and_only_if_they_hold_something(show: Any) -> None:
    names = ["probe_matmul", "embs", "index_codes"]
    puts = [Put(artifact=name, value=[1, 2]) for name in names]
    text = show(puts, puts)
    titles = ["Final artifacts", "index_codes", "Intermediate artifacts", "embs", "Probes"]
    places = [text.index(title) for title in titles]
    assert places == sorted(places)
    assert "Probes" not in show(puts[1:], puts[1:])


def test_only_parts_that_agree_are_folded(show: Any) -> None:
    a = [Put(artifact="weights", part=f"w{n}", scope="setup", value=[n]) for n in range(5)]
    b = [*a[:3], Put(artifact="weights", part="w3", scope="setup", value=[9]), a[4]]
    text = show(a, b)
    assert line(text, "weights x4")
    assert line(text, "weights w3 setup")


def test_a_difference_without_a_size_is_not_shown_as_zero(show: Any) -> None:
    broken = EMBS.copy()
    broken[0, 0] = np.nan
    text = show([Put(artifact="embs", value=EMBS)], [Put(artifact="embs", value=broken)])
    assert line(text, "embs")[-2:] == ["not", "finite"]


def encoder(*values: float) -> list[Put]:
    return [
        Put(artifact="layers", part=f"encoder.layer.{n}", scope=scope, value=value, keep=False)
        for scope in ("sample", "chunk.0")
        for n, value in enumerate(values)
    ]


def test_a_difference_that_was_not_measured_fails_no_profile(show: Any) -> None:
    text = show(encoder(1.0, 1.0, 1.0, 1.0), encoder(1.0, 1.0, 2.0, 2.0))
    assert "starts at layers in layer 2\n" in text
    assert line(text, "layers 0-1 x4")[-2:] == ["=", "pass"]
    assert line(text, "layers 2-3 x4")[-5:] == ["float64", "≠", "differs", "not", "kept"]
    assert "≠ differs: values not kept, so nobody knows how far they are apart (layers)" in text
    assert "layers x8" in show(encoder(1.0, 1.0, 1.0, 1.0), encoder(1.0, 1.0, 1.0, 1.0))


def test_controls_that_a_capture_did_not_pass_are_told(show: Any) -> None:
    control = Control(identical=False, tensors=9, unstable=("D sample 0",), unstable_tensors=1)
    observer = Observer(identical=False, tensors=9, differing=("\x1b[2J", "b", "c", "d"))
    puts = [Put(artifact="D", value=[1])]
    text = show(puts, puts, control=control, observer=observer)
    assert (
        "! torch 2.8.0: 1 of 9 tensors differ between two runs of one environment (D sample 0)"
    ) in text
    assert "! torch 2.8.0: watching changes the index (\\x1b[2J, b, c and 1 more)" in text
    assert "not named" in show(puts, puts, observer=Observer(identical=False, tensors=9))
    good = Control(identical=True, tensors=9), Observer(identical=True, tensors=9)
    assert "!" not in show(puts, puts, control=good[0], observer=good[1])


def test_a_release_without_code_for_the_gpu_says_so(show: Any) -> None:
    reason = "unsupported GPU: NVIDIA H200 is sm_90, this build of torch has code for sm_37"
    status = status_of() | {
        "load": StageStatus(state="not_run", message=reason),
        "index": StageStatus(state="not_run"),
    }
    text = show(pipeline_puts(EMBS), [], status=status)
    assert f"{EN_DASH} not run: 2.8.0 did not run index: {reason}" in " ".join(text.split())


def printed(report: Report, width: int = 80) -> str:
    out = io.StringIO()
    print_report(Console(file=out, width=width, highlight=False), report)
    return out.getvalue()


def test_the_policy_is_told_in_words() -> None:
    broken = [verdict_row("probe_matmul", "close"), verdict_row("embs", "differs")]
    text = printed(report_of([*broken, verdict_row("index_codes", "missing")]))
    assert "✗ failure: 1 row (index_codes)\n" in text
    # A probe is named last.
    assert "▲ alert: 2 rows (embs and probe_matmul)\n" in text
    assert line(text, "index_codes")[0] == "✗"
    assert line(text, "embs")[0] == "▲"
    # Near miss: the same rows, none of which is more than reordered.
    text = printed(report_of([verdict_row("embs"), verdict_row("index_ivf", "reordered")]))
    assert "failure" not in text
    assert "alert" not in text
    assert line(text, "index_ivf")[0] == "index_ivf"


def test_a_pair_without_rows_is_told_to_be_none() -> None:
    assert printed(report_of([])) == (
        "2.7.1...2.8.0: nothing to compare\n✗ failure: nothing was compared\n"
    )


def test_places_of_what_starts_or_fails_are_told_at_any_width() -> None:
    far: dict[str, Any] = {"max_abs": 2.0, "p50_ulp": 1.0, "p99_ulp": 7.0, "max_ulp": 12_345_678}
    found = [
        verdict_row("embs", "differs", role="origin", **far, violations=[9, 2], largest_at="row 1"),
        verdict_row("codes", "differs", role="propagated", **far, largest_at="row 2"),
        verdict_row("index_codes", "differs", **far, first_at="row 3", largest_at="row 4"),
    ]
    narrow, wide = (printed(report_of(found), width) for width in (80, 130))
    for text in (narrow, wide):
        assert "a difference starts here\n" in re.sub(" +\n", "\n", text)
        assert "largest at row 1" in text
        assert "ULPs: half within 1, 99% within 7, all within 1.2e7" in text
        assert "elements: 9 outside default, 2 outside bitsandbytes" in text
        assert re.search("index_codes +largest at row 4", text)
        assert "first at row 3" in text
    assert "row 2" not in narrow
    assert "row 2" in wide
    assert line(wide, "codes")[-3:] == ["7", "/", "1.2e7"]


def test_the_cascade_and_the_environment_are_told() -> None:
    cascade = Cascade(a="a", b="b", codes=flips(), buckets="values not kept", memberships="none")
    report = report_of([verdict_row()], cascade=cascade, packages={"torch": "2.8.0", "mkl": "1"})
    text = printed(report)
    assert "codes    0 of 12,000 changed" in text
    assert "buckets  values not kept" in text
    assert "environment: 3 differences (mkl, numpy and torch)" in text


def test_reasons_are_told_once(show: Any) -> None:
    text = show(pipeline_puts(EMBS), [], status=status_of("import"))
    assert text.count("! failed: 2.8.0 stopped at import: ImportError: no module") == 1
    text = show([Put(artifact="D", value=1)], [Put(artifact="D", value=1.0)])
    assert "≠ differs: dtype int64 and float64 (D)" in text


@BRIEF
@given(reports())
def test_nothing_but_lines_of_text_is_printed(report: Report) -> None:
    for width in (80, 130):
        text = printed(report, width)
        assert all(letter.isprintable() or letter == "\n" for letter in text)
        assert text.startswith(f"{report.sentence}\n")
        failures = [line for line in text.splitlines() if line.startswith("✗ failure: ")]
        assert bool(failures) == (report.level is Level.FAILURE)


def test_hostile_strings_do_nothing(show: Any) -> None:
    evil = "\x1b[2J[bold]x"
    puts = [Put(artifact=evil, part=evil, value=[1]), Put(artifact="D", value=[1])]
    text = show(puts, [], missing={"D": evil, evil: evil})
    assert "\x1b" not in text
    assert text.count("\\x1b[2J[bold]x") >= 3


def test_without_colour_nothing_is_lost(show: Any) -> None:
    puts = pipeline_puts(EMBS), pipeline_puts(EMBS * np.float16(2))
    coloured = show(*puts, color=True)
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == show(*puts)
