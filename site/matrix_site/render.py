"""From pages to files: templates in, a folder out that is whole or not there."""

import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.runtime import Macro

from matrix_capture.errors import MatrixError
from matrix_site.page import Asset, Page
from matrix_site.summary import word
from matrix_site.text import code, finalize, name

STYLE = "static/style.css"


def environment() -> Environment:
    """Jinja with everything escaped, everything cleaned, and nothing undefined."""
    jinja = Environment(
        loader=PackageLoader("matrix_site"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    jinja.filters.update(code=code, name=name, word=word)
    jinja.globals["once"] = _Once()
    return jinja


class _Once:
    """Calls a macro once for each set of arguments: most pages share most of their rows."""

    def __init__(self) -> None:
        self._made: dict[tuple[object, ...], tuple[str, tuple[object, ...]]] = {}

    def __call__(self, macro: Macro, *arguments: object) -> str:
        # Views are deep, so they are known by identity, which holds while they are kept here.
        key = (macro.name, *map(id, arguments))
        if key not in self._made:
            self._made[key] = macro(*arguments), arguments
        return self._made[key][0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """What every page says of the whole.

    `date` is the day of the data in words and `day` in ISO 8601, `url` is where the site is
    published, `places` are the pages that every other leads to, each a path and a name.
    """

    date: str
    day: str
    stale_after_days: int
    url: str
    places: tuple[tuple[str, str], ...]


def write_site(frame: Frame, pages: Iterable[Page], assets: Iterable[Asset], out: Path) -> int:
    """Write a site to `out`, replacing an earlier one; returns how many pages it has.

    Raises:
        MatrixError: `out` holds something that is no site.
    """
    out = out.resolve()
    if out.exists() and not _replaceable(out):
        raise MatrixError(f"{out} holds other files; choose a new folder or an earlier site")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".site-", dir=out.parent) as temporary:
        built = Path(temporary) / "new"
        number = _write(frame, pages, built)
        _put(assets, built)
        if out.exists():
            out.rename(Path(temporary) / "old")
        built.rename(out)
    return number


def _replaceable(out: Path) -> bool:
    return out.is_dir() and ((out / STYLE).is_file() or not any(out.iterdir()))


def _write(frame: Frame, pages: Iterable[Page], folder: Path) -> int:
    jinja = environment()
    shutil.copytree(Path(__file__).parent / "static", folder / "static")
    number = 0
    for page in pages:
        path = folder / page.path
        path.parent.mkdir(parents=True, exist_ok=True)
        template = jinja.get_template(page.template)
        html = template.render(page=page, root=page.root, frame=frame, **page.view)
        path.write_bytes(html.encode("utf-8"))
        number += 1
    return number


def _put(assets: Iterable[Asset], folder: Path) -> None:
    for asset in assets:
        path = folder / asset.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(asset.content)
