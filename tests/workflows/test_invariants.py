import pytest

from tests.workflows.documents import EXAMPLES, FILES, Document, read
from tests.workflows.invariants import RULES

PIN = "3d3c42e5aac5ba805825da76410c181273ba90b1"
GOOD = f"""\
name: Good
on:
  schedule:
    - cron: "37 2 * * *"
  workflow_dispatch:
permissions: {{}}
concurrency:
  group: good
  queue: max
jobs:
  capture:
    strategy:
      matrix: ${{{{ fromJSON(vars.MATRIX) }}}}
    runs-on: ${{{{ matrix.runs_on }}}}
    permissions:
      contents: read
    timeout-minutes: 350
    steps:
      - uses: actions/checkout@{PIN} # v7.0.1
        with:
          persist-credentials: false
      - uses: $/.github/actions/setup
      - uses: astral-sh/setup-uv@{PIN} # v10.0.1
        with:
          enable-cache: false
      - run: python -m matrix_operate capture --row "$ROW"
        if: ${{{{ matrix.name }}}}
        env:
          ROW: ${{{{ matrix.name }}}}
          HF_HOME: ${{{{ runner.temp }}}}/huggingface
          HF_HUB_OFFLINE: "1"
          TMPDIR: ${{{{ runner.temp }}}}
          TORCH_EXTENSIONS_DIR: ${{{{ runner.temp }}}}/extensions
      - uses: actions/upload-artifact@{PIN} # v7.0.1
        with:
          name: capture-${{{{ matrix.name }}}}-${{{{ github.run_attempt }}}}
          path: out
          retention-days: 7
  record:
    needs: capture
    runs-on: ubuntu-24.04
    environment: record
    permissions:
      contents: write
    timeout-minutes: 15
    steps:
      - run: push
        env:
          KEY: ${{{{ secrets.KEY }}}}
  called:
    permissions:
      contents: read
    uses: $/.github/workflows/called.yml
"""

CALLED = "    uses: $/.github/workflows/called.yml\n"

# The rule that must find it, what is changed, and into what.
PLANTED = [
    *(
        ("triggers", "  workflow_dispatch:", f"  {event}:")
        for event in (
            "pull_request_target",
            "workflow_run",
            "issue_comment",
            "issues",
            "discussion",
        )
    ),
    ("triggers", "  workflow_dispatch:", "  repository_dispatch:"),
    ("permissions", "permissions: {}\n", ""),
    ("permissions", "permissions: {}\n", "permissions: read-all\n"),
    ("permissions", "permissions: {}\n", "permissions:\n  contents: read\n"),
    ("permissions", "    permissions:\n      contents: read\n" + CALLED, CALLED),
    (
        "permissions",
        "    permissions:\n      contents: read\n" + CALLED,
        "    permissions: write-all\n" + CALLED,
    ),
    ("pins", f"actions/checkout@{PIN} # v7.0.1", "actions/checkout@v7"),
    ("pins", f"actions/checkout@{PIN} # v7.0.1", f"actions/checkout@{PIN[:12]} # v7.0.1"),
    ("pins", f"actions/checkout@{PIN} # v7.0.1", f"actions/checkout@{PIN}"),
    ("pins", f"actions/checkout@{PIN} # v7.0.1", f"actions/checkout@{PIN} # main"),
    ("pins", f"actions/checkout@{PIN} # v7.0.1", "docker://alpine"),
    ("pins", CALLED, "    uses: other/repository/.github/workflows/x.yml@main\n"),
    ("injection", 'row "$ROW"', "row ${{ matrix.name }}"),
    ("injection", "      - run: push", '      - run: push\n        shell: "${{ vars.SHELL }} {0}"'),
    (
        "injection",
        "      - run: push",
        "      - run: push\n        working-directory: ${{ vars.X }}",
    ),
    (
        "injection",
        "      - run: push",
        f"      - uses: actions/github-script@{PIN} # v8.0.0\n"
        "        with:\n          script: f(${{ github.ref }})",
    ),
    ("credentials", "          persist-credentials: false\n", "          fetch-depth: 1\n"),
    ("credentials", "persist-credentials: false", 'persist-credentials: "false"'),
    ("credentials", "        with:\n          persist-credentials: false\n", ""),
    ("caches", "          enable-cache: false\n", "          activate-environment: true\n"),
    ("caches", "enable-cache: false", "enable-cache: true"),
    ("caches", "astral-sh/setup-uv", "actions/cache/restore"),
    (
        "strangers",
        "      contents: read\n    timeout-minutes: 350",
        "      contents: write\n    timeout-minutes: 350",
    ),
    (
        "strangers",
        "      contents: read\n    timeout-minutes: 350",
        "      contents: read\n      id-token: write\n    timeout-minutes: 350",
    ),
    ("strangers", "    timeout-minutes: 350", "    timeout-minutes: 350\n    environment: gpu"),
    ("strangers", "          ROW: ${{ matrix.name }}", "          ROW: ${{ github.token }}"),
    ("strangers", "runs-on: ubuntu-24.04", "runs-on: [self-hosted, linux]"),
    ("strangers", "runs-on: ubuntu-24.04", "runs-on:\n      group: gpu"),
    ("strangers", "  workflow_dispatch:", "  pull_request:"),
    ("secrets", CALLED, CALLED + "    secrets: inherit\n"),
    ("secrets", "    environment: record\n", ""),
    ("timeouts", "    timeout-minutes: 15\n", ""),
    ("timeouts", "    timeout-minutes: 15\n", "    timeout-minutes: 1000\n"),
    ("concurrency", "concurrency:\n  group: good\n  queue: max\n", ""),
    ("concurrency", "  queue: max\n", ""),
    ("concurrency", "  queue: max\n", "  queue: single\n"),
    ("concurrency", "  queue: max\n", "  queue: max\n  cancel-in-progress: true\n"),
    ("artifacts", "-${{ github.run_attempt }}", ""),
    ("artifacts", "${{ matrix.name }}-${{ g", "${{ g"),
    ("artifacts", "          retention-days: 7\n", ""),
    ("artifacts", "actions/upload-artifact@", "actions/download-artifact@"),
    ("folders", "          HF_HOME: ${{ runner.temp }}/huggingface\n", ""),
    ("folders", "TMPDIR: ${{ runner.temp }}", "TMPDIR: /tmp"),
    ("folders", "${{ runner.temp }}/extensions", "/var/cache/extensions"),
    ("folders", 'HF_HUB_OFFLINE: "1"', 'HF_HUB_OFFLINE: "0"'),
    ("crons", "37 2 * * *", "0 2 * * *"),
    ("crons", "37 2 * * *", "00 2 * * *"),
    ("crons", "37 2 * * *", "*/15 * * * *"),
    ("conditions", "if: ${{ matrix.name }}", "if: ${{ matrix.name }} && true"),
    ("conditions", "if: ${{ matrix.name }}", 'if: "!${{ matrix.name }}"'),
    ("conditions", "if: ${{ matrix.name }}", "if: ${{ a }} && ${{ b }}"),
    ("conditions", "    needs: capture\n", "    needs: capture\n    if: x ${{ false }}\n"),
]


def broken(document: Document) -> dict[str, list[str]]:
    """What breaks each rule."""
    found = {rule.__name__: list(rule(document)) for rule in RULES}
    return {name: lines for name, lines in found.items() if lines}


@pytest.mark.parametrize(
    "document", [read(path) for path in (*FILES, *EXAMPLES)], ids=lambda document: document.name
)
def test_workflows_keep_the_rules(document: Document) -> None:
    assert not broken(document)


def test_what_keeps_the_rules_is_not_blamed() -> None:
    assert not broken(Document(name="good.yml", text=GOOD))


@pytest.mark.parametrize(("rule", "old", "new"), PLANTED)
def test_each_rule_finds_what_breaks_it(rule: str, old: str, new: str) -> None:
    assert GOOD.count(old) == 1
    assert rule in broken(Document(name="planted.yml", text=GOOD.replace(old, new)))


def test_each_rule_has_something_that_breaks_it() -> None:
    assert {rule for rule, *_ in PLANTED} == {rule.__name__ for rule in RULES}


def test_what_is_only_called_is_not_dropped_either() -> None:
    start, end = GOOD.index("  schedule:"), GOOD.index("permissions:")
    called = f"{GOOD[:start]}  workflow_call:\n{GOOD[end:]}"
    assert not broken(Document(name="called.yml", text=called))
    alone = called.replace("concurrency:\n  group: good\n  queue: max\n", "")
    assert broken(Document(name="called.yml", text=alone)).keys() == {"concurrency"}


def test_an_action_keeps_the_rules_too() -> None:
    text = """\
runs:
  using: composite
  steps:
    - uses: astral-sh/setup-uv@v10
    - run: echo ${{ inputs.x }}
      shell: bash
"""
    assert broken(Document(name="action.yml", text=text)).keys() == {"pins", "injection", "caches"}
