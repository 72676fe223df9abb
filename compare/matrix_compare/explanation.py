"""The explanation file: the contract between `explain` and everything that reads explanations.

One JSON file per lane and pair of releases: which swaps make the two agree, which operation sets
them apart, and how to see that without ColBERT.
"""

from pathlib import Path
from typing import Literal

import msgspec

from matrix_compare.document import read_document
from matrix_compare.schema import Verdict

SCHEMA_VERSION = 1


class Swap(msgspec.Struct, frozen=True, kw_only=True):
    """One run of `target` in which some artifacts were replaced by what `source` made.

    `injected` has them as `artifact[:occurrence]`. `remains` are the artifacts that still differ
    from the source's own capture, but for what comes before the injected ones, each with its
    verdict; `identical` counts the rows that are like it. Sufficient is a swap of which nothing
    remains.
    """

    source: str
    target: str
    injected: tuple[str, ...]
    remains: dict[str, Verdict]
    identical: int

    @property
    def sufficient(self) -> bool:
        """Whether everything downstream became what the source has."""
        return not self.remains


class Divergence(msgspec.Struct, frozen=True, kw_only=True):
    """Where two traces of one call part.

    `kind` is `operation` where the same operation takes the same tensors and gives others;
    `replaced` where other operations stand between what is the same and what is not; `outside`
    where a tensor changed between two operations; `none` where the traces agree. `matched` is the
    pass that aligned them: `exact`, `without numbers` or `edit distance`; `unmatched` counts the
    operations on either side that have no partner. `number` is the operation's place in the trace
    of either side, `operands` what it takes, as `float32[32, 96]`. `faithful` says whether both
    traced runs made the artifact as the captures have it.
    """

    kind: Literal["operation", "replaced", "outside", "none"]
    matched: Literal["exact", "without numbers", "edit distance"]
    ops: tuple[int, int]
    unmatched: tuple[int, int]
    number: tuple[int, int] | None = None
    op: str = ""
    module: str = ""
    arguments: str = ""
    operands: tuple[str, ...] = ()
    replaced: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    faithful: bool = True

    def __post_init__(self) -> None:
        if self.kind == "operation" and self.number is None:
            raise ValueError("an operation without its number")


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """How far both results are from the same operation in float64 on the captured input.

    `elements` counts those that differ between a and b, `nearer` on which side the reference is
    for how many of them: a, b, neither.
    """

    max_a: float
    max_b: float
    max_ab: float
    mean_a: float
    mean_b: float
    mean_ab: float
    elements: int
    nearer: tuple[int, int, int]


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """The operation again on either side with one factor held; `same` if both agree then.

    `moved` says whether either result is another than without it.
    """

    name: str
    environ: dict[str, str]
    same: bool
    moved: tuple[bool, bool]


class Reproduction(msgspec.Struct, frozen=True, kw_only=True):
    """A script of plain torch, and the line that it printed on either side."""

    name: str
    script: str
    seed: int | None
    printed: tuple[str, str]

    @property
    def differs(self) -> bool:
        """Whether it shows the difference: each line is the release and a hash."""
        a, b = (line.rpartition(" ")[2] for line in self.printed)
        return a != b


class Shapes(msgspec.Struct, frozen=True, kw_only=True):
    """The operation on random inputs of many sizes, a row for each batch size.

    `equal` says whether a and b agree at that batch size and length, `invariant` for either side
    whether the batch gives the leading rows of the largest batch; None where it could not be run.
    """

    op: str
    operands: tuple[str, ...]
    batches: tuple[int, ...]
    lengths: tuple[int, ...]
    equal: tuple[tuple[bool | None, ...], ...]
    invariant: tuple[tuple[tuple[bool | None, ...], ...], tuple[tuple[bool | None, ...], ...]]

    def __post_init__(self) -> None:
        for rows in (self.equal, *self.invariant):
            if [len(row) for row in rows] != [len(self.lengths)] * len(self.batches):
                raise ValueError("a table of sizes with gaps")


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """One origin of what differs: where it is, what was swapped for it, and what was found there.

    `scopes` maps each pass to the occurrences that differ, `injected` is the swap that stands for
    it. `necessary` says whether the swaps of the other causes without this one leave something
    different. `alone` says whether the operation, called with the captured tensors and nothing
    around it, gives on either side what it gave in the run. `gaps` says what could not be found out
    and why.
    """

    artifact: str
    scopes: dict[str, tuple[int, ...]]
    injected: tuple[str, ...]
    necessary: bool
    divergence: Divergence | None = None
    alone: tuple[bool, bool] | None = None
    reference: Reference | None = None
    controls: tuple[Control, ...] = ()
    reproduction: Reproduction | None = None
    shapes: Shapes | None = None
    gaps: tuple[str, ...] = ()


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why two releases differ in a lane; `command` repeats it, `seconds` is what it took.

    `swaps` are in the order in which they were tried. `residue` are the artifacts that no swap
    explains, each with its verdict. `sweeps` are of operations that are of interest whether they
    are a cause or not.
    """

    schema_version: int
    lane: str
    a: str
    b: str
    started: str
    seconds: float
    command: str
    builds: tuple[str, str]
    swaps: tuple[Swap, ...]
    causes: tuple[Cause, ...]
    residue: dict[str, Verdict]
    sweeps: tuple[Shapes, ...] = ()


def explanation_path(data: Path, lane: str, a: str, b: str) -> Path:
    """Where the explanation of a pair lives below the data folder."""
    return data / "explanations" / lane / f"{a}...{b}.json"


def read_explanation(path: Path) -> Explanation:
    """Read an explanation.

    Raises:
        MatrixError: it is absent, damaged or of another version.
    """
    cure = "nox -s explain makes it anew"
    return read_document(path, Explanation, SCHEMA_VERSION, what="explanation", cure=cure)
