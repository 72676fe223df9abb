"""A site that has everything, a server of it, a real browser, and the checkers."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.kinds import kinds
from tests.browser.serving import serving
from tests.site.conftest import WriteLane, write_lane  # noqa: F401 - a fixture
from tests.site.example import Example, make_example

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Visit = Callable[..., AbstractContextManager["Page"]]
"""Opens an address in a context of its own, which takes the keywords of `Browser.new_context`."""

SCORES: dict[str, Mapping[str, float]] = {}
"""What Lighthouse gave, by page."""

TODAY = datetime(2025, 11, 18, tzinfo=UTC)
"""Two days after the newest capture of the example."""

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--checkers", type=Path, metavar="DIR", help="where npm has installed them")
    parser.addoption("--screenshots", type=Path, metavar="DIR", help="write pictures of all pages")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if SCORES:
        terminalreporter.section("Lighthouse")
        names = next(iter(SCORES.values()))
        terminalreporter.write_line("  ".join(names))
        for page, scores in SCORES.items():
            figures = (f"{score:<{len(name)}.2f}" for name, score in scores.items())
            terminalreporter.write_line(f"{'  '.join(figures)}  {page}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """The sites, where they are served, and the pages of each kind relative to their folder."""

    example: Example
    origin: str
    kinds: Mapping[str, tuple[str, ...]]

    def address(self, page: str, scheme: str = "http") -> str:
        """The address of a page, with a server or without."""
        return f"{self.root(scheme)}{page}"

    def root(self, scheme: str = "http") -> str:
        """What the addresses of all pages start with."""
        return self.origin if scheme == "http" else f"{self.example.folder.as_uri()}/"


@pytest.fixture(scope="session")
def shown(tmp_path_factory: pytest.TempPathFactory, write_lane: WriteLane) -> Iterator[Shown]:  # noqa: F811
    folder = tmp_path_factory.mktemp("sites")
    with serving(folder) as origin:
        example = make_example(folder, write_lane, origin)
        yield Shown(example=example, origin=origin, kinds=kinds(folder))


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a browser that is installed already."""
    found = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if not found:
        pytest.skip(f"none of {', '.join(_BROWSERS)} is installed; Debian's package is chromium")
    return found


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator["Browser"]:
    why = "playwright is not installed; nox -s browser does it"
    playwright = pytest.importorskip("playwright.sync_api", reason=why)
    # The sandbox of Chromium does not work for root.
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, args=flags)
        yield opened
        opened.close()


@pytest.fixture
def visit(browser: "Browser") -> Visit:
    @contextmanager
    def opened(
        address: str, width: int = 1280, today: datetime = TODAY, **context: Any
    ) -> Iterator["Page"]:
        with browser.new_context(viewport={"width": width, "height": 900}, **context) as own:
            own.clock.set_fixed_time(today)  # pages tell how old their data are
            own.set_default_timeout(10_000)  # milliseconds; what is not there does not come
            page = own.new_page()
            page.goto(address)
            yield page

    return opened


@pytest.fixture
def planted(tmp_path: Path) -> Callable[[str], str]:
    """The address of a page with a body of its own, and otherwise without a fault."""

    def write(body: str, head: str = "") -> str:
        path = tmp_path / "planted.html"
        start = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>A</title>{head}'
        path.write_text(f"{start}</head><body>{body}</body></html>", encoding="utf-8")
        return path.as_uri()

    return write


@pytest.fixture(scope="session")
def checker(request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """The path of a file that npm has installed."""

    def find(file: str) -> Path:
        folder = request.config.getoption("--checkers", default=None)
        found = folder and folder / "node_modules" / file
        if not (found and found.is_file()):
            pytest.skip(f"no {Path(file).name}; nox -s browser has npm install it")
        return Path(found)

    return find
