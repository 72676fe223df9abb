"""The GPU of this machine: what it is, what runs on it, and what compiles for it."""

import ctypes
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matrix_capture.errors import MatrixError

_QUERY = {
    "gpu": "name",
    "gpu_compute_capability": "compute_cap",
    "gpu_driver": "driver_version",
}
GPU_FACTS = tuple(_QUERY)
"""The names under which a record has what there is to know of a GPU."""


class ToolkitError(Exception):
    """No CUDA toolkit here compiles extensions for this build of torch."""


def gpu_facts() -> dict[str, str]:
    """Name, compute capability and driver of the GPU that a capture uses.

    Raises:
        MatrixError: there is none.
    """
    command = ["nvidia-smi", f"--query-gpu={','.join(_QUERY.values())}", "--format=csv,noheader"]
    try:
        answer = subprocess.run(
            [*command, f"--id={chosen()}"],
            check=True,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=60,
        )
    except FileNotFoundError:
        raise MatrixError(
            "no NVIDIA GPU here (nvidia-smi is not on PATH); choose a lane for the CPU with --lane"
        ) from None
    except (subprocess.SubprocessError, OSError) as error:
        output = getattr(error, "stdout", None) or getattr(error, "stderr", None)
        raise MatrixError(
            f"nvidia-smi finds no GPU ({_first_line(output) or error}); is the driver loaded?"
        ) from None
    line = _first_line(answer.stdout)
    # Only the name, which comes first, may have commas in it.
    found = re.fullmatch(r"(.*\S)\s*,\s*(\d+\.\d+)\s*,\s*([\w.]+)", line)
    if not found:
        raise MatrixError(
            f"nvidia-smi answers {line!r} where name, compute capability and driver of a GPU were "
            "asked for; is the driver as new as the GPU?"
        )
    return dict(zip(_QUERY, found.groups(), strict=True))


def _first_line(output: str | bytes | None) -> str:
    text = output.decode(errors="replace") if isinstance(output, bytes) else output or ""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def chosen() -> str:
    """The one GPU that a pipeline may see: the first of `CUDA_VISIBLE_DEVICES`, or of all."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0].strip() or "0"


def unsupported(torch: Any) -> str | None:
    """Why this build of torch has no code for the GPU, or None when it has."""
    flags = getattr(torch._C, "_cuda_getArchFlags", None)
    built_for = ((flags and flags()) or "").split()
    capability = torch.cuda.get_device_capability()
    if runs_on(built_for, capability):
        return None
    name = f"{torch.cuda.get_device_name()} is sm_{capability[0]}{capability[1]}"
    code = ", ".join(built_for) or "none"
    return f"unsupported GPU: {name}, this build of torch has code for {code}"


def runs_on(built_for: Sequence[str], capability: tuple[int, int]) -> bool:
    """Whether code for these architectures runs on a GPU of this compute capability.

    Machine code (`sm_86`) runs on the same major and any later minor capability, that of one
    architecture alone (`sm_90a`) nowhere else, and intermediate code (`compute_80`) on every later
    one: "CUDA C++ Programming Guide", Compute Capability and Application Compatibility.
    """
    for name in built_for:
        match = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", name)
        if not match:
            continue
        major, minor = int(match[2]), int(match[3])
        if match[4] == "a":
            fits = (major, minor) == capability
        elif match[1] == "sm":
            fits = major == capability[0] and minor <= capability[1]
        else:
            fits = (major, minor) <= capability
        if fits:
            return True
    return False


def check_toolkit(torch: Any) -> str:
    """The nvcc that torch will call, when it can compile for this build of torch.

    Raises:
        ToolkitError: there is none, or it belongs to another CUDA.
    """
    from torch.utils.cpp_extension import CUDA_HOME  # noqa: PLC0415 - only a pipeline has torch

    wanted = torch.version.cuda
    cure = f"install the CUDA {wanted.partition('.')[0]} toolkit and set CUDA_HOME to it"
    if CUDA_HOME is None:
        raise ToolkitError(f"no nvcc, and colbert-ai compiles extensions for the GPU; {cure}")
    nvcc = Path(CUDA_HOME, "bin", "nvcc")
    try:
        answer = subprocess.run(
            [str(nvcc), "--version"],
            check=True,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
        )
    except (OSError, subprocess.SubprocessError):
        raise ToolkitError(
            f"no nvcc runs in CUDA_HOME, and colbert-ai compiles extensions for the GPU; {cure}"
        ) from None
    release = re.search(r"release (\d+\.\d+)", answer.stdout)
    found = release[1] if release else "an unknown version"
    if found.partition(".")[0] != wanted.partition(".")[0]:
        raise ToolkitError(f"nvcc is of CUDA {found}, this torch of {wanted}; {cure}")
    return str(nvcc)


def library_versions(torch: Any) -> dict[str, str]:
    """The versions of cuBLAS and cuDNN as loaded in this process."""
    facts = {}
    if cudnn := torch.backends.cudnn.version():
        facts["cudnn"] = str(cudnn)
    if path := _loaded("libcublas.so"):
        library = ctypes.CDLL(path)
        parts = []
        for part in range(3):  # major, minor, patch of libraryPropertyType
            number = ctypes.c_int()
            library.cublasGetProperty(part, ctypes.byref(number))
            parts.append(str(number.value))
        facts["cublas"] = ".".join(parts)
    return facts


def _loaded(name: str) -> str | None:
    """The file of a shared library that this process has loaded."""
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(rf"\s(/\S*/{re.escape(name)}\S*)$", maps, re.MULTILINE)
    return found[1] if found else None
