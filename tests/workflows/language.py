"""GitHub's own parser of workflows and evaluator of expressions, which are written for node."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_SCRIPT = Path(__file__).with_name("language.mjs")


class LanguageError(Exception):
    """Something that GitHub would not understand."""


@dataclass(frozen=True, kw_only=True)
class Status:
    """How what went before ended, as a condition asks for it; nobody cancels here."""

    success: bool = True
    failure: bool = False

    def functions(self) -> dict[str, bool]:
        """What each function of an expression answers."""
        return {
            "always": True,
            "success": self.success,
            "failure": self.failure,
            "cancelled": False,
        }


class Language:
    """A process of node that answers as long as this is open."""

    def __init__(self, installed: Path) -> None:
        self._process = subprocess.Popen(
            ["node", _SCRIPT, installed], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def parse(self, name: str, files: Mapping[str, str]) -> dict[str, Any]:
        """The errors and the jobs of a file, among all files by their paths."""
        return self._ask(ask="parse", name=name, files=files)

    def condition(self, expression: str, contexts: Mapping[str, Any], status: Status) -> bool:
        """Whether a condition holds; one that asks for no status asks for success."""
        expression = expression.strip()
        if expression.startswith("${{"):
            expression = expression.removeprefix("${{").removesuffix("}}")
        asked = expression.strip() or "success()"
        found = self._evaluate(asked, contexts, status, condition=True)
        return found["text"] not in {"", "false", "0", "NaN"}

    def fill(self, value: Any, contexts: Mapping[str, Any]) -> Any:
        """A value of YAML with every expression in it evaluated."""
        if isinstance(value, Mapping):
            return {key: self.fill(item, contexts) for key, item in value.items()}
        if isinstance(value, list):
            return [self.fill(item, contexts) for item in value]
        if not isinstance(value, str) or "${{" not in value:
            return value
        start, _, rest = value.partition("${{")
        expression, end, rest = _until_closed(rest)
        if not end:
            raise LanguageError(f"{value!r} has an expression without an end")
        found = self._evaluate(expression, contexts, Status(), condition=False)
        if not start and not rest:
            return found["value"]
        # Behind a text everything is text.
        return start + found["text"] + self.fill(f" {rest}", contexts)[1:]

    def _evaluate(
        self, expression: str, contexts: Mapping[str, Any], status: Status, *, condition: bool
    ) -> dict[str, Any]:
        try:
            return self._ask(
                ask="evaluate",
                expression=expression,
                contexts=contexts,
                status=status.functions(),
                condition=condition,
            )
        except LanguageError as error:
            raise LanguageError(f"{expression.strip()}: {error}") from None

    def _ask(self, **question: Any) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        if "failed" in answer:
            raise LanguageError(answer["failed"])
        return answer


def _until_closed(text: str) -> tuple[str, str, str]:
    """What comes before the end of an expression, the end, and the rest: `}}` may be quoted."""
    quoted = False
    for place, letter in enumerate(text):
        if letter == "'":
            quoted = not quoted
        elif not quoted and text.startswith("}}", place):
            return text[:place], "}}", text[place + 2 :]
    return text, "", ""
