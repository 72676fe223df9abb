"""The machine of a job, and the files through which its steps talk."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.workflows.host import HarnessError


@dataclass(kw_only=True)
class Machine:
    """The machine of a job: its folders, what later steps find in their environment.

    `artifacts` holds what all jobs of the run have uploaded, by name; `minutes` are what the job
    may take.
    """

    folder: Path
    artifacts: Path
    permissions: Mapping[str, str]
    github: dict[str, Any]
    environment: dict[str, str]
    minutes: float
    variables: dict[str, str] = field(default_factory=dict)
    path: list[str] = field(default_factory=list)
    steps: int = 0

    def __post_init__(self) -> None:
        for place in (self.workspace, self.temp, self.home):
            place.mkdir(parents=True)
        self.github = {**self.github, "workspace": str(self.workspace)}

    @property
    def workspace(self) -> Path:
        """Where steps start."""
        return self.folder / "work"

    @property
    def temp(self) -> Path:
        """For what does not outlive the job."""
        return self.folder / "temp"

    @property
    def home(self) -> Path:
        """The home of the user who runs the job."""
        return self.folder / "home"

    def files(self) -> dict[str, Path]:
        """Fresh files through which a step tells what comes after it."""
        self.steps += 1
        names = ("GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_PATH", "GITHUB_STEP_SUMMARY")
        found = {name: self.temp / f"{name.lower()}_{self.steps}" for name in names}
        for path in found.values():
            path.touch()
        return found

    def environ(self, contexts: Mapping[str, Any]) -> dict[str, str]:
        """What a step finds in its environment, without the files."""
        # Neither the payload nor the token are among the variables.
        github = contexts["github"].items()
        told = {f"GITHUB_{k.upper()}": v for k, v in github if k not in ("event", "token")}
        path = os.pathsep.join([*reversed(self.path), self.environment.get("PATH", os.defpath)])
        return {
            **self.environment,
            **contexts["env"],
            **told,
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "HOME": str(self.home),
            "PATH": path,
            "RUNNER_OS": "Linux",
            "RUNNER_TEMP": str(self.temp),
        }


def assignments(file: Path) -> Iterator[tuple[str, str]]:
    """What a step wrote for later ones: `name=value`, or lines between `name<<END` and `END`."""
    lines = iter(file.read_text(encoding="utf-8").split("\n"))
    for line in lines:
        if not line:
            continue
        name, between, end = line.partition("<<")
        if between and "=" not in name:
            value = []
            for part in lines:
                if part == end:
                    break
                value.append(part)
            else:
                raise HarnessError(f"{name}: no line {end}")
            yield name, "\n".join(value)
            continue
        name, equals, text = line.partition("=")
        if not equals:
            raise HarnessError(f"{line!r} assigns nothing")
        yield name, text
