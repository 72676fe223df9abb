"""Hold the captures of a pull request against those of its base."""

import argparse

from matrix_compare import checking
from matrix_operate.log import unheeded


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    checking.declare(parser)


def run(options: argparse.Namespace) -> int:
    """Compare, print and write; returns 0."""
    with unheeded():
        checking.run(options)
    return 0
