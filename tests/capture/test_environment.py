import re
import shutil
import types
from pathlib import Path
from typing import Any

import msgspec
import pytest

from matrix_capture import __version__, environment
from matrix_capture.environment import (
    SWITCHES,
    capture_code,
    colbert_origin,
    factors,
    fingerprint,
    host,
    packages,
    pins,
    switches,
    torch_facts,
)
from matrix_capture.errors import MatrixError
from matrix_capture.settings import Lane, read_settings

ROOT = Path(__file__).parents[2]
LANE = read_settings(ROOT / "matrix.toml").lane("cpu-pinned")


def distribution(folder: Path, name: str, version: str) -> Path:
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return info


# Packages.


def test_names_of_packages_are_normalised_and_sorted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution(tmp_path, "Some.Odd__name", "1.2")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = packages()
    assert found["some-odd-name"] == "1.2"
    assert "colbert-matrix" in found
    assert list(found) == sorted(found)


def test_what_a_killed_installer_left_is_no_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half-1.0.dist-info").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "half" not in packages()


def test_of_two_of_one_name_the_one_that_is_imported_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, version in (("second", "2.0"), ("first", "1.0")):
        distribution(tmp_path / folder, "some", version)
        monkeypatch.syspath_prepend(str(tmp_path / folder))
    assert packages()["some"] == "1.0"


@pytest.mark.parametrize(
    ("direct_url", "origin"),
    [
        (None, ""),
        ({"url": "https://example.org/colbert_ai.whl", "archive_info": {}}, ""),
        ({"url": "file:///cache/0a1b", "dir_info": {}}, "0a1b"),
        ({"url": "file:///home/me/ColBERT", "dir_info": {"editable": True}}, "ColBERT"),
        (
            {
                "url": "https://github.com/x/ColBERT",
                "vcs_info": {
                    "vcs": "git",
                    "requested_revision": "501c29d",
                    "commit_id": "501c29d0",
                },
            },
            "501c29d0",
        ),
    ],
)
def test_what_colbert_was_built_from(
    direct_url: dict[str, Any] | None,
    origin: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    info = distribution(tmp_path, "colbert_ai", "0.2.22")
    if direct_url:
        (info / "direct_url.json").write_bytes(msgspec.json.encode(direct_url))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert colbert_origin() == origin


def test_without_colbert_there_is_nothing_it_was_built_from() -> None:
    assert colbert_origin() == ""


def test_the_factors_of_a_lane_as_found_here() -> None:
    found = factors(LANE, {"colbert-ai": "0.2.22", "numpy": "1.26.4", "torch": "2.8.0"})
    assert (found["device"], found["threads"]) == ("cpu", "2")
    assert (found["colbert-ai"], found["numpy"], found["transformers"]) == ("0.2.22", "1.26.4", "")
    assert "torch" not in found
    assert all(isinstance(value, str) for value in found.values())
    built = factors(LANE, {"colbert-ai": "0.2.22"}, "tree:0a1b")
    assert built["colbert-ai"] == "0.2.22 tree:0a1b"
    assert factors(LANE, {}, "tree:0a1b")["colbert-ai"] == "tree:0a1b"


def test_the_pins_of_a_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = pins(LANE)
    assert (found["numpy"], found["faiss-cpu"]) == ("1.26.4", "1.8.0.post1")
    assert not {"torch", "colbert-ai"} & set(found)


def test_a_lane_without_constraints_pins_nothing() -> None:
    assert pins(msgspec.structs.replace(LANE, constraints=None)) == {}


def test_pins_that_cannot_be_read(tmp_path: Path) -> None:
    lane: Lane = msgspec.structs.replace(LANE, constraints=str(tmp_path / "none.txt"))
    with pytest.raises(MatrixError, match=r"none\.txt: No such file"):
        pins(lane)


def test_no_lane_pins_colbert_where_an_option_could_not_move_it() -> None:
    for name, lane in read_settings(ROOT / "matrix.toml").lanes.items():
        if lane.constraints is None:
            continue
        constraints = (ROOT / lane.constraints).read_text(encoding="utf-8")
        assert not re.search(r"^colbert", constraints, re.MULTILINE | re.IGNORECASE), name


# Variables.


def test_only_numeric_switches_are_recorded() -> None:
    secret = {"AWS_SECRET_ACCESS_KEY": "s3cr3t", "HF_TOKEN": "hf_x", "PATH": "/home/me/bin"}
    found = switches({**secret, "OMP_NUM_THREADS": "2", "MKL_CBWR": "AVX2", "omp_num_threads": "9"})
    assert found == {"MKL_CBWR": "AVX2", "OMP_NUM_THREADS": "2"}


def test_the_switches_name_no_paths_and_no_credentials() -> None:
    telling = ("TOKEN", "KEY", "SECRET", "PASSWORD", "PATH", "HOME", "URL", "PROXY", "USER")
    assert not [name for name in SWITCHES if any(word in name for word in telling)]
    assert list(SWITCHES) == sorted(set(SWITCHES))


# The host.


def test_the_host_is_told_without_torch() -> None:
    machine = host()
    assert {"cpu_vendor", "cpu_model", "isa", "cores", "libc", "python"} <= set(machine)
    assert all(value != "" for name, value in machine.items() if name not in ("isa", "libc"))
    msgspec.json.encode(machine)


CPUINFO = """processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 143
model name\t: Xeon
stepping\t: 8
flags\t\t: fpu avx512f sse4_1 sse4_2 avx avx2 fma amx_tile ssse3x lahf_lm

processor\t: 1
vendor_id\t: Other
"""


def test_the_first_processor_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: CPUINFO)
    machine = host()
    assert (machine["cpu_vendor"], machine["cpu_model"]) == ("GenuineIntel", "Xeon")
    assert machine["cpu_family"] == "6 143 8"
    assert machine["isa"] == "amx_tile avx avx2 avx512f fma sse4_1 sse4_2"


def test_a_host_without_cpuinfo(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", fail)
    assert host()["cpu_vendor"] == "unknown"


def test_the_fingerprint_holds_what_matters_and_nothing_of_torch() -> None:
    machine: dict[str, str | int] = {**host(), "torch_threads": 2, "mkl": "2024.2", "cuda": "12.8"}
    found = fingerprint(machine, 2)
    assert set(found) == {
        *("cpu_vendor", "cpu_model", "cpu_family", "isa", "libc", "system"),
        "threads",
    }
    assert fingerprint({**machine, "mkl": "2025", "python": "3.12.1", "cores": 64}, 2) == found
    assert fingerprint({**machine, "isa": "avx2"}, 2) != found
    assert fingerprint(machine, 4) != found


def fake_torch(built: str, cuda: str | None = None) -> Any:
    return types.SimpleNamespace(
        get_num_threads=lambda: 2,
        version=types.SimpleNamespace(cuda=cuda),
        backends=types.SimpleNamespace(),
        cuda=types.SimpleNamespace(is_initialized=lambda: False),
        __config__=types.SimpleNamespace(show=lambda: built),
    )


def test_the_libraries_inside_a_build() -> None:
    built = (
        "PyTorch built with:\n  - GCC 13.3\n"
        "  - Intel(R) oneAPI Math Kernel Library Version 2024.2-Product Build 20240605\n"
        "  - Intel(R) MKL-DNN v3.7.1 (Git Hash 8d263e6)\n"
        "  - Build settings: BLAS_INFO=mkl, LAPACK_INFO=mkl, CUDA_VERSION=12.8\n"
    )
    assert torch_facts(fake_torch(built, "12.8")) == {
        "torch_threads": 2,
        "cuda": "12.8",
        "mkl": "2024.2-Product",
        "onednn": "3.7.1",
        "blas": "mkl",
        "lapack": "mkl",
        "compiler": "GCC 13.3",
    }


def test_a_build_that_tells_nothing() -> None:
    assert torch_facts(fake_torch("")) == {"torch_threads": 2}


# The capture code.


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package that may be edited."""
    copied = tmp_path / "matrix_capture"
    shutil.copytree(ROOT / "capture" / "matrix_capture", copied)
    monkeypatch.setattr(environment, "__file__", str(copied / "environment.py"))
    return copied


def test_the_hash_of_the_code_depends_on_the_sources_alone(package: Path) -> None:
    copied = capture_code()
    (package / "notes.txt").write_text("x")
    assert capture_code() == copied
    assert (len(copied.hash), copied.version) == (64, __version__)


@pytest.mark.parametrize("change", ["edit", "add", "rename", "remove"])
def test_the_hash_of_the_code_notices_a_change(change: str, package: Path) -> None:
    before = capture_code().hash
    taps = package / "taps.py"
    if change == "edit":
        taps.write_text(taps.read_text() + "\n")
    elif change == "add":
        (package / "extra.py").write_text("")
    elif change == "rename":
        taps.rename(package / "tapz.py")
    else:
        taps.unlink()
    assert capture_code().hash != before
