"""One operation of an environment is made another: `explain` must find it, and prove it.

Both environments are this one, so that nothing else can differ.
"""

import json
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from matrix_capture import runner
from matrix_capture.call import Tensor
from matrix_capture.extensions import extensions_folder
from matrix_capture.optrace import Site
from matrix_capture.settings import read_settings
from matrix_compare import explain, operation
from matrix_compare.causes import Explaining
from matrix_compare.explanation import Cause, Divergence, Explanation, read_explanation
from matrix_compare.gauge import Gauge
from matrix_compare.laboratory import Side
from matrix_compare.tolerance import read_profiles
from tests.e2e.conftest import ROOT

SETTINGS = read_settings(ROOT / "matrix.toml")
SOUND, FAULTY = "2.8.0", "2.9.0"
PASSAGES = 96  # three batches a pass
LAYERS = 5
LAST = 2  # batch
ROW = 5  # token of its first passage
LAYER = "encoder.layer.3.intermediate.dense"

NORM = "aten.linalg_vector_norm.default"
SORT = "aten.sort.default"
ADDMM = "aten.addmm.default"
BUCKETIZE = "aten.bucketize.Tensor"

Faults = dict[str, dict[str, Any]]
Plant = Callable[[Faults], tuple[Side, Side]]


@pytest.fixture(scope="module", autouse=True)
def surroundings() -> Iterator[None]:
    """Commands run where the settings are; one factor is held, as each takes two processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        one_thread = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        patch.setattr(operation, "FACTORS", {"cpu": {"one thread": one_thread}})
        yield


@pytest.fixture(scope="module")
def sound(
    pytestconfig: pytest.Config,
    make_sources: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Side:
    """The environment as it is, captured once, with a small encoder of more layers than one."""
    assert pytestconfig.cache is not None
    cache = Path(pytestconfig.cache.mkdir("planted"))
    shutil.rmtree(cache / "sources", ignore_errors=True)
    make_sources(cache / "sources", layers=LAYERS)
    side = Side(
        request=runner.Request(
            settings=SETTINGS,
            lane="cpu-pinned",
            torch=SOUND,
            data=tmp_path_factory.mktemp("sound"),
            cache=cache,
            passages=PASSAGES,
        ),
        python=Path(sys.executable),
    )
    build = side.baseline().record.torch_build
    compiled = extensions_folder(cache / "extensions", build)
    # The same torch can use what was compiled for it.
    planted = extensions_folder(cache / "extensions", f"{FAULTY}+planted")
    shutil.copytree(compiled, planted, dirs_exist_ok=True)
    return side


@pytest.fixture
def plant(sound: Side, tmp_path: Path) -> Plant:
    """Makes an environment with faults, and a place for both that has the sound one's capture."""

    def make(faults: Faults) -> tuple[Side, Side]:
        data = tmp_path / "data"
        shutil.copytree(sound.request.data, data)
        python = tmp_path / "python"
        planted = json.dumps({"release": FAULTY, "faults": faults})
        python.write_text(
            "#!/bin/sh\n"
            f"PYTHONPATH={shlex.quote(str(ROOT / 'tests' / 'e2e' / 'planted'))} "
            f"PLANTED={shlex.quote(planted)} "
            f'exec {shlex.quote(sys.executable)} "$@"\n'
        )
        python.chmod(0o755)
        request = replace(sound.request, data=data)
        return (
            Side(request=request, python=sound.python),
            Side(request=replace(request, torch=FAULTY), python=python),
        )

    return make


def explained(sides: tuple[Side, Side]) -> Explanation:
    a, b = sides
    gauge = Gauge(a.store(), read_profiles(SETTINGS))
    return Explaining(a, b, gauge, lambda _: None)("")


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """What is to be said of one cause."""

    artifact: str
    op: str
    scopes: dict[str, tuple[int, ...]]
    injected: tuple[str, ...]
    script: bool = True


def check(found: Explanation, *expected: Expected) -> list[Divergence]:
    """Each cause is named, proven and shown, and nothing else is; where each starts."""
    assert found.residue == {}
    assert [cause.artifact for cause in found.causes] == [cause.artifact for cause in expected]
    divergences = []
    for cause, wanted in zip(found.causes, expected, strict=True):
        divergences.append(_check_one(cause, wanted))
    everything = {label for wanted in expected for label in wanted.injected}
    proofs = [swap for swap in found.swaps if swap.sufficient]
    assert [(swap.source, swap.target) for swap in proofs] == [(SOUND, FAULTY), (FAULTY, SOUND)]
    assert all(set(swap.injected) == everything for swap in proofs)
    return divergences


def _check_one(cause: Cause, wanted: Expected) -> Divergence:
    divergence = cause.divergence
    assert divergence is not None
    assert (divergence.kind, divergence.op, divergence.faithful) == ("operation", wanted.op, True)
    assert (divergence.matched, divergence.unmatched) == ("exact", (0, 0))
    assert (cause.scopes, cause.injected) == (wanted.scopes, wanted.injected)
    assert cause.necessary
    assert cause.alone == (True, True)
    assert [control.same for control in cause.controls] == [False]
    assert (cause.reproduction is not None) == wanted.script
    if cause.reproduction:
        assert cause.reproduction.differs
        assert [line.split()[0].partition("+")[0] for line in cause.reproduction.printed] == [
            SOUND,
            FAULTY,
        ]
        assert wanted.op in cause.reproduction.script
    return divergence


EVERY: dict[str, tuple[int, ...]] = {"sample": (0, 1, 2), "chunk.0": (0, 1, 2)}
# On a CPU nothing is done between the two, so they are one tensor.
NORMALIZED = Expected(artifact="normalized", op=NORM, scopes=EVERY, injected=("normalized",))
CENTROIDS = Expected(
    artifact="postnorm_centroids",
    op=NORM,
    scopes={"sample": (0,)},
    injected=("postnorm_centroids",),
    script=False,  # it was shown already
)
SORTED = Expected(
    artifact="codes_sorted_indices",
    op=SORT,
    scopes={"index": (0,)},
    injected=("codes_sorted_indices",),
)
BUCKETS = Expected(
    artifact="residuals", op=BUCKETIZE, scopes={"chunk.0": (0,)}, injected=("residuals",)
)


def test_without_a_fault_there_is_nothing_to_explain(
    plant: Plant, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = plant({})
    request = a.request
    which = ["--lane", request.lane, "--data", str(request.data), "--cache", str(request.cache)]
    which += ["--passages", str(PASSAGES), "--python", str(a.python), str(b.python)]
    assert explain.main([SOUND, FAULTY, *which]) == 0
    (path,) = (request.data / "explanations").rglob("*.json")
    found = read_explanation(path)
    assert (found.causes, found.swaps, found.residue) == ((), (), {})
    assert found.builds[1] == f"{FAULTY}+planted"
    assert "there is nothing to explain" in capsys.readouterr().out


def test_one_layer_in_one_batch(plant: Plant, sound: Side) -> None:
    site = Site(artifact="batches", scope="sample", occurrence=LAST)
    trace, _ = sound.trace(site, (), "")
    (number,) = (
        number
        for number, op in enumerate(trace.ops)
        if op.name == ADDMM and op.module.endswith(LAYER)
    )
    kept, _ = sound.trace(msgspec.structs.replace(site, keep=number), (), "")
    assert kept.kept is not None
    given = kept.kept.args[1]
    assert isinstance(given, Tensor)
    rows = sound.store().get(bytes.fromhex(given.digest)).data.reshape(given.shape)
    found = explained(plant({"addmm": {"row": rows[ROW].tolist()}}))
    wanted = Expected(
        artifact="layers",
        op=ADDMM,
        scopes={"sample": (LAST,), "chunk.0": (LAST,)},
        injected=(f"normalized:{LAST}",),
    )
    (divergence,) = check(found, wanted)
    assert divergence.module.endswith(LAYER)


def test_two_causes_that_have_nothing_to_do_with_each_other(plant: Plant) -> None:
    found = explained(plant({"norm": {"axes": 3}, "bucketize": {}}))
    check(found, NORMALIZED, BUCKETS)


@pytest.mark.slow
def test_one_operation_in_two_places(plant: Plant) -> None:
    check(explained(plant({"norm": {}})), NORMALIZED, CENTROIDS)


@pytest.mark.slow
def test_another_order_of_what_is_equal(plant: Plant) -> None:
    check(explained(plant({"sort": {"longer": 1000}})), SORTED)


@pytest.mark.slow
def test_other_operations_for_one(plant: Plant) -> None:
    found = explained(plant({"other_norm": {}}))
    assert found.residue == {}
    assert [cause.artifact for cause in found.causes] == ["normalized", "postnorm_centroids"]
    for cause in found.causes:
        divergence = cause.divergence
        assert divergence is not None
        assert (divergence.kind, divergence.faithful) == ("replaced", True)
        others = ("aten.mul.Tensor", "aten.sum.dim_IntList", "aten.sqrt.default")
        assert divergence.replaced == ((NORM,), others)
        assert cause.reproduction is None


@pytest.mark.slow
def test_what_torch_has_no_part_in(plant: Plant) -> None:
    found = explained(plant({"clustering": {}}))
    (cause,) = found.causes
    assert (cause.artifact, cause.injected) == ("prenorm_centroids", ("prenorm_centroids",))
    assert cause.divergence is not None
    assert (cause.divergence.kind, cause.divergence.faithful) == ("outside", True)
    assert cause.reproduction is None
    assert found.residue == {}
