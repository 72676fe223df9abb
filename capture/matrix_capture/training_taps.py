"""What is seen of a training run: the taps on colbert-ai's trainer.

Every step of a run makes one occurrence. Nothing is handed on here: what is put in the place of
scores or of a loss would have no gradients to go back through.
"""

import re
from collections.abc import Iterator
from typing import Any

from matrix_capture.encoder import layers_path
from matrix_capture.recorder import Recorder
from matrix_capture.taps import Observation, Taps

TRAINING = Taps()
"""The taps in force while a model is trained."""

_AMP = "colbert.utils.amp:MixedPrecisionManager"
_STEP = ("step",)


@TRAINING.tap("colbert.training.training:train", opens="step")
def _training_pass(recorder: Recorder, *_: Any, **__: Any) -> Observation:
    with recorder.within("step"):
        yield


@TRAINING.tap("colbert.modeling.colbert:ColBERT.forward", "train_scores", within=_STEP)
def _forward(recorder: Recorder, *_: Any, **__: Any) -> Observation:
    scores = yield
    recorder.record("train_scores", scores)


@TRAINING.tap(f"{_AMP}.backward", "train_loss", within=_STEP)
def _backward(recorder: Recorder, _amp: Any, loss: Any) -> Observation:
    recorder.record("train_loss", loss)
    yield


@TRAINING.tap(f"{_AMP}.step", "gradients", within=_STEP)
def _step(recorder: Recorder, _amp: Any, colbert: Any, *_: Any, **__: Any) -> Observation:
    # Afterwards they are cleared. On a GPU they are still multiplied by the scale of the loss.
    model = colbert.module.model
    for name, parameter in _telling(recorder, model):
        recorder.record("gradients", parameter.grad, part=name)
    yield


@TRAINING.tap("colbert.utils.amp:torch.nn.utils.clip_grad_norm_", "gradient_norm", within=_STEP)
def _clip(recorder: Recorder, *_: Any, **__: Any) -> Observation:
    norm = yield
    recorder.record("gradient_norm", norm)


@TRAINING.tap(
    "colbert.modeling.base_colbert:BaseColBERT.save",
    "trained_weights",
    "trained_projection",
    within=_STEP,
)
def _save(recorder: Recorder, colbert: Any, *_: Any, **__: Any) -> Observation:
    layers = layers_path(colbert.model)
    for name, parameter in sorted(colbert.model.named_parameters()):
        recorder.record("trained_weights", parameter, part=_home(name, layers))
    recorder.record("trained_projection", colbert.linear.weight)
    yield


def _telling(recorder: Recorder, model: Any) -> Iterator[tuple[str, Any]]:
    """The projection, the first matrix of the first layer and the last matrix of the last.

    In most encoders these are where queries of the attention and the feed-forward part come out of.
    """
    parameters = dict(model.named_parameters())
    yield "linear.weight", parameters["linear.weight"]
    layers = layers_path(model)
    if layers is None:
        recorder.note("gradients", f"{type(model.LM).__name__} has no list of layers")
        return
    inside = re.compile(rf"{re.escape(layers)}\.[0-9]+\.")
    matrices = [
        name for name, value in parameters.items() if value.dim() > 1 and inside.match(name)
    ]
    for name in (matrices[0], matrices[-1]):
        yield name, parameters[name]


def _home(name: str, layers: str | None) -> str:
    """The layer that a parameter lies in, or the part of the model besides the layers."""
    if layers and (layer := re.match(rf"{re.escape(layers)}\.[0-9]+(?=\.)", name)):
        return layer[0]
    return ".".join(name.split(".")[:-1][:2])
