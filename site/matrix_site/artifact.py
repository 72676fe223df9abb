"""The page of an artifact: what it is, what it is made from, and what each release made of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import groupby, pairwise

from markupsafe import Markup

from matrix_capture.catalogue import BY_NAME, CATALOGUE, Artifact
from matrix_compare.schema import Verdict
from matrix_site.comparison import NOTHING, Comparison, Pair, by_artifact
from matrix_site.graph import Mark, pipeline_graph
from matrix_site.overview import align
from matrix_site.page import ARTIFACTS, Page, artifact_page, href, pair_page, release_page
from matrix_site.snapshot import LaneData, Snapshot
from matrix_site.summary import Tally, stop, summarise, tally, unable, word
from matrix_site.tensors import Form, read_forms
from matrix_site.text import clean, joined, number, plural

ORDERS = {
    "none": "order matters",
    "elements": "elements may come in any order",
    "rows": "rows may come in any order",
    "per_key": "elements may swap that have one key in",
    "per_list": "elements may swap that lie in one list, of the lengths in",
}
"""What each order rule of the catalogue allows; the name of an artifact follows if there is one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Named:
    """An artifact with its meaning, and the URL of its page."""

    name: str
    href: str
    meaning: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What tensors of an artifact look like in one lane: `32 by 61 to 220 by 384`, and where."""

    lane: str
    release: str
    dtype: str
    sizes: str
    places: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """A release in a history, or several between `first` and `last` that have the same to say.

    `verdict` says why nothing is known of it; None where something is.
    """

    first: tuple[str, str]
    last: tuple[str, str]
    count: int
    verdict: Verdict | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """Consecutive releases that made the same of an artifact, and those between without a word.

    Where `known` is false it is about the latter alone.
    """

    seen: tuple[Seen, ...]
    known: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """Between two runs: what became of an artifact, how far it moved, and where.

    `href` leads to it on the page of the pair, if there is one.
    """

    name: str
    href: str
    counts: Tally
    origin: bool
    largest: str
    mean: str
    where: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """An artifact in one lane, the oldest release first; `told` sums it up."""

    lane: str
    title: str
    told: str
    steps: tuple[Run | Change, ...]
    changes: tuple[Change, ...]


def artifact_pages(snapshot: Snapshot) -> Iterable[Page]:
    """A page for every artifact of the catalogue, and one that lists them all."""
    compared = [lane for lane in snapshot.lanes if not lane.empty and lane.settings.constraints]
    lanes = [_Lane(snapshot, lane) for lane in compared]
    marks, boundary = _marked(lanes)
    yield _index(marks, boundary)
    for artifact in CATALOGUE:
        yield Page(
            path=artifact_page(artifact.name),
            template="artifact.html",
            title=artifact.name,
            description=f"{artifact.name}, {artifact.kind} artifact of stage {artifact.stage}: "
            f"{artifact.meaning}.",
            view={
                "artifact": artifact,
                "order": ORDERS[artifact.order.partition(":")[0]],
                "key": _named(artifact.order_key) if artifact.order_key else None,
                "parents": tuple(_named(name) for name in artifact.parents),
                "children": _CHILDREN.get(artifact.name, ()),
                "follows": _named(artifact.follows) if artifact.follows else None,
                "shapes": tuple(shape for lane in lanes for shape in lane.shapes(artifact)),
                "histories": tuple(lane.history(artifact.name) for lane in lanes),
                "graph": _graph(marks, boundary, "../../", artifact),
            },
        )


class _Lane:
    """What the pages of all artifacts need of a lane."""

    def __init__(self, snapshot: Snapshot, data: LaneData) -> None:
        self.data = data
        self.releases = data.releases
        self.aligned = align(data)
        self.pairs = list(pairwise(self.aligned))
        self._made: dict[tuple[int, int], tuple[Run, ...]] = {}
        self._page = partial(pair_page, snapshot.settings, data.name)
        newest = next(
            (data.captures[r] for r in reversed(self.aligned) if r in data.captures), None
        )
        self._newest = newest.record.torch if newest else ""
        self._forms = read_forms(newest.path) if newest and newest.dtypes else {}

    def shapes(self, artifact: Artifact) -> Iterable[Shape]:
        """What an artifact looks like in the newest capture."""
        for form in self._forms.get(artifact.name, ()):
            yield Shape(
                lane=self.data.name,
                release=self._newest,
                dtype=form.dtype,
                sizes=_sizes(form, artifact.axes),
                places=_places(form),
            )

    def history(self, name: str) -> History:
        """What each release made of an artifact."""
        steps: list[Run | Change] = []
        place = 0
        for change, run in self._runs(name):
            begin, end = (self.releases.index(release) for release in (run[0], run[-1]))
            # What lies between two runs belongs to neither.
            steps += [*self._run(place, begin), *([change] if change else [])]
            steps += self._run(begin, end + 1)
            place = end + 1
        steps += self._run(place, len(self.releases))
        changes = tuple(step for step in steps if isinstance(step, Change))
        return History(
            lane=self.data.name,
            title=self.data.settings.title,
            told=self._told(name, changes),
            steps=tuple(steps) if self._known(name) else (),
            changes=tuple(reversed(changes)),
        )

    def _runs(self, name: str) -> list[tuple[Change | None, list[str]]]:
        """Captured releases that made the same of an artifact, each behind what changed it."""
        runs: list[tuple[Change | None, list[str]]] = [(None, self.aligned[:1])]
        for pair in self.pairs:
            change = self._change(pair, name)
            if change:
                runs.append((change, []))
            runs[-1][1].append(pair[1])
        return runs if self.aligned else []

    def _run(self, begin: int, end: int) -> tuple[Run, ...]:
        """The releases from one place to another, if any; artifacts share what they share of it."""
        if (begin, end) not in self._made:
            seen = tuple(self._seen(self.releases[begin:end]))
            known = any(one.verdict is None for one in seen)
            self._made[begin, end] = (Run(seen=seen, known=known),) if seen else ()
        return self._made[begin, end]

    def _seen(self, releases: Sequence[str]) -> Iterable[Seen]:
        """Every release of which something is known, of others only where they begin and end."""
        for verdict, group in groupby(releases, key=self._absent):
            names = list(group)
            for part in [[name] for name in names] if verdict is None else [names]:
                first, last = ((name, href(release_page(name))) for name in (part[0], part[-1]))
                yield Seen(first=first, last=last, count=len(part), verdict=verdict)

    def _absent(self, release: str) -> Verdict | None:
        """Why nothing is known of a release; None where something is."""
        if release in self.aligned:
            return None
        failed = stop(self.data, release) and not unable(self.data, release)
        return Verdict.FAILED if failed else Verdict.NOT_RUN

    def _known(self, name: str) -> bool:
        return any(name in by_artifact(rows) for rows in set(self.data.pairs.values()))

    def _told(self, name: str, changes: Sequence[Change]) -> str:
        if not self.pairs:
            return "No two captures to compare yet."
        if not self._known(name):
            return "Not on record in this lane."
        if not changes:
            return f"The same in all {plural(len(self.aligned), 'captured release')}."
        return f"Not the same in {len(changes)} of {plural(len(self.pairs), 'consecutive pair')}."

    def _change(self, pair: Pair, name: str) -> Change | None:
        """What a pair made of an artifact; None if it is identical."""
        found = by_artifact(self.data.pairs.get(pair, NOTHING)).get(name, ())
        figures = _figures(found)
        if figures.counts.worst is Verdict.IDENTICAL:
            return None
        there = f"#a-{name}" if found else ""
        return Change(
            name="...".join(pair),
            href=f"{href(self._page(pair))}{there}" if pair in self.data.pairs else "",
            counts=figures.counts,
            origin=figures.origin,
            largest=figures.largest,
            mean=figures.mean,
            where=figures.where,
            reason=figures.reason,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Figures:
    counts: Tally
    origin: bool
    largest: str
    mean: str
    where: str
    reason: str


@cache
def _figures(rows: tuple[Comparison, ...]) -> _Figures:
    """How far an artifact moved in all its parts; pairs that compare alike share the answer."""
    counts = tally(rows)
    # What numbers of things are apart means nothing.
    far = [row for row in rows if row.max_abs and "float" in row.dtype]
    largest = max(far, key=lambda row: row.max_abs or 0, default=None)
    worst = next((row for row in rows if row.verdict is counts.worst), None)
    return _Figures(
        counts=counts,
        origin=any(row.role == "origin" for row in rows),
        largest=number(largest.max_abs if largest else None),
        mean=number(largest.mean_abs if largest else None),
        where=_where("largest", largest) if largest else _where("first", worst) if worst else "",
        reason=clean(worst.reason, 200) if worst else "",
    )


def _where(what: str, row: Comparison) -> str:
    """`largest in chunk.0: row 17, column 3`."""
    place = ", ".join(filter(None, (row.part, row.scope)))
    told = f"{what} in {clean(place, 120)}" if place else what
    return f"{told}: {clean(row.largest_at, 200)}" if row.largest_at else told


def _sizes(form: Form, axes: Sequence[str]) -> str:
    """`32 (passage) by 61 to 220 (token)`: the size along each axis, and what the axis counts."""
    if not form.sizes:
        return "one number"
    names = axes if len(axes) == len(form.sizes) else [""] * len(form.sizes)
    return " by ".join(
        f"{low:,}{f' to {high:,}' if low < high else ''}{f' ({name})' if name else ''}"
        for (low, high), name in zip(form.sizes, names, strict=True)
    )


def _places(form: Form) -> str:
    parts = plural(len(form.parts), "part") if form.parts else ""
    shown = ", ".join(clean(scope, 20) for scope in form.scopes[:3])
    rest = len(form.scopes) - 3
    return ": ".join(filter(None, (parts, f"{shown} and {rest} more" if rest > 0 else shown)))


@cache
def _named(name: str) -> Named:
    return Named(name=name, href=href(artifact_page(name)), meaning=BY_NAME[name].meaning)


_CHILDREN = {
    name: tuple(_named(child.name) for child in CATALOGUE if name in child.parents)
    for name in BY_NAME
}


def _index(marks: Mapping[str, Mark], boundary: str) -> Page:
    stages = tuple(
        (stage, tuple(group)) for stage, group in groupby(CATALOGUE, key=lambda found: found.stage)
    )
    return Page(
        path=ARTIFACTS,
        template="pipeline.html",
        title="Artifacts of the pipeline",
        description=f"{len(CATALOGUE)} tensors and lists that colbert-ai makes on its way to an "
        "index, a ranking and trained weights: what each is and what it is made from.",
        view={
            "stages": tuple(
                (stage, tuple((one, _named(one.name), marks.get(one.name)) for one in found))
                for stage, found in stages
            ),
            "boundary": boundary,
            "graph": _graph(marks, boundary, "../"),
        },
    )


def _marked(lanes: Sequence[_Lane]) -> tuple[Mapping[str, Mark], str]:
    """What became of each artifact at the newest boundary of the first lane that has one."""
    for lane in lanes:
        for pair in reversed(lane.pairs):
            rows = lane.data.pairs.get(pair, NOTHING)
            if summarise(rows).starts:
                marks = {name: _mark(_figures(found)) for name, found in by_artifact(rows).items()}
                return marks, f"{'...'.join(pair)} in {lane.data.name}"
    return {}, ""


def _mark(figures: _Figures) -> Mark:
    worst = figures.counts.worst
    return Mark(
        style=f"{worst.value} unsized" if figures.counts.vague else worst.value,
        glyph=worst.glyph,
        word=word(worst),
        origin=figures.origin,
    )


def _graph(
    marks: Mapping[str, Mark], boundary: str, root: str, focus: Artifact | None = None
) -> Markup:
    """The pipeline as far as it is on record; probes, which nothing is made from, on their own."""
    shown = _PROBES if focus and focus.stage == "probe" else _PIPELINE
    recorded = tuple(name for name in shown if name in marks)
    names = recorded if recorded and (not focus or focus.name in marks) else shown
    origins = tuple(name for name in names if name in marks and marks[name].origin)
    told = (
        f"{focus.name}, what it is made from and what is made from it." if focus else "",
        f"At {boundary} a divergence starts at {joined(origins, 4)}." if origins else "",
        "Lines lead from an artifact to what is made from it.",
    )
    return pipeline_graph(
        "graph",
        f"{focus.name} in the pipeline" if focus else "The pipeline",
        " ".join(filter(None, told)),
        names,
        marks,
        lambda name: f"{root}{href(artifact_page(name))}",
        focus=focus.name if focus else "",
    )


_PROBES = tuple(artifact.name for artifact in CATALOGUE if artifact.stage == "probe")
_PIPELINE = tuple(artifact.name for artifact in CATALOGUE if artifact.stage != "probe")
