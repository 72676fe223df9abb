"""Reads an installer's output: is the release to blame, and in which words?"""

import re

# What an installer says itself stands near the left edge; what a build under it printed, and might
# be about any network, is indented further.
_OWN = re.compile(
    r" {0,4}(?:[\u00d7├╰]|hint|cause|caused by|[\w.]*error\b"
    r"|warning: retrying \(retry\(total=0)",  # pip's last attempt: what came before may have passed
    re.IGNORECASE,
)

# What installers print when the fault is ours. Anything else is held against the release.
_INFRASTRUCTURE = (
    (
        # pip counts its retries down; what follows the last is "no matching distribution", as if
        # the release did not exist. Of torch itself an index that answers has some version.
        r"dns error|error sending request|error decoding response body|Network is unreachable|"
        r"Temporary failure in name resolution|connection (refused|reset)|timed out|"
        r"HTTP status server error|429 Too Many Requests|returned a 40[137]|network was disabled|"
        r"Retrying \(Retry\(total=0|(Read|Connect)TimeoutError|IncompleteRead|"
        r"requirement torch\S* \(from versions: none\)|torch was not found in the (package|cache)",
        "the package index cannot be reached; check the network and try again",
    ),
    (
        r"No space left on device|Disk quota exceeded",
        "the disk is full; free some space and try again",
    ),
    (
        r"Hash mismatch|do not match the hashes",
        "a download was damaged; try again",
    ),
    (
        r"Git operation failed|\u00d7 git \w+ .* did not run successfully",
        "the commit that --colbert names cannot be fetched; check address, network and git",
    ),
)

# uv says `@` only of what comes from no index: that is never the fault of a torch release.
_COLBERT = (
    r"failed to (download and )?build .colbert-ai @",
    "what --colbert names cannot be built",
)

# The line that tells most, first; pip's other errors before it are about versions it left out.
_TELLING = (
    r"because ",
    r"error: (cannot install|no matching distribution)",
    r"error: (failed to build|failed building|could not build)",
    r"error\b",
    r"",
)

# uv draws a tree in front of its messages, and both installers may colour them.
_DECORATION = re.compile(r"^\W+|^cause: ")
_FOLDER = re.compile(r"file://[^\s`']*/")
_COLOUR = re.compile(r"\x1b\[[\d;]*m")


def infrastructure(log: str, *, judged: str = "torch") -> str | None:
    """What in the surroundings failed and what to do, or None when what is judged did.

    That is the torch release, or `colbert-ai`: then it is no excuse that this cannot be built.
    """
    own = "\n".join(line for line in _lines(log) if _OWN.match(line))
    excuses = [*_INFRASTRUCTURE, *([_COLBERT] if judged == "torch" else [])]
    return next(
        (blame for pattern, blame in excuses if re.search(pattern, own, re.IGNORECASE)), None
    )


def reason(log: str) -> str:
    """The sentence of an installer's output that says why it gave up; it names no folder."""
    lines = _lines(_FOLDER.sub("", log))
    told = [_DECORATION.sub("", _DECORATION.sub("", line)).strip() for line in lines]
    for pattern in _TELLING:
        for place, line in enumerate(told):
            if line and re.match(pattern, line, re.IGNORECASE):
                return " ".join([line, *_continued(lines[place + 1 :])])
    return "the installer said nothing"


def _continued(lines: list[str]) -> list[str]:
    """The lines that go on with a sentence of uv's, which it wraps and indents."""
    whole = []
    for line in lines:
        if not re.match(r" {6}", line):
            break
        whole.append(line.strip())
    return whole


def _lines(log: str) -> list[str]:
    return _COLOUR.sub("", log).splitlines()
