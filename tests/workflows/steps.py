"""Runs the steps of a job, and those of actions of this repository."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.workflows.actions import ACTIONS, ActionError, Call
from tests.workflows.documents import Document
from tests.workflows.host import HarnessError, Host
from tests.workflows.language import Language, Status
from tests.workflows.machine import Machine, assignments

_STEP_KEYS = {
    *("continue-on-error", "env", "id", "if", "name", "run", "shell", "timeout-minutes"),
    *("uses", "with", "working-directory"),
}
_SHELLS = {
    None: ("bash", "-e"),
    "bash": ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail"),
    "sh": ("sh", "-e"),
}


@dataclass(kw_only=True)
class Ended:
    """How a step, a job or a called workflow ended, with what it said.

    `anew` is not what an earlier attempt of the run has left as it was.
    """

    name: str
    anew: bool = True
    result: str = "success"
    outputs: dict[str, str] = field(default_factory=dict)
    log: str = ""
    summary: str = ""
    steps: list["Ended"] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Steps:
    """What steps need to run: the language, the host, the repository at the commit of the run."""

    language: Language
    host: Host
    tree: Path

    def run(
        self,
        steps: Sequence[dict[str, Any]],
        machine: Machine,
        contexts: dict[str, Any],
        ended: Ended,
    ) -> dict[str, Any]:
        """Run steps until one fails, and after that those that want to run all the same."""
        answers: dict[str, Any] = {}
        for number, step in enumerate(steps):
            if unknown := step.keys() - _STEP_KEYS:
                raise HarnessError(f"{ended.name}: a step has {', '.join(sorted(unknown))}")
            bad = ended.result == "failure"
            known = {**contexts, "env": dict(machine.variables), "steps": answers}
            known["job"] = {"status": ended.result}
            one = Ended(name=str(step.get("name") or step.get("uses") or step.get("run")))
            ended.steps.append(one)
            status = Status(success=not bad, failure=bad)
            if self.language.condition(str(step.get("if", "")), known, status):
                self._step(step, machine, known, one)
            else:
                one.result = "skipped"
            outcome = one.result
            if one.result == "failure" and self.language.fill(step.get("continue-on-error"), known):
                one.result = "success"
            if one.result == "failure":
                ended.result = "failure"
            ended.log += f"-- {one.name}: {outcome}\n{one.log}"
            ended.summary += one.summary
            answers[step.get("id", f"__{number}")] = {
                "outcome": outcome,
                "conclusion": one.result,
                "outputs": one.outputs,
            }
        return answers

    def text(self, value: Any, contexts: Mapping[str, Any]) -> str:
        """A value as a program gets it."""
        filled = self.language.fill(value, contexts)
        if isinstance(filled, bool):
            return str(filled).lower()
        return "" if filled is None else str(filled)

    def texts(self, block: Mapping[str, Any], contexts: Mapping[str, Any]) -> dict[str, str]:
        """Each value of a block as a program gets it."""
        return {name: self.text(value, contexts) for name, value in block.items()}

    def _step(
        self, step: dict[str, Any], machine: Machine, contexts: dict[str, Any], one: Ended
    ) -> None:
        own = self.texts(step.get("env", {}), contexts)
        contexts = {**contexts, "env": {**contexts["env"], **own}}
        if "run" in step:
            self._program(step, machine, contexts, one)
            return
        given = self.texts(step.get("with", {}), contexts)
        if step["uses"].startswith(("./", "$/")):
            self._composite(local(step["uses"]), given, machine, contexts, one)
            return
        name = step["uses"].partition("@")[0]
        if name not in ACTIONS:
            raise HarnessError(f"{name} has no stand-in")
        call = Call(inputs=given, machine=machine, host=self.host)
        try:
            one.outputs = ACTIONS[name](call)
        except ActionError as error:
            one.result, one.log = "failure", f"{error}\n"

    def _composite(
        self,
        path: str,
        given: Mapping[str, str],
        machine: Machine,
        contexts: dict[str, Any],
        one: Ended,
    ) -> None:
        """Run the steps of an action of this repository."""
        action = document_of(self.tree, f"{path}/action.yml")
        known = {
            name: {"default": "", **(told or {})}
            for name, told in action.tree.get("inputs", {}).items()
        }
        if unknown := given.keys() - known.keys():
            raise HarnessError(f"{path} knows no input {', '.join(sorted(unknown))}")
        for name, told in known.items():
            if told.get("required") and not told["default"] and name not in given:
                raise HarnessError(f"{path} wants {name}")
        defaults = {name: told["default"] for name, told in known.items()}
        inputs = {**self.texts(defaults, contexts), **given}
        github = {**contexts["github"], "action_path": str(self.tree / path)}
        within = {**contexts, "inputs": inputs, "github": github}
        answers = self.run(action.tree["runs"]["steps"], machine, within, one)
        told = {name: out["value"] for name, out in action.tree.get("outputs", {}).items()}
        one.outputs = self.texts(told, {**within, "steps": answers})

    def _program(
        self, step: dict[str, Any], machine: Machine, contexts: dict[str, Any], one: Ended
    ) -> None:
        """Run what a step has to run, in its shell."""
        if step.get("shell") not in _SHELLS:
            raise HarnessError(f"{one.name}: no shell {step['shell']}")
        script = machine.temp / "script.sh"
        script.write_text(self.text(step["run"], contexts), encoding="utf-8")
        files = machine.files()
        folder = machine.workspace / self.text(step.get("working-directory", "."), contexts)
        minutes = self.language.fill(step.get("timeout-minutes", machine.minutes), contexts)
        said = subprocess.Popen(
            [*_SHELLS[step.get("shell")], script],
            cwd=folder,
            env=machine.environ(contexts) | {name: str(path) for name, path in files.items()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            one.log, _ = said.communicate(timeout=float(minutes) * 60)
        except subprocess.TimeoutExpired:
            os.killpg(said.pid, 9)
            one.log = said.communicate()[0] + "out of time\n"
        one.result = "failure" if said.returncode else "success"
        one.summary = files["GITHUB_STEP_SUMMARY"].read_text(encoding="utf-8")
        one.outputs = dict(assignments(files["GITHUB_OUTPUT"]))
        machine.variables |= dict(assignments(files["GITHUB_ENV"]))
        machine.path += files["GITHUB_PATH"].read_text(encoding="utf-8").splitlines()


def document_of(tree: Path, path: str) -> Document:
    """A file of the repository at the commit of the run."""
    try:
        text = (tree / path).read_text(encoding="utf-8")
    except OSError:
        raise HarnessError(f"no {path} in the repository") from None
    return Document(name=path, text=text)


def local(uses: str) -> str:
    """The path of what is used of this repository."""
    if not uses.startswith(("./", "$/")):
        raise HarnessError(f"{uses} is not of this repository")
    return uses[2:]
