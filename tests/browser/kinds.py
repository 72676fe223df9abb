"""Which kinds of pages a site has, found by looking at it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from matrix_capture.settings import read_settings
from tests.site.conftest import ROOT

REQUIRED = {
    *("empty", "index", "lane", "torch", "pair", "artifact", "env", "pr"),
    *("indexes", "known", "changes", "method"),
}
"""What must be among them: a kind that is gone is not one that passes."""

_LANES = frozenset(read_settings(ROOT / "matrix.toml").lanes)


def kinds(folder: Path) -> Mapping[str, tuple[str, ...]]:
    """Kind to its pages below a folder of sites, as paths relative to it, the largest first."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("*.html"), key=lambda path: (-path.stat().st_size, path)):
        place = path.relative_to(folder)
        found.setdefault(_kind(PurePosixPath(*place.parts[1:]), place.parts[0]), []).append(
            place.as_posix()
        )
    return {kind: tuple(found[kind]) for kind in sorted(found)}


def samples(found: Mapping[str, Iterable[str]]) -> list[str]:
    """The page of each kind that says most and the one that says least."""
    return [
        page
        for pages in map(list, found.values())
        for page in dict.fromkeys(pages[::-1][:1] + pages[:1])
    ]


def fullest(folder: Path, pages: Sequence[str]) -> str:
    """The first page of a kind that search engines are told of, if they are told of any."""
    return next((page for page in pages if is_listed(folder / page)), pages[0])


def is_listed(page: Path) -> bool:
    """Whether search engines are told of a page: not of quick runs, nor of pull requests."""
    return '<meta name="robots" content="noindex">' not in page.read_text("utf-8")


def _kind(path: PurePosixPath, site: str) -> str:
    """The folder that a page lies in, which its kind has the name of, whatever the lane."""
    if site == "empty":
        return site
    folders = [name for name in path.parts[:-1] if name.partition("+")[0] not in _LANES]
    if folders:
        return folders[0]
    return path.stem if len(path.parts) == 1 else "lane"
