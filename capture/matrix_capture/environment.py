"""What a capture ran on: packages, host, numeric switches, and the fingerprint of the host."""

import importlib.metadata
import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import blake3
import msgspec

from matrix_capture import __version__
from matrix_capture.catalogue import Device
from matrix_capture.errors import MatrixError
from matrix_capture.gpu import GPU_FACTS, gpu_facts, library_versions
from matrix_capture.schema import CaptureCode
from matrix_capture.settings import Lane

# Switches that change numbers or their order; no other variable is recorded.
SWITCHES = (
    "ATEN_CPU_CAPABILITY",
    "CUBLAS_WORKSPACE_CONFIG",
    "DNNL_MAX_CPU_ISA",
    "KMP_DETERMINISTIC_REDUCTION",
    "MKL_CBWR",
    "MKL_DYNAMIC",
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_NUM_THREADS",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_DYNAMIC",
    "OMP_NUM_THREADS",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_NUM_THREADS",
    "PYTHONHASHSEED",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)

# Instruction sets that choose a kernel somewhere below torch.
_ISA = re.compile(r"(sse4_[12]|avx\w*|fma|f16c|amx_\w+|asimd\w*|sve\w*|bf16)")

# Packages whose version a lane fixes beside the ones it names itself.
_FACTORS = ("datasets", "faiss-cpu", "numpy", "pyarrow", "scipy", "tokenizers", "transformers")


def packages() -> dict[str, str]:
    """Every installed distribution, normalised name to version."""
    found = {
        re.sub(r"[-_.]+", "-", dist.name).lower(): dist.version
        # Backwards, so that of two with one name the one that is imported stays.
        for dist in reversed([*importlib.metadata.distributions()])
        if "Name" in dist.metadata  # what an installer was killed over has none
    }
    return dict(sorted(found.items()))


def factors(lane: Lane, installed: dict[str, str], built: str = "") -> dict[str, str]:
    """The factors the lane fixes, as found here; `built` is what colbert-ai was built from."""
    return {
        "device": lane.device,
        "python": ".".join(platform.python_version_tuple()[:2]),
        "threads": str(lane.threads),
        "kmeans": f"faiss on the {'GPU' if lane.kmeans == 'cuda' else 'CPU'}",
        "colbert-ai": f"{installed.get('colbert-ai', '')} {built}".strip(),
        **{name: installed.get(name, "") for name in _FACTORS},
    }


def pins(lane: Lane) -> dict[str, str]:
    """The version of each package that the lane's constraints fix; colbert-ai is none of them.

    Raises:
        MatrixError: its constraints cannot be read.
    """
    if lane.constraints is None:
        return {}
    try:
        constraints = Path(lane.constraints).read_text(encoding="utf-8")
    except OSError as error:
        raise MatrixError(f"{lane.constraints}: {error.strerror}; matrix.toml names it") from None
    return dict(re.findall(r"^([\w.-]+)==([\w.+!-]+)", constraints, re.MULTILINE))


def colbert_origin() -> str:
    """What the installed colbert-ai was built from: a commit or the name of a folder.

    Empty for a release, and where there is none.
    """
    try:
        told = importlib.metadata.distribution("colbert-ai").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return ""
    found = msgspec.json.decode(told or "{}", type=_DirectUrl)
    if found.vcs_info:
        return found.vcs_info.commit_id
    return "" if found.dir_info is None else PurePosixPath(found.url).name


def switches(variables: Mapping[str, str]) -> dict[str, str]:
    """The numeric switches among some environment variables."""
    return {name: variables[name] for name in SWITCHES if name in variables}


def host(device: Device = "cpu") -> dict[str, str | int]:
    """The machine, as far as it can be told without torch; with its GPU for a lane on one.

    Raises:
        MatrixError: the lane needs a GPU and there is none.
    """
    cpu = _cpuinfo()
    flags = cpu.get("flags") or cpu.get("Features") or ""
    return {
        "cpu_vendor": cpu.get("vendor_id") or cpu.get("CPU implementer") or "unknown",
        "cpu_model": cpu.get("model name") or platform.machine(),
        "cpu_family": " ".join(cpu.get(key, "?") for key in ("cpu family", "model", "stepping")),
        "isa": " ".join(sorted(flag for flag in flags.split() if _ISA.fullmatch(flag))),
        "cores": os.cpu_count() or 1,
        "libc": " ".join(platform.libc_ver()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **(gpu_facts() if device == "cuda" else {}),
    }


def fingerprint(machine: dict[str, str | int], threads: int) -> dict[str, str | int]:
    """The facts of a host that must match before two captures are compared; torch has no part."""
    names = ("cpu_vendor", "cpu_model", "cpu_family", "isa", "libc", "system", *GPU_FACTS)
    return {**{name: machine[name] for name in names if name in machine}, "threads": threads}


def torch_facts(torch: Any) -> dict[str, str | int]:
    """The libraries inside a torch build, and how it uses this machine."""
    facts: dict[str, str | int] = {"torch_threads": torch.get_num_threads()}
    if torch.version.cuda:
        facts["cuda"] = torch.version.cuda
    if torch.cuda.is_initialized():
        facts |= library_versions(torch)
    if hasattr(torch.backends, "cpu"):
        facts["cpu_capability"] = torch.backends.cpu.get_cpu_capability()
    built = torch.__config__.show()
    for name, pattern in (
        ("mkl", r"Math Kernel Library Version (\S+)"),
        ("onednn", r"(?:MKL-DNN|oneDNN) v(\S+)"),
        ("blas", r"BLAS_INFO=(\w+)"),
        ("lapack", r"LAPACK_INFO=(\w+)"),
        ("compiler", r"(GCC [\d.]+|clang \S+)"),
    ):
        if match := re.search(pattern, built):
            facts[name] = match.group(1).rstrip(",")
    return facts


def capture_code() -> CaptureCode:
    """This package's version and the BLAKE3 of its sources."""
    hasher = blake3.blake3()
    for source in sorted(Path(__file__).parent.iterdir()):
        if source.suffix not in (".py", ".cu"):
            continue
        hasher.update(source.name.encode()).update(source.read_bytes())
    return CaptureCode(version=__version__, hash=hasher.hexdigest())


class _Commit(msgspec.Struct):
    commit_id: str


class _DirectUrl(msgspec.Struct):
    """What an installer notes of a package that came from no index (PEP 610)."""

    url: str = ""
    vcs_info: _Commit | None = None
    dir_info: dict[str, bool] | None = None


def _cpuinfo() -> dict[str, str]:
    """The first processor's entries of /proc/cpuinfo; empty where there is none."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
