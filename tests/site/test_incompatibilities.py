"""The page of known incompatibilities."""

from pathlib import Path
from typing import Any

from matrix_capture.schema import StageStatus
from matrix_capture.settings import Settings
from matrix_compare.known import read_known
from matrix_site.incompatibilities import cure_of, known_pages
from matrix_site.render import write_site
from matrix_site.snapshot import read_snapshot
from tests.site.test_render import FRAME

FAILURE = {
    "status": {
        "install": StageStatus(state="ok"),
        "import": StageStatus(
            state="failed",
            error="ModuleNotFoundError",
            message="No module named 'pkg_resources'",
        ),
    },
    "packages": {"setuptools": "84.2.1", "torch": "2.1.0"},
}


def _rows(data: Path, settings: Settings) -> dict[str, Any]:
    (page,) = known_pages(read_snapshot(data, settings))
    return {row.id: row for row in page.view["rows"]}


def test_every_row_of_the_file_has_an_anchor_and_its_sources(
    tmp_path: Path, settings: Settings
) -> None:
    write_site(FRAME, known_pages(read_snapshot(tmp_path / "none", settings)), (), tmp_path / "out")
    html = (tmp_path / "out/known/index.html").read_text("utf-8")
    for row in read_known():
        assert html.count(f'id="{row.id}"') == 1
        for source in row.sources:
            measured = source.startswith("measured")
            assert (f'">{source}</a>' in html) != measured
            assert source in html
    assert 'href="https://github.com/stanford-futuredata/ColBERT/issues/391"' in html


def test_releases_that_fail_so_now_are_named_with_their_lane(
    tmp_path: Path, settings: Settings, write_lane: Any, record: Any
) -> None:
    failing = record("cpu-pinned", "2.1.0", **FAILURE)
    new = record("cpu-pinned", "2.7.1", status={"load": StageStatus(state="failed", error="E")})
    write_lane(tmp_path, releases=("2.1.0", "2.7.1", "2.8.0"), failed=(), records=[failing, new])
    rows = _rows(tmp_path, settings)
    shown = {name: row.shown for name, row in rows.items() if row.shown}
    assert list(shown) == ["setuptools-pkg-resources"]
    (lane,) = shown["setuptools-pkg-resources"]
    assert lane.lane == "cpu-pinned"
    assert lane.releases == (("2.1.0", "torch/2.1.0/index.html"),)


def test_a_cure_leads_to_its_row_and_a_new_failure_has_none(record: Any) -> None:
    known = read_known()
    cure = cure_of(record("cpu-pinned", "2.1.0", **FAILURE), known)
    assert cure is not None
    assert cure.href == "known/index.html#setuptools-pkg-resources"
    assert "setuptools" in cure.when
    strange = {**FAILURE, "packages": {"setuptools": "60"}}
    assert cure_of(record("cpu-pinned", "2.1.0", **strange), known) is None
    assert cure_of(record("cpu-pinned", "2.1.0"), known) is None
