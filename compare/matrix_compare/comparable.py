"""Whether two captures may be compared at all, and what else differs between them."""

from collections.abc import Mapping
from dataclasses import dataclass

from matrix_capture.schema import Record


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One entry of the environment that is not the same on both sides; None where it is absent."""

    section: str
    name: str
    a: str | None
    b: str | None


def obstacles(a: Record, b: Record) -> tuple[str, ...]:
    """Why two captures cannot be compared; empty if they can.

    Inputs are hashes, so only their names are told; of fingerprint and factors both values are.
    """
    inputs = _differences("inputs", a.inputs, b.inputs)
    fingerprint = _differences("fingerprint", a.fingerprint, b.fingerprint)
    factors = _differences("factors", a.factors, b.factors)
    return (
        *(f"inputs differ: {difference.name}" for difference in inputs),
        *(f"fingerprint differs: {_told(difference)}" for difference in fingerprint),
        *(f"factors differ: {_told(difference)}" for difference in factors),
    )


def environment_difference(a: Record, b: Record) -> tuple[Difference, ...]:
    """Every package, host fact and environment switch that differs: information, not a reason."""
    return (
        *_differences("packages", a.packages, b.packages),
        *_differences("host", a.host, b.host),
        *_differences("environ", a.environ, b.environ),
    )


def differences(a: Record, b: Record) -> tuple[Difference, ...]:
    """Every entry of two environments that differs, also what makes a comparison impossible."""
    return (
        *environment_difference(a, b),
        *_differences("factors", a.factors, b.factors),
        *_differences("inputs", a.inputs, b.inputs),
        *_differences("fingerprint", a.fingerprint, b.fingerprint),
    )


def _differences(
    section: str, a: Mapping[str, str | int], b: Mapping[str, str | int]
) -> list[Difference]:
    # Few differ of many, and a site asks this of every pair.
    differing = sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))
    found = (
        Difference(section=section, name=name, a=_text(a, name), b=_text(b, name))
        for name in differing
    )
    return [difference for difference in found if difference.a != difference.b]


def _text(values: Mapping[str, str | int], name: str) -> str | None:
    return str(values[name]) if name in values else None


def _told(difference: Difference) -> str:
    a, b = (repr(side) if side is not None else "nothing" for side in (difference.a, difference.b))
    return f"{difference.name} is {a} and {b}"
