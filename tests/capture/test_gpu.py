"""What is told of a GPU, its driver, its toolkit and its libraries, where there is none of them."""

import ctypes
import re
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from matrix_capture import gpu
from matrix_capture.errors import MatrixError
from matrix_capture.gpu import (
    GPU_FACTS,
    ToolkitError,
    check_toolkit,
    chosen,
    gpu_facts,
    library_versions,
    runs_on,
    unsupported,
)

# The lists of torch's own wheels, as `torch.cuda.get_arch_list()` gives them.
TORCH_2_0 = "sm_37 sm_50 sm_60 sm_70 sm_75 sm_80 sm_86"
TORCH_2_1 = "sm_50 sm_60 sm_70 sm_75 sm_80 sm_86 sm_90"
TORCH_2_7 = "sm_75 sm_80 sm_86 sm_90 sm_100 sm_120 compute_120"


# Which code runs where.


@pytest.mark.parametrize(
    ("built_for", "capability", "runs"),
    [
        (TORCH_2_0, (9, 0), False),
        (TORCH_2_0, (8, 0), True),
        (TORCH_2_0, (8, 6), True),
        (TORCH_2_0, (8, 9), True),
        (TORCH_2_0, (7, 2), True),
        (TORCH_2_0, (3, 5), False),
        (TORCH_2_1, (9, 0), True),
        (TORCH_2_1, (3, 7), False),
        (TORCH_2_1, (10, 0), False),
        (TORCH_2_1, (12, 0), False),
        (TORCH_2_7, (10, 0), True),
        (TORCH_2_7, (10, 3), True),
        (TORCH_2_7, (12, 1), True),
        (TORCH_2_7, (7, 0), False),
        # Intermediate code is compiled for whatever comes later, never for what came before.
        ("compute_80", (8, 0), True),
        ("compute_80", (9, 0), True),
        ("compute_80", (12, 0), True),
        ("compute_80", (7, 5), False),
        ("compute_86", (8, 0), False),
        ("sm_50 compute_70", (9, 0), True),
        # Machine code runs on later minors of its major, not on earlier ones.
        ("sm_86", (8, 9), True),
        ("sm_86", (8, 0), False),
        ("sm_80", (9, 0), False),
        # What is for one architecture alone is for no other.
        ("sm_90a", (9, 0), True),
        ("sm_90a", (9, 1), False),
        ("sm_90a", (10, 0), False),
        ("compute_90a", (9, 0), True),
        ("compute_90a", (10, 0), False),
        # And what is for a family, for its major.
        ("sm_100f", (10, 0), True),
        ("sm_100f", (10, 3), True),
        ("sm_100f", (12, 0), False),
        ("", (9, 0), False),
        ("sm_ sm_9 90 gfx90a sm_90x xsm_90 sm-90 compute_", (9, 0), False),
        ("gfx90a sm_90", (9, 0), True),
    ],
)
def test_code_runs_where_it_was_made_for(
    built_for: str, capability: tuple[int, int], runs: bool
) -> None:
    assert runs_on(built_for.split(), capability) is runs
    # In whatever order.
    assert runs_on(built_for.split()[::-1], capability) is runs


def torch_of(flags: Any, capability: tuple[int, int] = (9, 0)) -> Any:
    """What is asked of a torch that was built for some architectures."""
    built = {} if flags is None else {"_cuda_getArchFlags": lambda: flags or None}
    return SimpleNamespace(
        _C=SimpleNamespace(**built),
        cuda=SimpleNamespace(
            get_device_capability=lambda: capability, get_device_name=lambda: "NVIDIA H200"
        ),
    )


def test_a_supported_gpu_has_no_reason() -> None:
    assert unsupported(torch_of(TORCH_2_1)) is None


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (TORCH_2_0, "sm_37, sm_50, sm_60, sm_70, sm_75, sm_80, sm_86"),
        ("", "none"),  # torch answers None where it was built without CUDA
        (None, "none"),  # and has no such function in some builds
    ],
)
def test_an_unsupported_gpu_is_told_with_what_the_build_has(flags: str | None, code: str) -> None:
    assert unsupported(torch_of(flags)) == (
        f"unsupported GPU: NVIDIA H200 is sm_90, this build of torch has code for {code}"
    )


# nvidia-smi.


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Puts an nvidia-smi on PATH, and nothing else."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def write(script: str) -> Path:
        return executable(folder / "nvidia-smi", script)

    return write


def executable(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"#!/bin/sh\n" + script.encode("latin-1") + b"\n")
    path.chmod(0o755)
    return path


def refusal() -> str:
    with pytest.raises(MatrixError) as caught:
        gpu_facts()
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return message


@pytest.mark.parametrize(
    ("answer", "facts"),
    [
        ("NVIDIA H200, 9.0, 550.54.15", ("NVIDIA H200", "9.0", "550.54.15")),
        ("  NVIDIA L4 ,8.9,  535.129.03  ", ("NVIDIA L4", "8.9", "535.129.03")),
        ("NVIDIA A100, 80GB, PCIe, 8.0, 470.57", ("NVIDIA A100, 80GB, PCIe", "8.0", "470.57")),
        ("NVIDIA B200, 10.0, 570.86\nNVIDIA L4, 8.9, 1.0", ("NVIDIA B200", "10.0", "570.86")),
        ("\nTesla T4, 7.5, 450.80.02", ("Tesla T4", "7.5", "450.80.02")),
        ("GPU \xff, 9.0, 550.54.15", ("GPU \N{REPLACEMENT CHARACTER}", "9.0", "550.54.15")),
    ],
)
def test_a_gpu_is_told_by_name_capability_and_driver(
    answer: str, facts: tuple[str, ...], fake: Callable[[str], Path]
) -> None:
    fake(f"printf '%s\\n' '{answer}'")
    assert gpu_facts() == dict(zip(GPU_FACTS, facts, strict=True))


@pytest.mark.parametrize(
    ("visible", "asked"), [(None, "0"), ("", "0"), ("3", "3"), ("2,1", "2"), (" 5 , 1", "5")]
)
def test_the_gpu_that_a_pipeline_will_see_is_the_one_asked_about(
    visible: str | None,
    asked: str,
    fake: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    fake('for word; do case $word in --id=*) echo "GPU ${word#--id=}, 9.0, 1.2";; esac; done')
    assert chosen() == asked
    assert gpu_facts()["gpu"] == f"GPU {asked}"


def test_a_gpu_may_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "GPU-8a6d1d04-5b6a-4c1f-9f0e-0123456789ab"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"{name},1")
    assert chosen() == name


def test_without_nvidia_smi_there_is_no_gpu(fake: Callable[[str], Path]) -> None:
    assert refusal() == (
        "no NVIDIA GPU here (nvidia-smi is not on PATH); choose a lane for the CPU with --lane"
    )


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo 'No devices were found'; exit 6", "No devices were found"),
        ("echo 'cannot talk to the driver' >&2; exit 9", "cannot talk to the driver"),
        ("printf '\\nfirst\\nsecond\\n'; exit 2", "first"),
        ("printf 'odd \\377\\n'; exit 2", "odd \N{REPLACEMENT CHARACTER}"),
        ("exit 4", "returned non-zero exit status 4"),
        ("kill -9 $$", "died with <Signals.SIGKILL: 9>"),
    ],
)
def test_an_nvidia_smi_that_fails_is_quoted(
    script: str, told: str, fake: Callable[[str], Path]
) -> None:
    fake(script)
    message = refusal()
    assert message.startswith("nvidia-smi finds no GPU (")
    assert message.endswith("); is the driver loaded?")
    assert told in message
    assert "second" not in message


def test_an_nvidia_smi_that_may_not_run_is_told(fake: Callable[[str], Path]) -> None:
    fake("").chmod(0o644)
    assert "Permission denied" in refusal()


def test_an_nvidia_smi_that_hangs_is_given_up(
    fake: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake("echo waiting; while :; do :; done")
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: run(*a, **{**k, "timeout": 0.2}))
    assert refusal() == "nvidia-smi finds no GPU (waiting); is the driver loaded?"


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "\n\n",
        "NVIDIA H200",
        "NVIDIA H200, 9.0",
        "9.0, 550.54.15",
        ", 9.0, 550.54.15",
        "NVIDIA H200, , 550.54.15",
        "NVIDIA H200, 9.0,",
        "NVIDIA H200, [N/A], 550.54.15",
        "NVIDIA H200, 9.0, [Not Supported]",
        "NVIDIA, Inc., H200",
        "name, compute_cap, driver_version",
    ],
)
def test_an_odd_answer_is_quoted(answer: str, fake: Callable[[str], Path]) -> None:
    fake(f"printf '%s\\n' '{answer}'")
    line = next((line for line in answer.splitlines() if line), "")
    assert refusal() == (
        f"nvidia-smi answers {line!r} where name, compute capability and driver of a GPU were "
        "asked for; is the driver as new as the GPU?"
    )


# The toolkit.


@pytest.fixture
def toolkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A torch of CUDA 12.8 that finds a toolkit with such an nvcc, or none."""

    def make(script: str | None, *, home: bool = True) -> Any:
        folder = tmp_path / "cuda"
        if script is not None:
            executable(folder / "bin" / "nvcc", script)
        found = types.ModuleType("torch.utils.cpp_extension")
        vars(found)["CUDA_HOME"] = str(folder) if home else None
        for name in ("torch", "torch.utils"):
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        monkeypatch.setitem(sys.modules, found.__name__, found)
        return SimpleNamespace(version=SimpleNamespace(cuda="12.8"))

    return make


VERSION = "echo 'nvcc: NVIDIA (R) Cuda compiler driver'; echo 'Cuda compilation tools, release {}'"
CURE = "install the CUDA 12 toolkit and set CUDA_HOME to it"
NONE_RUNS = "no nvcc runs in CUDA_HOME, and colbert-ai compiles extensions for the GPU"


@pytest.mark.parametrize("release", ["12.8, V12.8.93", "12.4, V12.4.131", "12.0"])
def test_an_nvcc_of_the_same_major_will_do(
    release: str, toolkit: Callable[..., Any], tmp_path: Path
) -> None:
    assert check_toolkit(toolkit(VERSION.format(release))) == str(tmp_path / "cuda/bin/nvcc")


@pytest.mark.parametrize(
    ("script", "home", "why"),
    [
        (None, False, "no nvcc, and colbert-ai compiles extensions for the GPU"),
        (None, True, NONE_RUNS),
        ("exit 1", True, NONE_RUNS),
        ("kill -11 $$", True, NONE_RUNS),
        (VERSION.format("11.8, V11.8.89"), True, "nvcc is of CUDA 11.8, this torch of 12.8"),
        (VERSION.format("13.0, V13.0.48"), True, "nvcc is of CUDA 13.0, this torch of 12.8"),
        ("echo nothing of use", True, "nvcc is of CUDA an unknown version, this torch of 12.8"),
        ("exit 0", True, "nvcc is of CUDA an unknown version, this torch of 12.8"),
        (
            "printf '\\377\\376release\\n'",
            True,
            "nvcc is of CUDA an unknown version, this torch of 12.8",
        ),
    ],
)
def test_another_toolkit_is_refused_with_the_cure(
    script: str | None, home: bool, why: str, toolkit: Callable[..., Any]
) -> None:
    with pytest.raises(ToolkitError) as caught:
        check_toolkit(toolkit(script, home=home))
    assert str(caught.value) == f"{why}; {CURE}"


def test_an_nvcc_that_may_not_run_is_none(toolkit: Callable[..., Any], tmp_path: Path) -> None:
    torch = toolkit(VERSION.format("12.8"))
    (tmp_path / "cuda" / "bin" / "nvcc").chmod(0o644)
    with pytest.raises(ToolkitError, match=re.escape(f"{NONE_RUNS}; {CURE}")):
        check_toolkit(torch)


# Libraries.


def torch_with(cudnn: int | None) -> Any:
    return SimpleNamespace(backends=SimpleNamespace(cudnn=SimpleNamespace(version=lambda: cudnn)))


def test_libraries_that_are_not_loaded_are_not_told() -> None:
    assert library_versions(torch_with(None)) == {}
    assert library_versions(torch_with(90100)) == {"cudnn": "90100"}


def test_cublas_is_asked_for_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def get_property(part: int, number: Any) -> None:
        number._obj.value = (12, 8, 4)[part]

    def library(path: str) -> Any:
        opened.append(path)
        return SimpleNamespace(cublasGetProperty=get_property)

    monkeypatch.setattr(gpu, "_loaded", lambda name: f"/lib/{name}.12")
    monkeypatch.setattr(ctypes, "CDLL", library)
    assert library_versions(torch_with(8902)) == {"cudnn": "8902", "cublas": "12.8.4"}
    assert opened == ["/lib/libcublas.so.12"]


def test_a_loaded_library_is_found_by_its_name() -> None:
    loaded = Path(msgspec._core.__file__)
    assert gpu._loaded(loaded.name) == str(loaded.resolve())
    assert gpu._loaded("libcublas-of-nobody.so") is None


def test_where_nothing_tells_what_is_loaded_nothing_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: Any, **__: Any) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", absent)
    assert gpu._loaded("libcublas.so") is None
