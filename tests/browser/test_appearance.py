"""What a page looks like: verdicts without colour, both schemes, a narrow screen."""

from typing import TYPE_CHECKING, Any

import pytest

from matrix_compare.schema import Verdict
from tests.browser.conftest import Shown, Visit
from tests.browser.kinds import fullest, samples

if TYPE_CHECKING:
    from playwright.sync_api import Page

_GLYPHS = {verdict.value: verdict.glyph for verdict in Verdict}

# Elements with the class of a verdict that show neither its glyph nor its word, and origins and
# differences of unknown size that look like others. Pictures have descriptions instead.
_UNMARKED = """(glyphs) => {
  const found = [];
  const name = (one) => `${one.localName}.${[...one.classList].join(".")}`;
  const drawn = (style) => style.outlineStyle !== "none" || style.borderStyle !== "none";
  for (const [verdict, glyph] of Object.entries(glyphs)) {
    for (const one of document.querySelectorAll(`.${verdict}`)) {
      if (one.closest("svg") || !one.checkVisibility()) continue;
      const text = one.textContent.trim();
      // A mark may have a word of its own, as those of the advice have.
      const told = text.includes(glyph) || text.includes(verdict.replace("_", " "));
      if (!told && !(one.matches(".mark") && text))
        found.push(`${name(one)}: neither ${glyph} nor ${verdict}`);
      if (one.matches(".origin") && getComputedStyle(one).outlineStyle === "none")
        found.push(`${name(one)}: an origin without its box`);
      if (one.matches(".unsized") && ![one, ...one.querySelectorAll("*")].some(
          (part) => getComputedStyle(part).textDecorationLine !== "none"))
        found.push(`${name(one)}: of unknown size, and nothing says so`);
    }
  }
  return found;
}"""

# What sticks out to the right of a page and lies in nothing that scrolls.
_OVERFLOW = """() => {
  if (document.scrollingElement.scrollWidth <= innerWidth) return [];
  const scrolls = (one) => one && one !== document.documentElement && one !== document.body
    && (getComputedStyle(one).overflowX !== "visible" || scrolls(one.parentElement));
  const wide = [...document.body.querySelectorAll("*")].filter((one) => one.checkVisibility()
    && one.getBoundingClientRect().right > innerWidth + 1 && !scrolls(one.parentElement));
  return [`${document.scrollingElement.scrollWidth} px wide`, ...wide.slice(0, 3).map(
    (one) => `${one.localName}.${[...one.classList].join(".")} sticks out`)];
}"""

_OPEN = "() => document.querySelectorAll('details').forEach((folded) => folded.open = true)"


def unmarked(page: "Page") -> list[str]:
    """Verdicts that a reader without colours cannot tell apart."""
    found: list[str] = page.evaluate(_UNMARKED, _GLYPHS)
    return found


def overflow(page: "Page") -> list[str]:
    """What makes a page scroll sideways, as it is and with everything unfolded."""
    found: list[str] = page.evaluate(_OVERFLOW)
    page.evaluate(_OPEN)
    return found or page.evaluate(_OVERFLOW)


def test_verdicts_are_told_apart_in_forced_colours(shown: Shown, visit: Visit) -> None:
    found = []
    with visit("about:blank", forced_colors="active") as page:
        assert page.evaluate("() => matchMedia('(forced-colors: active)').matches")
        for path in samples(shown.kinds):
            page.goto(shown.address(path))
            found += [f"{path}: {one}" for one in unmarked(page)]
    assert not found, "\n".join(found)


def test_a_colour_alone_is_found(planted: Any, visit: Visit) -> None:
    body = (
        "<p class='close'>within</p><p class='close'>≈</p><p class='not_run'>not run</p>"
        "<p class='differs origin'>≠</p><p class='differs origin' style='outline: solid'>≠</p>"
        "<p class='differs unsized'>≠</p><p class='differs unsized'><u>≠</u></p>"
        "<b class='mark missing'></b><b class='mark missing'>re-index</b>"
    )
    with visit(planted(body), forced_colors="active") as page:
        assert unmarked(page) == [
            "b.mark.missing: neither ? nor missing",
            "p.close: neither ≈ nor close",
            "p.differs.origin: an origin without its box",
            "p.differs.unsized: of unknown size, and nothing says so",
        ]


def test_light_dark_and_forced_colours_look_different(shown: Shown, visit: Visit) -> None:
    ground = "() => getComputedStyle(document.body).backgroundColor"
    looks: list[dict[str, Any]] = [
        {"color_scheme": "light"},
        {"color_scheme": "dark"},
        {"color_scheme": "dark", "forced_colors": "active"},
    ]
    pictures: list[bytes] = []
    grounds: list[set[str]] = []
    for look in looks:
        with visit("about:blank", **look) as page:
            grounds.append(set())
            for pages in shown.kinds.values():
                page.goto(shown.address(pages[0]))
                pictures.append(page.screenshot())
                grounds[-1].add(page.evaluate(ground))
    assert len(set(pictures)) == len(looks) * len(shown.kinds)
    assert [len(found) for found in grounds] == [1, 1, 1]
    assert grounds[0] != grounds[1]


def test_no_page_scrolls_sideways_on_a_phone(shown: Shown, visit: Visit) -> None:
    found = []
    with visit("about:blank", width=360) as page:
        for path in samples(shown.kinds):
            page.goto(shown.address(path))
            found += [f"{path}: {one}" for one in overflow(page)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("<p>text</p>", []),
        ("<div style='overflow: auto'><p style='width: 50rem'>text</p></div>", []),
        ("<p class='a' style='width: 500px; margin: 0'>text</p>", ["p.a sticks out"]),
        (
            "<details><summary>a</summary><pre style='width: 500px; margin: 0'>b</pre></details>",
            ["pre. sticks out"],
        ),
    ],
)
def test_what_is_too_wide_is_found(body: str, said: list[str], planted: Any, visit: Visit) -> None:
    phone = '<meta name="viewport" content="width=device-width">'
    with visit(planted(body, phone), width=360) as page:
        assert overflow(page)[1:] == said


def test_pictures_for_a_person_to_look_at(
    shown: Shown, visit: Visit, request: pytest.FixtureRequest
) -> None:
    folder = request.config.getoption("--screenshots", default=None)
    if not folder:
        pytest.skip("--screenshots DIR writes them")
    folder.mkdir(parents=True, exist_ok=True)
    for width in (360, 1280):
        for scheme in ("light", "dark"):
            with visit("about:blank", width, color_scheme=scheme) as page:
                for kind, pages in shown.kinds.items():
                    page.goto(shown.address(fullest(shown.example.folder, pages)))
                    path = folder / f"{kind}-{width}-{scheme}.png"
                    page.screenshot(path=path, full_page=True)
