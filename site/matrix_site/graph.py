"""The pipeline as a picture: what each artifact is made from, and where a divergence starts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from markupsafe import Markup, escape

from matrix_site.layout import HEIGHT, Layout, layout
from matrix_site.svg import shown, svg

CHANGED = frozenset({"reordered", "close", "differs", "unsized"})
"""Classes of what is known not to be the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """What became of an artifact: classes of the stylesheet, its glyph, and the word for both."""

    style: str
    glyph: str
    word: str
    origin: bool = False


def pipeline_graph(  # noqa: PLR0917 - the first three are those of every picture
    id_: str,
    title: str,
    description: str,
    names: tuple[str, ...],
    marks: Mapping[str, Mark],
    href: Callable[[str], str],
    *,
    focus: str = "",
) -> Markup:
    """Draw artifacts of the catalogue, each below what it is made from and linked to `href` of it.

    What has no mark, or an identical one, stays quiet. The way from each origin to what it
    propagates to is emphasised. With a `focus`, what neither makes it nor is made from it steps
    back.
    """
    plan = layout(names)
    hot = _hot(plan, marks)
    near = _near(plan, focus) if focus else None
    nodes = (
        _node(name, place, marks.get(name), href(name), _role(name, focus, near))
        for name, place in plan.nodes.items()
    )
    drawn = (_stages(names), _edges(plan, hot, near), _heads(names), *nodes)
    return svg(
        (id_, title, description),
        "".join(drawn),
        style="graph",
        left=plan.left,
        width=plan.width,
        height=plan.height,
        links=True,
    )


def _hot(plan: Layout, marks: Mapping[str, Mark]) -> set[str]:
    """Origins, and what changes behind them without a break."""
    hot: set[str] = set()
    for name, parents in plan.parents.items():
        mark = marks.get(name)
        if mark and (mark.origin or (_changed(mark) and any(p in hot for p in parents))):
            hot.add(name)
    return hot


def _changed(mark: Mark) -> bool:
    return not CHANGED.isdisjoint(mark.style.split())


def _near(plan: Layout, focus: str) -> set[str]:
    """An artifact with all that it is made from and all that is made from it."""
    near = {focus}
    for name, parents in plan.parents.items():
        if any(parent in near for parent in parents):
            near.add(name)
    above = {focus}
    for name in reversed(tuple(plan.parents)):
        if name in above:
            above.update(plan.parents[name])
    return near | above


@lru_cache(maxsize=64)
def _stages(names: tuple[str, ...]) -> str:
    """The grounds of the stages: the same in every picture of these artifacts."""
    boxes = layout(names).stages.values()
    ground = "".join(f"M{x} {y}h{width}v{height}h-{width}z" for x, y, width, height in boxes)
    return f'<path class="stage" d="{ground}"/>'


@lru_cache(maxsize=64)
def _heads(names: tuple[str, ...]) -> str:
    """The names of the stages, over the edges that pass there."""
    heads = (
        f'<text x="{x + 2}" y="{y - 6}">{escape(stage)}</text>'
        for stage, (x, y, _, _) in layout(names).stages.items()
    )
    return f'<g class="heads">{"".join(heads)}</g>'


def _edges(plan: Layout, hot: set[str], near: set[str] | None) -> str:
    """All edges as one path for each way of drawing them, the emphasised last, on top."""
    if not hot and near is None:
        return _quiet(tuple(plan.nodes))
    groups: dict[str, list[str]] = {"off": [], "edge": [], "way": []}
    for (parent, name), path in plan.edges.items():
        if near is not None and not (parent in near and name in near):
            groups["off"].append(path)
        else:
            groups["way" if parent in hot and name in hot else "edge"].append(path)
    return "".join(f'<path class="{k}" d="{"".join(v)}"/>' for k, v in groups.items() if v)


@lru_cache(maxsize=64)
def _quiet(names: tuple[str, ...]) -> str:
    return f'<path class="edge" d="{"".join(layout(names).edges.values())}"/>'


def _role(name: str, focus: str, near: set[str] | None) -> str:
    if near is not None and name not in near:
        return "off"
    return "focus" if name == focus else ""


def _node(name: str, place: tuple[int, int, int], mark: Mark | None, href: str, role: str) -> str:
    """A box with a name; what is identical, or of which nothing is known, stays quiet."""
    x, top, width = place
    title = glyph = style = ""
    if mark and mark.style != "identical":
        style = f"{mark.style} origin" if mark.origin else mark.style
        told = f"{mark.word}, origin" if mark.origin else mark.word
        title, glyph = f"<title>{name}: {shown(told)}</title>", f"{shown(mark.glyph)} "
    style = role if role == "off" else f"{style} {role}".strip()
    classes = f' class="{escape(style)}"' if style else ""
    return (
        f'<a href="{escape(href)}"{classes}>{title}'
        f'<path d="M{x - width // 2} {top}h{width}v{HEIGHT}h-{width}z"/>'
        f'<text x="{x}" y="{top + 15}">{glyph}{name}</text></a>'
    )
