"""Operations below one call: of plain torch first, then of a real encoder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from matrix_capture import experiment
from matrix_capture.digest import content_hash, snapshot
from matrix_capture.experiment import Answer, Request, Variant
from matrix_capture.job import Job
from matrix_capture.optrace import Op, Site, Trace, Traced, Tracer
from matrix_capture.pipeline import Pipeline
from matrix_capture.recorder import Recorder
from matrix_capture.values import ValueStore

ANY = Site(artifact="batches", scope="sample", occurrence=0)
SECOND = Site(artifact="batches", scope="sample", occurrence=1)


def digest(tensor: Any) -> str:
    return content_hash(snapshot(tensor)).hex()


def inputs(op: Op) -> list[str]:
    return [operand.digest for operand in op.inputs]


def outputs(op: Op) -> list[str]:
    return [operand.digest for operand in op.outputs]


def written(tracer: Tracer, folder: Path) -> Trace:
    tracer.write(folder / "trace.json")
    return msgspec.json.decode((folder / "trace.json").read_bytes(), type=Trace)


@pytest.fixture
def store(tmp_path: Path) -> ValueStore:
    return ValueStore(tmp_path / "values")


@pytest.fixture
def tracer(store: ValueStore) -> Tracer:
    return Tracer(ANY, store)


# Plain torch.


def test_an_operation_in_place_takes_what_was_there_before(tracer: Tracer, tmp_path: Path) -> None:
    ones, twos = torch.ones(3), torch.full((3,), 2.0)
    value = ones.clone()
    with tracer.tracing(None):
        value.add_(1)
    (op,) = written(tracer, tmp_path).ops
    assert (op.name, op.module, op.arguments) == ("aten.add_.Tensor", "", "[_, 1]")
    assert (inputs(op), outputs(op)) == ([digest(ones)], [digest(twos)])


def test_a_result_that_was_handed_in_is_seen_written(tracer: Tracer, tmp_path: Path) -> None:
    a, out = torch.arange(4.0).reshape(2, 2), torch.zeros(2, 2)
    zeros = digest(out)
    with tracer.tracing(None):
        torch.mm(a, a, out=out)
    (op,) = written(tracer, tmp_path).ops
    assert op.name == "aten.mm.out"
    assert inputs(op) == [digest(a), digest(a), zeros]
    assert outputs(op) == [digest(a @ a)]


def test_memory_that_nothing_was_written_to_has_no_digest(tracer: Tracer, tmp_path: Path) -> None:
    with tracer.tracing(None):
        value = torch.empty(2, 3)
        part = value.view(6)
        value.zero_()
        part.neg()
    empty, view, zeroed, negated = written(tracer, tmp_path).ops
    assert (empty.name, outputs(empty)) == ("aten.empty.memory_format", [""])
    assert (inputs(view), outputs(view)) == ([""], [""])
    assert (inputs(zeroed), outputs(zeroed)) == ([""], [digest(torch.zeros(2, 3))])
    assert inputs(negated) == [digest(torch.zeros(6))]


def test_a_number_that_comes_out_is_an_operand(tracer: Tracer, tmp_path: Path) -> None:
    with tracer.tracing(None):
        torch.tensor([2.5]).item()
    last = written(tracer, tmp_path).ops[-1]
    assert last.name == "aten._local_scalar_dense.default"
    assert [(o.dtype, o.shape) for o in last.outputs] == [("float64", ())]


@pytest.mark.parametrize("inference", [True, False])
def test_an_operation_that_is_made_of_others_is_taken_apart(
    inference: bool, tracer: Tracer, tmp_path: Path
) -> None:
    a, b = torch.rand(2, 3, 4), torch.rand(4, 5)
    with torch.inference_mode(inference), tracer.tracing(None):
        torch.matmul(a, b)
        torch.nn.functional.linear(a, b.T)
    names = [op.name for op in written(tracer, tmp_path).ops]
    assert names.count("aten.mm.default") == 2
    assert not {"aten.matmul.default", "aten.linear.default", "aten.reshape.default"} & {*names}


def test_what_cannot_be_kept_is_refused_with_the_reason(store: ValueStore, tmp_path: Path) -> None:
    tracer = Tracer(msgspec.structs.replace(ANY, keep=0), store)
    with tracer.tracing(None):
        torch.empty(3).normal_(generator=torch.Generator().manual_seed(1))
        torch.empty(3)
    assert written(tracer, tmp_path).kept is not None
    tracer = Tracer(msgspec.structs.replace(ANY, keep=1), store)
    with tracer.tracing(None):
        torch.empty(3).normal_(generator=torch.Generator().manual_seed(1))
    trace = written(tracer, tmp_path)
    assert (trace.kept, trace.refusal) == (None, "an argument is a Generator")


def test_modules_are_followed_and_go_on_as_before(tracer: Tracer, tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Sequential(torch.nn.ReLU()))
    with torch.inference_mode(), tracer.tracing(model):
        given = model(torch.ones(1, 3)).neg()
    assert given.shape == (1, 2)
    found = {op.name: op.module for op in written(tracer, tmp_path).ops}
    assert found["aten.addmm.default"] == "0"
    assert found["aten.relu.default"] == "1.0"
    assert found["aten.neg.default"] == ""
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


# The encoder.


@pytest.fixture(scope="module")
def checkpoint(imported: Job) -> Any:
    from colbert.infra import ColBERTConfig
    from colbert.modeling.checkpoint import Checkpoint

    config = ColBERTConfig(checkpoint=imported.checkpoint, **imported.config)
    return Checkpoint(imported.checkpoint, colbert_config=config)


def traced(checkpoint: Any, site: Site, folder: Path) -> Trace:
    """The operations that encode three short passages."""
    tracer = Tracer(site, ValueStore(folder / "values"))
    ids, mask = checkpoint.doc_tokenizer.tensorize(["node edge", "path (tree)", "cut"])
    with torch.inference_mode(), tracer.tracing(checkpoint):
        checkpoint.doc(ids, mask)
    return written(tracer, folder)


def test_operations_are_named_with_the_modules_that_call_them(
    checkpoint: Any, tmp_path: Path
) -> None:
    ops = traced(checkpoint, ANY, tmp_path).ops
    modules = dict(checkpoint.named_modules())
    assert {op.module for op in ops} <= modules.keys()
    products = [op.module for op in ops if op.name == "aten.addmm.default"]
    assert len(products) > 6
    assert all(isinstance(modules[path], torch.nn.Linear) for path in products)
    assert [path for path in products if "layer.1.intermediate.dense" in path]
    (norm,) = (op for op in ops if op.name == "aten.linalg_vector_norm.default")
    assert norm.module == ""
    assert len(ops) > 50
    assert not {"aten.linear.default", "aten.matmul.default"} & {op.name for op in ops}


def firsts(ops: tuple[Op, ...]) -> Iterator[int]:
    """The number of the first call of each operation that takes and gives something."""
    seen = set()
    for number, op in enumerate(ops):
        if op.name not in seen and all(inputs(op)) and outputs(op) and all(outputs(op)):
            seen.add(op.name)
            yield number


def test_what_is_kept_gives_the_same_when_it_is_called_again(
    checkpoint: Any, tmp_path: Path
) -> None:
    ops = traced(checkpoint, ANY, tmp_path).ops
    names = []
    for number in firsts(ops):
        trace = traced(checkpoint, msgspec.structs.replace(ANY, keep=number), tmp_path)
        assert trace.kept is not None, (ops[number].name, trace.refusal)
        assert trace.kept.op == ops[number].name
        request = Request(
            call=trace.kept,
            values=str(tmp_path / "values"),
            threads=2,
            variants=(Variant(),),
        )
        (tmp_path / "request.json").write_bytes(msgspec.json.encode(request))
        experiment.main(tmp_path)
        answer = msgspec.json.decode((tmp_path / "answer.json").read_bytes(), type=Answer)
        (outcome,) = answer.outcomes
        assert list(outcome.outputs) == outputs(ops[number]), (ops[number].name, outcome.error)
        names.append(trace.kept.op)
    wanted = ("addmm", "native_layer_norm", "gelu", "linalg_vector_norm", "mm", "embedding")
    assert {f"aten.{name}.default" for name in wanted} <= {*names}


# The pipeline.


def rows(run: Pipeline, name: str, tracer: Tracer | None) -> dict[tuple[Any, ...], bytes]:
    recorder = Recorder(tracer=tracer)
    if tracer:
        with pytest.raises(Traced):
            run._index(run.job.collection, name, recorder)
    else:
        run._index(run.job.collection, name, recorder)
    names = ("artifact", "part", "scope", "occurrence")
    found = recorder.table().to_pylist()
    return {tuple(row[name] for name in names): row["digest"] for row in found}


def test_a_traced_run_makes_what_an_untraced_one_makes(here: Pipeline, tmp_path: Path) -> None:
    plain = rows(here, "plain", None)
    tracer = Tracer(SECOND, ValueStore(tmp_path / "values"))
    found = rows(here, "traced", tracer)
    assert list(found.items()) == list(plain.items())[: len(found)]
    assert list(found)[-1] == ("batch_masks", "", "sample", 1)
    made = plain["batches", "", "sample", 1].hex()
    # And the trace has it: the last operation of the call gives it.
    assert made in {d for op in written(tracer, tmp_path).ops for d in outputs(op)}


def test_a_call_that_never_comes_is_not_traced(imported: Job, tmp_path: Path) -> None:
    site = Site(artifact="batches", scope="sample", occurrence=9)
    job = msgspec.structs.replace(imported, site=site)
    (tmp_path / "job.json").write_bytes(msgspec.json.encode(job))
    run = Pipeline(tmp_path)
    run()
    run._progress.close()
    assert (
        b"the call that was to be traced never came" in (tmp_path / "progress.jsonl").read_bytes()
    )
    assert not (tmp_path / "trace.json").exists()
