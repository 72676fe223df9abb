"""A short training run of small encoders, watched, unwatched and with faults planted in it."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.numpy import load_file

import __main__
from matrix_capture import training, training_taps
from matrix_capture.catalogue import BY_NAME
from matrix_capture.digest import content_hash, snapshot
from matrix_capture.job import Job
from matrix_capture.recorder import Recorder
from matrix_capture.taps import _find, tapped
from matrix_capture.training import train
from matrix_capture.training_taps import TRAINING

STEPS = 3
LAYERS = 3
TARGETS = [tap.target for tap in TRAINING]
PARALLEL = "torch.nn.parallel.DistributedDataParallel"

Write = Callable[[str, dict[str, Any]], Path]

pytestmark = pytest.mark.usefixtures("imported")


@pytest.fixture(scope="module", autouse=True)
def _short() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "STEPS", STEPS)
        # colbert-ai names a folder by the script that runs, which must end in `.py`.
        patch.delattr(__main__, "__file__", raising=False)
        yield


@pytest.fixture(scope="module")
def job(imported: Job, write_checkpoint: Write) -> Job:
    """What is to be trained: a small BERT."""
    checkpoint = write_checkpoint("bert", {"num_hidden_layers": LAYERS})
    return msgspec.structs.replace(imported, checkpoint=str(checkpoint))


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What was seen of a run, and the weights that colbert-ai saved at its end."""

    recorder: Recorder
    weights: dict[str, bytes]


@pytest.fixture(scope="module")
def right(_short: None, job: Job, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run of the small BERT in which nothing was planted."""
    return watched(job, tmp_path_factory.mktemp("right"))


@pytest.fixture(autouse=True)
def _everything_is_put_back() -> Iterator[None]:
    before = [torch.nn.parallel.DistributedDataParallel, *originals()]
    yield
    assert [torch.nn.parallel.DistributedDataParallel, *originals()] == before


def originals() -> list[Any]:
    """What is tapped, or None where a test took it away."""
    found = [_find(tap.target) for tap in TRAINING]
    return [vars(owner).get(name) for owner, name in found]


def watched(job: Job, folder: Path) -> Run:
    recorder = Recorder()
    train(job, folder, recorder)
    assert recorder.scope == "setup"
    return Run(recorder=recorder, weights=saved(folder))


def seen(recorder: Recorder) -> list[tuple[str, str, int, bytes]]:
    """What was recorded, in the order in which it arose."""
    columns = ("artifact", "part", "occurrence", "digest")
    rows = recorder.table().to_pylist()
    assert {row["scope"] for row in rows} <= {"step"}
    return [tuple(row[column] for column in columns) for row in rows]


def first_difference(a: Run, b: Run) -> tuple[str, str, int] | None:
    """Where two runs part: artifact, part and step."""
    pairs = zip(seen(a.recorder), seen(b.recorder), strict=True)
    return next((one[:3] for one, other in pairs if one != other), None)


def saved(folder: Path) -> dict[str, bytes]:
    """The digests of the weights that colbert-ai left behind."""
    (file,) = folder.glob("**/checkpoints/colbert/model.safetensors")
    return {name: content_hash(snapshot(array)) for name, array in load_file(file).items()}


# What is found.


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_exists(target: str) -> None:
    owner, name = _find(target)
    assert callable(vars(owner)[name])


@pytest.mark.parametrize("target", TARGETS)
def test_a_renamed_target_is_noted_for_all_that_is_lost(target: str) -> None:
    recorder = Recorder()
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(*_find(target))
        with tapped(recorder, TRAINING):
            pass
    (tap,) = (tap for tap in TRAINING if tap.target == target)
    lost = TRAINING.lost_without(tap)
    assert lost
    assert recorder.missing == dict.fromkeys(lost, f"tap target not found: {target}")


# What is recorded.

FAMILIES = {
    "bert": ("attention.self.query.weight", "pooler"),
    "electra": ("attention.self.query.weight", "embeddings_project"),
    "roberta": ("attention.self.query.weight", "pooler"),
    "deberta-v2": ("attention.self.query_proj.weight", "encoder"),
}
BEYOND: dict[str, dict[str, Any]] = {
    "electra": {"embedding_size": 16},
    "deberta-v2": {"relative_attention": True, "position_buckets": 16, "pos_att_type": ["p2c"]},
}


@pytest.mark.parametrize("kind", FAMILIES)
def test_each_step_and_the_last_weights_are_recorded(
    kind: str, imported: Job, write_checkpoint: Write, tmp_path: Path
) -> None:
    first, besides = FAMILIES[kind]
    checkpoint = write_checkpoint(kind, {"num_hidden_layers": LAYERS, **BEYOND.get(kind, {})})
    run = watched(msgspec.structs.replace(imported, checkpoint=str(checkpoint)), tmp_path)
    assert run.recorder.missing == {}
    found: defaultdict[str, dict[str, list[int]]] = defaultdict(dict)
    for artifact, part, occurrence, _ in seen(run.recorder):
        found[artifact].setdefault(part, []).append(occurrence)
    assert list(found) == [name for name, known in BY_NAME.items() if known.stage == "train"]

    steps = list(range(STEPS))
    family = kind.partition("-")[0]
    layers = [f"{family}.encoder.layer.{number}" for number in range(LAYERS)]
    for artifact in ("train_scores", "train_loss", "gradient_norm"):
        assert found[artifact] == {"": steps}
    assert found["gradients"] == {
        "linear.weight": steps,
        f"{layers[0]}.{first}": steps,
        f"{layers[-1]}.output.dense.weight": steps,
    }
    homes = {f"{family}.embeddings", *layers, f"{family}.{besides}", "linear"}
    assert set(found["trained_weights"]) == homes
    assert sum(map(len, found["trained_weights"].values())) == len(run.weights)
    assert found["trained_projection"] == {"": [0]}


def test_an_encoder_without_layers_is_told(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_taps, "layers_path", lambda _: None)
    recorder = watched(job, tmp_path).recorder
    assert recorder.missing == {"gradients": "BertModel has no list of layers"}
    parts = {(artifact, part) for artifact, part, _, _ in seen(recorder)}
    assert {part for artifact, part in parts if artifact == "gradients"} == {"linear.weight"}
    assert ("trained_weights", "bert.encoder") in parts


def test_what_is_recorded_is_what_is_saved(right: Run, job: Job) -> None:
    recorded = [row for row in seen(right.recorder) if row[0] == "trained_weights"]
    assert [digest for *_, digest in recorded] == [d for _, d in sorted(right.weights.items())]
    projection = right.weights["linear.weight"]
    assert seen(right.recorder)[-1] == ("trained_projection", "", 0, projection)
    # All but what no score is made from have learned.
    before = load_file(Path(job.checkpoint) / "model.safetensors")
    same = {n for n, digest in right.weights.items() if digest == content_hash(snapshot(before[n]))}
    assert same == {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}


def test_scores_losses_and_norms_are_those_of_each_step(right: Run) -> None:
    rows = right.recorder.table().to_pylist()
    for artifact, shape in (
        ("train_scores", [2 * training._BATCH]),
        ("train_loss", []),
        ("gradient_norm", []),
    ):
        found = [row for row in rows if row["artifact"] == artifact]
        assert [(row["dtype"], row["shape"]) for row in found] == [("float32", shape)] * STEPS
        assert len({row["digest"] for row in found}) == STEPS
    norms = [row["mean"] for row in rows if row["artifact"] == "gradient_norm"]
    # They would be clipped to that.
    assert max(norms) > 2


# The same run is the same, watched or not.


def test_a_run_equals_itself(right: Run, job: Job, tmp_path: Path) -> None:
    torch.rand(7)  # leaves the generator in another state
    assert first_difference(right, watched(job, tmp_path)) is None


def test_watching_changes_no_weight(right: Run, job: Job, tmp_path: Path) -> None:
    assert set(train(job, tmp_path, None)) == {PARALLEL}
    assert saved(tmp_path) == right.weights


def test_the_stand_in_trains_as_the_real_one_in_a_group_of_one(
    right: Run, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = torch.nn.parallel.DistributedDataParallel
    join = torch.distributed.init_process_group
    groups = []

    def on_cpu(module: Any, *, find_unused_parameters: bool, **_: Any) -> Any:
        groups.append(torch.distributed.get_world_size())
        return real(module, find_unused_parameters=find_unused_parameters)

    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.parallel, "DistributedDataParallel", on_cpu)
        patch.setattr(
            torch.distributed, "init_process_group", lambda _, **named: join("gloo", **named)
        )
        recorder = Recorder()
        assert train(msgspec.structs.replace(job, device="cuda"), tmp_path, recorder) == {}
    assert groups == [1]
    assert not torch.distributed.is_initialized()
    assert first_difference(right, Run(recorder=recorder, weights=saved(tmp_path))) is None


# Planted faults.


def test_another_seed_is_seen_from_the_first_step_on(
    right: Run, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = torch.manual_seed
    monkeypatch.setattr(torch, "manual_seed", lambda number: seed(number + 1))
    wrong = watched(job, tmp_path)
    assert first_difference(right, wrong) == ("train_scores", "", 0)
    assert wrong.weights != right.weights


@pytest.mark.parametrize("step", range(STEPS))
def test_the_last_bit_of_a_gradient_is_seen_in_its_step(
    step: int, right: Run, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from colbert.modeling.colbert import ColBERT
    from colbert.utils.amp import MixedPrecisionManager

    models: list[Any] = []  # the one model, once for each step
    real_forward, real_backward = ColBERT.forward, MixedPrecisionManager.backward

    def forward(model: Any, *arguments: Any) -> Any:
        models.append(model)
        return real_forward(model, *arguments)

    def backward(amp: Any, loss: Any) -> None:
        real_backward(amp, loss)
        if len(models) == step + 1:
            gradient = models[-1].linear.weight.grad
            gradient[0, 0] = torch.nextafter(gradient[0, 0], torch.tensor(torch.inf))

    monkeypatch.setattr(ColBERT, "forward", forward)
    monkeypatch.setattr(MixedPrecisionManager, "backward", backward)
    assert first_difference(right, watched(job, tmp_path)) == ("gradients", "linear.weight", step)


def test_a_renamed_function_costs_its_artifact_and_nothing_else(
    right: Run, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from colbert.training import training as trainer
    from colbert.utils.amp import MixedPrecisionManager

    class Renamed(MixedPrecisionManager):  # type: ignore[misc]  # colbert-ai is untyped here
        """Has the function, but not where it was."""

        backward = MixedPrecisionManager.backward

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "MixedPrecisionManager", Renamed)
        patch.delattr(MixedPrecisionManager, "backward")
        run = watched(job, tmp_path)
    target = "colbert.utils.amp:MixedPrecisionManager.backward"
    assert run.recorder.missing == {"train_loss": f"tap target not found: {target}"}
    assert seen(run.recorder) == [row for row in seen(right.recorder) if row[0] != "train_loss"]
    assert run.weights == right.weights


@pytest.mark.parametrize("recorder", [None, Recorder()], ids=["plain", "watched"])
def test_a_failure_of_the_trainer_is_its_own(
    recorder: Recorder | None, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from colbert.training import training as trainer

    steps = []

    def fail(scores: Any) -> None:
        assert torch.nn.parallel.DistributedDataParallel.__name__ == "Alone"
        steps.append(scores)
        if len(steps) == 2:
            raise OSError("planted")

    monkeypatch.setattr(trainer, "print_progress", fail)
    with pytest.raises(OSError, match="planted"):
        train(job, tmp_path, recorder)
    assert torch.nn.parallel.DistributedDataParallel.__name__ == "DistributedDataParallel"
    if recorder:
        assert recorder.missing == {}
        assert recorder.scope == "setup"
        assert [row[2] for row in seen(recorder) if row[0] == "train_loss"] == [0]
