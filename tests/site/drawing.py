"""Reading pictures back, and what somebody hostile would write into them."""

import re
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import matrix_site

CSS = (Path(matrix_site.__file__).parent / "static/style.css").read_text("utf-8")

HOSTILE = (
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "]]><![CDATA[ &amp; &#0; -->",
    "\u202egnp.exe\u200b\ufeff",
    "\x00\x1b[31m\x07\ud800\ufffe",
    "x" * 10_000,
    "\n\t ",
    "",
    "url(#x) {} %s {0}",
)


def read(picture: str) -> Element:
    """A picture as XML, after a look at what every picture must have."""
    root = ElementTree.fromstring(picture)  # noqa: S314 - our own
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    for kind, attribute in (("title", "aria-labelledby"), ("desc", "aria-describedby")):
        (named,) = (element for element in root if element.tag == kind)
        assert named.get("id") == root.get(attribute)
    links = [element for element in root.iter() if element.tag == "a"]
    assert root.get("role") == ("group" if links else "img")
    tags = {element.tag for element in root.iter()}
    assert tags <= {"svg", "title", "desc", "a", "g", "path", "rect", "text", "pattern"}
    names = {name for element in root.iter() for name in element.attrib}
    assert not any(name.startswith("on") or name == "style" for name in names)
    assert all(text.isprintable() for text in root.itertext())
    return root


def of_class(root: Element, *wanted: str) -> list[Element]:
    """The elements that have all of these classes."""
    return [one for one in root.iter() if set(wanted) <= set(one.get("class", "").split())]


def starts(path: str) -> list[tuple[float, float]]:
    """Where the pen is put down in a path, by absolute coordinates."""
    return [(float(x), float(y)) for x, y in re.findall(r"M([-\d.]+) ([-\d.]+)", path)]
