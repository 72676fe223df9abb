"""What must hold of every workflow and action here; each rule yields what breaks it."""

import re
from collections.abc import Iterator
from typing import Any

from tests.workflows.documents import Document

# Nobody starts anything by opening an issue or a comment, and nothing runs with rights for a fork.
TRIGGERS = {"pull_request", "push", "schedule", "workflow_call", "workflow_dispatch"}

OURS = ("./", "$/")
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")
PIN_COMMENT = re.compile(r"uses: \S+@[0-9a-f]{40} # v\d+\.\d+\.\d+\s*$")

# GitHub starts what is due on the hour late or not at all.
CRON_MINUTE = re.compile(r"[1-9]|[1-5]\d")

# What a capture leaves on a disk, or takes from there.
FOLDERS = ("HF_HOME", "TMPDIR", "TORCH_EXTENSIONS_DIR")

_CAPTURES = "matrix_operate capture"


def triggers(document: Document) -> Iterator[str]:
    """Only what is listed starts a workflow."""
    for event in sorted(document.triggers.keys() - TRIGGERS):
        yield f"started by {event}"


def permissions(document: Document) -> Iterator[str]:
    """Nothing is allowed but what a job names, by name."""
    if document.action:
        return
    if document.tree.get("permissions") != {}:
        yield "top-level permissions are not {}"
    for name, job in document.jobs.items():
        if not isinstance(job.get("permissions"), dict):
            yield f"{name}: permissions are not named one by one"


def pins(document: Document) -> Iterator[str]:
    """What others wrote is pinned to a commit, with its version beside it."""
    used = [step.get("uses") for *_, step in document.steps()]
    used += [job.get("uses") for job in document.jobs.values()]
    for what in filter(None, used):
        if not what.startswith(OURS) and not PINNED.fullmatch(what):
            yield f"{what} is not pinned to a commit"
    for line in document.text.splitlines():
        if re.search(r"uses: [^./$ ]", line) and not PIN_COMMENT.search(line):
            yield f"{line.strip()} has no version in a comment"


def injection(document: Document) -> Iterator[str]:
    """No expression becomes part of a program."""
    for name, _, step in document.steps():
        programs = {key: step.get(key) for key in ("run", "shell", "working-directory")}
        programs["script"] = step.get("with", {}).get("script")
        for key, program in programs.items():
            if "${{" in str(program):
                yield f"{name}: an expression in {key}"


def credentials(document: Document) -> Iterator[str]:
    """A checkout leaves no token behind."""
    for name, _, step in document.steps():
        keeps = step.get("with", {}).get("persist-credentials")
        if str(step.get("uses")).startswith("actions/checkout@") and keeps is not False:
            yield f"{name}: a checkout that keeps its token"


def caches(document: Document) -> Iterator[str]:
    """What one job leaves, no other trusts."""
    for name, _, step in document.steps():
        uses, options = str(step.get("uses")), step.get("with", {})
        if "cache" in uses.partition("@")[0] or options.get("cache"):
            yield f"{name}: a cache"
        if "setup-uv@" in uses and options.get("enable-cache") is not False:
            yield f"{name}: setup-uv keeps a cache unless told not to"


def strangers(document: Document) -> Iterator[str]:
    """Where strangers' code may run is nothing to be had, and no pull request comes there."""
    for name, job in document.jobs.items():
        if not _self_hosted(job):
            continue
        if job.get("permissions") != {"contents": "read"}:
            yield f"{name}: a self-hosted job may more than read the repository"
        if "environment" in job:
            yield f"{name}: a self-hosted job with an environment"
        if re.search(r"\b(?:secrets|github\.token|GITHUB_TOKEN)\b", str(job)):
            yield f"{name}: a self-hosted job with a secret"
        if "pull_request" in document.triggers:
            yield f"{name}: a self-hosted job that a pull request starts"


def secrets(document: Document) -> Iterator[str]:
    """A secret comes from an environment, and none is handed on as a whole."""
    for name, job in document.jobs.items():
        if job.get("secrets") == "inherit":
            yield f"{name}: all secrets are handed on"
        if re.search(r"\bsecrets\s*[.\[]", str(job)) and "environment" not in job:
            yield f"{name}: a secret without an environment"


def timeouts(document: Document) -> Iterator[str]:
    """A job that hangs ends."""
    for name, job in document.jobs.items():
        if not document.action and "steps" in job and not _minutes(job.get("timeout-minutes")):
            yield f"{name}: no timeout-minutes up to 360"


def concurrency(document: Document) -> Iterator[str]:
    """Runs of a workflow do not overlap, and none that publishes is dropped or broken off."""
    if document.action:
        return
    whole = document.tree.get("concurrency", {})
    if "group" not in whole and document.triggers.keys() != {"workflow_call"}:
        yield "no concurrency group"
    for name, job in document.jobs.items():
        if "uses" in job:  # what it calls is looked at by itself
            continue
        own = job.get("concurrency", whole)
        granted = job.get("permissions")
        granted = granted if isinstance(granted, dict) else {}
        writes = {scope for scope, access in granted.items() if access == "write"} - {"id-token"}
        if writes and (own.get("cancel-in-progress") or whole.get("cancel-in-progress")):
            yield f"{name}: broken off while it writes"
        if writes & {"contents", "pages"} and "max" not in (own.get("queue"), whole.get("queue")):
            yield f"{name}: a pending run is dropped when the next comes"


def artifacts(document: Document) -> Iterator[str]:
    """No two jobs upload under one name, nothing is kept for long, and what is there is found."""
    for name, job, step in document.steps():
        if not re.match(r"actions/upload-(?:pages-)?artifact@", str(step.get("uses"))):
            if "github.run_attempt" in str(step.get("with")):
                yield f"{name}: an artifact that an attempt before this one has made is not found"
            continue
        options = step.get("with", {})
        called = str(options.get("name"))
        if "${{ github.run_attempt }}" not in called:
            yield f"{name}: an artifact without run_attempt in its name"
        if "strategy" in job and "${{ matrix.name }}" not in called:
            yield f"{name}: an artifact without its row in its name"
        if not isinstance(options.get("retention-days"), int):
            yield f"{name}: an artifact without retention-days"


def folders(document: Document) -> Iterator[str]:
    """A capture has folders of its own, and downloads nothing from the hub."""
    for name, job, step in document.steps():
        if not _self_hosted(job) or _CAPTURES not in str(step.get("run")):
            continue
        environment = step.get("env", {})
        for folder in FOLDERS:
            if not str(environment.get(folder)).startswith("${{ runner.temp }}"):
                yield f"{name}: {folder} is not the job's own"
        if environment.get("HF_HUB_OFFLINE") != "1":
            yield f"{name}: HF_HUB_OFFLINE is not 1"


def crons(document: Document) -> Iterator[str]:
    """What is due is due when GitHub has time for it."""
    for schedule in document.triggers.get("schedule") or []:
        if not CRON_MINUTE.fullmatch(schedule["cron"].split()[0]):
            yield f"{schedule['cron']} is on the hour"


def conditions(document: Document) -> Iterator[str]:
    """A condition is one expression: with text around it, it is a string, and holds always."""
    conditional = [*document.jobs.values(), *(step for *_, step in document.steps())]
    for condition in (str(item["if"]).strip() for item in conditional if "if" in item):
        if "${{" in condition and not re.fullmatch(r"\$\{\{(?:(?!\$\{\{).)*\}\}", condition, re.S):
            yield f"{condition} always holds"


RULES = (
    triggers,
    permissions,
    pins,
    injection,
    credentials,
    caches,
    strangers,
    secrets,
    timeouts,
    concurrency,
    artifacts,
    folders,
    crons,
    conditions,
)


def _self_hosted(job: dict[str, Any]) -> bool:
    """Whether a job may run on a machine of ours: an expression may say so too."""
    labels = str(job.get("runs-on", ""))
    return "self-hosted" in labels or "${{" in labels or "group" in labels


def _minutes(value: object) -> bool:
    return isinstance(value, int) and 0 < value <= 360
