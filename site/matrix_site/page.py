"""The files of the site, and where each kind of page lies below the root.

A path is made of names of `matrix.toml`, of names in the catalogue, and of hashes made here; of the
data it takes nothing else.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from matrix_capture.settings import Settings
from matrix_site.comparison import Pair

INDEX = "index.html"
KNOWN = "known/index.html"
METHOD = "method/index.html"
CHANGES = "changes/index.html"
ARTIFACTS = "artifact/index.html"
INDEXES = "indexes/index.html"
FEED = "feed.xml"


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """One page: its path, its template, and the template's variables.

    `title` and `description` are plain text, also for whoever links to the page; `listed` says
    whether search engines are told of it.
    """

    path: str
    template: str
    title: str
    description: str
    view: dict[str, Any] = field(default_factory=dict)
    listed: bool = True

    @property
    def root(self) -> str:
        """From this page to the root, as a relative URL."""
        return "../" * self.path.count("/")


@dataclass(frozen=True, kw_only=True, slots=True)
class Asset:
    """One file that is no page: its path and what is in it."""

    path: str
    content: bytes


def lane_folder(settings: Settings, lane: str) -> str:
    """The folder of a lane's pairs: its name, but for the first lane of the settings the root."""
    return "" if lane == next(iter(settings.lanes)) else f"{lane}/"


def pair_page(settings: Settings, lane: str, pair: Pair) -> str:
    """The path of a pair's page."""
    return f"{lane_folder(settings, lane)}pair/{pair[0]}...{pair[1]}/index.html"


def outcomes_page(lane: str) -> str:
    """The path of the page of a lane that pins nothing."""
    return f"{lane}/index.html"


def release_page(release: str) -> str:
    """The path of a release's page, which tells of it in every lane."""
    return f"torch/{release}/index.html"


def artifact_page(name: str) -> str:
    """The path of the page of an artifact of the catalogue."""
    return f"artifact/{name}/index.html"


def environment_page(digest: str) -> str:
    """The path of the page of an environment; `digest` is of ours, in hexadecimal."""
    return f"env/{digest}/index.html"


def pull_page(number: int, sha: str) -> str:
    """The path of a pull request's page; `sha` has 40 hexadecimal digits, as reading it checks."""
    return f"pr/{number}/{sha}/index.html"


@lru_cache(maxsize=2**14)
def href(path: str) -> str:
    """A path as a URL relative to the root; pages are named in full, which needs no server."""
    return quote(path)
