"""Reads an installer's output: is the release to blame, and in which words?"""

import re

# What installers print when the fault is ours. Anything else is held against the release.
_INFRASTRUCTURE = (
    (
        re.compile(
            r"dns error|error sending request|failed to lookup address|Network is unreachable|"
            r"Connection refused|Could not connect|NewConnectionError|operation timed out|"
            r"Temporary failure in name resolution",
            re.IGNORECASE,
        ),
        "the package index cannot be reached; check the network and try again",
    ),
    (
        re.compile(r"No space left on device|Disk quota exceeded", re.IGNORECASE),
        "the disk is full; free some space and try again",
    ),
)

# uv draws a tree in front of its messages.
_DECORATION = re.compile(r"^\W+")


def infrastructure(log: str) -> str | None:
    """What in the surroundings failed and what to do, or None when the release itself did."""
    return next((blame for pattern, blame in _INFRASTRUCTURE if pattern.search(log)), None)


def reason(log: str) -> str:
    """The line of an installer's output that says why it gave up."""
    lines = [_DECORATION.sub("", line).strip() for line in log.splitlines()]
    told = [line for line in lines if line]
    causes = [line for line in told if re.match(r"(because|error)\b", line, re.IGNORECASE)]
    return (causes or told or ["the installer said nothing"])[0]
