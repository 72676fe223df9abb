"""Every link and every file that a site names is there, and every page is linked."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit
from xml.etree import ElementTree

import pytest

from tests.site.conftest import WriteLane
from tests.site.example import make_example

_ORIGIN = "https://matrix.test/colbert/"
_NAMES = {"href", "src", "action", "poster", "data", "xlink:href"}
_LEADING_AWAY = {"a"}  # whoever follows one wants to; nothing else may be fetched from elsewhere


@dataclass(kw_only=True, slots=True)
class _Named:
    """What a page names: element and address, its ids, and where it says that it lies."""

    links: list[tuple[str, str]] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.named = _Named()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.named.links += [(tag, given[name]) for name in given if name in _NAMES]
        about = given.get("property", given.get("name", ""))
        if tag == "meta" and about in {"og:image", "og:url"}:
            self.named.links.append((tag, given["content"]))
        if "id" in given:
            self.named.ids.add(given["id"])


def faults(site: Path, origin: str) -> list[str]:
    """What is wrong with the links of a site that is published at `origin`."""
    pages = {path: _named(path) for path in sorted(site.rglob("*.html"))}
    found, linked = [], {site / "index.html"}
    for path, named in pages.items():
        for tag, link in named.links:
            target, fault = _resolve(site, origin, path, tag, link)
            if target and not fault and (fragment := unquote(urlsplit(link).fragment)):
                ids = pages[target].ids if target in pages else set()
                fault = "" if fragment in ids else "no such id"
            if fault:
                found.append(f"{path.relative_to(site)}: {tag} {link}: {fault}")
            elif target and tag == "a":
                linked.add(target)
    for path in (*sorted(site.rglob("*.xml")), *sorted(site.rglob("*.css"))):
        for link in _outside_of_pages(path):
            _, fault = _resolve(site, origin, path, "a" if path.suffix == ".xml" else "", link)
            found += [f"{path.relative_to(site)}: {link}: {fault}"] if fault else []
    # An error page is found by who is lost.
    alone = pages.keys() - linked - {site / "404.html"}
    return found + [f"{path.relative_to(site)}: no page links it" for path in sorted(alone)]


def _named(path: Path) -> _Named:
    parser = _Parser()
    parser.feed(path.read_text("utf-8"))
    return parser.named


def _outside_of_pages(path: Path) -> Iterator[str]:
    """The addresses in a feed, a sitemap or a stylesheet."""
    if path.suffix == ".css":
        yield from re.findall(r"url\(['\"]?(.*?)['\"]?\)", path.read_text("utf-8"))
        return
    for element in ElementTree.parse(path).iter():  # noqa: S314 - our own
        if element.tag.endswith("}loc"):
            yield element.text or ""
        elif element.tag.endswith("}link"):
            yield element.get("href", "")


def _resolve(site: Path, origin: str, path: Path, tag: str, link: str) -> tuple[Path | None, str]:
    """The file that a link leads to, None for one elsewhere; and what is wrong with it."""
    parts = urlsplit(link)
    if link.startswith(origin):
        where = link.removeprefix(origin).partition("#")[0]
        # A server gives the index of a folder; a relative link must do without one.
        where += "index.html" if not where or where.endswith("/") else ""
        target = site / unquote(where)
    elif parts.scheme or parts.netloc or parts.path.startswith("/"):
        away = parts.scheme == "https" and parts.netloc and tag in _LEADING_AWAY
        return None, "" if away else "leads away"
    else:
        here = f"https://here/{path.relative_to(site).as_posix()}"
        target = site / unquote(urlsplit(urljoin(here, link)).path.removeprefix("/"))
        if parts.path.split("/").count("..") > len(path.relative_to(site).parts) - 1:
            return None, "leads out of the site"
    return target, "" if target.is_file() else "no such file"


def test_every_link_leads_somewhere_and_every_page_is_linked(
    tmp_path: Path, write_lane: WriteLane
) -> None:
    example = make_example(tmp_path / "sites", write_lane, _ORIGIN)
    found = [
        *faults(example.site, f"{_ORIGIN}{example.site.name}/"),
        *faults(example.empty, f"{_ORIGIN}{example.empty.name}/"),
    ]
    assert not found, "\n".join(found)


@pytest.fixture
def fault(tmp_path: Path) -> Callable[[str], list[str]]:
    """The faults of a site of two pages with a body on the first."""

    def find(body: str) -> list[str]:
        (tmp_path / "a b").mkdir()
        (tmp_path / "a b/index.html").write_text("<p id='there'>", encoding="utf-8")
        (tmp_path / "style.css").touch()
        start = "<link rel='stylesheet' href='style.css'><a href='a%20b/index.html'>"
        (tmp_path / "index.html").write_text(start + body, encoding="utf-8")
        return faults(tmp_path, _ORIGIN)

    return find


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("<a href='a%20b/index.html?x=1#there'>", []),
        ("<p id='&lt;&quot;'><a href='#%3C%22'>", []),
        (f"<link rel='canonical' href='{_ORIGIN}'><a href='{_ORIGIN}a%20b/'>", []),
        ("<a href='https://example.org/x'>", []),
        ("<a href='absent.html'>", ["a absent.html: no such file"]),
        ("<a href='a%20b/'>", ["a a%20b/: no such file"]),
        ("<a href='#absent'>", ["a #absent: no such id"]),
        ("<a href='a%20b/index.html#absent'>", ["a a%20b/index.html#absent: no such id"]),
        ("<a href='style.css#there'>", ["a style.css#there: no such id"]),
        ("<a href='../index.html'>", ["a ../index.html: leads out of the site"]),
        ("<a href='/index.html'>", ["a /index.html: leads away"]),
        ("<a href='//example.org/x'>", ["a //example.org/x: leads away"]),
        ("<a href='javascript:x'>", ["a javascript:x: leads away"]),
        ("<img src='https://example.org/x.png'>", ["img https://example.org/x.png: leads away"]),
        (f"<link href='{_ORIGIN}absent/'>", [f"link {_ORIGIN}absent/: no such file"]),
        (
            f"<meta property='og:image' content='{_ORIGIN}card.png'>",
            [f"meta {_ORIGIN}card.png: no such file"],
        ),
    ],
)
def test_a_planted_fault_is_found(
    body: str, said: list[str], fault: Callable[[str], list[str]]
) -> None:
    assert fault(body) == [f"index.html: {one}" for one in said]


def test_faults_outside_of_pages_are_found(
    tmp_path: Path, fault: Callable[[str], list[str]]
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/index.html").touch()
    (tmp_path / "404.html").touch()
    (tmp_path / "print.css").write_text("p { background: url('x.svg') }", encoding="utf-8")
    atom = f"<feed xmlns='http://www.w3.org/2005/Atom'><link href='{_ORIGIN}gone/'/></feed>"
    (tmp_path / "feed.xml").write_text(atom, encoding="utf-8")
    listed = "http://www.sitemaps.org/schemas/sitemap/0.9"
    sitemap = f"<urlset xmlns='{listed}'><url><loc>{_ORIGIN}lost/</loc></url></urlset>"
    (tmp_path / "sitemap.xml").write_text(sitemap, encoding="utf-8")
    assert fault("") == [
        f"feed.xml: {_ORIGIN}gone/: no such file",
        f"sitemap.xml: {_ORIGIN}lost/: no such file",
        "print.css: x.svg: no such file",
        "other/index.html: no page links it",
    ]
