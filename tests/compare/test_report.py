import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from matrix_capture.schema import Control, Observer, StageStatus
from matrix_capture.settings import Settings
from matrix_capture.values import ValueStore
from matrix_compare.gauge import Gauge
from matrix_compare.pairs import compare
from matrix_compare.report import plain, print_pair, sentence
from matrix_compare.tolerance import read_profiles
from tests.compare.conftest import Maker, Put, capture_of, pipeline_puts, status_of

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
        rows = compare([before, after], Gauge(store, read_profiles(settings))).of("2.7.1", "2.8.0")
        out = io.StringIO()
        console = Console(file=out, width=width, highlight=False, force_terminal=color)
        print_pair(console, before, after, rows, tuple(settings.profiles))
        return out.getvalue()

    return show


def line(text: str, start: str) -> list[str]:
    (found,) = (line for line in text.splitlines() if line.startswith(f" {start}"))
    return found.split()


def cell(artifact: str = "embs", verdict: str = "close", **changes: Any) -> dict[str, Any]:
    row = {"artifact": artifact, "part": "", "kind": "intermediate", "verdict": verdict}
    return row | {"role": "", "reason": "", "max_abs": None} | changes


def cells(**counts: int) -> list[dict[str, Any]]:
    return [
        cell(verdict=verdict, role="origin" if verdict == "close" else "")
        for verdict, count in counts.items()
        for _ in range(count)
    ]


def unsized(artifact: str, role: str, part: str = "") -> dict[str, Any]:
    return cell(artifact, "differs", role=role, part=part, reason="values not kept")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], "a...b: nothing to compare"),
        (cells(identical=51), "a...b: 51 identical"),
        (
            cells(differs=4, close=9, identical=38),
            "a...b: 38 identical, 9 close, 4 differ; starts at embs",
        ),
        (cells(differs=1, failed=2, not_run=3), "a...b: 1 differs, 2 failed, 3 not run"),
        (
            cells(not_comparable=1, missing=2, unstable=3, reordered=4),
            "a...b: 4 reordered, 3 unstable, 2 missing, 1 not comparable",
        ),
        (
            [
                cell(name, kind="final", role="origin")
                for name in ("D", "D", "embs", "codes", "ivf", "sample")
            ],
            "a...b: 6 close; starts at D, embs, codes and 2 more",
        ),
        (
            [
                cell(name, kind=kind, role="origin")
                for name, kind in (("probe_normalize", "probe"), ("batches", "intermediate"))
            ],
            "a...b: 2 close; starts at batches",
        ),
        (
            [
                unsized("layers", "origin", "encoder.layer.3"),
                unsized("layers", "propagated", "encoder.layer.4"),
                cell("probe_normalize", kind="probe", role="propagated", max_abs=1.0),
                cell("batches", role="propagated", max_abs=1e-7),
            ],
            "a...b: 2 close, 2 differ (2 of them by an unknown amount); "
            "starts at layers in layer 3, measured from batches on",
        ),
        (
            [unsized("layers", "origin", f"encoder.layer.{n}") for n in (3, 5)],
            "a...b: 2 differ (2 of them by an unknown amount); starts at layers in layers 3, 5",
        ),
        (
            [unsized("normalized", "origin"), cell("ivf", role="origin", max_abs=2.0)],
            "a...b: 1 close, 1 differs (1 of them by an unknown amount); "
            "starts at normalized and ivf",
        ),
    ],
)
def test_sentence(rows: list[dict[str, Any]], expected: str) -> None:
    assert sentence("a", "b", rows) == expected


@pytest.mark.parametrize("width", [80, 120])
def test_table(show: Any, width: int) -> None:
    changed = pipeline_puts(
        EMBS + np.float16(0.0001), codes=np.array([2, 0, 1, 0, 2, 6], dtype=np.int32)
    )
    text = show(pipeline_puts(EMBS), changed, width)
    assert text.startswith("2.7.1...2.8.0: 6 identical, 1 close, 1 differs; starts at embs\n")
    assert all(len(row) <= width for row in text.splitlines())
    assert line(text, "weights")[:2] == ["weights", "x3"]
    assert line(text, "weights")[-6:] == ["=", "identical", "=", "pass", "=", "pass"]
    assert line(text, "embs")[-8:-1] == ["float16", "≈", "close", "≠", "fail", "≈", "pass"]
    assert line(text, "codes ")[-7:] == ["≠", "differs", "≠", "fail", "≠", "fail", "5"]
    assert ("token embeddings of a chunk" in text) == (width == 120)
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


def test_reasons_are_told_once(show: Any) -> None:
    text = show(pipeline_puts(EMBS), [], status=status_of("import"))
    assert text.count("! failed: 2.8.0 stopped at import: ImportError: no module") == 1
    text = show([Put(artifact="D", value=1)], [Put(artifact="D", value=1.0)])
    assert "≠ differs: dtype int64 and float64 (D)" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain — ≠ text", "plain — ≠ text"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("line\nbreak\r", "line\\nbreak\\r"),
        ("\u202eright to left", "\\u202eright to left"),
        ("\ud800", "\\ud800"),
        ("[red]markup", "[red]markup"),
    ],
)
def test_plain_text_is_shown_and_not_obeyed(text: str, expected: str) -> None:
    assert plain(text) == expected


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
