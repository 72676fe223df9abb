"""What others know of workflows and scripts: each linter passes ours, and finds a planted fault."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.workflows.documents import EXAMPLES, FILES, ROOT

SCRIPTS = (ROOT / ".ci" / "run", *ROOT.glob("runner/*.sh"))

Lint = Callable[[Path], subprocess.CompletedProcess[str]]


def _run(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    # A token would make zizmor ask GitHub, and our answer depend on it.
    environment = {name: value for name, value in os.environ.items() if "TOKEN" not in name}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def zizmor(folder: Path) -> subprocess.CompletedProcess[str]:
    """Weaknesses, with the eyes of an auditor."""
    options = ("--offline", "--strict-collection", "--persona", "auditor", "--no-progress")
    return _run("zizmor", *options, ".github", *_in(folder, "docs"), folder=folder)


def actionlint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Expressions, needs, outputs; with shellcheck for what is run."""
    return _run("actionlint", *_in(folder, "workflows"), folder=folder)


def workflow_schema(folder: Path) -> subprocess.CompletedProcess[str]:
    """The schema of workflows."""
    schema = ("--builtin-schema", "vendor.github-workflows")
    return _run("check-jsonschema", *schema, *_in(folder, "workflows"), folder=folder)


def action_schema(folder: Path) -> subprocess.CompletedProcess[str]:
    """The schema of actions."""
    schema = ("--builtin-schema", "vendor.github-actions")
    return _run("check-jsonschema", *schema, *_in(folder, "actions"), folder=folder)


def shellcheck(folder: Path) -> subprocess.CompletedProcess[str]:
    """What goes wrong in a shell."""
    found = [folder / path.relative_to(ROOT) for path in SCRIPTS]
    return _run("shellcheck", *found, folder=folder)


def _in(folder: Path, kind: str) -> list[Path]:
    return [folder / path.relative_to(ROOT) for path in (*FILES, *EXAMPLES) if kind in path.parts]


LINTERS = (zizmor, actionlint, workflow_schema, action_schema, shellcheck)

CI, SETUP = ".github/workflows/ci.yml", ".github/actions/setup/action.yml"
EXAMPLE = "docs/workflows/check.yml"
CHECKOUT = "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1"
RUN = "      - run: bash .ci/run"

PLANTED = [
    (zizmor, CI, RUN, "      - run: echo ${{ github.head_ref }}", "template-injection"),
    (zizmor, CI, CHECKOUT, "actions/checkout@v7", "unpinned-uses"),
    (zizmor, CI, "persist-credentials: false", "fetch-depth: 1", "artipacked"),
    (zizmor, CI, "permissions: {}", "permissions: write-all", "excessive-permissions"),
    (zizmor, CI, "  pull_request:\n", "  pull_request_target:\n", "dangerous-triggers"),
    (zizmor, CI, "runs-on: ubuntu-24.04", "runs-on: [self-hosted]", "self-hosted-runner"),
    (zizmor, EXAMPLE, "permissions: {}", "permissions: write-all", "excessive-permissions"),
    (zizmor, SETUP, '".[operate]"', "${{ github.head_ref }}", "template-injection"),
    (actionlint, CI, RUN, "      - run: echo\n        if: steps.none.outputs.x", "none"),
    (actionlint, CI, RUN, '      - run: cat "$x" | rm $(ls)', "shellcheck reported"),
    (actionlint, CI, "    steps:", "    needs: nobody\n    steps:", "nobody"),
    (workflow_schema, CI, "    timeout-minutes: 90", "    timeout_minutes: 90", "timeout_minutes"),
    (action_schema, SETUP, "using: composite", "using: compost", "compost"),
    (shellcheck, "runner/start.sh", 'rm -f "$token_file"', "rm -f $token_file", "SC2086"),
]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of what is linted."""
    for path in (*FILES, *EXAMPLES, *SCRIPTS):
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return tmp_path


@pytest.mark.parametrize("lint", LINTERS)
def test_nothing_is_found(lint: Lint) -> None:
    found = lint(ROOT)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_fault_is_found(planted: tuple[Lint, str, str, str, str], copy: Path) -> None:
    lint, name, old, new, says = planted
    path = copy / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    found = lint(copy)
    assert found.returncode != 0
    assert says in found.stdout + found.stderr
