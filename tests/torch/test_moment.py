"""A digest is of the value at the moment of capture, whatever is written into it later."""

from typing import Any

import pytest
import torch
from colbert.indexing.codecs.residual import ResidualCodec
from colbert.modeling.checkpoint import Checkpoint

from matrix_capture.index_taps import INDEX
from matrix_capture.pipeline import Pipeline
from matrix_capture.recorder import Recorder
from matrix_capture.taps import tapped

PASSAGES = 6


class Late(Recorder):
    """The planted fault: it digests what a tensor holds when all is over."""

    def record(self, artifact: str, value: Any, part: str = "", key: Any = None) -> Any:
        waiting = self.__dict__.setdefault("waiting", [])
        waiting.append((self.scope, artifact, value, part, key))
        return value

    def table(self) -> Any:
        for scope, *arguments in self.__dict__.pop("waiting", []):
            with self.within(scope):
                super().record(*arguments)
        return super().table()


RECORDERS = pytest.mark.parametrize(
    ("recorder", "keeps"), [(Recorder, True), (Late, False)], ids=["ours", "late"]
)
Digests = dict[tuple[str, str], list[bytes]]


def digests(recorder: Recorder) -> Digests:
    found: Digests = {}
    for row in recorder.table().to_pylist():
        found.setdefault((row["artifact"], row["part"]), []).append(row["digest"])
    return found


@pytest.fixture
def checkpoint(here: Pipeline) -> Any:
    from colbert.infra import ColBERTConfig

    config = ColBERTConfig(checkpoint=here.job.checkpoint, **here.job.config)
    return Checkpoint(here.job.checkpoint, colbert_config=config)


def encoded(checkpoint: Any, here: Pipeline, recorder: Recorder) -> Digests:
    with tapped(recorder, INDEX), recorder.within("sample"), torch.inference_mode():
        checkpoint.docFromText(list(here.job.collection[:PASSAGES]), bsize=4, keep_dims="flatten")
    return digests(recorder)


def overwrite(_module: Any, arguments: tuple[Any, ...]) -> None:
    """Writes into what a module is given, which is what the one before it returned."""
    arguments[0].mul_(2)


@RECORDERS
def test_the_output_of_a_module_that_the_next_one_overwrites(
    recorder: type[Recorder], keeps: bool, checkpoint: Any, here: Pipeline
) -> None:
    as_it_was = encoded(checkpoint, here, Recorder(depth="sublayers"))
    layers = checkpoint.bert.encoder.layer
    handle = layers[1].register_forward_pre_hook(overwrite)
    found = encoded(checkpoint, here, recorder(depth="sublayers"))
    handle.remove()
    first, second = (("layers", f"encoder.layer.{n}") for n in range(2))
    # Its second half is the last thing that a layer does, and the very same tensor.
    inside = ("output", "encoder.layer.0.output")
    assert found[second] != as_it_was[second]
    assert (found[first] == as_it_was[first]) is keeps
    assert (found[inside] == as_it_was[inside]) is keeps
    assert found["embeddings", "embeddings"] == as_it_was["embeddings", "embeddings"]


@RECORDERS
def test_an_argument_that_the_function_itself_overwrites(
    recorder: type[Recorder], keeps: bool, here: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    binarize = ResidualCodec.binarize

    def binarize_and_wipe(codec: Any, residuals: Any) -> Any:
        packed = binarize(codec, residuals)
        residuals.zero_()
        return packed

    def indexed(into: Recorder, name: str) -> Digests:
        here._index(here.job.collection[:PASSAGES], name, into)
        return digests(into)

    as_it_was = indexed(Recorder(), "kept")
    monkeypatch.setattr(ResidualCodec, "binarize", binarize_and_wipe)
    found = indexed(recorder(), "wiped")
    changed = {place[0] for place, were in as_it_was.items() if found[place] != were}
    assert changed == (set() if keeps else {"raw_residuals"})


@RECORDERS
def test_every_tensor_of_the_pipeline_may_be_wiped_once_it_was_recorded(
    recorder: type[Recorder], keeps: bool
) -> None:
    values = {
        "D": torch.rand(300, 96),
        "layers": torch.rand(4, 7, 32).half(),
        "residuals": torch.randint(1, 255, (100, 48), dtype=torch.uint8),
        "batch_masks": torch.ones(4, 7, 1, dtype=torch.bool),
        "codes": torch.arange(1, 1000)[::3],
        "doclens": [3, 1, 2],
    }

    def recorded(into: Recorder, *, wipe: bool) -> Digests:
        for name, value in values.items():
            copied = list(value) if isinstance(value, list) else value.clone()
            into.record(name, copied)
            if wipe:
                copied.clear() if isinstance(copied, list) else copied.zero_()
        return digests(into)

    as_it_was = recorded(Recorder(), wipe=False)
    found = recorded(recorder(), wipe=True)
    assert {name: found[name] == as_it_was[name] for name in found} == dict.fromkeys(found, keeps)
