"""What a verdict is worth on an artifact: a pass, an alert or a failure, as `matrix.toml` says."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from matrix_capture.catalogue import BY_NAME
from matrix_capture.errors import MatrixError
from matrix_capture.settings import Rule, Settings
from matrix_compare.schema import Verdict

Row = Mapping[str, Any]


class Level(StrEnum):
    """What becomes of a verdict; the order is that of severity."""

    PASS = "pass"  # noqa: S105 - a level, not a password
    ALERT = "alert"
    FAILURE = "failure"

    @property
    def glyph(self) -> str:
        """One character for tables; never used without the word."""
        return {Level.PASS: "✓", Level.ALERT: "▲", Level.FAILURE: "✗"}[self]


COMPARED = (Verdict.IDENTICAL, Verdict.REORDERED, Verdict.CLOSE, Verdict.DIFFERS)
"""The verdicts that come from a look at both sides; every other one says that there was none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """The rules of `matrix.toml`; the last matches every name."""

    rules: tuple[Rule, ...]

    def judge(self, row: Row) -> Level:
        """The level of one verdict row."""
        verdict = row["verdict"]
        if verdict == Verdict.FAILED:
            return Level.FAILURE
        rule = next(rule for rule in self.rules if _matches(rule, row["artifact"]))
        if verdict in rule.failure:
            return Level.FAILURE
        return Level.ALERT if verdict in rule.alert else Level.PASS

    def judge_all(self, rows: Iterable[Row]) -> Level:
        """The level of a pair: that of its worst row; a failure where nothing was compared."""
        rows = list(rows)
        if not any(row["verdict"] in COMPARED for row in rows):
            return Level.FAILURE
        return worst_level(self.judge(row) for row in rows)


def worst_level(levels: Iterable[Level]) -> Level:
    """The most severe of some levels; of none it is a failure, for nothing was checked."""
    return max(levels, key=list(Level).index, default=Level.FAILURE)


def read_policy(settings: Settings) -> Policy:
    """The policy of `matrix.toml`.

    Raises:
        MatrixError: there is none, a verdict or pattern is unknown, a rule decides nothing, a
            verdict may not have that level, or the last rule does not match all.
    """
    if not settings.policy:
        raise MatrixError('matrix.toml has no policy; add [[policy]] with artifacts = ["*"]')
    undecided = set(BY_NAME)
    for number, rule in enumerate(settings.policy, start=1):
        where = f"matrix.toml: policy rule {number} ({', '.join(rule.artifacts)})"
        _check_verdicts(rule, where)
        for pattern in rule.artifacts:
            if not any(fnmatchcase(name, pattern) for name in BY_NAME):
                known = ", ".join(BY_NAME)
                raise MatrixError(f"{where}: {pattern!r} matches no artifact; there are {known}")
        decided = {name for name in undecided if _matches(rule, name)}
        if not decided:
            raise MatrixError(f"{where} decides nothing: rules before it match all that it does")
        undecided -= decided
    # Not even a catalogue that is matched to the last name will do: captures may have other names.
    if "*" not in settings.policy[-1].artifacts:
        raise MatrixError('matrix.toml: the last policy rule must have artifacts = ["*"]')
    return Policy(rules=settings.policy)


_NEVER_A_PASS = (Verdict.MISSING, Verdict.NOT_COMPARABLE, Verdict.NOT_RUN)
_FREE = tuple(v for v in Verdict if v not in {Verdict.IDENTICAL, Verdict.FAILED})


def _check_verdicts(rule: Rule, where: str) -> None:
    named = (*rule.failure, *rule.alert)
    for name in named:
        if name == Verdict.IDENTICAL:
            raise MatrixError(f"{where}: identical is always a pass; take it out")
        if name == Verdict.FAILED:
            raise MatrixError(f"{where}: failed is always a failure; take it out")
        if name not in _FREE:
            raise MatrixError(f"{where}: no verdict {name!r}; there are {', '.join(_FREE)}")
        if named.count(name) > 1:
            raise MatrixError(f"{where}: {name} is listed more than once")
    for verdict in _NEVER_A_PASS:
        if verdict not in named:
            raise MatrixError(f"{where}: {verdict} is never a pass; list it in failure or alert")


def _matches(rule: Rule, artifact: str) -> bool:
    return any(fnmatchcase(artifact, pattern) for pattern in rule.artifacts)
