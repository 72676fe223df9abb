"""What neighbours do not show: bands of identical releases, and small steps that add up."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import duckdb
import pyarrow.compute as pc

from matrix_compare.pairs import Verdicts
from matrix_compare.schema import Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class Band:
    """A maximal run of consecutive releases that are identical in everything."""

    first: str
    last: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """Steps from `first` to `last` of which each passes a profile and which together do not.

    No shorter run of releases within shows the same. `max_abs` is the largest difference between
    the ends, None if it was not measured.
    """

    artifact: str
    part: str
    scope: str
    profile: str
    first: str
    last: str
    max_abs: float | None


def bands(releases: Sequence[str], verdicts: Verdicts) -> list[Band]:
    """The bands of a lane, oldest first; a release like no neighbour is one of its own."""
    found = [Band(first=release, last=release) for release in releases[:1]]
    for a, b in pairwise(releases):
        if verdicts.identical(a, b):
            found[-1] = Band(first=found[-1].first, last=b)
        else:
            found.append(Band(first=b, last=b))
    return found


def told(found: Sequence[Band], drifting: Sequence[Drift]) -> Iterator[str]:
    """Bands and drifts in a few lines for a terminal."""
    spans = [b.first if b.first == b.last else f"{b.first} to {b.last}" for b in found]
    yield f"identical releases: {' | '.join(spans)}"
    for drift in drifting[:_TOLD]:
        name = " ".join(filter(None, (drift.artifact, drift.part, drift.scope)))
        far = "" if drift.max_abs is None else f", {drift.max_abs:.3g} at most"
        yield (
            f"small steps add up: from {drift.first} to {drift.last} {name} leaves the profile "
            f"{drift.profile}{far}, though no step does"
        )
    if len(drifting) > _TOLD:
        yield f"and {len(drifting) - _TOLD} more of these"


_TOLD = 5

# A step passes where nothing differs beyond the profile; what is missing, failed or unstable passes
# nothing. `failures` counts the steps before a release that do not pass.
_DRIFTS = """
with judged as (
    select artifact, part, scope, a.place as i, b.place as j, max_abs,
        verdict in ('identical', 'reordered') or list_contains(profiles, $profile) as passes
    from verdicts
    join releases as a on verdicts.a = a.name
    join releases as b on verdicts.b = b.name
),
steps as (
    select artifact, part, scope, j as place,
        sum((not passes)::int) over (
            partition by artifact, part, scope order by j
        ) as failures,
        count(*) over (partition by artifact, part, scope order by j) as steps
    from judged
    where j = i + 1
),
spans as (
    select judged.*
    from judged
    join steps as last using (artifact, part, scope)
    left join steps as first
        on (first.artifact, first.part, first.scope, first.place)
            = (judged.artifact, judged.part, judged.scope, judged.i)
    where last.place = judged.j and not passes and j > i + 1
        and last.failures = coalesce(first.failures, 0)
        and last.steps - coalesce(first.steps, 0) = j - i
)
select artifact, part, scope, a.name as first, b.name as last, max_abs
from spans as outside
join releases as a on a.place = i
join releases as b on b.place = j
where not exists (
    from spans as inside
    where (inside.artifact, inside.part, inside.scope)
            = (outside.artifact, outside.part, outside.scope)
        and inside.i >= outside.i and inside.j <= outside.j
        and (inside.i, inside.j) <> (outside.i, outside.j)
)
order by i, j, artifact, part, scope
"""


def drifts(releases: Sequence[str], verdicts: Verdicts, profiles: Sequence[str]) -> list[Drift]:
    """Every artifact that leaves a profile in steps too small to be seen between neighbours."""
    found: list[Drift] = []
    # Without a step that differs and passes nothing can add up.
    if not pc.any(pc.equal(verdicts.table["verdict"], Verdict.CLOSE.value)).as_py():
        return found
    names = ["artifact", "part", "scope", "a", "b", "verdict", "profiles", "max_abs"]
    with duckdb.connect() as connection:
        connection.register("verdicts", verdicts.table.select(names))
        connection.execute("create table releases (name varchar, place int)")
        connection.executemany(
            "insert into releases values (?, ?)",
            [(name, place) for place, name in enumerate(releases)],
        )
        for profile in profiles:
            answer = connection.sql(_DRIFTS, params={"profile": profile}).to_arrow_table()
            found += [Drift(profile=profile, **row) for row in answer.to_pylist()]
    return found
