"""Hostile text in the data stays text: it neither runs, nor leads away, nor leaves the folder."""

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.conftest import Shown, Visit
from tests.browser.test_quiet import listen
from tests.site.example import QUICK

if TYPE_CHECKING:
    from playwright.sync_api import Page

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")

_RUNS = """(root) => {
  const found = [];
  for (const script of document.scripts)
    if (!script.src.startsWith(root)) found.push(`script: ${script.text.slice(0, 40)}`);
  for (const one of document.querySelectorAll("*"))
    for (const { name, value } of one.attributes)
      if (name.startsWith("on") || /^\\s*(javascript|data|vbscript):/i.test(value))
        found.push(`${name}: ${value}`);
  for (const link of document.links)
    if (link.protocol !== "https:" && !link.href.startsWith(root)) found.push(`link: ${link.href}`);
  for (const one of document.querySelectorAll("iframe, object, embed, base, meta[http-equiv]"))
    found.push(`element: ${one.localName}`);
  return found;
}"""


def running(page: "Page", root: str) -> list[str]:
    """What on a page could run or lead away without being ours."""
    found: list[str] = page.evaluate(_RUNS, root)
    return found


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_nothing_of_the_data_runs_or_leads_away(shown: Shown, visit: Visit, scheme: str) -> None:
    root, found = shown.root(scheme), []
    where = [
        path
        for pages in shown.kinds.values()
        for path in pages
        if "alert(1)" in (shown.example.folder / path).read_text("utf-8")
    ]
    with visit("about:blank") as page:
        heard = listen(page, root)
        for path in where:
            page.goto(shown.address(path, scheme))
            found += [f"{path}: {one}" for one in (*running(page, root), *heard)]
            heard.clear()
    assert not found, "\n".join(found)
    assert len(where) > 3


def test_files_stay_in_their_folder_under_plain_names(shown: Shown) -> None:
    folder = shown.example.folder
    assert sorted(path.name for path in folder.iterdir()) == ["colbert-matrix", "empty"]
    assert (shown.example.site / QUICK).is_dir()
    for path in folder.rglob("*"):
        assert path.resolve().is_relative_to(folder.resolve())
        assert _NAME.fullmatch(path.name), path


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("<script>1</script>", "script: 1"),
        ("<p onclick='1'>text", "onclick: 1"),
        ("<a href='javascript:alert(1)'>text</a>", "href: javascript:alert(1)"),
        ("<a href='../../../etc/passwd'>text</a>", "link: file:///"),
        ("<iframe src='a.html'></iframe>", "element: iframe"),
    ],
)
def test_a_planted_fault_is_found(body: str, said: str, planted: Any, visit: Visit) -> None:
    address = planted(body)
    with visit(address) as page:
        assert any(one.startswith(said) for one in running(page, address.rpartition("/")[0] + "/"))
