"""The page of an artifact: what it is, and what each release made of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from matrix_capture.catalogue import BY_NAME, CATALOGUE
from matrix_capture.settings import Settings
from matrix_compare.schema import Verdict
from matrix_site.artifact import ORDERS, Change, History, Run, artifact_pages
from matrix_site.page import Page
from matrix_site.render import write_site
from matrix_site.snapshot import read_snapshot
from matrix_site.tensors import Form, read_forms
from tests.site.test_render import FRAME

NO = Verdict.NOT_RUN.glyph


def _pages(data: Path, settings: Settings) -> Mapping[str, Page]:
    found = artifact_pages(read_snapshot(data, settings))
    return {page.path.removesuffix("/index.html"): page for page in found}


def _history(data: Path, settings: Settings, name: str) -> History:
    (history,) = _pages(data, settings)[f"artifact/{name}"].view["histories"]
    assert isinstance(history, History)
    return history


def _told(history: History) -> list[str]:
    """A history in a word per step: releases of a run, or the verdict between two."""
    words = []
    for step in history.steps:
        if isinstance(step, Change):
            words.append(f"{step.counts.worst.glyph}{' origin' if step.origin else ''}")
        else:
            words.append(
                " ".join(
                    f"{one.verdict.glyph if one.verdict else ''}{one.first[0]}"
                    + (f"..{one.last[0]}" if one.count > 1 else "")
                    for one in step.seen
                )
            )
    return words


def test_every_artifact_of_the_catalogue_has_a_page_that_the_list_links(
    data: Path, settings: Settings, tmp_path: Path
) -> None:
    pages = _pages(data, settings)
    assert set(pages) == {"artifact", *(f"artifact/{artifact.name}" for artifact in CATALOGUE)}
    write_site(FRAME, pages.values(), (), tmp_path / "out")
    html = (tmp_path / "out/artifact/index.html").read_text("utf-8")
    for artifact in CATALOGUE:
        assert f'href="../artifact/{artifact.name}/index.html"' in html
    page = (tmp_path / "out/artifact/centroids/index.html").read_text("utf-8")
    assert 'href="../../artifact/postnorm_centroids/index.html"' in page
    assert 'href="../../pair/2.7.1...2.8.0/index.html#a-centroids"' in page


def test_children_are_those_that_name_it_as_a_parent(data: Path, settings: Settings) -> None:
    for path, page in _pages(data, settings).items():
        if path == "artifact":
            continue
        name = page.view["artifact"].name
        for child in page.view["children"]:
            assert name in BY_NAME[child.name].parents
    children = _pages(data, settings)["artifact/D"].view["children"]
    assert [child.name for child in children] == ["local_sample_embs", "embs"]


def test_every_order_rule_has_words(data: Path, settings: Settings) -> None:
    assert {artifact.order.partition(":")[0] for artifact in CATALOGUE} <= set(ORDERS)
    page = _pages(data, settings)["artifact/index_ivf"]
    assert page.view["order"].endswith("of the lengths in")
    assert page.view["key"].name == "index_ivf_lengths"


def test_a_history_has_runs_with_the_verdict_between_them(data: Path, settings: Settings) -> None:
    assert _told(_history(data, settings, "postnorm_centroids")) == [
        f"{NO}1.13.1..2.0.0",
        "2.0.1",
        "≠",
        f"2.1.0 {NO}2.1.1..2.7.0 2.7.1",
        "≈ origin",
        "2.8.0 !2.9.0 2.9.1 2.10.0",
        f"{NO}2.11.0..2.15.0",
    ]
    history = _history(data, settings, "codes_sorted_indices")
    assert _told(history)[-5:-1] == ["2.8.0", "!2.9.0", "⇄ origin", "2.9.1 2.10.0"]
    assert history.told == "Not the same in 3 of 5 consecutive pairs."


def test_what_never_changes_is_one_run(data: Path, settings: Settings) -> None:
    history = _history(data, settings, "sample_pids")
    assert _told(history)[1].startswith("2.0.1")
    assert (len(history.steps), history.changes) == (3, ())
    assert history.told == "The same in all 6 captured releases."


def test_what_is_not_on_record_is_not_taken_for_unchanged(data: Path, settings: Settings) -> None:
    history = _history(data, settings, "pruned_scores")
    assert (history.told, history.steps) == ("Not on record in this lane.", ())


def test_every_release_is_in_a_history_once(data: Path, settings: Settings) -> None:
    pages = [page for path, page in _pages(data, settings).items() if path != "artifact"]
    told = [page.view["histories"][0].steps for page in pages]
    assert any(told)
    for steps in filter(None, told):
        seen = [one for step in steps if isinstance(step, Run) for one in step.seen]
        spans = [(one.first[0], one.last[0]) for one in seen]
        places = [settings.releases.index(place) for span in spans for place in span]
        assert places == sorted(places)
        assert sum(one.count for one in seen) == len(settings.releases)


def test_changes_tell_how_far_and_where(data: Path, settings: Settings) -> None:
    newest = _history(data, settings, "centroids").changes[0]
    assert newest.name == "2.7.1...2.8.0"
    assert newest.href == "pair/2.7.1...2.8.0/index.html#a-centroids"
    assert (newest.largest, newest.mean) == ("6.0e-08", "6.6e-10")
    assert newest.where == "largest in heldout: row 17, column 3"
    # Numbers of centroids have no distance that means anything.
    assert _history(data, settings, "codes").changes[0].largest == "\N{EN DASH}"


def test_a_pair_without_verdicts_breaks_a_run(
    tmp_path: Path, settings: Settings, write_lane: Any
) -> None:
    releases = ("2.7.0", "2.7.1", "2.8.0")
    write_lane(
        tmp_path,
        releases=releases,
        failed=(),
        drop=lambda row: (row["a"], row["b"]) == ("2.7.0", "2.7.1"),
    )
    history = _history(tmp_path, settings, "sample_pids")
    (change,) = history.changes
    assert (change.name, change.counts.worst, change.href) == (
        "2.7.0...2.7.1",
        Verdict.NOT_RUN,
        "",
    )


def test_the_newest_boundary_is_marked_in_the_picture(
    data: Path, settings: Settings, tmp_path: Path
) -> None:
    pages = _pages(data, settings)
    assert pages["artifact"].view["boundary"] == "2.8.0...2.9.1 in cpu-pinned"
    assert "origin" in str(pages["artifact/D"].view["graph"])
    none = _pages(tmp_path / "none", settings)
    assert none["artifact"].view["boundary"] == ""
    assert "origin" not in str(none["artifact/D"].view["graph"])


def test_shapes_are_those_of_the_newest_capture(data: Path, settings: Settings) -> None:
    (shape,) = _pages(data, settings)["artifact/centroids"].view["shapes"]
    assert (shape.lane, shape.release, shape.dtype) == ("cpu-pinned", "2.10.0", "float32")
    assert shape.sizes == "2 (centroid) by 3 (dimension)"


def test_each_capture_that_is_shown_is_read_once(
    data: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []

    def reading(path: Path) -> dict[str, tuple[Form, ...]]:
        read.append(path)
        return read_forms(path)

    monkeypatch.setattr("matrix_site.artifact.read_forms", reading)
    _pages(data, settings)
    assert [path.name for path in read] == ["torch-2.10.0.parquet"]


def test_a_lane_that_pins_nothing_has_no_history(data: Path, settings: Settings) -> None:
    free = replace(settings.lanes["cpu-pinned"], constraints=None)
    pages = _pages(data, replace(settings, lanes={"cpu-pinned": free}))
    assert pages["artifact/D"].view["histories"] == ()
