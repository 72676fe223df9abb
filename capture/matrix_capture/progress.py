"""Shows on the terminal which release is where, and for how long."""

import sys
import time
from types import TracebackType
from typing import Self

from matrix_capture.job import Event


class Progress:
    """One line per finished stage; on a terminal, a running clock below them."""

    def __init__(self, title: str) -> None:
        self.label = ""
        self._title = title
        self._shown = 0
        self._since = time.monotonic()
        self._live = sys.stderr.isatty()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._clear()

    def show(self, events: list[Event]) -> None:
        """Print the stages that ended since the last call, and the clock of the current one."""
        for event in events[self._shown :]:
            self._since = time.monotonic()
            if event.state != "started":
                self._clear()
                failure = f"  {event.error}: {event.message}" if event.error else ""
                self._line(f"{event.stage:8}{event.state:7}{event.seconds:6.1f} s{failure}\n")
        self._shown = len(events)
        if self._live and events and events[-1].state == "started":
            self._clear()
            self._line(f"{events[-1].stage:8}…      {time.monotonic() - self._since:6.1f} s")

    def end_run(self) -> None:
        """The next events belong to another run."""
        self._shown = 0
        self._clear()

    def _line(self, text: str) -> None:
        sys.stderr.write(f"{self._title:13} {self.label:14}{text}")
        sys.stderr.flush()

    def _clear(self) -> None:
        if self._live:
            sys.stderr.write("\r\x1b[K")
