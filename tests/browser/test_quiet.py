"""Pages that complain about nothing and ask nobody else for anything, served or from a folder."""

from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.conftest import Shown, Visit
from tests.browser.kinds import samples

if TYPE_CHECKING:
    from playwright.sync_api import Page


def listen(page: "Page", root: str) -> list[str]:
    """A list that fills with what goes wrong on a page that only needs what is below `root`."""
    heard: list[str] = []

    def dialog(opened: Any) -> None:
        heard.append(f"dialog: {opened.message}")
        opened.dismiss()

    def request(made: Any) -> None:
        if not made.url.startswith(root):
            heard.append(f"elsewhere: {made.url}")

    def unanswered(made: Any) -> None:
        if made.failure != "net::ERR_ABORTED":  # which is what leaving a page does
            heard.append(f"failed: {made.url}")

    def response(got: Any) -> None:
        if got.status >= 400:
            heard.append(f"{got.status}: {got.url}")

    page.on("console", lambda message: heard.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: heard.append(f"error: {error.message}"))
    page.on("requestfailed", unanswered)
    page.on("dialog", dialog)
    page.on("request", request)
    page.on("response", response)
    return heard


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_no_page_complains_or_asks_elsewhere(shown: Shown, visit: Visit, scheme: str) -> None:
    found = []
    with visit("about:blank") as page:
        heard = listen(page, shown.root(scheme))
        for path in samples(shown.kinds):
            page.goto(shown.address(path, scheme))
            found += [f"{path}: {one}" for one in heard]
            heard.clear()
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("<script>console.warn('careful')</script>", "console: careful"),
        ("<script>missing()</script>", "error: missing is not defined"),
        ("<script>alert('here')</script>", "dialog: here"),
        ("<img src='absent.png' alt=''>", "failed: "),
        ("<img src='http://127.0.0.1:9/a.png' alt=''>", "elsewhere: http://127.0.0.1:9/a.png"),
    ],
)
def test_a_planted_fault_is_heard(body: str, said: str, planted: Any, visit: Visit) -> None:
    with visit("about:blank") as page:
        heard = listen(page, "file:///")
        page.goto(planted(body))
        assert any(one.startswith(said) for one in heard)
