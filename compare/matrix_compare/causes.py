"""Why two releases differ: swaps prove where it starts, traces which operation it starts at."""

import datetime
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from matrix_capture.catalogue import SCOPES
from matrix_capture.errors import MatrixError
from matrix_capture.experiment import Outcome
from matrix_capture.optrace import Op, Site
from matrix_capture.schema import Capture, run_stage
from matrix_compare.divergence import diverge
from matrix_compare.explanation import SCHEMA_VERSION, Cause, Divergence, Explanation, Swap
from matrix_compare.gauge import Gauge
from matrix_compare.laboratory import Side
from matrix_compare.operation import Operation, sweep
from matrix_compare.pairs import compare
from matrix_compare.schema import Verdict
from matrix_compare.shapes import INTERMEDIATE
from matrix_compare.swaps import Rows, Scopes, origins, remains, stand_in

_MOST_ROUNDS = 8  # of swaps; each finds the causes that those before hid

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where a difference starts: its stand-in, what was injected before, what showed it."""

    artifact: str
    scopes: Scopes
    injected: tuple[str, ...]
    before: tuple[str, ...]
    shown_by: Capture


class Explaining:
    """The search for the causes of one pair; `tell` hears what goes on."""

    def __init__(self, a: Side, b: Side, gauge: Gauge, tell: Tell) -> None:
        self._a, self._b = a, b
        self._gauge = gauge
        self._tell = tell
        self._store = a.store()
        self._swaps: list[Swap] = []
        self._shown: list[str] = []  # operations that a script was looked for
        tell(f"the captures of {a.torch} and {b.torch}, made now where none serves")
        self._first, self._second = a.baseline(), b.baseline()

    def __call__(self, command: str) -> Explanation:
        """Find every cause and prove it.

        Raises:
            MatrixError: the two cannot be compared, or a run fails.
        """
        started, clock = datetime.datetime.now(datetime.UTC), time.monotonic()
        found, residue = self._origins()
        injected = _all(origin.injected for origin in found)
        causes = tuple(self._cause(origin, found) for origin in found)
        if injected:
            self._swap(self._b, self._a, self._second, injected)
        sweeps = []
        if found and self._a.request.fixed.device == "cuda":
            self._tell("the linear layer that the published study swept")
            sweeps = [sweep(INTERMEDIATE, self._a, self._b)]
        return Explanation(
            schema_version=SCHEMA_VERSION,
            lane=self._first.record.lane,
            a=self._a.torch,
            b=self._b.torch,
            started=started.isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - clock, 1),
            command=command,
            builds=(self._first.record.torch_build, self._second.record.torch_build),
            swaps=tuple(self._swaps),
            causes=causes,
            residue=residue,
            sweeps=tuple(filter(None, sweeps)),
        )

    def _origins(self) -> tuple[list[Origin], dict[str, Verdict]]:
        """Every origin, those behind others too, and what no swap explains.

        What is made from an origin differs in any case; whether something starts there as well
        shows when the origin is swapped.
        """
        found: list[Origin] = []
        shown_by, rows = self._second, self._rows(self._second)
        for _ in range(_MOST_ROUNDS):
            known = {origin.artifact for origin in found}
            new = {name: scopes for name, scopes in origins(rows).items() if name not in known}
            before = _all(origin.injected for origin in found)
            found += [
                Origin(
                    artifact=name,
                    scopes=scopes,
                    injected=stand_in(name, scopes, self._first, self._store),
                    before=before,
                    shown_by=shown_by,
                )
                for name, scopes in new.items()
            ]
            injected = _all(origin.injected for origin in found)
            if injected == before:
                break
            self._tell(f"a difference starts at {', '.join(new)}")
            shown_by, rows = self._swap(self._a, self._b, self._first, injected)
        return found, remains(rows, _all(origin.injected for origin in found))

    def _swap(
        self, source: Side, target: Side, wanted: Capture, injected: Sequence[str]
    ) -> tuple[Capture, Rows]:
        """Run the target with values of the source; its capture, and the verdicts on it."""
        self._tell(f"{target.torch} with {', '.join(injected)} of {source.torch}")
        capture = target.swapped(injected, source.torch)
        rows = self._compared(wanted, capture)
        swap = Swap(
            source=source.torch,
            target=target.torch,
            injected=tuple(injected),
            remains=remains(rows, injected),
            identical=sum(row["verdict"] == Verdict.IDENTICAL for row in rows),
        )
        if swap not in self._swaps:
            self._swaps.append(swap)
        left = ", ".join(f"{name} {verdict}" for name, verdict in swap.remains.items())
        self._tell(f"  left: {left}" if left else "  everything downstream is identical")
        return capture, rows

    def _cause(self, origin: Origin, found: Sequence[Origin]) -> Cause:
        """All that can be found out about one origin."""
        others = _all(other.injected for other in found if other is not origin)
        necessary = True
        if others and origin.injected:
            _, rows = self._swap(self._a, self._b, self._first, others)
            necessary = bool(remains(rows, others))
        gaps = []
        if not origin.injected:
            gaps.append(f"no value of {origin.artifact} or of what is made from it can be swapped")
        facts: dict[str, Any] = {}
        try:
            facts = self._traced(origin)
        except MatrixError as error:
            gaps.append(str(error))
        return Cause(
            artifact=origin.artifact,
            scopes=origin.scopes,
            injected=origin.injected,
            necessary=necessary,
            gaps=(*gaps, *facts.pop("gaps", ())),
            **facts,
        )

    def _traced(self, origin: Origin) -> dict[str, Any]:
        """Where the two part below the call that makes the first occurrence that differs."""
        scope = min(origin.scopes, key=_position)
        site = Site(
            artifact=origin.artifact, scope=scope, occurrence=min(origin.scopes[scope] or (0,))
        )
        where = f"{site.artifact} {site.scope} {site.occurrence}"
        self._tell(f"tracing the operations that make {where}")
        trace_a, rows_a = self._a.trace(site, (), "")
        trace_b, rows_b = self._b.trace(site, origin.before, self._a.torch)
        divergence = diverge(
            trace_a,
            trace_b,
            faithful=_agree(rows_a, self._first, site) and _agree(rows_b, origin.shown_by, site),
        )
        self._tell(f"  {divergence.kind} {divergence.op} {divergence.module}".rstrip())
        if divergence.kind != "operation" or divergence.number is None:
            return {"divergence": divergence}
        number_a, number_b = divergence.number
        again = msgspec.structs.replace(site, keep=number_b)
        kept, _ = self._b.trace(again, origin.before, self._a.torch)
        if kept.kept is None:
            why = f"{divergence.op} cannot be called alone: {kept.refusal}"
            return {"divergence": divergence, "gaps": (why,)}
        operation = Operation(kept.kept, self._a, self._b, self._store)
        alone = (
            _gives(operation.outcomes[0], trace_a.ops[number_a]),
            _gives(operation.outcomes[1], trace_b.ops[number_b]),
        )
        return {"divergence": divergence, "alone": alone, **self._studied(operation, divergence)}

    def _studied(self, operation: Operation, divergence: Divergence) -> dict[str, Any]:
        """Which release is nearer to the truth, what the difference hangs on, and a script."""
        if not operation.differs:
            return {"gaps": (f"{divergence.op} called alone gives the same on both sides",)}
        self._tell("  the same operation in float64, and with one factor held at a time")
        facts: dict[str, Any] = {
            "reference": operation.reference(),
            "controls": operation.controls(),
        }
        if divergence.op in self._shown:
            return facts
        self._shown.append(divergence.op)
        self._tell("  looking for the smallest input that shows it")
        number = "" if len(self._shown) == 1 else f"_{len(self._shown)}"
        name = f"repro_{self._a.torch}_{self._b.torch}{number}.py"
        facts["reproduction"] = operation.reproduction(name)
        self._tell("  every batch size and length")
        facts["shapes"] = operation.shapes()
        if facts["reproduction"] is None:
            facts["gaps"] = (f"no script of ten lines shows {divergence.op} to differ",)
        return facts

    def _rows(self, capture: Capture) -> Rows:
        rows = self._compared(self._first, capture)
        if reasons := {r["reason"] for r in rows if r["verdict"] == Verdict.NOT_COMPARABLE}:
            raise MatrixError(
                f"{self._a.torch} and {self._b.torch} cannot be compared: {reasons.pop()}"
            )
        return rows

    def _compared(self, a: Capture, b: Capture) -> Rows:
        verdicts = compare([a, b], self._gauge, self._store)
        rows = verdicts.of(a.record.torch, b.record.torch)
        # A run with swaps ends where the index is built: of that it tells the cause.
        return [row for row in rows if run_stage(row["stage"]) == "index"]


def _all(several: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """Labels in the order in which they came, each once."""
    return tuple(dict.fromkeys(label for labels in several for label in labels))


def _position(scope: str) -> tuple[int, str]:
    name = scope.partition(".")[0]
    return (SCOPES.index(name) if name in SCOPES else len(SCOPES), scope)


def _gives(outcome: Outcome, op: Op) -> bool:
    """Whether a call alone gave what it gave in the run."""
    return list(outcome.outputs) == [operand.digest for operand in op.outputs]


def _agree(rows: Any, capture: Capture, site: Site) -> bool:
    """Whether a traced run made the artifact as the capture has it."""
    return _made(rows, site) == _made(capture.rows, site)


def _made(rows: Any, site: Site) -> dict[str, bytes]:
    """The digests of the parts of an artifact, as the first run made them."""
    names = ("artifact", "scope", "occurrence", "repeat", "part", "digest")
    columns = zip(*(rows.column(name).to_pylist() for name in names), strict=True)
    wanted = (site.artifact, site.scope, site.occurrence, 0)
    return {part: digest for *place, part, digest in columns if tuple(place) == wanted}
