"""The layout of the pipeline: nothing overlaps, and every edge ends where it belongs."""

import re
from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matrix_capture.catalogue import BY_NAME, CATALOGUE, DEPTHS, Depth, Device, expected
from matrix_site.layout import FLOORS, HEIGHT, Layout, layout

Point = tuple[float, float]

ALL = tuple(artifact.name for artifact in CATALOGUE)
SOME = st.sets(st.sampled_from(ALL), min_size=1).map(
    lambda names: tuple(name for name in ALL if name in names)
)


def _along(path: str) -> list[Point]:
    """Points along the curve that an edge is, a pixel or so apart."""
    found: list[Point] = []
    x = y = 0.0
    for command, words in re.findall(r"([MVcv])([-\d. ]+)", path):
        numbers = [float(word) for word in words.split()]
        if command == "M":
            x, y = numbers
        elif command in "Vv":
            end = numbers[0] + (y if command == "v" else 0)
            found += [(x, y + (end - y) * step / 50) for step in range(51)]
            y = end
        else:
            for step in range(51):
                t = step / 50
                weights = 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3
                right = sum(w * n for w, n in zip(weights, numbers[::2], strict=True))
                down = sum(w * n for w, n in zip(weights, numbers[1::2], strict=True))
                found.append((x + right, y + down))
            x, y = found[-1]
    return found


def _astray(plan: Layout, edges: Mapping[tuple[str, str], str]) -> set[tuple[str, str]]:
    """The edges that do not lead from their parent down to their child, past everything else."""
    wrong = set()
    for (parent, child), path in edges.items():
        points = _along(path)
        (first, start), (last, end) = points[0], points[-1]
        (x, top, _), (at, below, width) = plan.nodes[parent], plan.nodes[child]
        if (first, start, end) != (x, top + HEIGHT, below) or abs(last - at) > width / 2:
            wrong.add((parent, child))
        others = [box for name, box in plan.nodes.items() if name not in {parent, child}]
        if any(_inside(point, others) for point in points):
            wrong.add((parent, child))
    return wrong


def _inside(point: Point, boxes: Iterable[tuple[int, int, int]]) -> bool:
    return any(
        abs(point[0] - x) < width / 2 and top < point[1] < top + HEIGHT for x, top, width in boxes
    )


def _check(plan: Layout, names: tuple[str, ...]) -> None:
    assert tuple(plan.nodes) == names
    assert set(plan.edges) == {
        (parent, name) for name in names for parent in BY_NAME[name].parents if parent in names
    }
    assert _astray(plan, plan.edges) == set()
    boxes = list(plan.nodes.values())
    for place, (x, top, width) in enumerate(boxes):
        for other, beside, room in boxes[place + 1 :]:
            assert top != beside or abs(x - other) >= (width + room) / 2 + 8
    for name, (x, top, width) in plan.nodes.items():
        left, above, wide, high = plan.stages[BY_NAME[name].stage]
        assert left <= x - width / 2
        assert x + width / 2 <= left + wide
        assert above <= top <= above + high - HEIGHT
    for left, above, wide, high in plan.stages.values():
        assert plan.left <= left
        assert left + wide <= plan.left + plan.width
        assert 0 <= above <= plan.height - high


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("depth", DEPTHS)
def test_all_that_a_run_shows_has_its_place(device: Device, depth: Depth) -> None:
    names = tuple(artifact.name for artifact in expected(device, depth))
    _check(layout(names), names)


@settings(deadline=None, max_examples=60)
@given(SOME)
def test_any_part_of_the_catalogue_has_its_place(names: tuple[str, ...]) -> None:
    _check(layout(names), names)


def test_an_edge_that_leads_elsewhere_is_noticed() -> None:
    plan = layout(ALL)
    wrong = {("D", "embs"): plan.edges["D", "local_sample_embs"]}
    assert _astray(plan, {**plan.edges, **wrong}) == {("D", "embs")}
    through = {("weights", "query_embeddings"): _straight(plan, "weights", "query_embeddings")}
    assert _astray(plan, {**plan.edges, **through}) == set(through)


def _straight(plan: Layout, parent: str, child: str) -> str:
    (x, top, _), (at, below, _) = plan.nodes[parent], plan.nodes[child]
    start = top + HEIGHT
    return f"M{x} {start}c0 0 {at - x} {below - start} {at - x} {below - start}"


def test_every_stage_has_a_floor() -> None:
    assert {stage for stages in FLOORS for stage in stages} == {a.stage for a in CATALOGUE}


def test_nothing_at_all_has_a_layout() -> None:
    assert layout(()).nodes == {}


def test_a_layout_is_made_once() -> None:
    assert layout(ALL) is layout(ALL)
