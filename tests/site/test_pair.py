"""The page of one pair: its sentence, its tables, and what else moved."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from matrix_capture.schema import Control, Observer, StageStatus
from matrix_capture.settings import Settings
from matrix_compare.schema import NO_VALUES, Verdict
from matrix_site.pair import PairView, pair_view, surroundings
from matrix_site.sides import NONE
from matrix_site.snapshot import read_snapshot
from matrix_site.tables import UNSIZED, Figures

LANE = "cpu-pinned"
PAIR = ("2.7.0", "2.7.1")


def _view(data: Path, settings: Settings, pair: tuple[str, str]) -> PairView:
    snapshot = read_snapshot(data, settings)
    return pair_view(surroundings(snapshot, snapshot.lanes[0]), pair)


@pytest.mark.parametrize(
    ("pair", "headline"),
    [
        (
            ("2.7.1", "2.8.0"),
            "Not identical: it starts at `postnorm_centroids` (stage kmeans), by at most "
            "`6.0e-08`. Finished index: 5 differ, 1 close, 4 identical, by at most `3.9e-03` in "
            "`index_avg_residual`.",
        ),
        (
            ("2.8.0", "2.9.1"),
            "Not identical: it starts at `codes_sorted_indices` (stage ivf). "
            "Finished index: all 10 identical.",
        ),
        (("2.1.0", "2.7.1"), "Identical: all 134 comparisons agree bit for bit."),
        (("2.8.0", "2.9.0"), "Nothing to compare: torch 2.9.0 failed at install."),
    ],
)
def test_the_first_sentence_answers(
    pair: tuple[str, str], headline: str, data: Path, settings: Settings
) -> None:
    assert _view(data, settings, pair).headline == headline


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"verdict": "not_comparable", "reason": "collection differs"}, "collection differs"),
        ({"verdict": "not_run", "reason": ""}, "the verdicts give no reason"),
    ],
)
def test_a_pair_without_an_answer_says_why(
    *,
    changes: dict[str, str],
    expected: str,
    tmp_path: Path,
    settings: Settings,
    write_lane: Any,
    comparison: Any,
) -> None:
    row = comparison(LANE, PAIR, ("ivf", "", "disk", "int64", 1), **changes)
    write_lane(tmp_path, releases=PAIR, failed=(), extra=[row], drop=lambda row: True)
    assert expected in _view(tmp_path, settings, PAIR).headline


def test_what_nobody_knows_is_counted_and_no_change_is_claimed(
    tmp_path: Path, settings: Settings, write_lane: Any, comparison: Any
) -> None:
    place = ("sample", "", "more", "float16", 1)
    rows = [comparison(LANE, PAIR, place, verdict=word) for word in ("missing", "unstable")]
    write_lane(tmp_path, releases=PAIR, failed=(), extra=rows)
    view = _view(tmp_path, settings, PAIR)
    assert view.headline.startswith("Nothing changes where both sides can be compared.")
    assert view.headline.endswith("No answer for 2 comparisons.")
    assert view.controls[-1].startswith("1 comparison unstable")


def test_a_line_tells_equality_profiles_and_distance(data: Path, settings: Settings) -> None:
    final = _view(data, settings, ("2.0.1", "2.1.0")).tables[0]
    (line,) = (line for line in final.lines if line.artifact == "index_avg_residual")
    assert (line.dtype, line.equal) == ("float16", "no")
    assert (line.verdict, line.role) == (Verdict.CLOSE, "propagated")
    assert line.href == "../../artifact/index_avg_residual/index.html"
    assert line.figures == Figures(
        passes=("no", "yes"),
        largest="3.1e-05",
        mean="3.4e-07",
        rtol="3.1e-05",
        ulps="2",
        share="79.8%",
    )
    assert line.notes == "average residual; largest at row 17, column 3"


def test_where_values_were_not_kept_no_profile_has_failed(
    tmp_path: Path, settings: Settings, write_lane: Any, comparison: Any
) -> None:
    row = comparison(
        LANE,
        PAIR,
        ("ivf", "", "more", "int64", 1),
        verdict="differs",
        identical=0,
        reason=NO_VALUES,
    )
    write_lane(tmp_path, releases=PAIR, failed=(), extra=[row])
    intermediate = _view(tmp_path, settings, PAIR).tables[1]
    (line,) = (line for line in intermediate.lines if line.verdict is Verdict.DIFFERS)
    assert (line.equal, line.figures) == ("no", None)
    assert UNSIZED in line.notes


def test_many_equal_parts_share_a_line(data: Path, settings: Settings) -> None:
    intermediate = _view(data, settings, ("2.0.1", "2.1.0")).tables[1]
    by_artifact = {line.artifact: line for line in intermediate.lines}
    assert len(by_artifact["weights"].places) == 24
    assert by_artifact["doclens"].places == ("sample", "chunk.0")
    assert by_artifact["batches"].places == ("sample", "chunk.0")


def _encoder(comparison: Any, first: int, **changes: Any) -> list[Any]:
    """An encoder of twelve layers of which only digests are kept, changed from `first` on."""
    rows = []
    for scope in ("sample", "chunk.0"):
        for layer in range(12):
            place = ("layers", f"encoder.layer.{layer}", scope, "float32", 45)
            what: dict[str, Any] = {}
            if layer >= first:
                role = "origin" if layer == first else "propagated"
                equal = layer if scope == "sample" else 3
                what = {"verdict": "differs", "reason": NO_VALUES, "role": role}
                what |= {"identical": equal, **changes}
            rows.append(comparison(LANE, PAIR, place, **what))
    return rows


def _write_encoder(data: Path, write_lane: Any, rows: list[Any], **changes: Any) -> None:
    write_lane(
        data,
        releases=PAIR,
        failed=(),
        extra=rows,
        drop=lambda row: row["artifact"] in {row["artifact"] for row in rows},
        **changes,
    )


def test_the_first_sentence_names_the_layer_and_the_first_known_distance(
    tmp_path: Path, settings: Settings, write_lane: Any, comparison: Any
) -> None:
    rows = _encoder(comparison, 9)
    _write_encoder(tmp_path, write_lane, rows)
    start = "Not identical: it starts at `layers` in layer 9 (stage encode), by an unknown amount"
    index = ". Finished index: all 10 identical."
    assert _view(tmp_path, settings, PAIR).headline == start + index
    for scope, distance in (("sample", 1e-08), ("chunk.0", 6e-08)):
        place = ("batches", "", scope, "float32", 45)
        change = {"verdict": "close", "max_abs": distance, "role": "propagated"}
        rows.append(comparison(LANE, PAIR, place, **change))
    _write_encoder(tmp_path, write_lane, rows)
    view = _view(tmp_path, settings, PAIR)
    measured = "; `batches` behind it is close, by at most `6.0e-08`"
    assert view.headline == start + measured + index
    assert (view.counts.words, view.counts.vague) == (
        "6 differ (6 by an unknown amount), 2 close, 126 identical",
        True,
    )


def test_layers_share_lines_and_come_in_order(
    tmp_path: Path, settings: Settings, write_lane: Any, comparison: Any
) -> None:
    _write_encoder(tmp_path, write_lane, _encoder(comparison, 9))
    intermediate = _view(tmp_path, settings, PAIR).tables[1]
    lines = [line for line in intermediate.lines if line.artifact == "layers"]
    assert [(line.layers, len(line.places), line.role, line.equal) for line in lines] == [
        ("layers 0-8", 18, "", "yes"),
        ("layer 9", 2, "origin", "in part"),
        ("layers 10-11", 4, "propagated", "in part"),
    ]
    assert lines[0].places[:2] == ("encoder.layer.0, sample", "encoder.layer.1, sample")
    assert lines[2].places == (
        "encoder.layer.10, sample: 10 of 45 equal",
        "encoder.layer.11, sample: 11 of 45 equal",
        "encoder.layer.10, chunk.0: 3 of 45 equal",
        "encoder.layer.11, chunk.0: 3 of 45 equal",
    )
    for line in lines[1:]:
        assert (line.figures, line.unsized) == (None, True)
        assert line.notes.endswith(UNSIZED)


def test_a_layer_of_another_shape_is_no_difference_of_unknown_size(
    tmp_path: Path, settings: Settings, write_lane: Any, comparison: Any
) -> None:
    reason = "shape (2, 3) and (3, 2)"
    _write_encoder(tmp_path, write_lane, _encoder(comparison, 9, reason=reason))
    view = _view(tmp_path, settings, PAIR)
    assert (view.counts.unsized, view.counts.vague) == (0, False)
    assert "unknown" not in view.headline
    line = next(line for line in view.tables[1].lines if line.verdict is Verdict.DIFFERS)
    assert line.figures is not None
    assert (line.unsized, line.figures.passes) == (False, ("no", "no"))
    assert reason in line.notes


def test_layers_that_do_not_equal_themselves_are_named(
    tmp_path: Path, settings: Settings, write_lane: Any, record: Any, comparison: Any
) -> None:
    names = tuple(f"layers encoder.layer.{layer} sample 0" for layer in range(100))
    control = Control(identical=False, tensors=1234, unstable=names, unstable_tensors=211)
    changes = {"verdict": "unstable", "reason": "2.7.1: repeats 0 and 1 disagree", "role": ""}
    rows = _encoder(comparison, 9, **changes, identical=3)
    _write_encoder(tmp_path, write_lane, rows, records=[record(LANE, "2.7.1", control=control)])
    view = _view(tmp_path, settings, PAIR)
    assert view.headline.startswith("Nothing changes where both sides can be compared.")
    assert "A/A control: 1,234 tensors the same in 2 runs" in view.controls[0]
    assert "A/A control not passed: 211 of 1,234 tensors not the same" in view.controls[1]
    assert [(side.release, side.total, side.names) for side in view.unstable] == [
        ("2.7.1", 211, names)
    ]
    lines = [line for line in view.tables[1].lines if line.artifact == "layers"]
    assert [(line.layers, line.verdict) for line in lines] == [
        ("layers 0-8", Verdict.IDENTICAL),
        ("layers 9-11", Verdict.UNSTABLE),
    ]


def test_a_release_that_cannot_run_on_the_gpu_says_why(
    tmp_path: Path, settings: Settings, write_lane: Any, record: Any
) -> None:
    why = "unsupported GPU: NVIDIA H200 is sm_90, this build of torch has code for sm_37"
    status = {
        "install": StageStatus(state="ok"),
        "import": StageStatus(state="ok"),
        "load": StageStatus(state="not_run", message=why),
    }
    idle = record(LANE, "2.7.1", status=status, observer=None, control=None)
    write_lane(tmp_path, releases=PAIR, failed=("2.7.1",), records=[idle])
    view = _view(tmp_path, settings, PAIR)
    assert view.headline == "Nothing to compare: torch 2.7.1 did not run."
    assert view.failures == (f"torch 2.7.1 did not run: {why}",)
    facts = {fact.name: fact for fact in view.captures}
    assert (facts["import"].b, facts["load"].b) == ("ok, 4.2 s", f"not run, 41 s, {why}")


def test_captures_show_what_they_ran_on(
    tmp_path: Path, settings: Settings, write_lane: Any, record: Any
) -> None:
    gpu = {
        **{"gpu": "NVIDIA H200", "gpu_compute_capability": "9.0", "gpu_driver": "570.86"},
        **{"cuda": "12.8", "cublas": "12.8.4", "cudnn": "90701", "cpu_model": "X"},
    }
    factors = {"kmeans": "faiss on the CPU", "colbert-ai": "0.2.22 tree:0123"}
    shown = record(
        LANE,
        "2.7.1",
        host=gpu,
        factors=factors,
        options={"passages": 96, "depth": "sublayers"},
        note="torch of the machine image",
    )
    write_lane(tmp_path, releases=PAIR, failed=(), records=[shown])
    facts = {fact.name: (fact.a, fact.b) for fact in _view(tmp_path, settings, PAIR).captures}
    assert facts["GPU"] == (NONE, "NVIDIA H200, compute capability 9.0, driver 570.86")
    assert facts["libraries"][1] == "CUDA 12.8, cuBLAS 12.8.4, cuDNN 90701"
    assert facts["k-means"] == (NONE, "faiss on the CPU")
    assert facts["colbert-ai"] == (NONE, "0.2.22 tree:0123")
    assert facts["options"] == ("none", "depth = sublayers; passages = 96")
    assert facts["note"] == (NONE, "torch of the machine image")
    write_lane(tmp_path, releases=PAIR, failed=())
    facts = {fact.name: (fact.a, fact.b) for fact in _view(tmp_path, settings, PAIR).captures}
    assert not {"note", "GPU", "k-means"} & facts.keys()


def test_what_moved_with_torch_is_said(data: Path, settings: Settings) -> None:
    view = _view(data, settings, ("2.7.1", "2.8.0"))
    assert "`cublas`" in view.moved
    packages = view.environment[0]
    assert [fact.name for fact in packages.differing] == ["nvidia-cublas-cu12", "torch", "triton"]
    assert packages.same == 42
    assert view.same == "environment variables, fixed factors and inputs"
    assert _view(data, settings, ("2.9.1", "2.10.0")).moved == ""


def test_captures_show_build_time_and_seconds(data: Path, settings: Settings) -> None:
    facts = {fact.name: fact for fact in _view(data, settings, ("2.7.1", "2.8.0")).captures}
    assert facts["torch build"].b == "2.8.0+cu128"
    assert facts["captured"].a == "15 November 2025, 08:30 UTC"
    assert facts["load"].a == "ok, 41 s"
    assert facts["train"].a == "not run"


def test_controls_missing_artifacts_and_failures_are_shown(
    tmp_path: Path, settings: Settings, write_lane: Any, record: Any
) -> None:
    records = [
        record(
            LANE,
            "2.7.0",
            repeats=1,
            control=None,
            observer=None,
            missing={"D": "docFromText was renamed"},
        ),
        record(LANE, "2.7.1", observer=Observer(identical=False, tensors=9, differing=("ivf",))),
    ]
    write_lane(tmp_path, releases=PAIR, failed=(), records=records)
    view = _view(tmp_path, settings, PAIR)
    assert "no A/A control" in view.controls[0]
    assert "no observer certificate" in view.controls[0]
    assert "taps change `ivf`" in view.controls[1]
    assert [(fact.name, fact.a) for fact in view.missing] == [("D", "docFromText was renamed")]
    assert [command.text for command in view.commands] == [
        f"nox -s {session} -- 2.7.0 2.7.1 --lane cpu-pinned"
        for session in ("matrix", "compare", "search", "advise", "explain")
    ]


def test_a_pair_without_readable_captures_still_has_its_verdicts(
    tmp_path: Path, settings: Settings, write_lane: Any
) -> None:
    write_lane(tmp_path, releases=PAIR, failed=())
    for file in (tmp_path / "digests" / LANE).iterdir():
        file.write_bytes(b"")
    view = _view(tmp_path, settings, PAIR)
    assert view.counts.total == 134
    assert view.failures == tuple(
        f"torch {release} has a digest file that cannot be read" for release in PAIR
    )


def test_without_advice_a_page_still_warns_of_mapping(
    tmp_path: Path, settings: Settings, write_lane: Any
) -> None:
    write_lane(tmp_path, releases=PAIR, failed=())
    (lane,) = (snapshot := read_snapshot(tmp_path, settings)).lanes
    older, newer = (lane.captures[release] for release in PAIR)
    for offsets, told in (((320, 320), ""), ((320, 704), PAIR[1]), ((448, 704), " or ".join(PAIR))):
        captures = {
            PAIR[0]: replace(older, offsets=offsets[:1]),
            PAIR[1]: replace(newer, offsets=offsets[1:]),
        }
        view = pair_view(surroundings(snapshot, replace(lane, captures=captures)), PAIR)
        assert view.shifted == told
