"""colbert-ai on the inputs of the Hugging Face scale, in small."""

import json
from pathlib import Path

import msgspec
import pytest

from matrix_capture import conditionalqa
from matrix_capture.pipeline import Pipeline
from matrix_capture.recorder import Recorder


@pytest.fixture
def run(here: Pipeline, hub_copy: Path, tmp_path: Path) -> Pipeline:
    """A pipeline in this process with those inputs."""
    made = conditionalqa.prepare(hub_copy, tmp_path / "cache")
    here.job = msgspec.structs.replace(
        here.job,
        checkpoint=str(made.checkpoint),
        collection=made.collection,
        config=made.config,
    )
    return here


def test_the_checkpoint_loads_and_the_collection_is_indexed(run: Pipeline) -> None:
    run._load()
    index = run._index(run.job.collection, "conditionalqa", Recorder())
    config = json.loads((index / "metadata.json").read_text())["config"]
    assert {name: config[name] for name in conditionalqa.CONFIG} == conditionalqa.CONFIG
    # As the checkpoint was trained to read.
    assert (config["doc_token_id"], config["query_maxlen"]) == ("[unused1]", 32)
    # And not where, or from what, somebody once trained it.
    assert run.folder in index.parents
    assert "somewhere" not in json.dumps(config)
    assert (config["nranks"], config["model_name"]) == (1, None)
