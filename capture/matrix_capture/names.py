"""How releases and lanes are named; standard library only, because the noxfile imports it too."""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence

RELEASE = r"\d+\.\d+\.\d+"
"""What the name of a torch release looks like."""

BUILD = rf"{RELEASE}\.dev\d{{8}}"
"""What the name of a nightly build looks like: `torch.__version__` without the local part."""


def lane_name(lane: str, options: Mapping[str, str | int]) -> str:
    """The lane that a capture with these options is recorded in.

    Without options the lane itself; with options `<lane>+<8 hex of the options>`, so that a quick
    run never overwrites a baseline.
    """
    if not options:
        return lane
    payload = json.dumps(options, sort_keys=True).encode()
    return f"{lane}+{hashlib.blake2b(payload, digest_size=4).hexdigest()}"


def lane_options(
    *,
    passages: int | None = None,
    depth: str = "default",
    colbert: str = "",
    pinned: str = "",
    inject: str = "",
) -> dict[str, str | int]:
    """The options that set a capture apart from its lane's baseline.

    `colbert` is none where it is the one that the lane pins.
    """
    options: dict[str, str | int] = {} if passages is None else {"passages": passages}
    if depth != "default":
        options["depth"] = depth
    if colbert != pinned:
        options["colbert"] = colbert
    if inject:
        options["inject"] = inject
    return options


def unknown_release(name: str, releases: Sequence[str]) -> str:
    """What to tell somebody who asked for a release that the matrix does not have."""
    if is_build(name):
        return f"{name} is a nightly build; nox -s {capture_session(name)} captures it"
    nearest = _nearest(name, releases)
    hint = f"the nearest is {nearest}" if nearest else f"it has {', '.join(releases)}"
    return f"no torch release {name!r} in matrix.toml; {hint}"


def is_build(name: str) -> bool:
    """Is that a nightly build and no release?"""
    return re.fullmatch(BUILD, name, re.ASCII) is not None


def release_order(name: str) -> tuple[tuple[int, ...], float]:
    """What releases and nightly builds are sorted by: a release follows all builds of it."""
    night = int(name[-8:]) if is_build(name) else math.inf
    return version_numbers(name), night


def capture_session(torch: str) -> str:
    """The session that captures a release or a nightly build."""
    return f"capture-nightly -- --build {torch}" if is_build(torch) else f"capture-{torch}"


def without_builds(asked: str, lane: str, lanes: Sequence[str]) -> str:
    """What to tell whoever asked a lane for a nightly build; `lanes` are those that take them."""
    others = f"nightly builds are for --lane {' or '.join(lanes)}" if lanes else "no other does"
    return f"lane {lane} does not take {asked}, only releases; {others}"


def version_numbers(version: str) -> tuple[int, ...]:
    """The first numbers in a version: `v2.5.1+cu124` is (2, 5, 1)."""
    found = re.search(r"\d+(\.\d+)*", version, re.ASCII)
    return tuple(int(number) for number in found[0].split(".")) if found else ()


def _nearest(name: str, releases: Sequence[str]) -> str | None:
    """The release next below or above `name`, whichever is fewer steps away; below when even."""
    wanted = (*version_numbers(name), 0, 0)[:3]
    if not version_numbers(name):
        return None
    below = [release for release in releases if version_numbers(release) <= wanted][-1:]
    above = [release for release in releases if version_numbers(release) > wanted][:1]

    def steps(release: str) -> list[int]:
        return [abs(a - b) for a, b in zip(version_numbers(release), wanted, strict=False)]

    return min([*below, *above], key=steps, default=None)
