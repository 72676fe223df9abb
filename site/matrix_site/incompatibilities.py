"""The page of known incompatibilities: symptom, cure, sources, and which releases show each now."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from matrix_capture.schema import Record
from matrix_compare.known import Known, match, read_known, source_url
from matrix_site.page import KNOWN, Page, href, release_page
from matrix_site.snapshot import LaneData, Snapshot


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """The releases of one lane that fail in a known way, each with the URL of its page."""

    lane: str
    releases: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One incompatibility; sources are names with a URL or none, `packages` what it takes."""

    id: str
    when: str
    symptom: str
    stages: tuple[str, ...]
    packages: tuple[str, ...]
    cure: str
    sources: tuple[tuple[str, str], ...]
    shown: tuple[Shown, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cure:
    """What is known of a failure, for a page of another kind, and where the rest is to be read."""

    when: str
    cure: str
    href: str


def known_pages(snapshot: Snapshot) -> Iterable[Page]:
    """The one page, which is there without any data as well."""
    rows = incompatibilities(snapshot)
    now = sum(bool(row.shown) for row in rows)
    yield Page(
        path=KNOWN,
        template="known.html",
        title="Known incompatibilities",
        description=f"{len(rows)} ways in which colbert-ai does not run with what surrounds it: "
        f"symptom, cure, sources. {now} of them can be seen in captures now.",
        view={"rows": rows, "now": now},
    )


def incompatibilities(snapshot: Snapshot) -> tuple[Row, ...]:
    """Every row, in the order in which they are tried."""
    known = read_known()
    found = {lane.name: _matches(lane, known) for lane in snapshot.lanes}
    return tuple(_row(row, found) for row in known)


def cure_of(record: Record, known: Sequence[Known]) -> Cure | None:
    """What is known of the failure on record; None if nothing failed, or it is new."""
    row = match(record, known)
    return Cure(when=row.when, cure=row.cure, href=f"{href(KNOWN)}#{row.id}") if row else None


def _matches(lane: LaneData, known: Sequence[Known]) -> dict[str, list[str]]:
    """Releases by the row that explains why they fail, in the order of the settings."""
    found: dict[str, list[str]] = {}
    for release, captured in lane.captures.items():
        row = match(captured.record, known)
        if row:
            found.setdefault(row.id, []).append(release)
    return found


def _row(row: Known, found: Mapping[str, Mapping[str, Sequence[str]]]) -> Row:
    return Row(
        id=row.id,
        when=row.when,
        symptom=row.symptom,
        stages=row.stages,
        packages=tuple(f"{name} {held}" for name, held in row.packages.items()),
        cure=row.cure,
        sources=tuple((source, source_url(source)) for source in row.sources),
        shown=tuple(
            Shown(lane=lane, releases=tuple((r, href(release_page(r))) for r in rows[row.id]))
            for lane, rows in found.items()
            if row.id in rows
        ),
    )
