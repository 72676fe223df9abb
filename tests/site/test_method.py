"""The page on the method says what the settings and the records say."""

import re
from pathlib import Path
from typing import Any

from matrix_capture.schema import CaptureCode, Control, Observer
from matrix_capture.settings import Settings
from matrix_compare.schema import Verdict
from matrix_site.method import Controls, method_pages
from matrix_site.page import Page
from matrix_site.render import write_site
from matrix_site.snapshot import read_snapshot
from tests.site.test_render import FRAME


def _page(data: Path, settings: Settings) -> Page:
    (page,) = method_pages(read_snapshot(data, settings))
    return page


def _html(page: Page, out: Path) -> str:
    write_site(FRAME, [page], (), out)
    return (out / "method/index.html").read_text("utf-8")


def test_tolerances_are_those_of_the_settings(data: Path, settings: Settings) -> None:
    bounds = _page(data, settings).view["bounds"]
    assert [(one.profile, one.dtype, one.atol, one.rtol) for one in bounds] == [
        ("default", "every float", "1e-08", "1e-05"),
        ("bitsandbytes", "float32", "1e-06", "1e-05"),
        ("bitsandbytes", "bfloat16", "0.001", "0.01"),
        ("bitsandbytes", "every other float", "0.0001", "0.001"),
    ]


def test_every_verdict_is_explained_in_order_of_precedence(
    data: Path, settings: Settings, tmp_path: Path
) -> None:
    html = _html(_page(data, settings), tmp_path / "out")
    places = [html.index(verdict.meaning) for verdict in Verdict]
    assert places == sorted(places)
    for verdict in Verdict:
        assert f'<span aria-hidden="true">{verdict.glyph}</span>' in html


def test_a_control_that_fails_is_not_counted_as_passed(
    tmp_path: Path, settings: Settings, write_lane: Any, record: Any
) -> None:
    records = [
        record("cpu-pinned", "2.7.0", control=Control(identical=False, tensors=9)),
        record("cpu-pinned", "2.7.1", observer=Observer(identical=False, tensors=9)),
        record("cpu-pinned", "2.8.0", control=None, observer=None, repeats=1),
    ]
    releases = tuple(one.torch for one in records)
    write_lane(tmp_path, releases=releases, failed=(), records=records)
    assert _page(tmp_path, settings).view["controls"] == (
        Controls(lane="cpu-pinned", captures=3, repeated=2, stable=1, observed=2, unchanged=1),
    )


def test_inputs_that_captures_share_are_listed_once(
    tmp_path: Path, settings: Settings, write_lane: Any, record: Any
) -> None:
    records = [
        record("cpu-pinned", "2.7.0", inputs={"collection": "aa"}),
        record("cpu-pinned", "2.7.1", inputs={"collection": "bb"}),
        record("cpu-pinned", "2.8.0", inputs={"collection": "bb"}),
    ]
    releases = tuple(one.torch for one in records)
    write_lane(tmp_path, releases=releases, failed=(), records=records)
    hashes = _page(tmp_path, settings).view["hashes"]
    assert [one.rows for one in hashes] == [(("collection", "aa"),), (("collection", "bb"),)]


def test_versions_of_the_code_are_counted(
    tmp_path: Path, settings: Settings, write_lane: Any, record: Any
) -> None:
    code = CaptureCode(version="0.2.0", hash="ab" * 32)
    write_lane(
        tmp_path,
        releases=("2.7.1", "2.8.0", "2.9.1"),
        failed=(),
        records=[record("cpu-pinned", "2.8.0", capture_code=code)],
    )
    codes = _page(tmp_path, settings).view["codes"]
    assert [(one.version, one.captures) for one in codes] == [("0.1.0", 2), ("0.2.0", 1)]


def test_it_can_be_cited_with_and_without_data(
    data: Path, settings: Settings, tmp_path: Path
) -> None:
    html = _html(_page(data, settings), tmp_path / "with")
    found = re.search(r"@misc\{.*?\n\}", html, re.DOTALL)
    assert found
    assert "  year   = {2025},\n" in found[0]
    assert "  url    = {https://example.org/}\n}" in found[0]
    assert found[0].count("{") == found[0].count("}")
    empty = _html(_page(tmp_path / "none", settings), tmp_path / "without")
    assert "year   =" not in empty
    assert "There is no capture yet." in empty
