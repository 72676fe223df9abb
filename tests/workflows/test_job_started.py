"""The hook that decides which jobs may use the machine with the GPU, run as the runner runs it."""

import os
import shutil
import socket
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

HOOK = Path("runner/job-started.sh").absolute()
MAIN = "refs/heads/main"
NIGHTLY = ".github/workflows/nightly.yml"
ALLOWED = f"""\
schedule o/n/{NIGHTLY}@{MAIN}
workflow_dispatch o/n/.github/workflows/pr.yml@{MAIN}
pull_request o/n/{NIGHTLY}@{MAIN}
"""
NOBODY = 65534

Hook = Callable[..., subprocess.CompletedProcess[str]]


def job(**changes: str | None) -> dict[str, str]:
    """What GitHub says of a job that is allowed, but for some changes; None takes one away."""
    said: dict[str, str | None] = {
        "GITHUB_REPOSITORY": "o/n",
        "GITHUB_EVENT_NAME": "schedule",
        "GITHUB_REF": MAIN,
        "GITHUB_WORKFLOW_REF": f"o/n/{NIGHTLY}@{MAIN}",
    }
    said |= {f"GITHUB_{name.upper()}": value for name, value in changes.items()}
    return {name: value for name, value in said.items() if value is not None}


def of(repository: str = "o/n", file: str = NIGHTLY, ref: str = MAIN) -> dict[str, str]:
    """The same job of another repository, workflow file or ref, with nothing that contradicts."""
    return job(repository=repository, ref=ref, workflow_ref=f"{repository}/{file}@{ref}")


@pytest.fixture
def machine() -> Iterator[Path]:
    """A machine with the hook, and folders for a job."""
    root = Path(tempfile.mkdtemp())  # pytest's own folders are closed to others
    root.chmod(0o755)
    (root / "runner").mkdir()
    shutil.copy(HOOK, root / "runner" / "job-started.sh")
    (root / "runner" / "allowed").write_text(ALLOWED, encoding="utf-8")
    (root / "workspace").mkdir()
    yield root
    shutil.rmtree(root)


@pytest.fixture(scope="session")
def as_root() -> list[str]:
    """What makes a command root's: only root can install what those who run jobs cannot change."""
    if os.geteuid() == 0:
        return []
    sudo = ["sudo", "--non-interactive"]
    if not shutil.which("sudo") or subprocess.run([*sudo, "true"], check=False).returncode:
        pytest.skip("only root can install what those who run jobs cannot change")
    return sudo


@pytest.fixture
def hook(machine: Path, as_root: list[str]) -> Hook:
    installed = machine / "runner"

    def own(user: int, *paths: Path) -> None:
        subprocess.run([*as_root, "chown", "-R", str(user), *paths], check=True)

    def run(
        said: Mapping[str, str],
        *,
        user: int = NOBODY,
        privileges: bool = False,
        theirs: Path | None = None,
        **environment: str | None,
    ) -> subprocess.CompletedProcess[str]:
        folders: dict[str, str | None] = {
            "GITHUB_WORKSPACE": str(machine / "workspace"),
            "HF_HOME": str(machine / "huggingface"),
            "TORCH_EXTENSIONS_DIR": str(machine / "extensions"),
        }
        known = {**folders, **environment, **said}
        variables = [f"{name}={value}" for name, value in known.items() if value is not None]
        drop = ["setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups"]
        drop += [] if privileges else ["--no-new-privs"]
        command = [*drop, "bash", "-e", str(installed / "job-started.sh")]
        own(0, installed)
        if theirs:
            own(user, theirs)
        found = subprocess.run(
            [*as_root, "env", "--ignore-environment", *variables, *command],
            capture_output=True,
            text=True,
            check=False,
        )
        own(os.geteuid(), installed)
        return found

    return run


def refused(found: subprocess.CompletedProcess[str]) -> str:
    """Why a job was refused, which is one line."""
    assert found.returncode == 1
    assert found.stdout == ""
    (line,) = found.stderr.splitlines()
    assert line.startswith("refused: ")
    return line


@pytest.mark.parametrize(
    "said",
    [job(), of(file=".github/workflows/pr.yml") | {"GITHUB_EVENT_NAME": "workflow_dispatch"}],
)
def test_a_listed_job_may_start(hook: Hook, said: dict[str, str]) -> None:
    found = hook(said)
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


REFUSED = {
    "the event is": [
        job(event_name="pull_request"),  # although listed
        job(event_name="pull_request_target"),
        job(event_name="push"),
        job(event_name="workflow_run"),
        job(event_name="Schedule"),
        job(event_name="schedule\nworkflow_dispatch"),
        job(event_name="*"),
        job(event_name=""),
        job(event_name=None),
    ],
    "the workflow": [
        job(repository="evil/n"),
        job(repository="o/n/.github/workflows/x"),
        job(repository="*"),
        job(repository=""),
        job(repository=None),
        job(ref="refs/heads/evil"),
        job(ref="refs/pull/1/merge"),
        job(ref="main"),
        job(ref="*"),
        job(ref=None),
        job(workflow_ref=None),
        job(workflow_ref=""),
    ],
    "the list": [
        job(event_name="workflow_dispatch"),  # listed for another file
        of(repository="evil/n"),
        of(repository="o/n2"),
        of(repository="O/N"),
        of(repository="*"),
        of(repository="o/n/../n"),
        of(repository=""),
        of(file=".github/workflows/ci.yml"),
        of(file=".github/workflows/nightly.yml.yml"),
        of(file=".github/workflows/nightly.yaml"),
        of(file=".github/workflows/../workflows/nightly.yml"),
        of(file=".github/workflows/*"),
        of(file=".github/workflows/nightl?.yml"),
        of(file=".github/workflows/nightly.yml\n"),
        of(file=f".github/workflows/evil.yml\nschedule o/n/{NIGHTLY}"),
        of(file=".github/workflows/n\u0456ghtly.yml"),  # a Cyrillic i
        of(ref="refs/heads/evil"),
        of(ref="refs/heads/main2"),
        of(ref="refs/heads/x/main"),
        of(ref="refs/pull/1/merge"),
        of(ref="refs/tags/main"),
        of(ref="refs/heads/main\n"),
        of(ref="refs/heads/evil@refs/heads/main"),
        of(ref="refs/heads/ma*"),
        of(ref=""),
    ],
}


@pytest.mark.parametrize(
    ("why", "said"), [(why, said) for why, jobs in REFUSED.items() for said in jobs]
)
def test_any_other_job_is_refused(hook: Hook, why: str, said: dict[str, str]) -> None:
    assert refused(hook(said)).startswith(f"refused: {why} ")


def test_what_a_job_says_of_itself_writes_no_line(hook: Hook) -> None:
    said = of(ref="refs/heads/\n::error::x\x1b[2J")
    assert r"\n::error::x\E[2J" in refused(hook(said))


def test_the_list_may_end_without_a_newline_and_have_other_lines(hook: Hook, machine: Path) -> None:
    allowed = machine / "runner" / "allowed"
    allowed.write_text(f"# nightly\n\nschedule o/n/{NIGHTLY}@{MAIN}", encoding="utf-8")
    assert hook(job()).returncode == 0
    assert refused(hook(of(ref="")))


def test_without_a_list_nothing_may_start(hook: Hook, machine: Path) -> None:
    (machine / "runner" / "allowed").unlink()
    assert "there is no list" in refused(hook(job()))


def test_a_job_is_not_root(hook: Hook) -> None:
    assert "jobs run as root" in refused(hook(job(), user=0))


@pytest.mark.parametrize("name", [".", "job-started.sh", "allowed"])
def test_a_job_cannot_change_what_decides(hook: Hook, machine: Path, name: str) -> None:
    path = machine / "runner" / name
    mode = path.stat().st_mode
    path.chmod(mode | stat.S_IWOTH)
    assert "it must belong to root alone" in refused(hook(job()))
    path.chmod(mode & ~stat.S_IWUSR)
    assert "it must belong to root alone" in refused(hook(job(), theirs=path))


def test_a_job_cannot_become_another_user(hook: Hook) -> None:
    assert "jobs can become another user" in refused(hook(job(), privileges=True))


def test_a_job_reaches_no_socket_of_docker(hook: Hook, machine: Path) -> None:
    elsewhere = machine / "docker.sock"
    edit(machine, "/run/docker.sock", str(elsewhere))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(elsewhere))
        assert hook(job()).returncode == 0
        elsewhere.chmod(0o666)
        assert "as good as being root" in refused(hook(job()))


@pytest.mark.parametrize("folder", ["workspace", "huggingface", "extensions"])
def test_nothing_is_left_of_another_job(hook: Hook, machine: Path, folder: str) -> None:
    (machine / folder).mkdir(exist_ok=True)
    assert hook(job()).returncode == 0
    (machine / folder / ".hidden").touch()
    assert f"something is left in {machine / folder}" in refused(hook(job()))


@pytest.mark.parametrize("name", ["GITHUB_WORKSPACE", "HF_HOME", "TORCH_EXTENSIONS_DIR"])
def test_a_job_has_folders_of_its_own(hook: Hook, name: str) -> None:
    assert "is not set" in refused(hook(job(), **{name: None}))
    assert "is not set" in refused(hook(job(), **{name: "relative"}))


def test_commands_of_a_job_decide_nothing(hook: Hook, machine: Path) -> None:
    tools = machine / "tools"
    tools.mkdir()
    for name in ("grep", "ls", "logger"):
        tool = tools / name
        tool.write_text("#!/bin/sh\ntouch '{machine}/called'\n", encoding="utf-8")
        tool.chmod(0o755)
    (machine / "workspace" / "left").touch()
    refused(hook(job(), PATH=f"{tools}:/usr/bin:/bin"))
    assert not (machine / "called").exists()


def edit(machine: Path, old: str, new: str) -> None:
    """Change the hook that is installed."""
    path = machine / "runner" / "job-started.sh"
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} is not there once"
    path.write_text(text.replace(old, new), encoding="utf-8")


# Each rule is taken out; what it alone refuses must then get through.
RULES = [
    ('  *) refuse "the event is', '  *) : "the event is', job(event_name="pull_request"), {}),
    ('[[ $workflow == "$repository/', '[[ $workflow == *"/', job(repository="evil/n"), {}),
    ('[[ $workflow == *"@$ref" ]]', "[[ 1 ]]", job(ref="refs/heads/evil"), {}),
    ('listed "$event $workflow" ||', "[[ 1 ]] ||", of(ref="refs/heads/evil"), {}),
    ('[[ $line == "$1" ]]', "[[ $1 == $line* ]]", of(ref="refs/heads/main2"), {}),
    ('[[ $line == "$1" ]]', "[[ $line == $1 ]]", of(ref="refs/heads/ma*"), {}),
    ("[[ $EUID -ne 0 ]] ||", "[[ 1 ]] ||", job(), {"user": 0}),
    ("NoNewPrivs:[[:space:]]*1$", "NoNewPrivs:", job(), {"privileges": True}),
    ("[[ $folder == /* ]] ||", "[[ 1 ]] ||", job(), {"HF_HOME": None}),
]


@pytest.mark.parametrize("planted", RULES)
def test_each_rule_is_needed(
    hook: Hook, machine: Path, planted: tuple[str, str, dict[str, str], dict[str, Any]]
) -> None:
    rule, without, said, how = planted
    if how.get("user") == 0:  # to root everything is writable, which other rules would refuse
        edit(machine, "[[ ! -O $path && ! -w $path ]] ||", "[[ 1 ]] ||")
    refused(hook(said, **how))
    edit(machine, rule, without)
    assert hook(said, **how).returncode == 0
