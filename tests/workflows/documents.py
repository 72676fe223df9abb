"""The workflows and actions of this repository as the YAML that GitHub reads."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]

FILES = (*ROOT.glob(".github/workflows/*.yml"), *ROOT.glob(".github/actions/*/action.yml"))

EXAMPLES = (*ROOT.glob("docs/workflows/*.yml"),)
"""For other repositories."""


class _Loader(yaml.SafeLoader):
    """YAML 1.2, in which `on` is a word."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


@dataclass(frozen=True, kw_only=True)
class Document:
    """A workflow or an action; `name` is its path in the repository."""

    name: str
    text: str

    @cached_property
    def tree(self) -> dict[str, Any]:
        """What the YAML says."""
        found: dict[str, Any] = yaml.load(self.text, _Loader)  # noqa: S506 - a SafeLoader
        return found

    @property
    def action(self) -> bool:
        """Whether it is an action."""
        return "runs" in self.tree

    @property
    def triggers(self) -> Mapping[str, Any]:
        """The events that start it, with what each is told."""
        on = self.tree.get("on", {})
        if isinstance(on, str):
            return {on: None}
        return on if isinstance(on, dict) else dict.fromkeys(on)

    @property
    def jobs(self) -> Mapping[str, dict[str, Any]]:
        """The jobs of a workflow; an action has one without a name."""
        if self.action:
            return {"": {"steps": self.tree["runs"].get("steps", [])}}
        jobs: dict[str, dict[str, Any]] = self.tree["jobs"]
        return jobs

    def steps(self) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
        """Every step with its job and the job's name."""
        for name, job in self.jobs.items():
            for step in job.get("steps", []):
                yield name, job, step


def read(path: Path) -> Document:
    """Read a file of this repository."""
    return Document(name=str(path.relative_to(ROOT)), text=path.read_text(encoding="utf-8"))
