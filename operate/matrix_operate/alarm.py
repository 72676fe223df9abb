"""What an issue says of a boundary or of a new release, and when what it is about has gone.

Whatever a capture named stands in a code span, where GitHub looks for no mention, reference, link
or closing word; titles are made of letters, digits and a few signs.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from matrix_capture.settings import Settings
from matrix_compare.markdown import code, environment, grounded, head, table
from matrix_compare.report import Group, Report, grouped, largest, listed, place
from matrix_compare.schema import Verdict
from matrix_operate.boundary import Boundary, Sighting
from matrix_operate.ledger import Entry
from matrix_site.page import href, pair_page

BOUNDARY, RELEASE = "boundary", "release"
"""The kinds of issues."""

_LONGEST_TITLE = 200
_ROLES = ("origin", "propagated", "")


def boundary_entry(boundary: Boundary, settings: Settings, site: str) -> Entry:
    """The issue of a boundary; `site` is where the pages are, with a slash at its end."""
    return Entry(
        kind=BOUNDARY,
        fingerprint=boundary.fingerprint,
        subject=_subject(boundary.lane, boundary.a, boundary.b),
        state=boundary.level,
        title=title(boundary),
        sections=["\n".join(section) for section in _sections(boundary, settings, site)],
    )


def title(boundary: Boundary) -> str:
    """A boundary in a line without any sign that something could come of."""
    starts = [re.sub(r"[^\w. -]", "?", start, flags=re.ASCII) for start in boundary.starts]
    text = f"torch {boundary.a}...{boundary.b} in {boundary.lane}: {listed(starts)}"
    return text if len(text) <= _LONGEST_TITLE else f"{text[: _LONGEST_TITLE - 3]}..."


def release_entry(release: str, settings: Settings) -> Entry:
    """The issue of a release that `matrix.toml` lacks; `settings` have it in its place."""
    place = settings.releases.index(release)
    behind = f', behind `"{settings.releases[place - 1]}",`' if place else ", at their beginning"
    return Entry(
        kind=RELEASE,
        fingerprint=hashlib.blake2b(release.encode(), digest_size=16).hexdigest(),
        subject=release,
        state="new",
        title=f"Add torch {release} to matrix.toml",
        sections=[
            f"torch `{release}` has been captured, but `matrix.toml` does not have it. Add this "
            f"line to `releases`{behind}:\n",
            f'```toml\n  "{release}",\n```\n',
            "This closes by itself when the line is there.\n",
        ],
    )


def gone(subject: str, fingerprint: str, seen: Mapping[str, Sequence[Sighting]]) -> str:
    """Why the boundary of an issue is no more, for a comment; empty while it is, or nobody knows.

    `seen` are the lanes that were looked at.
    """
    found = re.fullmatch(r"(?P<lane>\S+) (?P<a>\S+)\.\.\.(?P<b>\S+)", subject)
    sightings = seen.get(found["lane"], ()) if found else ()
    known = [sighting for sighting in sightings if not sighting.unknown]
    pairs = {_subject(sighting.lane, sighting.a, sighting.b): sighting for sighting in known}
    if subject not in pairs:
        apart = found and any(found["a"] == one.a or found["b"] == one.b for one in known)
        return "They are no longer neighbours: another release lies between them." if apart else ""
    if pairs[subject].outdated:
        return "These builds are too old to be compared any longer."
    boundary = pairs[subject].boundary
    if boundary is None:
        return "The two are a pass by now."
    if boundary.fingerprint == fingerprint:
        return ""
    return (
        f"It starts elsewhere now: {listed([code(start) for start in boundary.starts])}. That is "
        "another boundary, which gets an issue of its own when a second capture confirms it."
    )


def _subject(lane: str, a: str, b: str) -> str:
    return f"{lane} {a}...{b}"


def _sections(boundary: Boundary, settings: Settings, site: str) -> Iterator[Iterable[str]]:
    report = boundary.report
    yield _introduction(boundary, settings)
    yield [head(report)]
    yield _ways(boundary, settings, site)
    yield _differences(report)
    yield grounded(report)
    yield chain(
        ["torch's wheel brings its own CUDA libraries, MKL and oneDNN; it may be one of those.\n"],
        environment(report),
    )


def _introduction(boundary: Boundary, settings: Settings) -> Iterator[str]:
    a, b, lane = boundary.a, boundary.b, boundary.lane
    yield (
        f"From torch `{a}` to `{b}`, what colbert-ai makes in lane `{lane}` "
        f"({settings.lane(lane).title}) is not a pass by the policy of `matrix.toml`. "
        f"Two captures of `{b}`, by different runs, agree in where that starts.\n"
    )


def _ways(boundary: Boundary, settings: Settings, site: str) -> Iterator[str]:
    a, b, lane = boundary.a, boundary.b, boundary.lane
    url = site + href(pair_page(settings, lane, (a, b)))
    yield f"[All that is known of the pair]({url})\n"
    yield "```console"
    for session in ("compare", "explain"):
        yield f"nox -s {session} -- {a} {b} --lane {lane}"
    yield "```\n"
    yield (
        "This text is kept up to date; what you have to say is safe in a comment. Once closed by "
        "hand, the issue stays closed until the boundary has gone and come back.\n"
    )


def _differences(report: Report) -> Iterator[str]:
    groups = [group for group in grouped(report.lines) if not _same(group)]
    # A probe tells of the cause, not of the index.
    groups.sort(key=lambda group: (_ROLES.index(_role(group)), group.first.kind == "probe"))
    titles = ("role", "artifact", "verdict", "policy", "largest", "where")
    yield from table(titles, map(_row, groups))
    absorbed = sum(line.role == "absorbed" for line in report.lines)
    same = report.summary.counts[Verdict.IDENTICAL]
    if same:
        yield (
            f"{same} of {len(report.lines)} rows are identical, {absorbed} of them although "
            "something they are made from differs.\n"
        )


def _same(group: Group) -> bool:
    return group.first.verdict is Verdict.IDENTICAL


def _role(group: Group) -> str:
    roles = {line.role for line in group.lines}
    return next((role for role in _ROLES if role in roles), "")


def _row(group: Group) -> tuple[str, ...]:
    first = group.first
    return (
        _role(group),
        code(group.label),
        f"{first.verdict.glyph} {first.verdict.replace('_', ' ')}",
        f"{first.level.glyph} {first.level}",
        largest(group),
        place(group, code),
    )
