"""What offers a GPU for one job, with a stand-in for GitHub's runner."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

START = Path("runner/start.sh").absolute()
SETTINGS = {
    "RUNNER_URL": "https://github.example/o/n",
    "RUNNER_LABELS": "colbert-gpu,sm_90",
    "CUDA_HOME": "/usr/local/cuda",
}
NOTE = """\
#!/usr/bin/env python3
import json, os, pathlib, sys
said = {"arguments": sys.argv[1:], "environment": dict(os.environ), "folder": os.getcwd()}
said["left"] = sorted(map(str, pathlib.Path(os.environ["HOME"]).parent.rglob("*")))
pathlib.Path("%s").write_text(json.dumps(said))
pathlib.Path(os.environ["HOME"], "left").touch()
sys.exit(%d)
"""

Start = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    program, token = tmp_path / "program", tmp_path / "token"

    def run(gpu: str = "1", *, status: int = 0, **settings: str | None) -> Any:
        program.mkdir()
        for name, ends in (("config.sh", 0), ("run.sh", status)):
            (program / name).write_text(NOTE % (tmp_path / name, ends), encoding="utf-8")
            (program / name).chmod(0o755)
        token.write_text("s3cret\n", encoding="utf-8")
        known = {**SETTINGS, "RUNNER_PROGRAM": str(program), "PATH": os.environ["PATH"], **settings}
        return subprocess.run(
            ["bash", START, gpu, token],
            env={name: value for name, value in known.items() if value is not None},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def noted(tmp_path: Path, name: str) -> dict[str, Any]:
    """What a stand-in was given."""
    found: dict[str, Any] = json.loads((tmp_path / name).read_text(encoding="utf-8"))
    return found


def test_a_runner_is_registered_for_one_job(start: Start, tmp_path: Path) -> None:
    assert start().returncode == 0
    given = noted(tmp_path, "config.sh")
    assert {"--unattended", "--ephemeral", "--disableupdate"} <= set(given["arguments"])
    follows = dict(zip(given["arguments"], given["arguments"][1:], strict=False))
    assert follows["--url"] == SETTINGS["RUNNER_URL"]
    assert follows["--labels"] == SETTINGS["RUNNER_LABELS"]
    assert follows["--name"] == f"{os.uname().nodename}-gpu1"


def test_nobody_can_read_the_token_but_the_one_who_needs_it(start: Start, tmp_path: Path) -> None:
    found = start()
    given, job = noted(tmp_path, "config.sh"), noted(tmp_path, "run.sh")
    assert given["environment"]["ACTIONS_RUNNER_INPUT_TOKEN"] == "s3cret"  # noqa: S105
    assert "s3cret" not in str(given["arguments"])
    assert "s3cret" not in str(job)
    assert "s3cret" not in found.stdout + found.stderr
    assert not (tmp_path / "token").exists()


def test_a_job_gets_one_gpu_and_folders_of_its_own(start: Start, tmp_path: Path) -> None:
    start(SECRET="s3cret", HF_HOME="/shared")  # noqa: S106
    job = noted(tmp_path, "run.sh")
    environment = job["environment"]
    home = Path(environment["HOME"]).parent
    assert job["folder"] == str(home / "runner")
    assert environment["CUDA_VISIBLE_DEVICES"] == "1"
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["ACTIONS_RUNNER_HOOK_JOB_STARTED"] == str(START.with_name("job-started.sh"))
    for name in ("HF_HOME", "TMPDIR", "TORCH_EXTENSIONS_DIR"):
        assert Path(environment[name]).parent == home
    assert "SECRET" not in environment
    assert not [path for path in job["left"] if path.startswith(environment["HF_HOME"])]


@pytest.mark.parametrize("status", [0, 3])
def test_nothing_is_left_of_a_job(start: Start, tmp_path: Path, status: int) -> None:
    assert start(status=status).returncode == status
    assert not Path(noted(tmp_path, "run.sh")["environment"]["HOME"]).parent.exists()
    # The program that the next job is run by is not the one that this job could change.
    assert sorted(path.name for path in (tmp_path / "program").iterdir()) == ["config.sh", "run.sh"]


@pytest.mark.parametrize("gpu", ["", "0,1", "all", "-1", "GPU-1"])
def test_what_is_no_number_of_a_gpu_is_refused(start: Start, tmp_path: Path, gpu: str) -> None:
    assert start(gpu).returncode == 2
    assert not (tmp_path / "config.sh").exists()


@pytest.mark.parametrize("name", [*SETTINGS, "RUNNER_PROGRAM"])
def test_a_setting_that_is_missing_is_named(start: Start, tmp_path: Path, name: str) -> None:
    found = start(**{name: None})
    assert found.returncode != 0
    assert name in found.stderr
    assert not (tmp_path / "config.sh").exists()


def test_without_the_hook_nothing_starts(tmp_path: Path) -> None:
    alone = tmp_path / "start.sh"
    alone.write_bytes(START.read_bytes())
    found = subprocess.run(
        ["bash", alone, "0", tmp_path / "token"], capture_output=True, text=True, check=False
    )
    assert found.returncode == 2
    assert "without it any job could run here" in found.stderr


@pytest.mark.parametrize(
    ("line", "planted"),
    [
        ("DynamicUser=yes", "DynamicUser=yes"),
        ("DynamicUser=yes", "DynamicUsers=yes"),
        ("DynamicUser=yes", "DynamicUser=perhaps"),
        ("IPAddressDeny=169.254.169.254/32", "IPAddressDeny=169.254.169.254.1/32"),
    ],
)
def test_systemd_understands_the_service(tmp_path: Path, line: str, planted: str) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze on this machine")
    service = START.with_name("colbert-runner@.service").read_text(encoding="utf-8")
    assert line in service
    unit = tmp_path / "colbert-runner@.service"
    installed = service.replace("/usr/local/lib/colbert-runner/start.sh", str(START))
    unit.write_text(installed.replace(line, planted), encoding="utf-8")
    found = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
    )
    assert (unit.name in found.stderr) is (line != planted), found.stderr
