"""What every picture of a page has in common: a role, a title, a description, and a size."""

from functools import lru_cache

from markupsafe import Markup, escape

from matrix_site.text import LIMIT, clean

About = tuple[str, str, str]
"""An id that no other picture of the page has, a title, and a description."""


def svg(
    about: About,
    drawn: str,
    *,
    style: str,
    width: float,
    height: float,
    left: float = 0,
    links: bool = False,
) -> Markup:
    """A picture to stand in a page; `drawn` is markup, and `style` its class.

    Nobody reads what is inside of an image, so that one with links must be a group.
    """
    id_, title, description = about
    return Markup(  # noqa: S704 - whoever draws has escaped what comes from data
        f'<svg class="{style}" role="{"group" if links else "img"}"'
        f' aria-labelledby="{id_}-t" aria-describedby="{id_}-d"'
        f' viewBox="{left:.0f} 0 {width:.0f} {height:.0f}"'
        f' width="{width:.0f}" height="{height:.0f}">'
        f'<title id="{id_}-t">{shown(title)}</title>'
        f'<desc id="{id_}-d">{shown(description)}</desc>{drawn}</svg>'
    )


@lru_cache(maxsize=1024)
def shown(value: str, limit: int = LIMIT) -> Markup:
    """A string of the data, ready to stand in markup; in pictures a few come again and again."""
    return escape(clean(value, limit))
