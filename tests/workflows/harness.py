"""Runs a workflow of this repository on this machine, with stand-ins for GitHub and its actions.

One job after the other, each in a folder and an environment of its own; expressions and conditions
are evaluated by GitHub's own code. What it does not know is an error, never passed over.
"""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from graphlib import TopologicalSorter
from itertools import product
from pathlib import Path
from typing import Any

from tests.workflows.actions import ACTIONS, Action, ActionError, Call, git
from tests.workflows.documents import Document
from tests.workflows.language import Language, Status

TOKEN = "token-of-the-job"  # noqa: S105 - it opens nothing

_JOB_KEYS = {
    *("concurrency", "env", "environment", "if", "name", "needs", "outputs", "permissions"),
    *("runs-on", "secrets", "steps", "strategy", "timeout-minutes", "uses", "with"),
}
_STEP_KEYS = {
    *("continue-on-error", "env", "id", "if", "name", "run", "shell", "timeout-minutes"),
    *("uses", "with", "working-directory"),
}
_SHELLS = {
    None: ("bash", "-e"),
    "bash": ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail"),
    "sh": ("sh", "-e"),
}
_ACCESS = ("none", "read", "write")


class HarnessError(Exception):
    """GitHub would not start this, or we do not know what it would do."""


@dataclass(frozen=True, kw_only=True)
class Host:
    """Where workflows run: `server` has bare repositories by owner/name, `folder` is ours.

    `environment` is what every step gets besides GitHub's variables, `variables` and `secrets` are
    those of the repository.
    """

    folder: Path
    server: Path
    repository: str
    environment: Mapping[str, str]
    api: str = "http://127.0.0.1:9"  # nobody listens
    variables: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    actions: Mapping[str, Action] = field(default_factory=lambda: ACTIONS)

    @property
    def pages(self) -> Path:
        """What was deployed."""
        return self.folder / "pages"


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
class Run:
    """A run of a workflow, job by job; `number` is that of the run, `attempt` which time it ran."""

    number: int
    attempt: int
    jobs: list[Ended]
    result: str

    def __getitem__(self, name: str) -> Ended:
        """A job by its name, as GitHub shows it."""
        return next(job for job in self.jobs if job.name == name)

    def results(self) -> dict[str, str]:
        """How each job ended."""
        return {job.name: job.result for job in self.jobs}

    def show(self) -> str:
        """What everything said, for whoever looks into a failure."""
        return "\n".join(
            f"== {job.name}: {job.result} {job.outputs}\n{job.log}{job.summary}"
            for job in self.jobs
        )


def installers(environment: Mapping[str, str]) -> dict[str, str]:
    """What installers need to know of this machine, and nothing else."""
    known = re.compile(r"(?i)(?:PIP|UV)_\w+|\w*_proxy|(?:SSL_CERT|\w*_CA)_\w+|LANG|PATH")
    found = {name: value for name, value in environment.items() if known.fullmatch(name)}
    # Each job has a home of its own, and none should download what is here.
    return {"UV_CACHE_DIR": str(Path("~/.cache/uv").expanduser())} | found


class Harness:
    """Runs workflows of a repository on a host."""

    def __init__(self, language: Language, host: Host) -> None:
        self.language = language
        self.host = host
        self._runs = 0

    def run(
        self,
        path: str,
        event: str,
        *,
        inputs: Mapping[str, Any] | None = None,
        ref: str = "refs/heads/main",
        before: Run | None = None,
    ) -> Run:
        """Run a workflow as an event starts it.

        After `before`, the same that has failed, run its failed jobs again and all that wait for
        one of them.

        Raises:
            HarnessError: GitHub would refuse it.
            LanguageError: so would its language.
        """
        self._runs += not before
        number, attempt = (before.number, before.attempt + 1) if before else (self._runs, 1)
        folder = self.host.folder / f"run{number}"
        tree = folder / f"tree{attempt}"
        bare = self.host.server / self.host.repository
        git("clone", "--quiet", "--branch", ref.removeprefix("refs/heads/"), bare, tree)
        sha = git("rev-parse", "HEAD", folder=tree)
        started = _Started(
            language=self.language,
            host=self.host,
            folder=folder,
            tree=tree,
            github=self._github(path, event, ref=ref, sha=sha, number=number, attempt=attempt),
            before={job.name: job for job in before.jobs} if before else {},
        )
        document = started.document(path)
        if event not in document.triggers:
            raise HarnessError(f"{path} is not started by {event}")
        given = _inputs(document.triggers[event], inputs or {}, path)
        ended = started.workflow(document, given, allowed=None, prefix="")
        results = {job.result for job in ended.values()}
        return Run(
            number=number,
            attempt=attempt,
            jobs=started.jobs,
            result="failure" if "failure" in results else "success",
        )

    def _github(self, path: str, event: str, **known: Any) -> dict[str, Any]:
        repository = self.host.repository
        ref = known["ref"]
        return {
            "actor": "somebody",
            "api_url": self.host.api,
            "event": {},
            "event_name": event,
            "ref": ref,
            "ref_name": ref.removeprefix("refs/heads/"),
            "repository": repository,
            "repository_owner": repository.partition("/")[0],
            "run_attempt": str(known["attempt"]),
            "run_id": str(known["number"]),
            "run_number": str(known["number"]),
            "server_url": self.host.server.as_uri(),
            "sha": known["sha"],
            "token": TOKEN,
            "workflow": path,
            "workflow_ref": f"{repository}/{path}@{ref}",
        }


@dataclass(kw_only=True)
class _Started:
    """A run on its way."""

    language: Language
    host: Host
    folder: Path
    tree: Path
    github: dict[str, Any]
    before: Mapping[str, Ended]
    jobs: list[Ended] = field(default_factory=list)

    def document(self, path: str) -> Document:
        try:
            text = (self.tree / path).read_text(encoding="utf-8")
        except OSError:
            raise HarnessError(f"no {path} in the repository") from None
        return Document(name=path, text=text)

    def workflow(
        self,
        document: Document,
        inputs: Mapping[str, Any],
        *,
        allowed: Mapping[str, str] | None,
        prefix: str,
        anew: bool = False,
    ) -> dict[str, Ended]:
        """Run the jobs of a workflow in the order of their needs; `anew`, whatever was before."""
        needs = {name: _needs(job) for name, job in document.jobs.items()}
        ended: dict[str, Ended] = {}
        for name in TopologicalSorter(needs).static_order():
            if name not in document.jobs:
                raise HarnessError(f"{document.name}: nobody is called {name}")
            job = document.jobs[name]
            if unknown := job.keys() - _JOB_KEYS:
                raise HarnessError(f"{document.name}: {name} has {', '.join(sorted(unknown))}")
            contexts = {
                "github": {**self.github, "job": name},
                "inputs": inputs,
                "needs": {
                    need: {"result": ended[need].result, "outputs": ended[need].outputs}
                    for need in needs[name]
                },
                "secrets": {**self.host.secrets, "GITHUB_TOKEN": TOKEN},
                "vars": self.host.variables,
            }
            before = [ended[other].result for other in _ancestors(name, needs)]
            status = Status(
                success=all(result == "success" for result in before), failure="failure" in before
            )
            title = f"{prefix}{job.get('name', name)}"
            if not self.language.condition(str(job.get("if", "")), contexts, status):
                ended[name] = Ended(name=title, result="skipped")
                self.jobs.append(ended[name])
                continue
            permissions = job.get("permissions", document.tree.get("permissions", {}))
            _check_permissions(title, permissions, allowed)
            waited = anew or any(ended[need].anew for need in needs[name])
            ended[name] = self._matrix(document, job, contexts, title, anew=waited)
        return ended

    def _matrix(
        self,
        document: Document,
        job: dict[str, Any],
        contexts: dict[str, Any],
        title: str,
        *,
        anew: bool,
    ) -> Ended:
        """Run a job once for each row of its matrix, unless it has succeeded before."""
        strategy = self.language.fill(job.get("strategy", {}), contexts)
        together = Ended(name=title, anew=anew)
        for row in _rows(strategy, title):
            own = {**contexts, "matrix": row, "strategy": strategy}
            shown = self.language.fill(title, own)
            if row and "name" not in job:
                shown += f" ({', '.join(map(str, row.values()))})"
            kept = self.before.get(shown)
            if kept and kept.result == "success" and not anew:
                one = replace(kept, anew=False)
                self.jobs.append(one)
            elif "uses" in job:
                one = self._called(document, job, own, shown, anew=anew)
            else:
                one = self._job(document, job, own, shown)
            together.anew |= one.anew
            together.outputs |= {key: value for key, value in one.outputs.items() if value}
            if one.result != "success":
                together.result = one.result
                if strategy.get("fail-fast", True):
                    break
        return together

    def _called(
        self,
        document: Document,
        job: dict[str, Any],
        contexts: dict[str, Any],
        title: str,
        *,
        anew: bool,
    ) -> Ended:
        """Run the workflow that a job calls."""
        called = self.document(_local(job["uses"]))
        told = called.triggers.get("workflow_call", HarnessError)
        if told is HarnessError:
            raise HarnessError(f"{called.name} is not to be called")
        given = _inputs(told, self.language.fill(job.get("with", {}), contexts), called.name)
        permissions = job.get("permissions", document.tree.get("permissions", {}))
        ended = self.workflow(called, given, allowed=permissions, prefix=f"{title} / ", anew=anew)
        results = {one.result for one in ended.values()}
        # A result is empty there, whatever the documentation says (actions/runner#2495).
        jobs = {name: {"outputs": one.outputs} for name, one in ended.items()}
        outputs = {
            name: self._text(output["value"], {"jobs": jobs, "inputs": given})
            for name, output in ((told or {}).get("outputs") or {}).items()
        }
        return Ended(
            name=title,
            anew=any(one.anew for one in ended.values()),
            result="failure" if "failure" in results else "success",
            outputs=outputs,
        )

    def _job(
        self, document: Document, job: dict[str, Any], contexts: dict[str, Any], title: str
    ) -> Ended:
        """Run the steps of a job on a machine of its own."""
        labels = self.language.fill(job["runs-on"], contexts)
        if not labels:
            raise HarnessError(f"{title} runs on no machine")
        machine = Machine(
            folder=self.folder / f"job{self.github['run_attempt']}.{len(self.jobs)}",
            artifacts=self.folder / "artifacts",
            permissions=job.get("permissions", {}),
            github=contexts["github"],
            environment=dict(self.host.environment),
        )
        contexts = {
            **contexts,
            "github": machine.github,
            "job": {"status": "success"},
            "runner": {"os": "Linux", "arch": "X64", "temp": str(machine.temp), "name": "here"},
        }
        for block in (document.tree.get("env", {}), job.get("env", {})):
            machine.variables |= self._texts(block, contexts)
        ended = Ended(name=title)
        self.jobs.append(ended)
        answers = self._steps(job["steps"], machine, contexts, ended)
        outputs = job.get("outputs", {})
        ended.outputs = self._texts(outputs, {**contexts, "steps": answers})
        if "environment" in job:
            self.language.fill(job["environment"], {**contexts, "steps": answers})
        return ended

    def _steps(
        self,
        steps: Sequence[dict[str, Any]],
        machine: "Machine",
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

    def _step(
        self, step: dict[str, Any], machine: "Machine", contexts: dict[str, Any], one: Ended
    ) -> None:
        own = self._texts(step.get("env", {}), contexts)
        contexts = {**contexts, "env": {**contexts["env"], **own}}
        if "run" in step:
            self._program(step, machine, contexts, one)
            return
        given = self._texts(step.get("with", {}), contexts)
        if step["uses"].startswith(("./", "$/")):
            self._composite(_local(step["uses"]), given, machine, contexts, one)
            return
        name = step["uses"].partition("@")[0]
        if name not in self.host.actions:
            raise HarnessError(f"{name} has no stand-in")
        call = Call(inputs=given, machine=machine, host=self.host)
        try:
            one.outputs = self.host.actions[name](call)
        except ActionError as error:
            one.result, one.log = "failure", f"{error}\n"

    def _composite(
        self,
        path: str,
        given: Mapping[str, str],
        machine: "Machine",
        contexts: dict[str, Any],
        one: Ended,
    ) -> None:
        """Run the steps of an action of this repository."""
        action = self.document(f"{path}/action.yml")
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
        inputs = {**self._texts(defaults, contexts), **given}
        github = {**contexts["github"], "action_path": str(self.tree / path)}
        within = {**contexts, "inputs": inputs, "github": github}
        answers = self._steps(action.tree["runs"]["steps"], machine, within, one)
        told = {name: out["value"] for name, out in action.tree.get("outputs", {}).items()}
        one.outputs = self._texts(told, {**within, "steps": answers})

    def _program(
        self, step: dict[str, Any], machine: "Machine", contexts: dict[str, Any], one: Ended
    ) -> None:
        """Run what a step has to run, in its shell."""
        if step.get("shell") not in _SHELLS:
            raise HarnessError(f"{one.name}: no shell {step['shell']}")
        script = machine.temp / "script.sh"
        script.write_text(self._text(step["run"], contexts), encoding="utf-8")
        files = machine.files()
        folder = machine.workspace / self._text(step.get("working-directory", "."), contexts)
        minutes = self.language.fill(step.get("timeout-minutes", 20), contexts)
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
        one.outputs = dict(_assignments(files["GITHUB_OUTPUT"]))
        machine.variables |= dict(_assignments(files["GITHUB_ENV"]))
        machine.path += files["GITHUB_PATH"].read_text(encoding="utf-8").splitlines()

    def _text(self, value: Any, contexts: Mapping[str, Any]) -> str:
        """A value as a program gets it."""
        filled = self.language.fill(value, contexts)
        if isinstance(filled, bool):
            return str(filled).lower()
        return "" if filled is None else str(filled)

    def _texts(self, block: Mapping[str, Any], contexts: Mapping[str, Any]) -> dict[str, str]:
        return {name: self._text(value, contexts) for name, value in block.items()}


@dataclass(kw_only=True)
class Machine:
    """The machine of a job: its folders, what later steps find in their environment.

    `artifacts` holds what all jobs of the run have uploaded, by name.
    """

    folder: Path
    artifacts: Path
    permissions: Mapping[str, str]
    github: dict[str, Any]
    environment: dict[str, str]
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


def _needs(job: Mapping[str, Any]) -> list[str]:
    needs = job.get("needs", [])
    return [needs] if isinstance(needs, str) else needs


def _ancestors(name: str, needs: Mapping[str, list[str]]) -> set[str]:
    """All jobs that a job waits for, directly or not."""
    return set(needs[name]).union(*(_ancestors(need, needs) for need in needs[name]))


def _rows(strategy: Mapping[str, Any], title: str) -> Iterator[dict[str, Any]]:
    """The jobs of a matrix."""
    if "matrix" not in strategy:
        yield {}
        return
    matrix = dict(strategy["matrix"])
    rows = matrix.pop("include", None)
    if "exclude" in matrix or (matrix and rows is not None):
        raise HarnessError(f"{title}: a matrix that mixes vectors with something else")
    if rows is None:
        rows = [dict(zip(matrix, row, strict=True)) for row in product(*matrix.values())]
    if not rows:
        raise HarnessError(f"{title}: a matrix without a row")
    yield from rows


def _inputs(told: Mapping[str, Any] | None, given: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The inputs of a workflow with their defaults."""
    known = (told or {}).get("inputs") or {} if isinstance(told, Mapping) else {}
    if unknown := given.keys() - known.keys():
        raise HarnessError(f"{path} knows no input {', '.join(sorted(unknown))}")
    found = {}
    for name, about in known.items():
        if about.get("required") and name not in given:
            raise HarnessError(f"{path} wants {name}")
        value = given.get(name, about.get("default", ""))
        if "options" in about and value not in about["options"]:
            raise HarnessError(f"{path}: {name} cannot be {value}")
        found[name] = "" if value is None else value
    return found


def _check_permissions(
    title: str, wanted: Mapping[str, str], allowed: Mapping[str, str] | None
) -> None:
    """Refuse a called job that wants more than its caller may."""
    for scope, access in wanted.items():
        has = access if allowed is None else allowed.get(scope, "none")
        if _ACCESS.index(access) > _ACCESS.index(has):
            raise HarnessError(f"{title} wants {scope}: {access}, its caller has {has}")


def _local(uses: str) -> str:
    if not uses.startswith(("./", "$/")):
        raise HarnessError(f"{uses} is not of this repository")
    return uses[2:]


def _assignments(file: Path) -> Iterator[tuple[str, str]]:
    """What a step wrote for later ones: `name=value`, or lines between `name<<END` and `END`."""
    lines = iter(file.read_text(encoding="utf-8").splitlines())
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
