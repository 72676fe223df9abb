"""No kind of page is left out unnoticed."""

from pathlib import Path

from tests.browser.conftest import Shown
from tests.browser.kinds import REQUIRED, kinds, samples


def test_every_kind_that_must_exist_has_a_page(shown: Shown) -> None:
    assert shown.kinds.keys() >= REQUIRED


def test_a_kind_is_named_by_its_folder_whatever_the_lane(tmp_path: Path) -> None:
    for number, name in enumerate(
        (
            "index.html",
            "404.html",
            "pair/1...2/index.html",
            "cpu-latest/pair/1...2/index.html",
            "cpu-pinned+0123abcd/pair/3...4/index.html",
            "cpu-latest/index.html",
            "pr/7/abc/index.html",
        )
    ):
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x" * number, encoding="utf-8")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/index.html").touch()
    found = kinds(tmp_path)
    assert found == {
        "404": ("site/404.html",),
        "empty": ("empty/index.html",),
        "index": ("site/index.html",),
        "lane": ("site/cpu-latest/index.html",),
        "pair": (
            "site/cpu-pinned+0123abcd/pair/3...4/index.html",
            "site/cpu-latest/pair/1...2/index.html",
            "site/pair/1...2/index.html",
        ),
        "pr": ("site/pr/7/abc/index.html",),
    }
    assert len(samples(found)) == 7
