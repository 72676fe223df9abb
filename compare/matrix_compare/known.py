"""The known incompatibilities (`known.toml`): which of them explains why a run failed?"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Annotated

import msgspec
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from matrix_capture.errors import MatrixError
from matrix_capture.schema import STAGES, Record

_REPOSITORIES = {
    "ColBERT": "stanford-futuredata/ColBERT",
    "RAGatouille": "AnswerDotAI/RAGatouille",
    "faiss": "facebookresearch/faiss",
    "gsplat": "nerfstudio-project/gsplat",
    "pytorch": "pytorch/pytorch",
    "transformers": "huggingface/transformers",
}
_SOURCE = re.compile(r"(?P<repository>\S+) (?P<kind>issue|PR) (?P<number>\d+)", re.ASCII)
_MEASURED = "measured in lane "

_LONGEST = 10_000  # characters of an error that are looked at; a message may be any length

_Some = Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]


class Known(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A known incompatibility: when it shows, how, what cures it, and who says so.

    `error` is a regular expression on `Type: first line` of what was raised at one of `stages`;
    `packages` maps names to version specifiers (PEP 440), all of which must hold.
    """

    id: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    when: str
    symptom: str
    stages: _Some
    error: str
    packages: dict[str, str] = {}
    cure: str
    sources: _Some

    def fits(self, stage: str, error: str, packages: Mapping[str, str]) -> bool:
        """Whether an error at a stage, among packages of these versions, is this one."""
        return (
            stage in self.stages
            and re.search(self.error, error[:_LONGEST]) is not None
            and all(_within(packages.get(name), held) for name, held in self.packages.items())
        )


def read_known() -> tuple[Known, ...]:
    """The rows of `known.toml`, in the order in which they are tried.

    Raises:
        MatrixError: a row does not hold what it should.
    """
    return parse_known(files("matrix_compare").joinpath("known.toml").read_bytes())


def parse_known(text: bytes) -> tuple[Known, ...]:
    """Rows as `known.toml` has them.

    Raises:
        MatrixError: as `read_known`.
    """
    try:
        rows = msgspec.toml.decode(text, type=_File).known
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MatrixError(f"known.toml: {error}") from None
    twice = [name for name, count in Counter(row.id for row in rows).items() if count > 1]
    if twice:
        raise MatrixError(f"known.toml: {twice[0]!r} is the id of more than one row")
    for row in rows:
        _check(row)
    return rows


def match(record: Record, known: Sequence[Known]) -> Known | None:
    """The first row that explains why a run failed; None if it is new, or nothing failed."""
    stage = record.failed_stage()
    if stage is None:
        return None
    status = record.status[stage]
    error = f"{status.error}: {status.message}"
    return next((row for row in known if row.fits(stage, error, record.packages)), None)


def source_url(source: str) -> str:
    """Where a source is to be read; empty for what was measured here.

    Raises:
        MatrixError: no repository is known by that name.
    """
    if source.startswith(_MEASURED):
        return ""
    found = _SOURCE.fullmatch(source)
    if found is None or found["repository"] not in _REPOSITORIES:
        raise MatrixError(
            f"source {source!r}: expected '{_MEASURED}...', or an issue or PR of "
            f"{', '.join(_REPOSITORIES)}, as in 'ColBERT issue 391'"
        )
    path = "issues" if found["kind"] == "issue" else "pull"
    return f"https://github.com/{_REPOSITORIES[found['repository']]}/{path}/{found['number']}"


class _File(msgspec.Struct, forbid_unknown_fields=True):
    known: tuple[Known, ...]


def _check(row: Known) -> None:
    where = f"known.toml: row {row.id}"
    strange = [stage for stage in row.stages if stage not in STAGES]
    if strange:
        raise MatrixError(f"{where}: no stage {strange[0]!r}; there are {', '.join(STAGES)}")
    try:
        re.compile(row.error)
        for held in row.packages.values():
            SpecifierSet(held)
        for source in row.sources:
            source_url(source)
    except (re.error, InvalidSpecifier, MatrixError) as error:
        raise MatrixError(f"{where}: {error}") from None


def _within(version: str | None, held: str) -> bool:
    """Whether a package is installed in one of the versions; what is no version is in none."""
    try:
        return version is not None and SpecifierSet(held).contains(
            Version(version), prereleases=True
        )
    except InvalidVersion:
        return False
