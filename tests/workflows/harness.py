"""Runs a workflow of this repository on this machine, with stand-ins for GitHub and its actions.

One job after the other, each in a folder and an environment of its own; expressions and conditions
are evaluated by GitHub's own code. What it does not know is an error, never passed over.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from graphlib import TopologicalSorter
from itertools import product
from pathlib import Path
from typing import Any

from tests.workflows.actions import git
from tests.workflows.documents import Document
from tests.workflows.host import TOKEN, HarnessError, Host
from tests.workflows.language import Language, Status
from tests.workflows.machine import Machine
from tests.workflows.steps import Ended, Steps, document_of, local

_JOB_KEYS = {
    *("concurrency", "env", "environment", "if", "name", "needs", "outputs", "permissions"),
    *("runs-on", "secrets", "steps", "strategy", "timeout-minutes", "uses", "with"),
}
_ACCESS = ("none", "read", "write")


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
            steps=Steps(language=self.language, host=self.host, tree=tree),
            folder=folder,
            github=self._github(path, event, ref=ref, sha=sha, number=number, attempt=attempt),
            before={job.name: job for job in before.jobs} if before else {},
        )
        document = document_of(tree, path)
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

    steps: Steps
    folder: Path
    github: dict[str, Any]
    before: Mapping[str, Ended]
    jobs: list[Ended] = field(default_factory=list)

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
            secrets = self.steps.host.secrets if "environment" in job else {}
            contexts = {
                "github": {**self.github, "job": name},
                "inputs": inputs,
                "needs": {
                    need: {"result": ended[need].result, "outputs": ended[need].outputs}
                    for need in needs[name]
                },
                "secrets": {**secrets, "GITHUB_TOKEN": TOKEN},
                "vars": self.steps.host.variables,
            }
            before = [ended[other].result for other in _ancestors(name, needs)]
            status = Status(
                success=all(result == "success" for result in before), failure="failure" in before
            )
            title = f"{prefix}{job.get('name', name)}"
            if not self.steps.language.condition(str(job.get("if", "")), contexts, status):
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
        strategy = self.steps.language.fill(job.get("strategy", {}), contexts)
        together = Ended(name=title, anew=anew)
        for row in _rows(strategy, title):
            own = {**contexts, "matrix": row, "strategy": strategy}
            shown = self.steps.language.fill(title, own)
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
        called = document_of(self.steps.tree, local(job["uses"]))
        told = called.triggers.get("workflow_call", HarnessError)
        if told is HarnessError:
            raise HarnessError(f"{called.name} is not to be called")
        given = _inputs(told, self.steps.language.fill(job.get("with", {}), contexts), called.name)
        permissions = job.get("permissions", document.tree.get("permissions", {}))
        ended = self.workflow(called, given, allowed=permissions, prefix=f"{title} / ", anew=anew)
        results = {one.result for one in ended.values()}
        # A result is empty there, whatever the documentation says (actions/runner#2495).
        jobs = {name: {"outputs": one.outputs} for name, one in ended.items()}
        outputs = {
            name: self.steps.text(output["value"], {"jobs": jobs, "inputs": given})
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
        labels = self.steps.language.fill(job["runs-on"], contexts)
        if not labels:
            raise HarnessError(f"{title} runs on no machine")
        machine = Machine(
            folder=self.folder / f"job{self.github['run_attempt']}.{len(self.jobs)}",
            artifacts=self.folder / "artifacts",
            permissions=job.get("permissions", {}),
            github=contexts["github"],
            environment=dict(self.steps.host.environment),
            minutes=job.get("timeout-minutes", 360),
        )
        contexts = {
            **contexts,
            "github": machine.github,
            "job": {"status": "success"},
            "runner": {"os": "Linux", "arch": "X64", "temp": str(machine.temp), "name": "here"},
        }
        for block in (document.tree.get("env", {}), job.get("env", {})):
            machine.variables |= self.steps.texts(block, contexts)
        ended = Ended(name=title)
        self.jobs.append(ended)
        answers = self.steps.run(job["steps"], machine, contexts, ended)
        outputs = job.get("outputs", {})
        ended.outputs = self.steps.texts(outputs, {**contexts, "steps": answers})
        if "environment" in job:
            self.steps.language.fill(job["environment"], {**contexts, "steps": answers})
        return ended


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
