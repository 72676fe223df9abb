"""The stand-ins for other people's actions do and refuse what the real ones do and refuse."""

from dataclasses import replace

import pytest

from tests.workflows.actions import ACTIONS
from tests.workflows.conftest import Stage
from tests.workflows.documents import FILES, read
from tests.workflows.test_harness import FLOW, flow, run


def test_a_checkout_is_the_commit_of_the_run(stage: Stage) -> None:
    pin = "uses: actions/checkout@v7, with: {persist-credentials: false}"
    jobs = f"one: {{runs-on: x, steps: [{{{pin}}}, {{run: cat file && git log -1 --format=%H}}]}}"
    harness = stage(flow(jobs) | {"file": "content\n"})
    assert "content\n" in harness.run(FLOW, "push")["one"].log


UP = """
  - uses: actions/upload-artifact@v7
    with: {name: NAME, path: PATHS}"""


def uploads(*pairs: tuple[str, str], make: str = "mkdir -p out/a out/b; echo 1 > out/a/1") -> str:
    """A job that uploads."""
    steps = "".join(UP.replace("NAME", name).replace("PATHS", paths) for name, paths in pairs)
    return f"one:\n  runs-on: x\n  steps:\n  - run: {make}{steps}\n"


DOWN = """
two:
  needs: one
  runs-on: x
  steps:
    - uses: actions/download-artifact@v8
      with: {WITH}
    - run: find . -type f | sort
"""


@pytest.mark.parametrize(
    ("paths", "options", "found"),
    [
        ("out", "name: n", "./a/1"),
        ("out/a/1", "name: n", "./1"),
        ('"out/a\\nout/b"', "name: n", "./a/1"),  # what they have in common is left away
        ('"out/a\\nout/none"', "name: n", "./a/1"),
        ("out", "name: n, path: x", "./x/a/1"),
        ("out", "pattern: n*, path: x", "./x/a/1"),  # the only one
        ("out", "pattern: n*, path: x, merge-multiple: true", "./x/a/1"),
        ("out", "path: x", "./x/a/1"),
        ("out", "pattern: m*, path: x", ""),
    ],
)
def test_artifacts_travel_as_they_do_on_github(
    stage: Stage, paths: str, options: str, found: str
) -> None:
    down = run(stage, uploads(("n", paths)) + DOWN.replace("WITH", options))
    assert down["two"].result == "success", down.show()
    assert down["two"].log.splitlines()[-1:] == [found or "-- find . -type f | sort: success"]


@pytest.mark.parametrize("pattern", ["*-1", "{n,m}-*"])
def test_several_artifacts_have_a_folder_each(stage: Stage, pattern: str) -> None:
    several = uploads(("n-1", "out"), ("m-1", "out"), ("o", "out"))
    down = run(stage, several + DOWN.replace("WITH", f'pattern: "{pattern}", path: x'))
    assert down["two"].log.splitlines()[-2:] == ["./x/m-1/a/1", "./x/n-1/a/1"]


@pytest.mark.parametrize(
    ("jobs", "says"),
    [
        (uploads(("n", "out"), ("n", "out")), "an artifact n is there already"),
        (uploads(("a/b", "out")), "'a/b' is no name"),
        (uploads(("n", "none, if-no-files-found: error")), "no files at 'none'"),
        (uploads(("n", "out, retention-days: 400")), "nothing is kept for 400 days"),
        (uploads(("n", "out, nome: x")), "no input nome"),
        (uploads(("n", "out"), make="mkdir out; touch 'out/a?b'"), "cannot be a name everywhere"),
        (uploads(("n", "out")) + DOWN.replace("WITH", "name: m"), "no artifact m"),
    ],
)
def test_artifacts_fail_as_they_do_on_github(stage: Stage, jobs: str, says: str) -> None:
    found = run(stage, jobs)
    assert found.result == "failure"
    assert says in found.show()


def test_what_is_hidden_is_not_uploaded(stage: Stage) -> None:
    jobs = uploads(("n", "out"), make="mkdir out; touch out/.hidden")
    found = run(stage, jobs + DOWN.replace("WITH", "name: n"))
    assert found["one"].result == "success"
    assert "no artifact n" in found["two"].log


def test_artifacts_are_those_of_the_run(stage: Stage) -> None:
    harness = stage(flow(uploads(("n", "out"))))
    first = harness.run(FLOW, "push")
    assert harness.run(FLOW, "push").result == "success"
    failed = replace(first["one"], result="failure")
    again = harness.run(FLOW, "push", before=replace(first, jobs=[failed]))
    assert "an artifact n is there already" in again.show()


PAGES = """
one:
  runs-on: x
  steps:
    - run: mkdir _site; echo hello > _site/index.html
    - uses: actions/upload-pages-artifact@v5
two:
  needs: one
  runs-on: x
  permissions: {PERMISSIONS}
  environment: {name: github-pages, url: "${{ steps.d.outputs.page_url }}"}
  steps:
    - uses: actions/deploy-pages@v5
      id: d
"""


def test_pages_are_published_by_whoever_may(stage: Stage) -> None:
    harness = stage(flow(PAGES.replace("PERMISSIONS", "pages: write, id-token: write")))
    found = harness.run(FLOW, "push")
    assert found.result == "success", found.show()
    assert (harness.host.pages / "index.html").read_text(encoding="utf-8") == "hello\n"


@pytest.mark.parametrize("permissions", ["pages: write", "id-token: write", "pages: read"])
def test_nobody_else_publishes_pages(stage: Stage, permissions: str) -> None:
    found = run(stage, PAGES.replace("PERMISSIONS", permissions))
    assert found["two"].result == "failure"
    assert "the job has no" in found["two"].log


def test_a_token_of_an_app_takes_its_key(stage: Stage) -> None:
    jobs = """
one:
  runs-on: x
  steps:
    - uses: actions/create-github-app-token@v3
      id: t
      with: {app-id: "1", private-key: "${{ secrets.KEY }}"}
    - run: echo "$T"
      env: {T: "${{ steps.t.outputs.token }}"}
"""
    assert "no app-id or no private-key" in run(stage, jobs).show()


def test_an_environment_of_uv_is_what_later_steps_run_in(stage: Stage) -> None:
    jobs = """
one:
  runs-on: x
  steps:
    - uses: astral-sh/setup-uv@v10
      with: {python-version: "3.11", activate-environment: true, enable-cache: false}
    - run: python -c "import sys; print(sys.prefix)"; echo "$VIRTUAL_ENV"
"""
    *_, prefix, environment = run(stage, jobs)["one"].log.splitlines()
    assert prefix == environment
    assert prefix.endswith("/work/.venv")


def test_every_action_that_is_used_has_a_stand_in() -> None:
    used = {
        str(step["uses"]).partition("@")[0]
        for document in map(read, FILES)
        for *_, step in document.steps()
        if "uses" in step and not step["uses"].startswith("$/")
    }
    assert used <= ACTIONS.keys()
