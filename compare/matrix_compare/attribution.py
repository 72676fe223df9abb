"""Which stage of a search changed a result, for one pair of captures."""

import msgspec

from matrix_capture.schema import Capture
from matrix_capture.values import ValueStore


class Attribution(msgspec.Struct, frozen=True, kw_only=True):
    """How many results were changed by which stage.

    A result is a passage at a rank among the first ten of a query. It has changed where the other
    capture does not have that passage at that rank; those of a and of b are both counted.
    """

    candidates: int
    pruning: int
    scores: int
    ties: int
    unknown: int


def attribute(a: Capture, b: Capture, store: ValueStore) -> Attribution | None:
    """Put every changed result down to a stage; None where a capture has no kept search."""
    raise NotImplementedError
