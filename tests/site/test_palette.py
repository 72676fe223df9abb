"""Colours outside of pages are those of the pages."""

import re

import pytest

from matrix_compare.schema import Verdict
from matrix_site.palette import COLOURS, ground
from tests.site.drawing import CSS

LIGHT = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", CSS.partition("@media")[0]))


@pytest.mark.parametrize("name", COLOURS)
def test_a_colour_is_that_of_the_light_scheme(name: str) -> None:
    assert COLOURS[name] == LIGHT[name]


@pytest.mark.parametrize("style", [*(verdict.value for verdict in Verdict), "unsized", "unheard"])
def test_every_verdict_has_a_ground(style: str) -> None:
    assert ground(style) in COLOURS.values()
