"""The A/A control with an operation planted that is not the same twice."""

from pathlib import Path

import msgspec
import pytest
import torch

from matrix_capture import runner
from matrix_capture.catalogue import BY_NAME, CATALOGUE
from matrix_capture.runner import Request
from matrix_capture.schema import Capture, read_capture, run_stage
from matrix_capture.settings import read_settings
from matrix_capture.values import ValueStore
from matrix_compare.schema import Verdict

ROOT = Path(__file__).parents[2]
SETTINGS = read_settings(ROOT / "matrix.toml")
PASSAGES = 40
PLANTED = "centroids"

# Every Python process imports this as it starts. The noise is behind the call that taps see:
# `postnorm_centroids` is what went in, `centroids` what came out.
NOISE = """\
import os
import sys

import torch

normalize = torch.nn.functional.normalize


def noisy(tensor, *arguments, **named):
    result = normalize(tensor, *arguments, **named)
    if sys._getframe(1).f_code.co_name != "_train_kmeans":
        return result
    drawn = torch.Generator().manual_seed(int.from_bytes(os.urandom(6), "little"))
    return result + 0.1 * torch.randn(result.shape, generator=drawn)


noisy.__name__ = normalize.__name__  # by which taps know it
torch.nn.functional.normalize = noisy
"""


@pytest.fixture(scope="module")
def noisy(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Capture, Path]:
    """A capture in processes of its own, with noise in one of its operations, and its data."""
    planted = tmp_path_factory.mktemp("planted")
    (planted / "sitecustomize.py").write_text(NOISE, encoding="utf-8")
    request = Request(
        settings=SETTINGS,
        lane="cpu-pinned",
        torch=torch.__version__.partition("+")[0],
        data=tmp_path_factory.mktemp("data"),
        cache=cache,
        passages=PASSAGES,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(planted))
        found = read_capture(runner.capture(request, install_seconds=0.0))
    assert found.record.failed_stage() is None, runner.log_path(request).read_text()[-4000:]
    return found, request.data


def descendants(name: str) -> set[str]:
    """Everything that is made from an artifact."""
    found = {name}
    for artifact in CATALOGUE:  # parents come first
        if found & set(artifact.parents):
            found.add(artifact.name)
    return found - {name}


def of_index(artifact: str) -> bool:
    """Whether an artifact arises before anything is searched."""
    return run_stage(BY_NAME[artifact].stage) == "index"


def unstable_artifacts(capture: Capture) -> set[str]:
    """The artifacts of which the two runs have other tensors."""
    names = ["artifact", "part", "scope", "occurrence", "repeat", "digest"]
    runs: list[dict[tuple[str, ...], bytes]] = [{}, {}]
    for *place, repeat, digest in zip(
        *(capture.rows[name].to_pylist() for name in names), strict=True
    ):
        runs[repeat][tuple(place)] = digest
    places = runs[0].keys() | runs[1].keys()
    return {place[0] for place in places if runs[0].get(place) != runs[1].get(place)}


def test_exactly_what_follows_from_the_noise_is_unstable(noisy: tuple[Capture, Path]) -> None:
    record = noisy[0].record
    control = record.control
    assert control is not None
    assert not control.identical
    unstable = unstable_artifacts(noisy[0])
    follows = {PLANTED} | descendants(PLANTED)
    assert {name for name in follows if of_index(name)} <= unstable <= follows
    # A search may well find the same passages in spite of it, but not in the same embeddings.
    assert "decompressed_embeddings" in unstable
    assert len(unstable) > 20
    # The first hundred have names.
    assert len(control.unstable) == 100 < control.unstable_tensors < control.tensors
    assert f"{PLANTED} sample 0" in control.unstable
    assert {place.split()[0] for place in control.unstable} <= unstable
    assert (record.repeats, record.missing) == (2, {})


def test_without_the_noise_everything_is_stable(whole: Capture) -> None:
    control = whole.record.control
    assert control is not None
    assert (control.identical, control.unstable, control.unstable_tensors) == (True, (), 0)
    assert control.tensors == sum(row["repeat"] == 0 for row in whole.rows.to_pylist())


def test_an_index_that_is_not_the_same_twice_has_no_certificate(
    noisy: tuple[Capture, Path],
) -> None:
    observer = noisy[0].record.observer
    assert observer is not None
    assert not observer.identical
    # What does not follow from the noise is in both indexes alike.
    alike = {"doclens.0.json#0", "0.metadata.json#0"}
    assert len(observer.differing) == observer.tensors - len(alike)
    assert not alike & set(observer.differing)


@pytest.mark.parametrize("noise", ["a", "b", "both"])
def test_the_verdict_is_unstable_whichever_side_it_is_on(
    noise: str, noisy: tuple[Capture, Path], whole: Capture
) -> None:
    pairs, gauge, tolerance = (
        pytest.importorskip(f"matrix_compare.{name}", exc_type=ImportError)
        for name in ("pairs", "gauge", "tolerance")
    )
    shaky, data = noisy
    sides = [shaky if noise in (side, "both") else whole for side in ("a", "b")]
    releases = ("2.7.1", "2.8.0")
    captures = [
        Capture(record=msgspec.structs.replace(side.record, torch=release), rows=side.rows)
        for side, release in zip(sides, releases, strict=True)
    ]
    store = ValueStore(data / "values")
    measure = gauge.Gauge(store, tolerance.read_profiles(SETTINGS))
    rows = pairs.compare(captures, measure, store).table.to_pylist()
    verdicts: dict[str, set[str]] = {row["artifact"]: set() for row in rows}
    for row in rows:
        verdicts[row["artifact"]].add(row["verdict"])
    unstable = {PLANTED} | descendants(PLANTED)
    # What is found may be the same twice, and other than without noise.
    for artifact, found in ((name, found) for name, found in verdicts.items() if of_index(name)):
        wanted = Verdict.UNSTABLE if artifact in unstable else Verdict.IDENTICAL
        assert found == {wanted.value}, artifact
    # Nobody is blamed.
    assert {row["role"] for row in rows if of_index(row["artifact"])} == {""}
