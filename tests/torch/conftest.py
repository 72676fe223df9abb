"""One whole capture of a slice, and a pipeline in this process, for all tests of this folder."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
import transformers
from safetensors.torch import save_file

from matrix_capture import inputs, runner
from matrix_capture.job import Job
from matrix_capture.pipeline import Pipeline
from matrix_capture.schema import Capture, read_capture
from matrix_capture.settings import read_settings

ROOT = Path(__file__).parents[2]
PASSAGES = 40

SMALL = {
    "hidden_size": 32,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
}

THEIR_WARNINGS = (
    "ignore:.*torch.cuda.amp.GradScaler",  # colbert-ai makes one on any device
    "ignore:.*torch.cuda.amp.autocast:FutureWarning",  # and opens this around every batch
    "ignore:User provided device_type of 'cuda':UserWarning",
    "ignore:TypedStorage is deprecated:UserWarning",  # which they map an index into
    "ignore:unclosed file.*doclens:ResourceWarning",  # colbert.indexing.loaders
)


def pytest_itemcollected(item: pytest.Item) -> None:
    for warning in THEIR_WARNINGS:
        item.add_marker(pytest.mark.filterwarnings(warning))


@pytest.fixture(scope="session")
def make_cache(
    pytestconfig: pytest.Config, make_sources: Callable[[Path], Path]
) -> Callable[[str], Path]:
    """Makes caches with fresh sources beside extensions that stay: to compile one takes long."""

    def make(name: str) -> Path:
        assert pytestconfig.cache is not None
        folder = Path(pytestconfig.cache.mkdir(name))
        shutil.rmtree(folder / "sources", ignore_errors=True)
        make_sources(folder / "sources")
        return folder

    return make


@pytest.fixture(scope="session")
def cache(make_cache: Callable[[str], Path]) -> Path:
    return make_cache("capture")


@pytest.fixture(scope="session")
def wanted(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> runner.Request:
    """What `whole` captures, and where."""
    return runner.Request(
        settings=read_settings(ROOT / "matrix.toml"),
        lane="cpu-pinned",
        torch=torch.__version__.partition("+")[0],
        data=tmp_path_factory.mktemp("data"),
        cache=cache,
        passages=PASSAGES,
    )


@pytest.fixture(scope="session")
def whole(wanted: runner.Request) -> Capture:
    """A capture as the sessions make it, in processes of its own."""
    found = read_capture(runner.capture(wanted, install_seconds=0.0))
    assert found.record.failed_stage() is None, runner.log_path(wanted).read_text()[-4000:]
    return found


@pytest.fixture(scope="session")
def imported(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """colbert-ai imported in this process and its extension loaded; the job of that run."""
    folder = tmp_path_factory.mktemp("run")
    prepared = inputs.prepare(cache / "sources", cache, PASSAGES)
    job = Job(
        torch=torch.__version__.partition("+")[0],
        repeat=0,
        threads=2,
        device="cpu",
        depth="default",
        kmeans="cpu",
        checkpoint=str(prepared.checkpoint),
        collection=prepared.collection,
        queries=prepared.queries,
        config=prepared.config,
        values=str(folder / "values"),
        extensions=str(cache / "extensions"),
    )
    with pytest.MonkeyPatch.context() as patch:
        for name in ("TORCH_EXTENSIONS_DIR", "CUDA_VISIBLE_DEVICES"):
            patch.setenv(name, "")  # both are set along the way; put back at the end
        run = _run(folder, job)
        run._import()
        run._load()
        run._progress.close()
        yield job


@pytest.fixture(scope="session")
def write_checkpoint(
    imported: Job, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, dict[str, Any]], Path]:
    """Writes a small ColBERT checkpoint of an architecture, with random weights."""
    tokenizer = cache / "sources" / inputs._MODEL

    def write(kind: str, settings: dict[str, Any]) -> Path:
        vocabulary = (tokenizer / "vocab.txt").read_text().split()
        config = transformers.AutoConfig.for_model(
            kind, **SMALL, **settings, vocab_size=len(vocabulary), architectures=["HF_ColBERT"]
        )
        torch.manual_seed(5)
        model = transformers.AutoModel.from_config(config)
        prefix = model.base_model_prefix
        weights = {f"{prefix}.{name}": tensor for name, tensor in model.state_dict().items()}
        weights["linear.weight"] = torch.randn(imported.config["dim"], config.hidden_size)
        folder = tmp_path_factory.mktemp("checkpoint")
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        config.save_pretrained(folder)
        for name in inputs.TOKENIZER_FILES:
            shutil.copyfile(tokenizer / name, folder / name)
        return folder

    return write


@pytest.fixture(scope="session")
def index(imported: Job, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index of the collection, to be looked at and not to be touched."""
    run = _run(tmp_path_factory.mktemp("index"), imported)
    index = run._index(imported.collection, "index", None)
    run._progress.close()
    return index


@pytest.fixture
def here(imported: Job, tmp_path: Path) -> Iterator[Pipeline]:
    """A pipeline in this process, where faults can be planted."""
    run = _run(tmp_path, imported)
    yield run
    run._progress.close()


def _run(folder: Path, job: Job) -> Pipeline:
    (folder / "job.json").write_bytes(msgspec.json.encode(job))
    return Pipeline(folder)
