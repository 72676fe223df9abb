"""Where a lane takes torch from; standard library only, because the noxfile imports it too."""

import html
import http.client
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping

from matrix_capture.errors import MatrixError
from matrix_capture.names import BUILD, is_build, release_order

_SECONDS = 60  # to wait for the next part of an answer
_MOST = 2**26  # bytes of a page; that of torch has a few million


def index_of(torch: str, lane: Mapping[str, object]) -> str | None:
    """The index that a lane has a release or a nightly build from; None is the installer's own."""
    index = lane.get("nightly" if is_build(torch) else "index")
    return None if index is None else str(index)


def requirement(torch: str, index: str | None) -> str:
    """What an installer is asked for: the variant of that index, which no other has."""
    return f"torch=={torch}+{_variant(index)}" if index else f"torch=={torch}"


def variables(index: str | None) -> dict[str, str]:
    """What tells uv and pip of an index; a flag that one of them knows is an error to the other."""
    if index is None:
        return {}
    return {
        "UV_INDEX": index,
        "PIP_EXTRA_INDEX_URL": index,
        # The indexes of torch have some old versions and some wheels of numpy and others, and uv
        # would look no further for those. So it must search all of them, as pip does. That is
        # called unsafe, for whoever has a name on one index can outbid the other; but a lane pins
        # everything except what torch itself asks for, and what of that only its own index has is
        # asked for by a local version, which none on the public index has. A build admits itself by
        # its exact name, and no other pre-release.
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }


def builds(index: str, python: str) -> list[str]:
    """The nightly builds on an index that Linux on x86-64 can install for a Python, oldest first.

    The page of a project links every file (PEP 503), and a wheel's name says what it is for.

    Raises:
        MatrixError: the index cannot be read, or has none.
    """
    url = f"{index}/torch/"
    request = urllib.request.Request(url, headers={"User-Agent": "colbert-matrix"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
            page = answer.read(_MOST).decode("utf-8", "replace")
    except (OSError, ValueError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it is an answer, too
        why = str(error).strip("<>")
        raise MatrixError(f"{url} cannot be read ({why}); name a build or try again") from None
    tag = f"cp{python.replace('.', '')}"
    wheel = re.compile(
        rf"\btorch-({BUILD})\+{re.escape(_variant(index))}-{tag}-{tag}"
        r"-(?:many)?linux[0-9_]*_x86_64\.whl",
        re.ASCII,
    )
    found = wheel.findall(urllib.parse.unquote(html.unescape(page)))
    if not found:
        raise MatrixError(f"{url} has no nightly build of torch for Python {python}; name another")
    return sorted(set(found), key=release_order)


def _variant(index: str) -> str:
    return index.rpartition("/")[2]
