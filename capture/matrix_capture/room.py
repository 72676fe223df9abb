"""Memory that several threads share: who wants more than is left waits."""

import threading


class Room:
    """So many bytes, of which some are taken."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._free = size
        self._changed = threading.Condition()

    def take(self, size: int) -> None:
        """Take bytes, once there are so many; more than there ever are must not be asked for."""
        with self._changed:
            self._changed.wait_for(lambda: self._free >= size)
            self._free -= size

    def give(self, size: int) -> None:
        """Give bytes back."""
        with self._changed:
            self._free += size
            self._changed.notify_all()
