"""What programs read: the contract of `/api/v1/`.

Every file is one `Document` as JSON. Where compare has an object for what is told, that object is
served and no other. A URL is relative to the root of the site. Strings are as the captures have
them: nothing is cleaned or shortened but what this site wrote itself.
"""

from typing import Any, Literal

import msgspec

from matrix_capture.catalogue import Artifact
from matrix_capture.schema import Control, Observer, Record, StageStatus
from matrix_capture.settings import Lane, Tolerance
from matrix_compare.advice import Advice
from matrix_compare.change import Crossing
from matrix_compare.check import Check
from matrix_compare.comparable import Difference
from matrix_compare.explanation import Explanation
from matrix_compare.known import Known
from matrix_compare.schema import Verdict
from matrix_site.comparison import Comparison, Pair
from matrix_site.tensors import Form

SCHEMA_VERSION: Literal[1] = 1
FOLDER = f"api/v{SCHEMA_VERSION}"
INDEX = f"{FOLDER}/index.json"
RELEASES = f"{FOLDER}/releases.json"
INCOMPATIBILITIES = f"{FOLDER}/known.json"
SCHEMA = f"{FOLDER}/schema.json"

State = Literal["captured", "failed", "unable", "unreadable", "absent"]
"""What became of a release in a lane: `unable` are those that the machine cannot run, `unreadable`
those whose digest file cannot be read, `absent` those without a capture."""


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """How often each verdict occurs, worst first; they add up to `total`.

    `unsized` of those that differ do so by an unknown amount.
    """

    verdicts: dict[Verdict, int]
    total: int
    unsized: int


class Compared(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A pair in short: its worst verdict, and the verdicts of all its comparisons.

    `advice` is what going from a to b comes to, `back` the way back, where that was asked. `page`
    and `api` tell more.
    """

    a: str
    b: str
    verdict: Verdict
    counts: Totals
    headline: str
    advice: str = ""
    back: str = ""
    page: str
    api: str


class Band(msgspec.Struct, frozen=True, kw_only=True):
    """Consecutive releases whose artifacts are all identical, oldest first.

    `skipped` are releases within them that have nothing to compare.
    """

    releases: tuple[str, ...]
    skipped: tuple[str, ...]


class Standing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One release in one lane.

    `told` says where it stopped and why. `stages` and `seconds` are by stage, `band` are all
    releases identical to this one with itself, `environment` is a digest that captures share if
    their environments are equal, `known` the row of known.json that explains a failure, `offsets`
    the bytes at which the data of the mapped files of its index begin, `digests` its digest file.
    What else there is has its name from the record.
    """

    lane: str
    torch: str
    state: State
    told: str = ""
    torch_build: str = ""
    started: str = ""
    stages: dict[str, StageStatus] = {}
    seconds: dict[str, float] = {}
    band: tuple[str, ...] = ()
    environment: str = ""
    known: str = ""
    repeats: int = 0
    control: Control | None = None
    observer: Observer | None = None
    missing: dict[str, str] = {}
    options: dict[str, str | int] = {}
    note: str = ""
    offsets: tuple[int, ...] = ()
    page: str
    environment_page: str = ""
    digests: str = ""
    api: str


class LaneEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One lane: what it holds fixed, and what came of it.

    `compared` says whether its captures are compared at all; where the installer decides on every
    package but torch they are not. `quick` names the options that set it apart from a baseline.
    `states` counts the releases that it shows, nightly builds included; `boundaries` are
    consecutive pairs that are not identical, of `identical` others nothing is to be told,
    `uncompared` have no verdicts. Bands and boundaries are newest first, pairs of all releases
    `a...b` are in the files `pair`.
    """

    name: str
    title: str
    settings: Lane
    facts: tuple[str, ...]
    quick: str = ""
    newest: str | None
    stale: str = ""
    states: dict[State, int]
    releases: tuple[str, ...]
    compared: bool
    pairs: int
    identical: int
    uncompared: tuple[str, ...]
    bands: tuple[Band, ...]
    boundaries: tuple[Compared, ...]
    verdicts: str = ""
    badge: str


class Document(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """What every file begins with; `time` is that of the newest capture, null without any."""

    schema_version: Literal[1] = SCHEMA_VERSION
    time: str | None


class IndexFile(Document, frozen=True, kw_only=True, tag="index"):
    """What there is: `url` is where the site is published, `files` are the other places to read.

    In `files`, `{lane}`, `{release}`, `{a}`, `{b}` and `{artifact}` stand for names.
    """

    sentence: str
    url: str
    files: dict[str, str]
    verdicts: dict[Verdict, str]
    profiles: dict[str, dict[str, Tolerance]]
    releases: tuple[str, ...]
    artifacts: tuple[str, ...]
    lanes: tuple[LaneEntry, ...]


class ReleaseEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One release of the matrix, or a nightly build, in every lane that shows it."""

    torch: str
    page: str
    lanes: tuple[Standing, ...]


class ReleasesFile(Document, frozen=True, kw_only=True, tag="releases"):
    """Every release of the matrix and every nightly build that is shown, oldest first."""

    releases: tuple[ReleaseEntry, ...]


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A release that fails in a known way in a lane."""

    lane: str
    torch: str


class KnownEntry(Known, frozen=True, kw_only=True):
    """A row of `known.toml`; `urls` are those of its sources, empty for what was measured here."""

    urls: tuple[str, ...]
    page: str
    seen: tuple[Seen, ...]


class KnownFile(Document, frozen=True, kw_only=True, tag="known"):
    """The known incompatibilities, in the order in which they are tried."""

    known: tuple[KnownEntry, ...]


class ReleaseFile(Document, frozen=True, kw_only=True, tag="torch"):
    """One release in one lane: its record as the digest file has it, and its pairs.

    `crossings` are searches of its index, and those that it made in others.
    """

    standing: Standing
    record: Record | None
    pairs: tuple[Compared, ...]
    crossings: tuple[Crossing, ...]


class PairFile(Document, frozen=True, kw_only=True, tag="pair"):
    """One pair: all its verdict rows, and whatever is known besides.

    `index` counts what the finished index holds on disk. `starts` are the artifacts of the pipeline
    where a divergence starts. `profiles` are in the order of a row's `violations`. `environment` is
    what differs between the two captures, `crossings` is what each finds in the index of the other
    and in its own. `data` are the Parquet files behind it.
    """

    lane: str
    a: str
    b: str
    verdict: Verdict
    headline: str
    counts: Totals
    index: Totals
    starts: tuple[str, ...]
    profiles: tuple[str, ...]
    page: str
    data: tuple[str, ...]
    sides: tuple[Standing, Standing]
    environment: tuple[Difference, ...]
    advices: tuple[Advice, ...]
    crossings: tuple[Crossing, ...]
    explanation: Explanation | None
    rows: tuple[Comparison, ...]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """An artifact in a consecutive pair; `rows` are its comparisons that are not identical."""

    a: str
    b: str
    verdict: Verdict
    counts: Totals
    rows: tuple[Comparison, ...]
    page: str
    api: str


class ArtifactFile(Document, frozen=True, kw_only=True, tag="artifact"):
    """One artifact of the catalogue in one lane.

    `forms` are the dtypes and sizes in the capture of `torch`, the newest release.
    `history` are consecutive pairs in which it was compared, newest first.
    """

    lane: str
    artifact: Artifact
    children: tuple[str, ...]
    page: str
    torch: str
    forms: tuple[Form, ...]
    history: tuple[Step, ...]


class PullFile(Document, frozen=True, kw_only=True, tag="pr"):
    """What a pull request changes at one commit; no part of the matrix."""

    page: str
    check: Check


DOCUMENTS = (IndexFile, ReleasesFile, KnownFile, ReleaseFile, PairFile, ArtifactFile, PullFile)


def release_file(lane: str, release: str) -> str:
    """The path of what is known of a release in a lane."""
    return f"{FOLDER}/{lane}/torch/{release}.json"


def pair_file(lane: str, pair: Pair) -> str:
    """The path of what is known of a pair."""
    return f"{FOLDER}/{lane}/pair/{pair[0]}...{pair[1]}.json"


def artifact_file(lane: str, name: str) -> str:
    """The path of what is known of an artifact in a lane."""
    return f"{FOLDER}/{lane}/artifact/{name}.json"


def pull_file(number: int, sha: str) -> str:
    """The path of what a pull request changes at a commit."""
    return f"{FOLDER}/pr/{number}/{sha}.json"


def encoded(document: Document) -> bytes:
    """A file of the API."""
    return msgspec.json.encode(document) + b"\n"


def schema() -> dict[str, Any]:
    """What every file of the API looks like, as JSON Schema (draft 2020-12)."""
    documents, parts = msgspec.json.schema_components(DOCUMENTS, ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"The API of colbert-matrix, version {SCHEMA_VERSION}",
        "oneOf": list(documents),
        "$defs": parts,
    }
