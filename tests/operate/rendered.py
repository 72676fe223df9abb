"""What GitHub would make of a text: nothing but what is ours may come of it."""

import re
from xml.etree import ElementTree as ET

from tests.compare.test_markdown import ALLOWED, outside_code, rendered

LINK = re.compile(
    r"https://((colbert-)?matrix\.example/[\w./+-]*|(redirect\.)?github\.com/[\w-]+/[\w-]+/[\w./]*)"
)


def links(page: ET.Element) -> list[str]:
    """Where the links of a page lead."""
    return [element.attrib["href"] for element in page.iter("a")]


def check(text: str) -> ET.Element:
    """The page of a text, once nothing that data brought is markup, link, mention or reference."""
    marker, _, rest = text.partition("\n")
    assert re.fullmatch(r"<!-- colbert-matrix [\w./+ -]+ -->", marker)
    assert all(letter.isprintable() or letter == "\n" for letter in rest)
    page = rendered(rest)
    assert {element.tag for element in page.iter()} <= {*ALLOWED, "a", "pre"}
    for element in page.iter():
        extra = {"a": {"href"}, "code": {"class"}}.get(str(element.tag), set())
        assert set(element.attrib) <= extra
        assert element.attrib.get("class", "language-console").startswith("language-")
    for link in links(page):
        assert LINK.fullmatch(link), link
    told = outside_code(page)
    assert not re.search(r"[@#<>`\\*_\[\]]|https?:|www\.|[0-9a-f]{7,}", told), told
    assert not re.search(r"(?i)\b(close|closes|closed|fix\w*|resolve\w*) \S*\d", told)
    return page
