"""The whole job, as a newcomer runs it: two real torch releases, a slice of the collection."""

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import html5lib
import pytest

from matrix_capture import environment, inputs
from matrix_capture.catalogue import expected
from matrix_capture.rankings import rankings_path, read_rankings
from matrix_capture.schema import STAGES, digest_path, read_record
from matrix_compare.advice import advice_path, read_advices
from matrix_compare.schema import Verdict, read_verdicts
from tests.e2e.conftest import LANE, RELEASES, ROOT, Done, matrix

EXPECTED = {artifact.name for artifact in expected("cpu", "default")}
ABSENT = "2.99.0"  # no such torch
PAGE = f"pair/{'...'.join(RELEASES)}/index.html"


@pytest.mark.parametrize("torch", RELEASES)
def test_a_capture_is_whole_and_watching_changed_nothing(done: Done, torch: str) -> None:
    capture = done.capture(torch)
    record = capture.record
    assert record.torch_build.partition("+")[0] == torch
    assert [record.state(stage) for stage in STAGES] == ["ok"] * 6
    assert record.missing == {}
    assert record.observer is not None
    assert record.observer.identical
    assert record.observer.tensors == 10
    assert set(capture.rows["artifact"].to_pylist()) == EXPECTED


@pytest.mark.parametrize("torch", RELEASES)
def test_a_release_equals_itself(done: Done, torch: str) -> None:
    rows = done.capture(torch).rows.select(
        ["repeat", "artifact", "part", "scope", "occurrence", "digest"]
    )
    repeats = [
        {tuple(row.values())[1:] for row in rows.to_pylist() if row["repeat"] == repeat}
        for repeat in (0, 1)
    ]
    assert len(repeats[0]) > 100
    assert repeats[0] == repeats[1]


def test_both_releases_saw_the_same_inputs(done: Done) -> None:
    first, second = (done.capture(torch).record for torch in RELEASES)
    assert first.inputs == second.inputs
    assert first.factors == second.factors
    assert first.packages["torch"] != second.packages["torch"]


def test_every_artifact_has_a_verdict(done: Done) -> None:
    rows = read_verdicts(done.data, LANE)
    assert {(row["a"], row["b"]) for row in rows} == {RELEASES}
    assert {row["artifact"] for row in rows} == EXPECTED
    verdicts = Counter(row["verdict"] for row in rows)
    assert sum(verdicts.values()) == len(rows)
    assert verdicts.keys() <= {
        verdict.value
        for verdict in (Verdict.IDENTICAL, Verdict.REORDERED, Verdict.CLOSE, Verdict.DIFFERS)
    }
    assert all(row["verdict"] == "identical" for row in rows if row["artifact"] == "weights")


def test_each_index_is_searched_with_each_release(done: Done) -> None:
    found = read_rankings(rankings_path(done.data, LANE))
    ways = {(a, b, mmap) for a in RELEASES for b in RELEASES for mmap in (False, True)}
    assert {search.key for search in found.header.searches} == ways
    loaded = [search for search in found.header.searches if not search.mmap]
    assert [search.state for search in loaded] == ["ok"] * 4
    for torch in RELEASES:
        assert done.capture(torch).record.state("search") == "ok"
        rows = found.rows(torch, torch)
        assert set(rows["query"].to_pylist()) == set(range(len(found.header.relevant)))


def test_an_index_that_is_mapped_is_not_the_one_that_is_loaded(done: Done) -> None:
    # Both write the data behind byte 704, and colbert-ai maps them from byte 320 on.
    crossings = read_advices(advice_path(done.data, LANE)).crossings
    assert {one.outcome for one in crossings if one.mmap} <= {"changed", "failed"}
    own = [one.outcome for one in crossings if not one.mmap and one.index == one.search]
    assert own == ["identical", "identical"]


def test_there_is_advice_on_terminal_and_page(done: Done) -> None:
    (advice,) = read_advices(advice_path(done.data, LANE)).advices
    assert (advice.a, advice.b, advice.runs) == (*RELEASES, "yes")
    assert advice.index == "keep"
    assert advice.keep.state == advice.reindex.state == "ok"
    assert "mmap-shifted" in {sentence.claim for sentence in advice.sentences}
    assert advice.headline in done.output
    page = next(name for name in done.files if name.endswith(PAGE))
    assert "Not measured" in done.files[page].decode("utf-8")


def test_the_pages_are_there_and_valid(done: Done) -> None:
    pages = [name for name in done.files if name.endswith(".html")]
    # Whatever else there is: the first page, that of the pair, and those of both releases.
    wanted = ("site/index.html", PAGE, *(f"torch/{release}/index.html" for release in RELEASES))
    assert all(any(name.endswith(end) for name in pages) for end in wanted)
    for name in pages:
        html5lib.HTMLParser(strict=True).parse(done.files[name].decode("utf-8"))
    assert f"{done.site.as_uri()}/index.html" in done.output


def test_a_second_run_reuses_everything(done: Done) -> None:
    again = matrix(ROOT, done.data.parent, *RELEASES)
    assert again.files == done.files
    assert "installing" not in again.output


def test_a_release_that_cannot_be_installed_is_recorded(done: Done, tmp_path: Path) -> None:
    root = tmp_path / "colbert-matrix"
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in tracked.stdout.splitlines():
        if (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    settings = root / "matrix.toml"
    text = settings.read_text(encoding="utf-8")
    settings.write_text(text.replace("\n]", f'\n  "{ABSENT}",\n]', 1), encoding="utf-8")
    (root / "_cache").symlink_to(ROOT / "_cache")

    after = matrix(root, done.data.parent, RELEASES[1], ABSENT)
    record = read_record(digest_path(done.data, LANE, ABSENT))
    assert record.failed_stage() == "install"
    assert ABSENT in record.status["install"].message
    pair = f"pair/{RELEASES[1]}...{ABSENT}/index.html"
    page = next(name for name in after.files if name.endswith(pair))
    assert "failed" in after.files[page].decode("utf-8")
    for name, content in done.files.items():
        if name.startswith("data/digests"):
            assert after.files[name] == content


@pytest.mark.parametrize("colbert", ["main", "--pre", "tests", "git+https://example.org/x@main"])
def test_a_colbert_that_is_none_is_refused_in_one_line(colbert: str) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "nox", "-s", "matrix", "--", f"--colbert={colbert}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in process.stderr.splitlines() if not line.startswith("nox > ")]
    assert process.returncode == 2
    assert len(lines) == 1
    assert lines[0].startswith("error: --colbert ")


def test_the_inputs_are_those_on_record() -> None:
    # Whoever changes them makes every capture on record incomparable: that must be on purpose.
    prepared = inputs.prepare(ROOT / "_cache" / "sources", ROOT / "_cache")
    assert prepared.hashes == {
        "checkpoint": "b34d6c34a6c088d2e8019dbe8b9e262c5bd5d4c273cfd0956368dc9fa8cfc1c0",
        "collection": "c0ae8dc433207d887acf1c00b67052966dc0ed8cf3e450663c53c435d0e8a1b1",
        "queries": "1c30f1fbf9740ec354be0d4353f3753e6f254062024c8af60fd77e1099deaa0d",
        "config": "e7a6a26ecd7017783703e7423e6c80f08e5e5eaf2c5a0b135466375815c3637c",
    }


def test_the_record_names_no_path_of_this_machine(done: Done) -> None:
    for torch in RELEASES:
        payload = repr(done.capture(torch).record)
        assert str(Path.home()) not in payload
        assert str(ROOT) not in payload
        assert str(environment.host()["cpu_model"]) in payload
