"""Where the artifacts of the pipeline lie in its picture, and which way its edges go.

A layered drawing after Sugiyama: rows by the longest way from a source, order within a row by the
mean of the neighbours, positions by least squares. docs/dependencies.md says why it is our own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from statistics import fmean

from matrix_capture.catalogue import BY_NAME

FLOORS = (("encode", "train", "probe"), ("kmeans",), ("codec", "index", "ivf"), ("search",))
"""Stages from top to bottom; those of one floor lie side by side."""

HEIGHT = 22
"""Height of a node in pixels."""

ADVANCE = 6.4
"""Width of a character in pixels, in a font where all are equally wide."""

_PITCH = 40  # from one row to the next
_HEADING = 40  # above a floor: its distance from the one before, and the names of its stages
_GAP, _PAD, _GUTTER = 10, 12, 20  # between nodes, around those of a stage, between stages
_LANE = 5  # free on both sides of an edge that passes by nodes
_PORT = 9  # between edges that meet at a node
_SWEEPS = 24

Span = tuple[float, float]
Edge = tuple[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Positions in pixels: `nodes` are centre, top and width, `stages` left, top, width, height.

    `parents` of a node are those shown. `edges` are paths from a parent to a node.
    """

    nodes: Mapping[str, tuple[int, int, int]]
    parents: Mapping[str, tuple[str, ...]]
    edges: Mapping[Edge, str]
    stages: Mapping[str, tuple[int, int, int, int]]
    left: int
    width: int
    height: int


@lru_cache(maxsize=64)
def layout(names: tuple[str, ...]) -> Layout:
    """Lay out artifacts of the catalogue, which come in its order."""
    shown = set(names)
    parents = {
        name: tuple(parent for parent in BY_NAME[name].parents if parent in shown) for name in names
    }
    rows = _rows(parents)
    tops = _tops(rows)
    spans = _spans(rows)
    centres = _centres(rows, parents, spans)
    lanes = _lanes(rows, parents, centres)
    reach = [*(lane for lane in lanes.values() if lane is not None), *sum(spans.values(), ())]
    left = round(min(reach, default=0)) - _PAD
    return Layout(
        nodes={
            name: (round(centres[name]), tops[rows[name]], round(_width(name))) for name in names
        },
        parents=parents,
        edges=_edges(rows, tops, parents, centres, lanes),
        stages=_stages(rows, tops, spans),
        left=left,
        width=round(max(reach, default=0)) + _PAD - left,
        height=max(tops.values(), default=0) + HEIGHT + 2 * _PAD,
    )


def _rows(parents: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Each artifact below its parents and below the floors above its own.

    Probes have little to do with each other, so that they need no room beside each other.
    """
    rows: dict[str, int] = {}
    floor = 0
    for stages in FLOORS:
        probes = floor
        for name, above in parents.items():
            if BY_NAME[name].stage in stages:
                rows[name] = max([floor, *(rows[parent] + 1 for parent in above)])
                if BY_NAME[name].stage == "probe":
                    rows[name] = probes
                    probes += 1
        floor = max([floor - 1, *rows.values()]) + 1
    return rows


def _tops(rows: Mapping[str, int]) -> dict[int, int]:
    """The top of each row; a floor begins with the names of its stages."""
    first = {
        min(found)
        for stages in FLOORS
        if (found := [row for name, row in rows.items() if BY_NAME[name].stage in stages])
    }
    heights = (_HEADING * (row in first) for row in range(max(rows.values(), default=-1) + 1))
    return {row: extra + row * _PITCH for row, extra in enumerate(accumulate(heights))}


def _spans(rows: Mapping[str, int]) -> dict[str, Span]:
    """From where to where each stage reaches; floors are centred above each other."""
    needed = {
        stage: max(
            (
                sum(_width(name) + _GAP for name in row) - _GAP
                for row in _by_row(rows, stage).values()
            ),
            default=0.0,
        )
        for stages in FLOORS
        for stage in stages
    }
    spans: dict[str, Span] = {}
    for stages in FLOORS:
        found = [stage for stage in stages if needed[stage]]
        whole = sum(needed[stage] + 2 * _PAD + _GUTTER for stage in found) - _GUTTER
        at = -whole / 2
        for stage in found:
            spans[stage] = at, at + needed[stage] + 2 * _PAD
            at = spans[stage][1] + _GUTTER
    return spans


def _by_row(rows: Mapping[str, int], stage: str) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for name, row in rows.items():
        if BY_NAME[name].stage == stage:
            found.setdefault(row, []).append(name)
    return found


def _width(name: str) -> float:
    """Room for a glyph, a space, and the name."""
    return ADVANCE * (len(name) + 2) + 12


def _centres(
    rows: Mapping[str, int], parents: Mapping[str, Sequence[str]], spans: Mapping[str, Span]
) -> dict[str, float]:
    """Order and place the nodes of every row, by their parents and by their children in turn."""
    near = _near(parents)
    groups = [
        (row, stage, members) for stage in spans for row, members in _by_row(rows, stage).items()
    ]
    groups.sort(key=lambda group: group[0])
    centres: dict[str, float] = {}
    for _, stage, members in groups:
        _place(members, [fmean(spans[stage])] * len(members), spans[stage], centres)
    for sweep in range(_SWEEPS):
        for _, stage, members in groups if sweep % 2 == 0 else reversed(groups):
            wanted = {
                name: fmean([centres[other] for other in near[sweep % 2][name] or (name,)])
                for name in members
            }
            members.sort(key=lambda name: (wanted[name], centres[name]))
            _place(members, [wanted[name] for name in members], spans[stage], centres)
    return centres


def _near(
    parents: Mapping[str, Sequence[str]],
) -> tuple[Mapping[str, Sequence[str]], Mapping[str, Sequence[str]]]:
    """The parents and the children of each node: those of its stage, or all if there are none."""
    children: dict[str, list[str]] = {name: [] for name in parents}
    for name, above in parents.items():
        for parent in above:
            children[parent].append(name)

    def nearest(name: str, others: Sequence[str]) -> Sequence[str]:
        stage = BY_NAME[name].stage
        return [other for other in others if BY_NAME[other].stage == stage] or others

    return (
        {name: nearest(name, above) for name, above in parents.items()},
        {name: nearest(name, below) for name, below in children.items()},
    )


def _place(
    members: Sequence[str], wanted: Sequence[float], span: Span, centres: dict[str, float]
) -> None:
    """Put nodes beside each other as near to where they want to be as their order allows.

    Least squares by pooling adjacent violators (Ayer et al., 1955): less the room that the nodes
    before need, positions may not decrease.
    """
    steps = (_width(a) / 2 + _GAP + _width(b) / 2 for a, b in pairwise(members))
    needed = list(accumulate(steps, initial=0.0))
    pools: list[tuple[float, int]] = []
    for want, before in zip(wanted, needed, strict=True):
        total, count = want - before, 1
        while pools and pools[-1][0] / pools[-1][1] > total / count:
            more, others = pools.pop()
            total, count = total + more, count + others
        pools.append((total, count))
    low = span[0] + _PAD + _width(members[0]) / 2
    high = span[1] - _PAD - _width(members[-1]) / 2 - needed[-1]
    means = [total / count for total, count in pools for _ in range(count)]
    for name, mean, before in zip(members, means, needed, strict=True):
        centres[name] = min(max(mean, low), high) + before


def _lanes(
    rows: Mapping[str, int], parents: Mapping[str, Sequence[str]], centres: Mapping[str, float]
) -> dict[Edge, float | None]:
    """Where each edge passes by the rows between its ends; None if there are none.

    Edges of different parents keep apart. The shortest are the first to choose.
    """
    taken: dict[int, list[tuple[float, float, str]]] = {row: [] for row in rows.values()}
    for name, row in rows.items():
        half = _width(name) / 2 + _LANE
        taken[row].append((centres[name] - half, centres[name] + half, ""))
    edges = [(parent, name) for name, above in parents.items() for parent in above]
    edges.sort(key=lambda edge: rows[edge[1]] - rows[edge[0]])
    lanes: dict[Edge, float | None] = {}
    for parent, name in edges:
        between = range(rows[parent] + 1, rows[name])
        if not between:
            lanes[parent, name] = None
            continue
        blocks = [
            (low, high) for row in between for low, high, owner in taken[row] if owner != parent
        ]
        lane = min(
            (min(max(centres[name], low), high) for low, high in _free(blocks)),
            key=lambda x: abs(x - centres[parent]) + 1.2 * abs(x - centres[name]),
        )
        lanes[parent, name] = lane
        for row in between:
            taken[row].append((lane - _LANE, lane + _LANE, parent))
    return lanes


def _free(blocks: Iterable[Span]) -> Iterable[Span]:
    """What is left between intervals."""
    at = float("-inf")
    for low, high in sorted(blocks):
        if low >= at:
            yield at, low
        at = max(at, high)
    yield at, float("inf")


def _edges(
    rows: Mapping[str, int],
    tops: Mapping[int, int],
    parents: Mapping[str, Sequence[str]],
    centres: Mapping[str, float],
    lanes: Mapping[Edge, float | None],
) -> dict[Edge, str]:
    """Curves from below a parent to above a node, straight where they pass by other rows."""
    edges = {}
    for name, above in parents.items():
        comes = {
            parent: centres[parent] if (lane := lanes[parent, name]) is None else lane
            for parent in above
        }
        step = min(_PORT, (_width(name) - 12) / max(1, len(above)))
        for place, parent in enumerate(sorted(above, key=lambda p: comes[p])):
            start, end = tops[rows[parent]] + HEIGHT, tops[rows[name]]
            port = round(centres[name] + step * (place - (len(above) - 1) / 2))
            x = round(centres[parent])
            path = f"M{x} {start}"
            if rows[name] > rows[parent] + 1:
                lane = round(comes[parent])
                passed = tops[rows[parent] + 1]
                path += _curve(lane - x, passed - start)
                start, x = tops[rows[name] - 1] + HEIGHT, lane
                path += f"V{start}"
            edges[parent, name] = path + _curve(port - x, end - start)
    return edges


def _curve(right: int, down: int) -> str:
    """From where the pen is, leaving and arriving vertically."""
    half = down // 2
    return f"c0 {half} {right} {half} {right} {down}" if right else f"v{down}"


def _stages(
    rows: Mapping[str, int], tops: Mapping[int, int], spans: Mapping[str, Span]
) -> dict[str, tuple[int, int, int, int]]:
    boxes = {}
    for stage, (low, high) in spans.items():
        found = _by_row(rows, stage)
        top = tops[min(found)] - _PAD + 4
        bottom = tops[max(found)] + HEIGHT + _PAD - 4
        boxes[stage] = round(low), top, round(high) - round(low), bottom - top
    return boxes
