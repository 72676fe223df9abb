"""A colbert-ai in which one tapped function after the other has another name."""

import builtins
import inspect
import types
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from matrix_capture import pipeline
from matrix_capture.index_taps import INDEX
from matrix_capture.job import Job
from matrix_capture.pipeline import Pipeline
from matrix_capture.recorder import Recorder
from matrix_capture.taps import _find

PASSAGES = 24
PLACED = {artifact for tap in INDEX if tap.within for artifact in tap.artifacts}


def rename(target: str, patch: pytest.MonkeyPatch) -> None:
    """Take a function away where its name says it is, and leave it to those who call it.

    A method becomes an attribute of each object, a function of a module one of the builtins: both
    are found by a call, and neither by who looks the name up in its class or module.
    """
    owner, name = _find(target)
    original = vars(owner)[name]
    assert inspect.isfunction(original), f"{target}: only plain functions are moved here"
    patch.delattr(owner, name)
    if inspect.ismodule(owner):
        patch.setattr(builtins, name, original, raising=False)
        return
    make = owner.__init__

    def make_with(self: Any, *args: Any, **kwargs: Any) -> None:
        self.__dict__[name] = types.MethodType(original, self)
        make(self, *args, **kwargs)

    patch.setattr(owner, "__init__", make_with)


Seen = dict[tuple[str, str], list[bytes]]


def seen(recorder: Recorder) -> Seen:
    """The digests of each artifact in each pass in the order in which they were taken."""
    found = defaultdict(list)
    for row in recorder.table().to_pylist():
        found[row["artifact"], row["scope"]].append(row["digest"])
    return dict(found)


def lost(target: str, everything: Seen) -> Seen:
    """What a run does not see without that target."""
    taps = [tap for tap in INDEX if tap.target == target]
    own = {artifact for tap in taps for artifact in tap.artifacts}
    passes = {tap.opens for tap in taps if tap.opens}
    return {
        (artifact, scope): digests
        for (artifact, scope), digests in everything.items()
        if artifact in own or (scope.partition(".")[0] in passes and artifact in PLACED)
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class Whole:
    """What a run sees when nothing is renamed, and the index that it makes."""

    seen: Seen
    index: dict[str, bytes]


@pytest.fixture(scope="module")
def whole_run(imported: Job, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    (folder / "job.json").write_bytes(msgspec.json.encode(imported))
    run = Pipeline(folder)
    recorder = Recorder()
    index = run._index(imported.collection[:PASSAGES], "whole", recorder)
    run._progress.close()
    assert recorder.missing == {}
    return Whole(seen=seen(recorder), index=pipeline._digests(index))


@pytest.mark.parametrize("target", dict.fromkeys(tap.target for tap in INDEX))
def test_a_renamed_function_costs_its_artifacts_and_nothing_else(
    target: str, whole_run: Whole, here: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = lost(target, whole_run.seen)
    assert gone
    rename(target, monkeypatch)
    recorder = Recorder()
    index = here._index(here.job.collection[:PASSAGES], "renamed", recorder)
    assert pipeline._digests(index) == whole_run.index
    reason = f"tap target not found: {target}"
    assert recorder.missing == {artifact: reason for artifact, _ in gone}
    assert seen(recorder) == {k: v for k, v in whole_run.seen.items() if k not in gone}
    assert recorder.scope == "setup"
