"""A short fine-tuning run of colbert-ai's own trainer, on triples from the lane's inputs."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from matrix_capture.catalogue import Device
from matrix_capture.collection import Query
from matrix_capture.errors import MatrixError
from matrix_capture.job import Job
from matrix_capture.launch import configured
from matrix_capture.recorder import Recorder
from matrix_capture.taps import tapped
from matrix_capture.training_taps import TRAINING

STEPS = 20
"""Updates of the weights in a run."""

_BATCH = 2  # queries of a step, each with two passages
_LEARNING_RATE = 1e-5
_SEED = 13


def triples(queries: Sequence[Query], passages: int) -> tuple[tuple[int, int, int], ...]:
    """Numbers of a query, of a passage relevant to it and of one that is not, for every step.

    Queries come in a seeded order, and again in that order when there are too few of them;
    `passages` is the size of the collection.

    Raises:
        MatrixError: there is no query with both kinds of passages.
    """
    usable = [
        number for number, query in enumerate(queries) if 0 < len({*query.relevant}) < passages
    ]
    if not usable:
        raise MatrixError(
            f"training: none of {len(queries)} queries has a relevant and another passage among "
            f"{passages}; choose more --passages"
        )
    draw = np.random.RandomState(_SEED)
    order = draw.permutation(usable)
    found = []
    for place in range(STEPS * _BATCH):
        query = int(order[place % len(order)])
        relevant = queries[query].relevant
        others = np.setdiff1d(np.arange(passages), relevant)
        found.append((query, int(draw.choice(relevant)), int(draw.choice(others))))
    return tuple(found)


def train(job: Job, folder: Path, recorder: Recorder | None) -> dict[str, str]:
    """Train with colbert-ai below a folder, under taps if there is a recorder.

    Returns what was put in the place of a part of torch, by name, with the reason. colbert-ai seeds
    every generator of random numbers itself.

    Raises:
        MatrixError: the queries make no triples.
    """
    # `Trainer` would call this function in a process of its own, away from the taps.
    from colbert.infra import ColBERTConfig, Run, RunConfig  # noqa: PLC0415 - only a pipeline has it
    from colbert.training import training  # noqa: PLC0415

    examples = [list(triple) for triple in triples(job.queries, len(job.collection))]
    config = configured(
        ColBERTConfig,
        checkpoint=job.checkpoint,
        **job.config,
        bsize=_BATCH,
        nway=2,
        accumsteps=1,
        lr=_LEARNING_RATE,
        maxsteps=STEPS,
        # Without a GPU torch turns it off by itself, with a warning at every step.
        amp=job.device == "cuda",
    )
    run = RunConfig(nranks=1, root=str(folder), experiment="runs")
    with Run().context(run), _parallel(job.device, folder) as substitutions, ExitStack() as undo:
        if recorder:
            undo.enter_context(tapped(recorder, TRAINING))
        training.train(
            config,
            examples,
            {number: query.text for number, query in enumerate(job.queries)},
            list(job.collection),
        )
    return substitutions


@contextmanager
def _parallel(device: Device, folder: Path) -> Iterator[dict[str, str]]:
    """Let the trainer wrap its model for one of many processes, although it is the only one.

    Yields what was put in the place of a part of torch, with the reason.
    """
    import torch  # noqa: PLC0415 - only a pipeline has it

    if device == "cuda":
        with tempfile.TemporaryDirectory(dir=folder) as scratch, _group_of_one(torch, scratch):
            yield {}
        return
    parallel = torch.nn.parallel
    real = parallel.DistributedDataParallel
    parallel.DistributedDataParallel = _stand_in(torch)
    try:
        yield {
            "torch.nn.parallel.DistributedDataParallel": "a stand-in that calls the model itself: "
            "colbert-ai gives it numbers of GPUs, which it refuses for a model on the CPU"
        }
    finally:
        parallel.DistributedDataParallel = real


@contextmanager
def _group_of_one(torch: Any, scratch: str) -> Iterator[None]:
    """A process group of this process alone, as colbert-ai's launcher makes it on a GPU."""
    store = torch.distributed.FileStore(f"{scratch}/store", 1)
    torch.distributed.init_process_group("nccl", store=store, rank=0, world_size=1)
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def _stand_in(torch: Any) -> Any:
    class Alone(torch.nn.Module):  # type: ignore[misc]  # torch is untyped here
        """Has what the trainer uses of a wrapped model."""

        def __init__(self, module: Any, **_: Any) -> None:
            super().__init__()
            self.module = module

        def forward(self, *arguments: Any) -> Any:
            return self.module(*arguments)

    return Alone
