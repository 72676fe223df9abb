"""Which releases of a lane are to be captured again, and why."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from matrix_capture.environment import capture_code
from matrix_capture.errors import MatrixError
from matrix_capture.runner import Request
from matrix_capture.schema import Record, digest_path, read_record
from matrix_capture.settings import Settings
from matrix_operate.boundary import awaiting

Reason = tuple[str, Callable[[str], bool]]


def due(data: Path, lane: str, settings: Settings, releases: Sequence[str]) -> dict[str, str]:
    """The releases that are to be captured again, each with the reason; the most urgent first.

    `releases` are those that can be captured, in ascending order. Of those with one reason the ones
    never captured come first, the newer before the older, then those captured longest ago.

    Raises:
        MatrixError: as `matrix_operate.boundary.awaiting`.
    """
    records = dict(_records(data, lane, releases))
    ages = {torch: record.started for torch, record in records.items()}
    newer_first = list(reversed(releases))
    turns = sorted(newer_first, key=lambda torch: ages.get(torch, ""))
    unconfirmed, code = awaiting(data, lane, settings), capture_code()
    reasons: list[Reason] = [
        ("parts from the release before, seen once", lambda torch: torch in unconfirmed),
        ("not on record", lambda torch: torch not in records),
        ("captured by other code", lambda torch: records[torch].capture_code != code),
        *_factors(data, lane, settings, records),
    ]
    found: dict[str, str] = {}
    for why, holds in reasons:
        for torch in turns:
            if torch not in found and holds(torch):
                found[torch] = why
    return found


def _factors(
    data: Path, lane: str, settings: Settings, records: Mapping[str, Record]
) -> list[Reason]:
    """Reasons that lie in what the lane holds fixed; where it pins nothing, all take turns."""
    if settings.lane(lane).constraints is None:
        return [("what the installer chooses changes", lambda torch: True)]
    pins = Request(settings=settings, lane=lane, torch="", data=data, cache=data).pins
    latest = max(records.values(), key=lambda record: record.started, default=None)

    def moved(torch: str) -> bool:
        # A release that was not installed has few of the packages.
        found = records[torch].packages
        return any(found.get(name, version) != version for name, version in pins.items())

    def elsewhere(torch: str) -> bool:
        record = records[torch]
        return latest is None or (record.fingerprint, record.inputs) != (
            latest.fingerprint,
            latest.inputs,
        )

    return [
        ("captured with other packages", moved),
        ("captured on another host or with other inputs", elsewhere),
    ]


def _records(data: Path, lane: str, releases: Sequence[str]) -> Iterator[tuple[str, Record]]:
    """What is on record and can be read."""
    for torch in releases:
        try:
            yield torch, read_record(digest_path(data, lane, torch))
        except MatrixError:
            continue
