"""GitHub's language, installed by `nox -s workflows`, and a server with repositories."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.workflows.actions import git
from tests.workflows.harness import Harness
from tests.workflows.host import Host, installers
from tests.workflows.language import Language

Stage = Callable[..., Harness]


@pytest.fixture(scope="session")
def language(request: pytest.FixtureRequest) -> Iterator[Language]:
    folder = request.config.getoption("--npm", default=None)
    if not (folder and (folder / "node_modules" / "@actions").is_dir()):
        pytest.skip("no parser of GitHub's; nox -s workflows has npm install it")
    with Language(folder) as opened:
        yield opened


@pytest.fixture
def stage(language: Language, tmp_path: Path) -> Stage:
    """Puts files on the branch main of a repository, and returns what runs its workflows."""

    def make(
        files: Mapping[str, str | bytes],
        *,
        repository: str = "owner/name",
        more: Mapping[str, str] | None = None,
        **told: Any,
    ) -> Harness:
        host = Host(
            folder=tmp_path / "host",
            server=tmp_path / "server",
            repository=repository,
            environment={**installers(os.environ), **(more or {})},
            **told,
        )
        publish(host.server / repository, files)
        return Harness(language, host)

    return make


def publish(bare: Path, files: Mapping[str, str | bytes]) -> None:
    """Make a bare repository with these files on its branch main."""
    tree = bare.with_name(f"{bare.name}-tree")
    git("init", "--quiet", "--initial-branch", "main", tree)
    for name, content in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        data = content if isinstance(content, bytes) else content.encode()
        (tree / name).write_bytes(data)
    git("add", "--all", folder=tree)
    who = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.org")
    git(*who, "commit", "--quiet", "--message", "All of it", folder=tree)
    git("clone", "--quiet", "--bare", tree, bare)
