"""GitHub's language, installed by `nox -s workflows`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workflows.language import Language


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--npm", type=Path, metavar="DIR", help="where npm has installed its packages")


@pytest.fixture(scope="session")
def language(request: pytest.FixtureRequest) -> Iterator[Language]:
    folder = request.config.getoption("--npm", default=None)
    if not (folder and (folder / "node_modules" / "@actions").is_dir()):
        pytest.skip("no parser of GitHub's; nox -s workflows has npm install it")
    with Language(folder) as opened:
        yield opened
