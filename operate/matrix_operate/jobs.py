"""The jobs that a plan has: what is due tonight, or what somebody names.

A lane on a GPU has one row for each release, since its runner is the same machine every night.
Hosted machines are not, and captures from two of them cannot be compared: where a lane on the CPU
is compared at all, all its releases are one row.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matrix_capture.errors import MatrixError
from matrix_capture.names import release_order, version_numbers
from matrix_capture.schema import recorded
from matrix_capture.settings import Settings
from matrix_capture.torch_index import builds
from matrix_compare.report import plain
from matrix_operate.due import due
from matrix_operate.plan import SCHEMA_VERSION, NotRun, Plan, Row

_HOSTED = ("ubuntu-24.04",)
_SELF_HOSTED = ("self-hosted", "linux", "x64", "colbert-gpu")  # and the architecture of its GPU

_NEWEST = "the newest"


@dataclass(frozen=True, kw_only=True, slots=True)
class Jobs:
    """Makes rows of what is wanted; `gpu` is the architecture that lanes on a GPU run on."""

    settings: Settings
    gpu: str | None = None
    passages: int | None = None
    colbert: tuple[str, ...] = ()

    def able(self, lane: str, torch: str) -> bool:
        """Whether a build of torch has code for what a lane runs on."""
        on_gpu = self.settings.lane(lane).device == "cuda"
        return not on_gpu or self.gpu is None or self.settings.gpus[self.gpu].runs(torch)

    def not_run(self, lane: str, releases: Iterable[str]) -> Iterator[NotRun]:
        """What no row can be made of."""
        for torch in releases:
            if not self.able(lane, torch):
                yield NotRun(lane=lane, torch=torch, reason=f"unsupported GPU: no {self.gpu} code")

    def together(self, lane: str) -> bool:
        """Whether the captures of a lane must come from one job to be compared."""
        fixed = self.settings.lane(lane)
        hosted = fixed.device == "cpu" and fixed.constraints is not None
        return hosted or fixed.nightly is not None

    def rows(self, lane: str, wanted: Mapping[str, str]) -> Iterator[Row]:
        """One row for all releases if they belong together, else one for each.

        `wanted` has the reason for each; it is empty for what is only there to be compared with.
        """
        if self.together(lane) and wanted:
            yield self._row(lane, lane, wanted)
        else:
            for torch, why in wanted.items():
                yield self._row(f"{lane}-{torch}", lane, {torch: why})

    def _row(self, name: str, lane: str, wanted: Mapping[str, str]) -> Row:
        gpu = self.gpu if self.settings.lane(lane).device == "cuda" else None
        reasons = {why: [t for t in wanted if wanted[t] == why] for why in wanted.values()}
        told = [f"{why}: {' '.join(t)}" for why, t in reasons.items() if why]
        return Row(
            name=name,
            lane=lane,
            torch=tuple(wanted),
            runs_on=(*_SELF_HOSTED, gpu) if gpu else _HOSTED,
            colbert=self.colbert,
            passages=self.passages,
            why="; ".join(told if len(reasons) > 1 else reasons),
        )


def tonight(lanes: Sequence[str], data: Path, jobs: Jobs, found: Sequence[str]) -> Plan:
    """What a night captures; `found` are the releases on the package index.

    Of a lane with nightly builds the newest one, beside the newest release. Of another lane the
    newest releases and as many of those that are due as `matrix.toml` says; or, where they belong
    together, all of them as soon as one is due.

    Raises:
        MatrixError: as `matrix_operate.due.due`.
    """
    known = jobs.settings.releases
    oldest = version_numbers(known[0])
    new = tuple(t for t in found if t not in known and version_numbers(t) > oldest)
    releases = jobs.settings.including(new).releases
    rows: list[Row] = []
    not_run: list[NotRun] = []
    current: list[str] = []
    for lane in lanes:
        fixed, wanted = jobs.settings.lane(lane), releases
        if fixed.nightly:
            try:
                wanted = (releases[-1], builds(fixed.nightly, fixed.python)[-1])
            except MatrixError as error:
                not_run.append(NotRun(lane=lane, torch="nightly", reason=plain(str(error))))
                continue
        not_run += jobs.not_run(lane, wanted)
        able = [torch for torch in wanted if jobs.able(lane, torch)]
        chosen = dict.fromkeys(able, _NEWEST) if fixed.nightly else _due(lane, data, jobs, able)
        rows += jobs.rows(lane, chosen)
        current += [] if chosen else [lane]
    return Plan(
        schema_version=SCHEMA_VERSION,
        rows=tuple(rows),
        not_run=tuple(not_run),
        new=new,
        current=tuple(current),
    )


def asked(lanes: Sequence[str], releases: Sequence[str], jobs: Jobs, why: str) -> Plan:
    """What somebody names; `why` says for what.

    Raises:
        MatrixError: a lane does not take a release, or there is nothing that could be captured.
    """
    rows: list[Row] = []
    not_run: list[NotRun] = []
    for lane in lanes:
        wanted = sorted({jobs.settings.release(t, lane) for t in releases}, key=release_order)
        rows += jobs.rows(lane, {torch: why for torch in wanted if jobs.able(lane, torch)})
        not_run += jobs.not_run(lane, wanted)
    if not rows:
        raise MatrixError(f"no release that was named has code for {jobs.gpu}; name another")
    return Plan(schema_version=SCHEMA_VERSION, rows=tuple(rows), not_run=tuple(not_run))


def _due(lane: str, data: Path, jobs: Jobs, able: Sequence[str]) -> dict[str, str]:
    """What a night captures of a lane without nightly builds, with the reasons."""
    night = jobs.settings.nightly
    # What is on record is compared, also where nobody has added it to matrix.toml yet.
    known = jobs.settings.including((*able, *recorded(data, lane)))
    reasons = due(data, lane, known, able)
    if jobs.together(lane):
        return {torch: reasons.get(torch, "") for torch in able} if reasons else {}
    chosen = dict.fromkeys(reversed(able[-night.newest :]), _NEWEST)
    backlog = [torch for torch in reasons if torch not in chosen][: night.backlog]
    return chosen | {torch: reasons[torch] for torch in backlog}
