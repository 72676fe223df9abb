"""Starting colbert-ai releases that differ; on the real ones it is tested where torch is."""

import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from matrix_capture.launch import configured, in_this_process


@dataclass
class Older:
    nbits: int = 1


@dataclass
class Newer(Older):
    index_bsize: int = 64
    avoid_fork_if_possible: bool = False


class Processes:
    """Stands for torch.multiprocessing."""

    @staticmethod
    def Process(**_: Any) -> None:  # noqa: N802 - the name that the launcher calls
        raise AssertionError("a process was started")


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch) -> Callable[[type], types.ModuleType]:
    """Puts a colbert-ai with that RunConfig in the way; returns its launcher."""

    def install(run_config: type) -> types.ModuleType:
        infra, module = types.ModuleType("colbert.infra"), types.ModuleType("launcher")
        module.mp = Processes  # type: ignore[attr-defined]
        infra.RunConfig, infra.launcher = run_config, module  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "colbert", types.ModuleType("colbert"))
        monkeypatch.setitem(sys.modules, "colbert.infra", infra)
        return module

    return install


def test_a_config_takes_what_its_release_has() -> None:
    wanted = {"nbits": 4, "index_bsize": 32}
    assert configured(Newer, **wanted) == Newer(nbits=4, index_bsize=32)
    assert configured(Older, **wanted) == Older(nbits=4)


def test_a_setting_that_was_renamed_is_not_left_out() -> None:
    with pytest.raises(TypeError, match="kmeans_niters"):
        configured(Newer, kmeans_niters=20)


def test_a_launcher_that_always_starts_a_process_calls_instead(
    launcher: Callable[[type], types.ModuleType],
) -> None:
    module = launcher(Older)
    with in_this_process():
        results = module.mp.Queue()
        process = module.mp.Process(target=lambda rank, out: out.put(rank), args=(7, results))
        process.start()
        assert results.get() == 7
        process.join()
    assert module.mp is Processes


def test_a_failure_is_raised_and_the_launcher_put_back(
    launcher: Callable[[type], types.ModuleType],
) -> None:
    module = launcher(Older)

    def index() -> None:
        with in_this_process():
            module.mp.Process(target=lambda: 1 // 0, args=()).start()

    with pytest.raises(ZeroDivisionError):
        index()
    assert module.mp is Processes


def test_a_launcher_that_can_do_without_is_left_alone(
    launcher: Callable[[type], types.ModuleType],
) -> None:
    module = launcher(Newer)
    with in_this_process():
        assert module.mp is Processes
