"""A data folder that has all that a page can show, what is hostile in it included."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from matrix_capture.schema import Control, Observer, StageStatus
from matrix_compare.advice import record_advices, record_crossings
from matrix_compare.check import write_check
from matrix_compare.explanation import explanation_path
from matrix_compare.schema import NO_VALUES, Verdict
from matrix_site.__main__ import main
from tests.compare.checks import check_line, check_of, checked
from tests.site.conftest import WriteLane, make_comparison, make_record
from tests.site.test_advice import advice, crossing
from tests.site.test_explanation import EXPLANATION
from tests.site.test_outcomes import RUNS
from tests.site.test_render import HOSTILE

BASELINE = "cpu-pinned"
STALE = "cuda-pinned"
OPEN = "cpu-latest"
QUICK = f"{BASELINE}+0123abcd"
LANES = (BASELINE, STALE, OPEN, QUICK)

PAIR = ("2.7.1", "2.8.0")
"""The pair that is explained and advised on."""

_EVERYTHING = ("2.9.1", "2.10.0")  # the pair that has every verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """Pages below one folder: those of the data, and those that there are without any data."""

    folder: Path
    site: Path
    empty: Path


def make_example(folder: Path, write_lane: WriteLane, origin: str) -> Example:
    """Write the data beside a folder and publish them in it, as the command line does.

    `origin` is where the folder will be served.
    """
    data = folder.with_name(f"{folder.name}-data")
    _write_baseline(data, write_lane)
    _write_stale(data, write_lane)
    records = [make_record(OPEN, release, **changes) for release, changes in RUNS.items()]
    write_lane(data, lane=OPEN, releases=tuple(RUNS), failed=(), records=records)
    _write_hostile(data, write_lane)
    _write_check(data)
    return Example(
        folder=folder,
        site=_publish(data, folder / "colbert-matrix", origin, LANES),
        empty=_publish(data / "nothing", folder / "empty", origin),
    )


def _publish(data: Path, out: Path, origin: str, lanes: Sequence[str] = ()) -> Path:
    asked = [part for lane in lanes for part in ("--lane", lane)]
    asked += ["--url", f"{origin}{out.name}/"]
    assert main(["--data", str(data), "--out", str(out), *asked]) == 0
    return out


def _write_baseline(data: Path, write_lane: WriteLane) -> None:
    """Every verdict, a failed capture, an unstable one, an explanation, advice and searches."""
    control = Control(identical=False, tensors=9, unstable=("D sample 7",), unstable_tensors=2)
    changed = make_record(BASELINE, "2.10.0", control=control, missing={"D": "it was renamed"})
    place = ("layers", "encoder.layer.3", "more", "float32", 1)
    rows = [
        make_comparison(
            BASELINE,
            _EVERYTHING,
            ("ivf", f"part {verdict}", "more", "int64", 1),
            verdict=verdict.value,
            reason=f"because it is {verdict}",
        )
        for verdict in Verdict
    ]
    vague = {"verdict": "differs", "reason": NO_VALUES, "role": "origin"}
    rows.append(make_comparison(BASELINE, _EVERYTHING, place, **vague))
    write_lane(data, lane=BASELINE, records=[changed], extra=rows)
    _write_explanation(data, BASELINE, {})
    record_advices(data, BASELINE, [advice(), advice(*PAIR[::-1], index="re-index")])
    record_crossings(
        data,
        BASELINE,
        [
            crossing(search=PAIR[0]),
            crossing(mmap=True, outcome="changed", changed=428, changed_top=400),
            crossing(index=PAIR[1], outcome="same top 10", changed=7),
            crossing(index=PAIR[1], search=PAIR[0], outcome="failed", error="IndexError: 3"),
        ],
    )


def _write_stale(data: Path, write_lane: WriteLane) -> None:
    """Captures of long ago, one of which the GPU cannot run."""
    idle = {"load": StageStatus(state="not_run", message="unsupported GPU: sm_90, built to sm_86")}
    records = [
        make_record(STALE, release, started="2023-02-03T04:05:06+00:00", **changes)
        for release, changes in (("2.0.1", {"status": idle}), ("2.1.0", {}), ("2.7.1", {}))
    ]
    write_lane(data, lane=STALE, releases=("2.0.1", "2.1.0", "2.7.1"), failed=(), records=records)


def _write_hostile(data: Path, write_lane: WriteLane) -> None:
    """Hostile text wherever the data have text, in names of files too."""
    texts = tuple(text for text in HOSTILE if text)
    worst = " ".join(texts)
    by_name = {text: text for text in texts}
    stopped = make_record(
        QUICK,
        "2.7.0",
        torch_build=worst,
        packages=by_name,
        host=by_name,
        environ=by_name,
        inputs=by_name,
        options=by_name,
        missing=by_name,
        started=worst,
        status={"install": StageStatus(state="failed", error=texts[0], message=worst)},
    )
    observed = make_record(
        QUICK,
        "2.7.1",
        host=dict.fromkeys(("gpu", "gpu_driver", "cudnn", "cublas", "cpu_model"), worst),
        factors={"kmeans": texts[0], "colbert-ai": texts[1], **by_name},
        options=by_name,
        note=worst,
        control=Control(identical=False, tensors=9, unstable=texts, unstable_tensors=-1),
        observer=Observer(identical=False, tensors=9, differing=texts),
    )
    usual = make_record(QUICK, "2.8.0", options=by_name)
    rows = [
        make_comparison(
            QUICK, pair, (artifact, text, text, "", 1), verdict=verdict, **_fields(text)
        )
        for pair in (("2.7.0", "2.7.1"), PAIR)
        for text in texts
        for artifact, verdict in ((text, "identical"), ("ivf", "differs"), (text, "missing"))
    ]
    records = [stopped, observed, usual]
    write_lane(data, lane=QUICK, releases=("2.7.0", *PAIR), failed=(), records=records, extra=rows)
    left = dict.fromkeys(texts, Verdict.MISSING)
    _write_explanation(data, QUICK, {"command": worst, "residue": left})
    said = advice().sentences[0]
    said = msgspec.structs.replace(said, claim=worst, text=worst, evidence=texts)
    words = dict.fromkeys(("headline", "requirement", "reproduction", "command"), worst)
    given = advice(lane=QUICK, sentences=(said,), not_measured=(said,), **words)
    record_advices(data, QUICK, [given])
    for name in (b"\xff\xfe", b"<script>alert(1)<", b"..%2f..%2f"):
        (data / "digests" / os.fsdecode(name)).mkdir()


def _write_check(data: Path) -> None:
    """A pull request that has every verdict, and hostile text."""
    lines = [check_line("index_codes", verdict, role="origin") for verdict in Verdict]
    lines += [check_line(text, reason=text) for text in HOSTILE if text]
    write_check(data, check_of(checked(*lines, doubts=HOSTILE), checked(torch=PAIR[0])))


def _fields(text: str) -> dict[str, Any]:
    return dict.fromkeys(("kind", "stage", "reason", "role"), text) | {"profiles": [text]}


def _write_explanation(data: Path, lane: str, changes: Mapping[str, Any]) -> None:
    path = explanation_path(data, lane, *PAIR)
    path.parent.mkdir(parents=True)
    found = msgspec.structs.replace(EXPLANATION, lane=lane, **changes)
    path.write_bytes(msgspec.json.encode(found))
