"""What a bench measured, and whether it holds its bar."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the bench: what was measured, against what, and whether that holds its bar.

    `ratio` is `ours` over `reference`; `bar` is the largest that holds, or the smallest where the
    name says "at least".
    """

    name: str
    unit: str
    ours: float
    reference: float
    ratio: float
    bar: float
    holds: bool


def at_most(name: str, unit: str, ours: float, reference: float, bar: float) -> Measurement:
    """A measurement whose ratio may not exceed the bar."""
    ratio = ours / reference if reference > 0 else math.inf
    return Measurement(
        name=name,
        unit=unit,
        ours=ours,
        reference=reference,
        ratio=ratio,
        bar=bar,
        holds=ratio <= bar,
    )


def at_least(name: str, unit: str, ours: float, reference: float, bar: float) -> Measurement:
    """A measurement whose ratio may not fall below the bar."""
    found = at_most(f"{name}, at least", unit, ours, reference, bar)
    return msgspec.structs.replace(found, holds=found.ratio >= bar)


def fastest(work: Callable[[], object]) -> float:
    """Seconds of the fastest of five runs."""
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def write_settings(path: Path, releases: Sequence[str]) -> None:
    """A `matrix.toml` like the one here, with other releases."""
    _, rest = Path("matrix.toml").read_text(encoding="utf-8").split("\n]\n", 1)
    text = f"releases = {msgspec.json.encode(releases).decode()}\n{rest}"
    path.write_text(text, encoding="utf-8")


def tell(found: Sequence[Measurement], json: Path | None) -> None:
    """Print the measurements, a line each, and write them to a JSON file if one is named."""
    print(_table(found))
    if json:
        json.write_bytes(msgspec.json.encode(found))
        print(f"wrote {json}")


def _table(found: Sequence[Measurement]) -> str:
    width = max(len(m.name) for m in found)
    lines = [f"{'':{width}} {'ours':>9} {'reference':>9} {'':4} {'ratio':>7} {'bar':>7}"]
    lines += [
        f"{m.name:{width}} {m.ours:9.2f} {m.reference:9.2f} {m.unit:4} {m.ratio:7.3f} {m.bar:7.3f}"
        f"  {'holds' if m.holds else 'DOES NOT HOLD'}"
        for m in found
    ]
    return "\n".join(lines)
