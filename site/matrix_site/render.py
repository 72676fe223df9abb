"""From pages to files: templates in, a folder out that is whole or not there."""

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from matrix_capture.errors import MatrixError
from matrix_site.pages import Page
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
    return jinja


def write_site(pages: Iterable[Page], out: Path) -> int:
    """Write every page and the stylesheet to `out`, replacing an earlier site; returns how many.

    Raises:
        MatrixError: `out` holds something that is no site.
    """
    out = out.resolve()
    if out.exists() and not _replaceable(out):
        raise MatrixError(f"{out} holds other files; choose a new folder or an earlier site")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".site-", dir=out.parent) as temporary:
        built = Path(temporary) / "new"
        number = _write(pages, built)
        if out.exists():
            out.rename(Path(temporary) / "old")
        built.rename(out)
    return number


def _replaceable(out: Path) -> bool:
    return out.is_dir() and ((out / STYLE).is_file() or not any(out.iterdir()))


def _write(pages: Iterable[Page], folder: Path) -> int:
    jinja = environment()
    shutil.copytree(Path(__file__).parent / "static", folder / "static")
    number = 0
    for page in pages:
        path = folder / page.path
        path.parent.mkdir(parents=True, exist_ok=True)
        html = jinja.get_template(page.template).render(root=page.root, **page.view)
        path.write_text(html, encoding="utf-8", newline="\n")
        number += 1
    return number
