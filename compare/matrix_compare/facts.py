"""What advice depends on, of a pair of releases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matrix_capture.schema import STAGES, Record, StageStatus
from matrix_compare.advice import Option
from matrix_compare.change import RankingChange
from matrix_compare.comparable import Difference
from matrix_compare.explanation import Explanation
from matrix_compare.known import Known
from matrix_compare.layout import HEADER_BYTES
from matrix_compare.requirement import Run, finished
from matrix_compare.schema import Verdict

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Mapped:
    """The index of one release, mapped instead of loaded, searched with b.

    `offsets` are the bytes at which the data of its mapped files begin. `change` is what mapping it
    does to the rankings; None where that was not measured or failed, with its `error`.
    """

    torch: str
    offsets: tuple[int, ...]
    error: str = ""
    change: RankingChange | None = None

    @property
    def shifted(self) -> bool:
        """Whether colbert-ai would read it from the wrong byte on."""
        return any(offset != HEADER_BYTES for offset in self.offsets)


@dataclass(frozen=True, kw_only=True, slots=True)
class Losses:
    """The loss of each step on either side; `first` is the first step that differs, from 1."""

    a: tuple[float, ...]
    b: tuple[float, ...]
    first: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """What b indexed."""

    passages: int
    embeddings: int
    chunks: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """All that the rules look at; `rows` are the verdicts of the pair.

    `own` is the search of a's own index, against which the options are held, `queries` how many
    were asked. `stale` says that the rankings on record are of other inputs than the captures.
    `options` are what a session is given to ask about this lane.
    """

    lane: str
    device: str
    options: str
    a: Record
    b: Record
    obstacles: tuple[str, ...]
    rows: tuple[Row, ...]
    own: Option
    keep: Option
    reindex: Option
    mapped: tuple[Mapped, ...]
    queries: int
    stale: bool
    losses: Losses | None
    size: Size | None
    known: Known | None
    explanation: Explanation | None
    environment: tuple[Difference, ...]
    run: Run | None

    @property
    def pair(self) -> str:
        """Both releases, as a session takes them."""
        return f"{self.a.torch} {self.b.torch}"

    def session(self, name: str) -> str:
        """The command that runs a session on this pair."""
        return f"nox -s {name} -- {self.pair}{self.options}"

    def judged(self, stage: str) -> tuple[Row, ...]:
        """The verdict rows of a stage of the catalogue."""
        return tuple(row for row in self.rows if row["stage"] == stage)

    @property
    def index(self) -> tuple[Row, ...]:
        """The verdict rows of the finished index."""
        return finished(self.rows)

    @property
    def identical_index(self) -> bool:
        """Whether every tensor of the finished index was compared and has the same bits."""
        return identical(self.index)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stop:
    """The stage that a run did not come through, and the error in one line, if there was one."""

    stage: str
    error: str

    @property
    def colon(self) -> str:
        """The error as it follows a sentence."""
        return f": {self.error.rstrip('.')}" if self.error else ""


def stopped(record: Record) -> Stop | None:
    """Where a run stopped, or None.

    One that does not come as far as an index has stopped, whatever it says of the reason; what an
    older capture did not look at has not.
    """
    failed = record.failed_stage()
    stage = failed or next((s for s in STAGES[:4] if record.state(s) != "ok"), None)
    if stage is None:
        return None
    status = record.status.get(stage, StageStatus(state="not_run"))
    return Stop(stage=stage, error=error_line(status.error, status.message))


def identical(rows: Sequence[Row]) -> bool:
    """Whether there are verdicts and all say that nothing differs."""
    return bool(rows) and all(row["verdict"] == Verdict.IDENTICAL for row in rows)


def error_line(error: str, message: str) -> str:
    """An exception's type and first line as one."""
    return ": ".join(part for part in (error, *message.splitlines()[:1]) if part)
