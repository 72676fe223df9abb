"""axe-core on every kind of page, in both schemes, on a phone and on a desk."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.conftest import Shown, Visit
from tests.browser.kinds import samples

if TYPE_CHECKING:
    from playwright.sync_api import Page

# Everything that WCAG 2.2 asks for at the levels A and AA, and what axe calls best practices.
_RUN = """() => axe.run({
  resultTypes: ["violations"],
  runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
})"""
_OPEN = "() => document.querySelectorAll('details').forEach((folded) => folded.open = true)"


def violations(page: "Page", script: str) -> list[str]:
    """Rules that a page violates, in what is folded too, and where."""
    page.evaluate(_OPEN)
    page.evaluate(script)
    return [
        f"{violation['id']}: {', '.join(_places(violation['nodes']))}"
        for violation in page.evaluate(_RUN)["violations"]
    ]


def _places(nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Selectors of the first elements, and how many there are besides."""
    first = [" ".join(map(str, node["target"])) for node in nodes[:3]]
    return first + ([f"{len(nodes) - 3} more"] if len(nodes) > 3 else [])


@pytest.fixture(scope="session")
def axe(checker: Any) -> str:
    script: str = checker("axe-core/axe.min.js").read_text("utf-8")
    return script


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_no_page_has_a_violation(
    shown: Shown, visit: Visit, axe: str, width: int, scheme: str
) -> None:
    found = []
    with visit("about:blank", width, color_scheme=scheme) as page:
        for path in samples(shown.kinds):
            page.goto(shown.address(path))
            found += [f"{path}: {violation}" for violation in violations(page, axe)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("inside", "rule"),
    [
        ("", ""),
        ('<img src="x.png">', "image-alt: img"),
        ("<label>Filter</label><input>", "label: input"),
        ('<p style="color: #999; background: #fff">faint</p>', "color-contrast: p"),
        ("<h3>a level left out</h3>", "heading-order: h3"),
        ('<div style="height: 9px; overflow: auto"><p>text</p></div>', "scrollable-region"),
        ("<details><summary>folded</summary><input></details>", "label: input"),
        ('<a href="#a" style="font-size: 6px">a</a><a href="#b">b</a>', "target-size: a"),
    ],
)
def test_a_planted_fault_is_found(
    inside: str, rule: str, planted: Any, visit: Visit, axe: str
) -> None:
    with visit(planted(f"<main><h1>A</h1>{inside}</main>")) as page:
        found = violations(page, axe)
    assert any(one.startswith(rule) for one in found) if rule else not found
