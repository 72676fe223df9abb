"""The page of an environment: everything that is installed and set where captures ran."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import blake3

from matrix_capture.schema import Record
from matrix_site.page import Page, environment_page, href, release_page
from matrix_site.snapshot import LaneData, Snapshot
from matrix_site.text import clean, day, joined, moment, plural

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)
_VERSION = re.compile(r"[0-9][A-Za-z0-9.!+_-]*", re.ASCII)
_OURS = "colbert-matrix"


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A capture that ran there: what it is of, the page of its release, and its day."""

    lane: str
    release: str
    href: str
    day: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """Properties with their values; `of` says of which captures where not all have them."""

    title: str
    of: str
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class EnvironmentView:
    """An environment; `unnamed` of its packages have no plain name and version to ask for."""

    digest: str
    runs: tuple[Run, ...]
    facts: tuple[Facts, ...]
    packages: tuple[tuple[str, str], ...]
    requirements: tuple[str, ...]
    unnamed: int


def environment_pages(snapshot: Snapshot) -> Iterable[Page]:
    """A page for each environment; captures whose environments are equal share one."""
    found: dict[str, list[tuple[LaneData, Record]]] = {}
    for lane in snapshot.lanes:
        for captured in lane.captures.values():
            digest = environment_digest(captured.record)
            found.setdefault(digest, []).append((lane, captured.record))
    for digest, members in found.items():
        names = tuple(f"torch {record.torch} in {lane.name}" for lane, record in members)
        record = members[0][1]
        yield Page(
            path=environment_page(digest),
            template="environment.html",
            title=f"Environment of {joined(names, 2)}",
            description=f"{plural(len(record.packages), 'package')}, host and settings of "
            f"{joined(names)}.",
            view={"view": _view(digest, [record for _, record in members])},
            listed=not all(lane.quick for lane, _ in members),
        )


def environment_digest(record: Record) -> str:
    """16 hex digits that two captures share if and only if their environments are equal.

    They are BLAKE3 over the canonical JSON of packages, host, environment variables and factors.
    """
    made_of = record.packages, record.host, record.environ, record.factors
    canonical = json.dumps(made_of, sort_keys=True, separators=(",", ":"))
    return blake3.blake3(canonical.encode("ascii")).hexdigest(length=8)


def _view(digest: str, records: Sequence[Record]) -> EnvironmentView:
    first = records[0]
    requirements = tuple(_requirements(first.packages))
    ours = _OURS in first.packages
    return EnvironmentView(
        digest=digest,
        runs=tuple(_run(record) for record in records),
        facts=(
            Facts(title="Fixed factors", of="", rows=_rows(first.factors)),
            Facts(title="Host", of="", rows=_rows(first.host)),
            Facts(title="Environment variables", of="", rows=_rows(first.environ)),
            *_unlike("Inputs", [(record, record.inputs) for record in records]),
            *_unlike("Fingerprint", [(record, record.fingerprint) for record in records]),
        ),
        packages=_rows(first.packages),
        requirements=requirements,
        unnamed=len(first.packages) - len(requirements) - ours,
    )


def _run(record: Record) -> Run:
    time = moment(record.started)
    return Run(
        lane=record.lane,
        release=record.torch,
        href=href(release_page(record.torch)),
        day=day(time) if time else clean(record.started, 40),
    )


def _unlike(title: str, found: Sequence[tuple[Record, Mapping[str, str | int]]]) -> Iterable[Facts]:
    """What captures of one environment may still differ in, each once."""
    groups: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for record, facts in found:
        groups.setdefault(_rows(facts), []).append(f"torch {record.torch} in {record.lane}")
    for rows, names in groups.items():
        yield Facts(title=title, of=joined(tuple(names)) if len(groups) > 1 else "", rows=rows)


def _rows(facts: Mapping[str, str | int]) -> tuple[tuple[str, str], ...]:
    return tuple((name, str(facts[name]) or "(empty)") for name in sorted(facts))


def _requirements(packages: Mapping[str, str]) -> Iterable[str]:
    """Lines for pip, which takes a line of any other form for an option or an address."""
    for name in sorted(packages):
        version = packages[name]
        if name != _OURS and _NAME.fullmatch(name) and _VERSION.fullmatch(version):
            yield f"{name}=={version}"
