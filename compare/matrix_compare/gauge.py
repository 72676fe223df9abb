"""Distances between stored values, each measured once per run."""

from collections.abc import Sequence

from matrix_capture.digest import Snapshot
from matrix_capture.errors import MatrixError
from matrix_capture.values import ValueStore
from matrix_compare.metrics import Distances, measure
from matrix_compare.schema import NO_VALUES
from matrix_compare.tolerance import Profile


class Gauge:
    """Measures values by their digests; a pair of values that recurs is not read again."""

    def __init__(self, store: ValueStore, profiles: Sequence[Profile]) -> None:
        self._store = store
        self._profiles = profiles
        self._known: dict[tuple[bytes, bytes], Distances | str] = {}

    def __call__(self, a: bytes, b: bytes) -> Distances | str:
        """The distances of value b from value a, or the reason why there are none."""
        pair = (a, b)
        if pair not in self._known:
            self._known[pair] = self._measure(a, b)
        return self._known[pair]

    def _measure(self, a: bytes, b: bytes) -> Distances | str:
        if a not in self._store or b not in self._store:
            return NO_VALUES
        try:
            return measure(self._read(a), self._read(b), self._profiles)
        except MatrixError as error:
            return str(error)

    def _read(self, digest: bytes) -> Snapshot:
        try:
            return self._store.get(digest)
        except MatrixError:
            # The store's own message holds a path of this machine, and verdicts are published.
            raise MatrixError(f"value {digest.hex()[:12]} is unreadable or damaged") from None
