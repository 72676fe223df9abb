"""Without JavaScript a page says the same."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.conftest import Shown, Visit
from tests.browser.kinds import samples

if TYPE_CHECKING:
    from playwright.sync_api import Page

# Text that is seen, line by line, but for that of controls, which a script may add.
_TEXT = """() => {
  for (const folded of document.querySelectorAll("details")) folded.open = true;
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  while (walk.nextNode()) {
    const within = walk.currentNode.parentElement;
    if (within.closest("script, noscript, form, button, select, label, output, [role=status]"))
      continue;
    const text = walk.currentNode.data.trim();
    if (text && within.checkVisibility()) found.push(text);
  }
  return found;
}"""


def seen(page: "Page") -> list[str]:
    """The texts of a page in their order, folded ones too."""
    found: list[str] = page.evaluate(_TEXT)
    return found


def differences(visit: Visit, addresses: Sequence[str]) -> list[str]:
    """Texts of pages that are there with scripts or without, and not both."""
    told = []
    for scripts in (True, False):
        with visit("about:blank", java_script_enabled=scripts) as page:
            for address in addresses:
                page.goto(address)
                told.append(seen(page))
    found = []
    for address, whole, plain in zip(
        addresses, told[: len(addresses)], told[len(addresses) :], strict=True
    ):
        assert plain, address
        apart = {text for text in {*whole, *plain} if whole.count(text) != plain.count(text)}
        found += [f"{address}: {text}" for text in sorted(apart)]
    return found


def test_every_page_says_the_same_without_javascript(shown: Shown, visit: Visit) -> None:
    found = differences(visit, [shown.address(path) for path in samples(shown.kinds)])
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("document.body.append(' and more')", ["and more"]),
        ("document.querySelector('p').hidden = true", ["a fact"]),
        ("document.body.append(document.createElement('button'))", []),
    ],
)
def test_what_only_a_script_shows_or_hides_is_found(
    script: str, said: list[str], planted: Any, visit: Visit
) -> None:
    body = f"<p>a fact</p><b>another</b><script>{script}</script>"
    address = planted(body)
    assert differences(visit, [address]) == [f"{address}: {text}" for text in said]
