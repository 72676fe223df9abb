"""Everything can be reached with Tab and Enter alone, and one always sees where one is."""

from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.conftest import Shown, Visit
from tests.browser.kinds import samples
from tests.site.example import PAIR

if TYPE_CHECKING:
    from playwright.sync_api import Page

_MOST = 3000  # presses; the page of the index has some hundred links

# What has the focus, whether one sees it, and how many elements can have it.
_FOCUS = """() => {
  const at = document.activeElement;
  if (at === document.body) return null;
  at.seen = (at.seen || 0) + 1;
  const style = getComputedStyle(at), box = at.getBoundingClientRect();
  const name = (at.getAttribute("aria-label") || at.textContent).trim().slice(0, 40);
  return {
    name: `${at.localName} ${name}`,
    href: at.href || "",
    again: at.seen > 1,
    marked: style.outlineStyle !== "none" || style.boxShadow !== "none",
    inside: box.width > 0 && box.bottom > 0 && box.top < innerHeight
      && box.right > 0 && box.left < innerWidth,
  };
}"""
_UNREACHED = """() => [...document.querySelectorAll(
  "a[href], button, input, select, textarea, summary, [tabindex]")]
  .filter((one) => !one.seen && one.tabIndex >= 0 && !one.disabled && one.checkVisibility())
  .map((one) => `${one.localName} ${one.textContent.trim().slice(0, 40)}`)"""


_IS_OPEN = "(one) => one.parentElement.open"


def walk(page: "Page") -> list[str]:
    """What is wrong on the way through a page with Tab."""
    found = []
    for _ in range(_MOST):
        page.keyboard.press("Tab")
        at = page.evaluate(_FOCUS)
        if at is None or at["again"]:
            break
        if not at["marked"]:
            found.append(f"{at['name']}: nothing shows that it has the focus")
        if not at["inside"]:
            found.append(f"{at['name']}: out of sight while it has the focus")
    return found + [f"{name}: Tab does not come here" for name in page.evaluate(_UNREACHED)]


def tab_to(page: "Page", suffix: str) -> None:
    """Press Tab until a link has the focus whose address ends so."""
    for _ in range(_MOST):
        page.keyboard.press("Tab")
        at = page.evaluate(_FOCUS)
        assert at, f"no link to {suffix}"
        if at["href"].endswith(suffix):
            return


def test_tab_comes_to_everything_on_every_kind_of_page(shown: Shown, visit: Visit) -> None:
    found = []
    with visit("about:blank") as page:
        for path in samples(shown.kinds):
            page.goto(shown.address(path))
            found += [f"{path}: {fault}" for fault in walk(page)]
    assert not found, "\n".join(found)


def test_from_the_index_to_the_evidence(shown: Shown, visit: Visit) -> None:
    pair = f"pair/{PAIR[0]}...{PAIR[1]}/index.html"
    with visit(shown.address("colbert-matrix/index.html"), width=360) as page:
        page.keyboard.press("Tab")
        assert page.evaluate(_FOCUS)["name"].startswith("a Skip")
        page.keyboard.press("Enter")
        assert page.url.endswith("#main")
        tab_to(page, pair)
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/{pair}*")
        # The table of artifacts is wider than a phone: it takes the focus, and arrows scroll it.
        region = page.locator("[role=region][tabindex='0']:has(table.artifacts)").first
        for _ in range(_MOST):
            page.keyboard.press("Tab")
            if region.evaluate("(one) => one === document.activeElement"):
                break
        for _ in range(9):
            page.keyboard.press("ArrowRight")
        page.wait_for_function("(one) => one.scrollLeft > 0", arg=region.element_handle())
        folded = page.locator("details > summary").first
        before = folded.evaluate(_IS_OPEN)
        folded.focus()
        page.keyboard.press("Enter")
        assert folded.evaluate(_IS_OPEN) is not before


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('<a href="#a">one</a><button>two</button>', []),
        (
            '<a href="#a" style="outline: none">one</a>',
            ["a one: nothing shows that it has the focus"],
        ),
        (
            '<a href="#a" style="position: absolute; left: -99rem">one</a>',
            ["a one: out of sight while it has the focus"],
        ),
        (
            '<a href="#a" onblur="this.focus()">trap</a><a href="#b">two</a>',
            ["a two: Tab does not come here"],
        ),
    ],
)
def test_a_planted_fault_is_found(body: str, said: list[str], planted: Any, visit: Visit) -> None:
    with visit(planted(body)) as page:
        assert walk(page) == said
