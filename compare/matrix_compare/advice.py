"""The advice file: the contract between `advise` and everything that reads advice.

One JSON file per lane with an advice for each pair of releases that was asked about: may the index
be kept, does the ranking change, does it run, does training change.
"""

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
from msgspec.structs import replace

from matrix_capture.names import release_order
from matrix_compare.change import Attribution, Crossing, RankingChange
from matrix_compare.document import read_document, write_document
from matrix_compare.layout import HEADER_BYTES

SCHEMA_VERSION = 1

Index = Literal["keep", "re-index", "unknown"]
Change = Literal["same", "changes", "unknown"]

MMAP_REPRODUCTION = f"""\
import array, pathlib, torch

codes = torch.arange(1000, dtype=torch.int32)
torch.save(codes, "0.codes.pt")  # as colbert-ai saves the codes of an index
data = array.array("i", range(1000)).tobytes()
offset = pathlib.Path("0.codes.pt").read_bytes().index(data)
print("torch", torch.__version__, "writes the data at byte", offset)
for header in ({HEADER_BYTES}, offset):  # the first is what ResidualEmbeddings.load_chunks skips
    size = len(codes) + header // 4
    storage = torch.IntStorage.from_file(filename="0.codes.pt", shared=True, size=size)
    mapped = torch.IntTensor(storage)[header // 4 :]
    print("mapped from byte", header, "on:", "equal" if mapped.equal(codes) else "not equal")
"""
"""Shows with torch alone that a mapped index is read shifted; it writes into the folder it runs in.

The second line it prints is for the header that colbert-ai assumes, the third for the real one.
"""


class Sentence(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is said: `claim` is the name of the rule, the same for every pair.

    `evidence` has references: `capture:<torch>`, `verdicts:<artifact>`,
    `rankings:<index torch>/<search torch>` with `/mmap` where mapped, `known:<id>`,
    `explanation`, `reproduction`.
    """

    claim: str
    text: str
    evidence: tuple[str, ...] = ()


class Option(msgspec.Struct, frozen=True, kw_only=True):
    """A way on after the change: the index of `index` searched with `search`.

    `inferred` is a search that was not made, because one of the same tensors was. `error` is the
    exception's type and first line where it failed. `change` is what becomes of the rankings of a's
    index under a, `stages` what changed them where that is known.
    """

    index: str
    search: str
    state: Literal["ok", "failed", "inferred", "unknown"] = "unknown"
    error: str = ""
    ranking: Change = "unknown"
    change: RankingChange | None = None
    stages: Attribution | None = None


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """What to do with an index of torch `a` when torch becomes `b`, which may be the older one.

    `ranking` is that of the option that `index` names, unknown where it names none; both options
    have their own. `runs` and `training` are about b. `requirement` is a specifier of torch for
    colbert-ai, `reproduction` a script where mapped loading goes wrong, both else empty; `command`
    repeats the advice.
    """

    schema_version: int
    lane: str
    a: str
    b: str
    headline: str
    index: Index
    ranking: Change
    runs: Literal["yes", "no"]
    training: Change
    keep: Option
    reindex: Option = msgspec.field(name="re-index")
    sentences: tuple[Sentence, ...]
    not_measured: tuple[Sentence, ...]
    requirement: str
    reproduction: str
    command: str


class Advices(msgspec.Struct, frozen=True, kw_only=True):
    """The advice file of a lane, pairs in order of release; `crossings` as last looked at."""

    schema_version: int
    lane: str
    advices: tuple[Advice, ...] = ()
    crossings: tuple[Crossing, ...] = ()


def advice_path(data: Path, lane: str) -> Path:
    """Where the advice of a lane lives below the data folder."""
    return data / "advice" / f"{lane}.json"


def read_advices(path: Path) -> Advices:
    """Read an advice file.

    Raises:
        MatrixError: it is absent, damaged or of another version.
    """
    cure = "delete it, and nox -s advise makes it anew"
    return read_document(path, Advices, SCHEMA_VERSION, what="advice file", cure=cure)


def record_advices(data: Path, lane: str, given: Sequence[Advice]) -> Path:
    """Add advice to that of a lane, each in place of the one of its pair; returns the path.

    Raises:
        MatrixError: there is a file that cannot be read.
    """
    with _changing(data, lane) as change:
        pairs = {(advice.a, advice.b): advice for advice in (*change.now.advices, *given)}
        order = sorted(pairs, key=lambda pair: tuple(map(release_order, pair)))
        change.now = replace(change.now, advices=tuple(pairs[pair] for pair in order))
    return advice_path(data, lane)


def record_crossings(data: Path, lane: str, found: Sequence[Crossing]) -> Path:
    """Put what was found in indexes of other releases beside the advice; returns the path.

    Raises:
        MatrixError: there is a file that cannot be read.
    """
    with _changing(data, lane) as change:
        change.now = replace(change.now, crossings=tuple(found))
    return advice_path(data, lane)


@dataclass
class _Change:
    now: Advices


@contextmanager
def _changing(data: Path, lane: str) -> Iterator[_Change]:
    """The advice of a lane, of which what it is changed to is written when the block ends."""
    path = advice_path(data, lane)
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / f".{lane}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        empty = Advices(schema_version=SCHEMA_VERSION, lane=lane)
        change = _Change(read_advices(path) if path.exists() else empty)
        yield change
        write_document(path, change.now)
