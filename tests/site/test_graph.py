"""The picture of the pipeline: every artifact, its verdict, and the way from an origin."""

from collections import Counter
from collections.abc import Mapping
from xml.etree.ElementTree import Element

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matrix_capture.catalogue import BY_NAME, expected
from matrix_compare.schema import Verdict
from matrix_site.graph import Mark, pipeline_graph
from matrix_site.layout import layout
from tests.site.drawing import CSS, HOSTILE, of_class, read

NAMES = tuple(artifact.name for artifact in expected("cpu", "default"))
ALL = tuple(artifact.name for artifact in expected("cuda", "sublayers"))
DIFFERS = Mark(style="differs", glyph="≠", word="differs")
ORIGIN = Mark(style="differs unsized", glyph="≠", word="differs", origin=True)
SAME = Mark(style="identical", glyph="=", word="identical")
MISSING = Mark(style="missing", glyph="?", word="missing")


def _href(name: str) -> str:
    return f"../../artifact/{name}/index.html"


def _draw(marks: Mapping[str, Mark], focus: str = "", names: tuple[str, ...] = NAMES) -> str:
    return pipeline_graph("g", "The pipeline", "d", names, marks, _href, focus=focus)


def _drawn(root: Element, style: str) -> Counter[str]:
    paths = [one.get("d", "") for one in of_class(root, style) if one.tag == "path"]
    return Counter(part for path in paths for part in path.split("M") if part)


def _expected(edges: set[tuple[str, str]], names: tuple[str, ...] = NAMES) -> Counter[str]:
    return Counter(layout(names).edges[edge][1:] for edge in edges)


def _later(*origins: str) -> set[str]:
    """An origin and all that is made from it."""
    found = set(origins)
    for name in NAMES:
        if found.intersection(BY_NAME[name].parents):
            found.add(name)
    return found


def _between(names: set[str]) -> set[tuple[str, str]]:
    return {edge for edge in layout(NAMES).edges if names.issuperset(edge)}


def test_every_artifact_is_a_link_with_its_name() -> None:
    root = read(_draw({}))
    links = {link.get("href"): "".join(link.itertext()) for link in root.iter("a")}
    assert links == {_href(name): name for name in NAMES}
    assert [text.text for text in of_class(root, "heads")[0]] == [
        *("encode", "train", "probe", "kmeans", "codec", "index", "ivf", "search")
    ]


def test_a_mark_is_a_glyph_a_word_and_a_class_and_identical_is_quiet() -> None:
    root = read(_draw({"D": ORIGIN, "embs": DIFFERS, "codes": SAME, "ivf": MISSING}))
    nodes = {link.get("href"): link for link in root.iter("a")}
    assert list(nodes[_href("D")].itertext()) == ["D: differs, origin", "≠ D"]
    assert nodes[_href("D")].get("class") == "differs unsized origin"
    assert list(nodes[_href("ivf")].itertext()) == ["ivf: missing", "? ivf"]
    assert list(nodes[_href("codes")].itertext()) == ["codes"]
    assert nodes[_href("codes")].get("class") is None


@pytest.mark.parametrize("origin", ["layers", "postnorm_centroids", "weights"])
def test_the_way_from_an_origin_is_emphasised(origin: str) -> None:
    changed = _later(origin)
    root = read(_draw(dict.fromkeys(changed, DIFFERS) | {origin: ORIGIN}))
    assert _drawn(root, "way") == _expected(_between(changed))
    assert _drawn(root, "edge") + _drawn(root, "way") == _expected(set(layout(NAMES).edges))


def test_a_way_ends_where_a_change_is_absorbed() -> None:
    marks = dict.fromkeys(_later("postnorm_centroids"), DIFFERS)
    marks |= {"postnorm_centroids": ORIGIN, "heldout_codes": SAME, "codes": MISSING}
    root = read(_draw(marks))
    way = _drawn(root, "way")
    plan = layout(NAMES)
    for edge, path in plan.edges.items():
        assert (path[1:] in way) == (
            {"heldout_codes", "codes"}.isdisjoint(edge)
            and edge in _between(_reached("postnorm_centroids", {"heldout_codes", "codes"}))
        )


def _reached(origin: str, without: set[str]) -> set[str]:
    found = {origin}
    for name in NAMES:
        if name not in without and found.intersection(BY_NAME[name].parents):
            found.add(name)
    return found


def test_what_changes_without_an_origin_has_no_way() -> None:
    assert not of_class(read(_draw(dict.fromkeys(_later("D"), DIFFERS))), "way")


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(NAMES))
def test_a_focus_dims_what_is_neither_before_nor_behind_it(focus: str) -> None:
    before = {focus}
    for name in reversed(NAMES):
        if name in before:
            before |= set(BY_NAME[name].parents)
    near = before.union(_later(focus))
    root = read(_draw({"D": ORIGIN}, focus))
    off = {link.get("href") for link in of_class(root, "off") if link.tag == "a"}
    assert off == {_href(name) for name in NAMES if name not in near}
    (shown,) = of_class(root, "focus")
    assert shown.get("href") == _href(focus)
    assert _drawn(root, "off") == _expected(set(layout(NAMES).edges) - _between(near))


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_words_stay_words(hostile: str) -> None:
    mark = Mark(style=f"differs {hostile[:20]}", glyph=hostile, word=hostile, origin=True)
    marks = dict.fromkeys(NAMES, Mark(style="differs", glyph=hostile, word=hostile))
    picture = pipeline_graph(
        "g", hostile, hostile, NAMES, marks, lambda name: f"{name}?{hostile[:50]!r}"
    )
    assert sum(1 for _ in read(picture).iter("a")) == len(NAMES)
    assert "<script" not in _draw({"D": mark})


def test_the_picture_is_small_whatever_it_shows() -> None:
    origin = Mark(style="differs unsized", glyph="≠", word="by an unknown amount", origin=True)
    assert len(_draw(dict.fromkeys(NAMES, DIFFERS)).encode()) < 20_000
    assert len(_draw(dict.fromkeys(ALL, origin), names=ALL).encode()) < 25_000


def test_work_is_done_once_for_each_artifact() -> None:
    asked: Counter[str] = Counter()

    def href(name: str) -> str:
        asked[name] += 1
        return name

    first = pipeline_graph("g", "t", "d", NAMES, {"D": ORIGIN}, href)
    assert asked == Counter(NAMES)
    before = layout.cache_info().misses
    assert pipeline_graph("g", "t", "d", NAMES, {"D": ORIGIN}, href) == first
    assert layout.cache_info().misses == before


@pytest.mark.parametrize("style", [*(v.value for v in Verdict if v != "identical"), "unsized"])
def test_the_stylesheet_knows_every_verdict(style: str) -> None:
    assert f".graph a.{style} path" in CSS
    assert f".graph a.{style} text" in CSS
