"""Taps on the colbert-ai that the baseline lane holds."""

from typing import Any

import pytest
import torch

from matrix_capture.catalogue import DEPTHS, Depth, expected
from matrix_capture.index_taps import INDEX
from matrix_capture.pipeline import Pipeline
from matrix_capture.recorder import Recorder
from matrix_capture.taps import _find, tapped, torch_calls

TARGETS = list(dict.fromkeys(tap.target for tap in INDEX))

pytestmark = pytest.mark.usefixtures("imported")


def owners() -> list[tuple[Any, str, Any]]:
    found = [_find(tap.target) for tap in INDEX]
    return [(owner, name, vars(owner)[name]) for owner, name in found]


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_exists(target: str) -> None:
    owner, name = _find(target)
    assert callable(vars(owner)[name])


def test_installing_finds_everything_and_leaves_nothing() -> None:
    before = owners()
    recorder = Recorder()
    with tapped(recorder, INDEX):
        assert all(vars(owner)[name] is not was for owner, name, was in before)
    assert recorder.missing == {}
    assert owners() == before


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("target", TARGETS)
def test_a_renamed_target_is_noted_for_all_that_is_lost(
    target: str, depth: Depth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(*_find(target))
    recorder = Recorder(depth=depth)
    with tapped(recorder, INDEX):
        pass
    lost = {
        artifact for tap in INDEX if tap.target == target for artifact in INDEX.lost_without(tap)
    }
    lost &= {artifact.name for artifact in expected("cpu", depth)}
    assert lost
    assert recorder.missing == dict.fromkeys(lost, f"tap target not found: {target}")


# Torch functions that colbert-ai calls on its locals.


def seen_by(calls: list[Any]) -> Any:
    return lambda arguments, result: calls.append((arguments, result))


def test_normalize_is_seen() -> None:
    calls: list[Any] = []
    vectors = torch.ones(2, 4)
    with torch_calls(normalize=seen_by(calls)):
        result = torch.nn.functional.normalize(vectors, dim=-1)
    ((arguments, seen),) = calls
    assert arguments[0] is vectors
    assert seen is result


@pytest.mark.parametrize("spelling", ["method", "function"])
def test_sort_is_seen(spelling: str) -> None:
    calls: list[Any] = []
    codes = torch.tensor([2, 1, 2, 0])
    with torch_calls(sort=seen_by(calls)):
        result = codes.sort() if spelling == "method" else torch.sort(codes)
        codes.argsort()
        codes.sum()
    ((arguments, seen),) = calls
    assert arguments[0] is codes
    assert seen.values.tolist() == result.values.tolist() == [0, 1, 2, 2]


def test_watchers_nest() -> None:
    outer: list[Any] = []
    inner: list[Any] = []
    with torch_calls(sort=seen_by(outer)):
        with torch_calls(normalize=seen_by(inner)):
            torch.nn.functional.normalize(torch.ones(2, 2))
            torch.ones(2).sort()
        torch.nn.functional.normalize(torch.ones(2, 2))
    assert (len(outer), len(inner)) == (1, 1)


def test_a_watcher_is_removed_after_an_exception() -> None:
    calls: list[Any] = []

    def fail() -> None:
        with torch_calls(sort=seen_by(calls)):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    torch.ones(2).sort()
    assert calls == []


def test_a_failing_watcher_fails_where_the_block_ends() -> None:
    results = []

    def observe(_arguments: Any, _result: Any) -> None:
        raise LookupError("planted")

    def watch() -> None:
        with torch_calls(sort=observe):
            results.append(torch.tensor([2, 1]).sort().values.tolist())

    with pytest.raises(LookupError, match="planted"):
        watch()
    assert results == [[1, 2]]


def test_a_failing_watcher_is_noted_and_the_index_is_made(
    here: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fussy(Recorder):
        def record(self, artifact: str, value: Any, part: str = "", key: Any = None) -> Any:
            if artifact == "codes_sorted_values":
                raise LookupError("planted")
            return super().record(artifact, value, part, key)

    recorder = Fussy()
    index = here._index(here.job.collection, "fussy", recorder)
    assert (index / "ivf.pid.pt").is_file()
    assert set(recorder.missing) == {
        *("codes_before_sort", "codes_sorted_values", "codes_sorted_indices")
    }
    assert all("LookupError: planted" in reason for reason in recorder.missing.values())
    assert recorder.scope == "setup"
