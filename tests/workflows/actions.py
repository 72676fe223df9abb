"""What other people's actions do to the file system, as the real ones do it."""

import fnmatch
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os.path import commonpath
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.workflows.host import Host
    from tests.workflows.machine import Machine

# What a file system of somebody may not have in a name.
_UNFIT = re.compile(r'[":<>|*?\r\n]')


class ActionError(Exception):
    """An action failed."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """A step that uses an action."""

    inputs: Mapping[str, str]
    machine: "Machine"
    host: "Host"

    def given(self, **defaults: str) -> list[str]:
        """The inputs in the order of their defaults; any other is unknown."""
        spelt = {name.replace("_", "-"): name for name in defaults}
        known = {spelt.get(name, name): value for name, value in self.inputs.items()}
        if unknown := known.keys() - defaults.keys():
            raise ActionError(f"no input {', '.join(sorted(unknown))}")
        return list((defaults | known).values())

    def may(self, **permissions: str) -> None:
        """Refuse a job without these permissions."""
        for scope, access in permissions.items():
            if self.machine.permissions.get(scope.replace("_", "-")) != access:
                raise ActionError(f"the job has no {scope.replace('_', '-')}: {access}")


Action = Callable[[Call], dict[str, str]]


def git(*arguments: str | Path, folder: Path | None = None) -> str:
    """Run git; returns what it says."""
    command = ["git", "-c", "protocol.file.allow=always", *map(str, arguments)]
    found = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if found.returncode:
        raise ActionError(found.stderr.strip())
    return found.stdout.strip()


def checkout(call: Call) -> dict[str, str]:
    """The commit of the run, or another, in the workspace or below it."""
    github = call.machine.github
    repository, ref, path, *_ = call.given(
        repository=github["repository"],
        ref=github["sha"],
        path=".",
        persist_credentials="true",
        fetch_depth="1",
    )
    folder = call.machine.workspace / path
    git("clone", "--quiet", "--no-checkout", call.host.server / repository, folder)
    git("checkout", "--quiet", ref, folder=folder)
    return {"ref": ref, "commit": git("rev-parse", "HEAD", folder=folder)}


def setup_uv(call: Call) -> dict[str, str]:
    """uv on the path, with an environment that later steps use."""
    _, python, activate, _ = call.given(
        version="", python_version="", activate_environment="false", enable_cache="auto"
    )
    if not shutil.which("uv", path=call.machine.environment["PATH"]):
        raise ActionError("no uv on this machine")
    if python:
        call.machine.variables["UV_PYTHON"] = python
    if activate == "true":
        environment = call.machine.workspace / ".venv"
        command = ["uv", "venv", "--quiet", *(["--python", python] if python else [])]
        subprocess.run([*command, environment], env=call.machine.environment, check=True)
        call.machine.variables["VIRTUAL_ENV"] = str(environment)
        call.machine.path.append(str(environment / "bin"))
    return {"uv-version": "0"}


def upload_artifact(call: Call) -> dict[str, str]:
    """Files under a name that no other upload of the run has."""
    name, paths, missing, retention, hidden, overwrite = call.given(
        name="artifact",
        path="",
        if_no_files_found="warn",
        retention_days="0",
        include_hidden_files="false",
        overwrite="false",
    )
    if not name or _UNFIT.search(name) or "/" in name or "\\" in name:
        raise ActionError(f"{name!r} is no name of an artifact")
    if not 0 <= int(retention) <= 90:
        raise ActionError(f"nothing is kept for {retention} days")
    workspace = call.machine.workspace
    searched = [workspace / path for path in paths.split("\n") if path.strip()]
    found = sorted(
        file
        for path in searched
        for file in ([path] if path.is_file() else path.rglob("*"))
        if file.is_file()
    )
    if hidden != "true":
        found = [
            file
            for file in found
            if not any(part.startswith(".") for part in file.relative_to(workspace).parts)
        ]
    if not found:
        if missing == "error":
            raise ActionError(f"no files at {paths!r}")
        return {}
    store = call.machine.artifacts / name
    if store.exists() and overwrite != "true":
        raise ActionError(f"an artifact {name} is there already")
    shutil.rmtree(store, ignore_errors=True)
    # What several paths have in common is left away, of a file all that is above it.
    root = Path(commonpath(searched))
    root = root.parent if root.is_file() else root
    for file in found:
        target = file.relative_to(root)
        if _UNFIT.search(str(target)):
            raise ActionError(f"{target} cannot be a name everywhere")
        (store / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, store / target)
    return {"artifact-id": name, "artifact-url": store.as_uri()}


def download_artifact(call: Call) -> dict[str, str]:
    """One artifact into a folder, several of a pattern each into one of its own.

    If a pattern has one alone, that has no folder either (since v5: download-artifact#419).
    """
    name, pattern, path, merge = call.given(name="", pattern="", path="", merge_multiple="false")
    folder = call.machine.workspace / path
    if name:
        store = call.machine.artifacts / name
        if not store.is_dir():
            raise ActionError(f"no artifact {name}")
        shutil.copytree(store, folder, dirs_exist_ok=True)
        return {"download-path": str(folder)}
    found = [
        store
        for store in sorted(call.machine.artifacts.glob("*"))
        if any(fnmatch.fnmatchcase(store.name, one) for one in _unfolded(pattern or "*"))
    ]
    for store in found:
        target = folder if merge == "true" or len(found) == 1 else folder / store.name
        shutil.copytree(store, target, dirs_exist_ok=True)
    return {"download-path": str(folder)}


def _unfolded(pattern: str) -> list[str]:
    """What a pattern such as `{a,b}-*` stands for."""
    before, brace, rest = pattern.partition("{")
    inside, _, after = rest.partition("}")
    return [f"{before}{one}{after}" for one in inside.split(",")] if brace else [pattern]


def configure_pages(call: Call) -> dict[str, str]:
    """The address of the site."""
    call.given()
    return {"base_url": _address(call)}


def upload_pages_artifact(call: Call) -> dict[str, str]:
    """A folder as one archive, without what is hidden."""
    name, path, retention = call.given(name="github-pages", path="_site/", retention_days="1")
    folder = call.machine.workspace / path
    if not folder.is_dir():
        raise ActionError(f"no folder {path}")
    archive = call.machine.workspace / "artifact.tar"
    with tarfile.open(archive, "w") as tar:
        for item in sorted(folder.iterdir()):
            if not item.name.startswith("."):
                tar.add(item, arcname=item.name)
    inputs = {"name": name, "path": archive.name, "retention-days": retention}
    upload_artifact(Call(inputs=inputs, machine=call.machine, host=call.host))
    return {"artifact_id": name}


def deploy_pages(call: Call) -> dict[str, str]:
    """Publishes the archive."""
    call.may(pages="write", id_token="write")  # noqa: S106 - a permission
    (name,) = call.given(artifact_name="github-pages")
    archive = call.machine.artifacts / name / "artifact.tar"
    if not archive.is_file():
        raise ActionError(f"no artifact {name} that could be deployed")
    shutil.rmtree(call.host.pages, ignore_errors=True)
    with tarfile.open(archive) as tar:
        tar.extractall(call.host.pages, filter="data")
    return {"page_url": f"{_address(call)}/"}


def create_github_app_token(call: Call) -> dict[str, str]:
    """A token of an App, for the owner's repositories that are named."""
    app, client, key, *_ = call.given(
        app_id="", client_id="", private_key="", owner="", repositories="", permission_checks=""
    )
    if not (app or client) or not key:
        raise ActionError("no app-id or no private-key")
    return {"token": "token-of-the-app"}


def _address(call: Call) -> str:
    owner, _, name = call.host.repository.partition("/")
    return f"https://{owner}.example/{name}"


ACTIONS: Mapping[str, Action] = {
    "actions/checkout": checkout,
    "actions/configure-pages": configure_pages,
    "actions/create-github-app-token": create_github_app_token,
    "actions/deploy-pages": deploy_pages,
    "actions/download-artifact": download_artifact,
    "actions/upload-artifact": upload_artifact,
    "actions/upload-pages-artifact": upload_pages_artifact,
    "astral-sh/setup-uv": setup_uv,
}
