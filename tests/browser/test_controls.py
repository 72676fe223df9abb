"""What the script adds: two choices of a release, a filter, a lane remembered, an age told."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest

from tests.browser.conftest import TODAY, Shown, Visit
from tests.site.example import BASELINE, PAIR, STALE

if TYPE_CHECKING:
    from playwright.sync_api import Page

_INDEX = "colbert-matrix/index.html"
_LANES = "[...document.querySelectorAll('[data-lane]')]"
_ROWS = """() => [...document.querySelectorAll('.matrix tbody tr')]
  .filter((row) => row.checkVisibility()).map((row) => row.className)"""


def _lanes(page: "Page") -> list[str]:
    """The lanes that are not hidden."""
    seen = f"{_LANES}.filter((one) => one.checkVisibility()).map((one) => one.dataset.lane)"
    found: list[str] = page.evaluate(seen)
    return found


def _choice(page: "Page", name: str) -> Any:
    return page.get_by_role("combobox", name=name, exact=True)


@pytest.mark.parametrize("scheme", ["http", "file"])
@pytest.mark.parametrize("way", [PAIR, PAIR[::-1]])
def test_two_choices_lead_to_the_page_of_their_pair(
    shown: Shown, visit: Visit, way: tuple[str, str], scheme: str
) -> None:
    with visit(shown.address(_INDEX, scheme)) as page:
        _choice(page, "From torch").select_option(way[0])
        _choice(page, "to").select_option(way[1])
        page.get_by_role("button", name="Compare").click()
        there = "" if way == PAIR else "#back"
        page.wait_for_url(f"**/colbert-matrix/pair/{PAIR[0]}...{PAIR[1]}/index.html{there}")
        assert PAIR[0] in page.inner_text("h1")
        assert PAIR[1] in page.inner_text("h1")


def test_one_release_twice_leads_nowhere_and_says_so(shown: Shown, visit: Visit) -> None:
    with visit(shown.address(_INDEX)) as page:
        _choice(page, "From torch").select_option(PAIR[0])
        _choice(page, "to").select_option(PAIR[0])
        page.get_by_role("button", name="Compare").click()
        assert "Choose two releases" in page.get_by_role("status").inner_text()
        assert page.url == shown.address(_INDEX)


def test_every_pair_that_can_be_chosen_has_a_page(shown: Shown, visit: Visit) -> None:
    """The script makes the address from what the page says of a lane."""
    with visit(shown.address(_INDEX)) as page:
        lanes = page.evaluate(f"{_LANES}.map((one) => ({{...one.dataset}}))")
    assert {BASELINE, STALE} < {lane["lane"] for lane in lanes}
    for lane in lanes:
        releases = lane["releases"].split(" ")
        chosen = [f"{a}...{b}" for at, a in enumerate(releases) for b in releases[at + 1 :]]
        for pair in set(chosen) - set(lane["lacking"].split(" ")):
            path = f"{unquote(lane['base'])}pair/{pair}/index.html"
            assert (shown.example.site / path).is_file()


def test_a_lane_is_remembered_until_every_one_is_asked_for(shown: Shown, visit: Visit) -> None:
    with visit(shown.address(_INDEX)) as page:
        every = _lanes(page)
        _choice(page, "in").select_option(STALE)
        assert _lanes(page) == [STALE]
        page.reload()
        assert _lanes(page) == [STALE]
        assert _choice(page, "in").input_value() == STALE
        page.get_by_role("button", name="Show every lane").click()
        assert _lanes(page) == every


def test_the_filter_leaves_what_changed(shown: Shown, visit: Visit) -> None:
    with visit(shown.address(_INDEX)) as page:
        whole = page.evaluate(_ROWS)
        boxes = page.get_by_label("Only what changed")
        for box in boxes.all():
            box.check()
        assert page.evaluate(_ROWS) == [name for name in whole if name != "identical"] != whole
        for box in boxes.all():
            box.uncheck()
        assert page.evaluate(_ROWS) == whole


@pytest.mark.parametrize(("days", "told"), [(0, False), (60, True)])
def test_old_data_say_so(shown: Shown, visit: Visit, days: int, *, told: bool) -> None:
    with visit(shown.address(_INDEX), today=TODAY + timedelta(days=days)) as page:
        stale = page.get_by_text("Stale.").and_(page.locator("main > .notice *"))
        assert bool(stale.count()) is told
        assert not told or "62 days old" in page.inner_text("main > .notice")


def test_the_choice_of_a_lane_keeps_the_focus(shown: Shown, visit: Visit) -> None:
    with visit(shown.address(_INDEX)) as page:
        _choice(page, "in").select_option(STALE)
        assert _lanes(page) == [STALE]
        assert page.evaluate("document.activeElement.name") == "in"


def test_a_square_of_the_picture_leads_to_its_pair(shown: Shown, visit: Visit) -> None:
    with visit(shown.address(_INDEX)) as page:
        section = page.locator(f"[data-lane='{BASELINE}']")
        releases = str(section.get_attribute("data-releases")).split()
        picture = section.locator("svg.triangle")
        place, size = (
            float(str(picture.locator("pattern").first.get_attribute(name)))
            for name in ("x", "width")
        )
        picture.scroll_into_view_if_needed()
        box = picture.bounding_box()
        assert box
        scale = box["width"] / page.evaluate(
            "document.querySelector('svg.triangle').viewBox.baseVal.width"
        )
        # The second square of the first row: the oldest release and the third.
        at = {"x": (place + 1.5 * size) * scale, "y": (place + 0.5 * size) * scale}
        picture.click(position=at)
        page.wait_for_url(f"**/pair/{releases[0]}...{releases[2]}/index.html")
        page.go_back()
        corner = {"x": (place + 0.5 * size) * scale, "y": (place + 1.5 * size) * scale}
        section.locator("svg.triangle").click(position=corner)
        assert page.url.endswith("index.html")
        assert "pair/" not in page.url


def test_the_way_back_opens_where_it_is_asked_for(shown: Shown, visit: Visit) -> None:
    page_of_pair = f"colbert-matrix/pair/{PAIR[0]}...{PAIR[1]}/index.html"
    with visit(shown.address(page_of_pair)) as page:
        assert page.locator("#back").count() == 1
        assert not page.locator("#back").is_visible()
    with visit(f"{shown.address(page_of_pair)}#back") as page:
        assert page.locator("#back").is_visible()
