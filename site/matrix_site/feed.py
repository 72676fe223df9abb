"""The feed: what somebody wants to hear of without looking for it."""

from dataclasses import dataclass
from uuid import UUID, uuid5

from matrix_site.changes import Entry, recent
from matrix_site.snapshot import Snapshot

MOST = 50
"""Entries of a feed; a reader keeps those that it has seen."""

_SPACE = UUID("ec58b796-24c6-4349-8acf-edaa17d8e799")
"""Of all ids; another one would show every entry to every reader again."""

_EPOCH = "1970-01-01T00:00:00+00:00"


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One entry of the feed; `id` stays whatever is found out later, `updated` is RFC 3339."""

    id: str
    title: str
    updated: str
    href: str
    lane: str
    summary: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Feed:
    """The feed as its template takes it."""

    id: str
    updated: str
    items: tuple[Item, ...]


def feed(snapshot: Snapshot) -> Feed:
    """What changed and what stopped, the newest first; quick runs are nobody's news.

    What no record gives a time has no place in a feed.
    """
    items = [
        Item(
            id=_urn(entry.lane, entry.subject),
            title=entry.title,
            updated=entry.date.isoformat(),
            href=entry.href,
            lane=entry.lane,
            summary=_summary(entry),
        )
        for entry in recent(snapshot)
        if entry.kind in {"boundary", "stopped"} and entry.date and not entry.quick
    ]
    newest = snapshot.newest
    return Feed(
        id=_urn("feed"),
        updated=newest.isoformat() if newest else _EPOCH,
        items=tuple(items[:MOST]),
    )


def _summary(entry: Entry) -> str:
    advice = f" Advice: {entry.meaning}." if entry.meaning else ""
    return f"{entry.headline.rstrip('.')}.{advice}"


def _urn(*subject: str) -> str:
    return uuid5(_SPACE, " ".join(subject)).urn
