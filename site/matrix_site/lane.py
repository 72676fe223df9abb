"""What a lane holds fixed, in the words of a page."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from matrix_site.snapshot import LaneData
from matrix_site.text import clean, day, plural


def facts(lane: LaneData) -> tuple[str, ...]:
    """What a lane holds fixed; as the captures found it, where the settings cannot know."""
    fixed = lane.settings
    records = [captured.record for captured in lane.captures.values()]
    sources = dict.fromkeys(record.factors.get("colbert-ai", "") for record in records)
    machines = dict.fromkeys(str(record.host.get("gpu", "")) for record in records)
    kmeans = dict.fromkeys(record.factors.get("kmeans", "") for record in records)
    notes = dict.fromkeys(record.note for record in records)
    on_gpu = fixed.device == "cuda"
    return (
        f"Python {fixed.python}",
        f"colbert-ai {_either(sources) or fixed.colbert}",
        plural(fixed.threads, "thread"),
        *([plural(fixed.passages, "passage")] if fixed.passages and not lane.quick else []),
        (_either(machines) if on_gpu else "") or fixed.device.upper(),
        *([f"k-means by {_either(kmeans)}"] if on_gpu and _either(kmeans) else []),
        *([f"torch from {fixed.nightly.partition('://')[2]}"] if fixed.nightly else []),
        *(f"note: {clean(note, 160)}" for note in tuple(filter(None, notes))[:2]),
    )


def stale(lane: LaneData, today: datetime | None, days: int) -> str:
    """How old the newest capture of a lane is, if that is more than so many days."""
    newest = lane.newest
    if newest is None or today is None or today - newest <= timedelta(days=days):
        return ""
    age = (today.date() - newest.date()).days
    return f"The newest capture is {age:,} days old, of {day(newest)}."


def quick(lane: LaneData) -> str:
    """The options that set a quick run apart; empty for a baseline."""
    if not lane.quick:
        return ""
    options = {
        f"{clean(name, 40)} = {clean(value, 80)}"
        for captured in lane.captures.values()
        for name, value in captured.record.options.items()
    }
    return "; ".join(sorted(options)) or "options not recorded"


def _either(found: Iterable[str]) -> str:
    """One or both of two names; more are too many for a line."""
    return " or ".join(clean(name, 80) for name in tuple(filter(None, found))[:2])
