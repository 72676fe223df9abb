"""The harness does what GitHub would, on workflows small enough to be seen through."""

import json
from typing import Any

import pytest

from tests.workflows.conftest import Stage
from tests.workflows.harness import Run
from tests.workflows.host import TOKEN, HarnessError
from tests.workflows.language import LanguageError

FLOW = ".github/workflows/flow.yml"


def flow(jobs: str, on: str = "on: push") -> dict[str, str]:
    """A workflow with these jobs."""
    lines = "".join(f"  {line}\n" for line in jobs.strip("\n").splitlines())
    return {FLOW: f"{on}\npermissions: {{}}\nenv:\n  WHOLE: whole\njobs:\n{lines}"}


def run(stage: Stage, jobs: str, **host: Any) -> Run:
    return stage(flow(jobs), **host).run(FLOW, "push")


def test_a_step_tells_later_steps_and_jobs(stage: Stage) -> None:
    found = run(
        stage,
        """
one:
  runs-on: ubuntu-24.04
  env: {OWN: "${{ github.event_name }}"}
  outputs: {said: "${{ steps.a.outputs.x }}", none: "${{ steps.b.outputs.y }}"}
  steps:
    - id: a
      run: |
        echo "x=$WHOLE $OWN $STEP" >> "$GITHUB_OUTPUT"
        printf 'LATER<<END\\none\\ntwo\\nEND\\n' >> "$GITHUB_ENV"
        mkdir bin && printf '#!/bin/sh\\necho tool' > bin/tool && chmod +x bin/tool
        echo "$PWD/bin" >> "$GITHUB_PATH"
        echo "# Title" >> "$GITHUB_STEP_SUMMARY"
      env: {STEP: "${{ github.sha != '' }}"}
    - run: tool && echo "$LATER" && test -z "$STEP"
two:
  needs: one
  runs-on: ubuntu-24.04
  steps:
    - run: echo "$SAID."
      env: {SAID: "${{ needs.one.outputs.said }}"}
""",
    )
    assert found.results() == {"one": "success", "two": "success"}, found.show()
    assert found["one"].outputs == {"said": "whole push true", "none": ""}
    assert "tool\none\ntwo\n" in found["one"].log
    assert found["one"].summary == "# Title\n"
    assert "whole push true." in found["two"].log


def test_a_step_that_fails_ends_a_job_but_for_those_that_want_to_run(stage: Stage) -> None:
    found = run(
        stage,
        """
one:
  runs-on: ubuntu-24.04
  outputs: {how: "${{ steps.bad.outcome }} ${{ steps.bad.conclusion }}"}
  steps:
    - id: bad
      continue-on-error: true
      run: exit 3
    - run: echo going on; false; echo never
    - run: echo never
    - if: failure()
      run: echo failure
    - if: ${{ !cancelled() }}
      run: echo not cancelled
    - if: success()
      run: echo never
two:
  needs: one
  runs-on: ubuntu-24.04
  steps: [{run: echo never}]
three:
  needs: two
  if: always()
  runs-on: ubuntu-24.04
  steps: [{run: 'echo "$R"', env: {R: "${{ needs.two.result }}"}}]
four:
  needs: three
  runs-on: ubuntu-24.04
  steps: [{run: echo never}]
five:
  needs: [one, three]
  if: failure() && needs.three.result == 'success'
  runs-on: ubuntu-24.04
  steps: [{run: echo five}]
""",
    )
    assert found.result == "failure"
    # The fourth waits for none that failed itself, but for one that waited for such.
    assert found.results() == {
        "one": "failure",
        "two": "skipped",
        "three": "success",
        "four": "skipped",
        "five": "success",
    }
    assert [step.result for step in found["one"].steps] == [
        *("success", "failure", "skipped", "success", "success", "skipped")
    ]
    assert "\nnever\n" not in found["one"].log
    assert found["one"].outputs == {"how": "failure success"}
    assert "skipped" in found["three"].log


@pytest.mark.parametrize(
    ("shell", "program", "result"),
    [
        ("", "false | true", "success"),
        ("shell: bash", "false | true", "failure"),
        ("", "false\n        true", "failure"),
        ("timeout-minutes: 0.01", "sleep 60", "failure"),
        ("working-directory: ${{ github.workspace }}", "true", "success"),
    ],
)
def test_a_shell_is_that_of_github(stage: Stage, shell: str, program: str, result: str) -> None:
    jobs = f"""
one:
  runs-on: ubuntu-24.04
  steps:
    - run: |
        {program}
      {shell}
"""
    assert run(stage, jobs).result == result


def test_a_matrix_is_a_job_for_each_row(stage: Stage) -> None:
    jobs = """
one:
  name: Row ${{ matrix.name }}
  strategy: {fail-fast: false, matrix: "${{ fromJSON(vars.ROWS) }}"}
  runs-on: ${{ matrix.on }}
  outputs: {last: "${{ matrix.name }}"}
  steps: [{run: '[ "$N" != b ]', env: {N: "${{ matrix.name }}"}}]
two:
  strategy: {matrix: {x: [1, 2], y: [3]}}
  runs-on: ubuntu-24.04
  steps: [{run: 'echo "$XY"', env: {XY: "${{ matrix.x }}${{ matrix.y }}"}}]
"""
    rows = {"include": [{"name": name, "on": "x"} for name in "abc"]}
    found = run(stage, jobs, variables={"ROWS": json.dumps(rows)})
    names = {"Row a": "success", "Row b": "failure", "Row c": "success"}
    names |= {"two (1, 3)": "success", "two (2, 3)": "success"}
    assert found.results() == names
    assert found.result == "failure"


def test_a_matrix_stops_early_unless_told_not_to(stage: Stage) -> None:
    jobs = """
one:
  strategy: {matrix: {x: [1, 2, 3]}}
  name: Row ${{ matrix.x }}
  runs-on: ubuntu-24.04
  steps: [{run: "exit 1"}]
"""
    assert run(stage, jobs).results() == {"Row 1": "failure"}


CALLED = """\
on:
  workflow_call:
    inputs:
      said: {type: string, required: true}
      other: {type: string, default: default}
    outputs:
      answer: {value: "${{ jobs.inner.outputs.answer }}"}
      result: {value: "${{ jobs.inner.result }}"}
permissions: {}
jobs:
  inner:
    runs-on: ubuntu-24.04
    permissions: {contents: read}
    outputs: {answer: "${{ steps.a.outputs.answer }}"}
    steps:
      - id: a
        run: echo "answer=$SAID" >> "$GITHUB_OUTPUT"; exit "$CODE"
        env: {SAID: "${{ inputs.said }} ${{ inputs.other }}", CODE: "${{ vars.CODE }}"}
"""
CALLER = """
call:
  uses: $/.github/workflows/called.yml
  permissions: {contents: read}
  with: {said: hello}
after:
  needs: call
  if: ${{ !cancelled() && needs.call.outputs.answer }}
  runs-on: ubuntu-24.04
  steps:
    - run: echo "$ANSWER$RESULT."
      env:
        ANSWER: ${{ needs.call.outputs.answer }}
        RESULT: ${{ needs.call.outputs.result }}
"""


@pytest.mark.parametrize(("code", "result"), [("0", "success"), ("1", "failure")])
def test_a_called_workflow_answers_even_if_it_fails(stage: Stage, code: str, result: str) -> None:
    files = flow(CALLER) | {".github/workflows/called.yml": CALLED}
    found = stage(files, variables={"CODE": code}).run(FLOW, "push")
    assert found.results() == {"call / inner": result, "after": "success"}
    assert found.result == result
    assert "hello default.\n" in found["after"].log


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("with: {said: hello}", "with: {told: hello}", "knows no input told"),
        ("with: {said: hello}", "with: {}", "wants said"),
        ("{contents: read}", "{}", "wants contents: read, its caller has none"),
        ("called.yml", "none.yml", "no .github/workflows/none.yml"),
        ("$/.github", "other/repository/.github", "is not of this repository"),
    ],
)
def test_what_github_would_not_start_is_an_error(
    stage: Stage, old: str, new: str, says: str
) -> None:
    files = flow(CALLER.replace(old, new)) | {".github/workflows/called.yml": CALLED}
    with pytest.raises(HarnessError, match=says.replace(".", r"\.")):
        stage(files).run(FLOW, "push")


@pytest.mark.parametrize(
    ("jobs", "says"),
    [
        ("one: {runs-on: x, steps: [{uses: some/action@1}]}", "some/action has no stand-in"),
        ("one: {runs-on: x, container: y, steps: []}", "one has container"),
        ("one: {runs-on: x, steps: [{run: x, background: true}]}", "a step has background"),
        ("one: {runs-on: x, steps: [{run: x, shell: pwsh}]}", "no shell pwsh"),
        ("one: {runs-on: x, needs: two, steps: []}", "nobody is called two"),
        ("one: {runs-on: '', steps: []}", "runs on no machine"),
        ("one: {runs-on: x, strategy: {matrix: {include: []}}, steps: []}", "without a row"),
        ("one: {runs-on: x, steps: [{run: 'echo x >> $GITHUB_OUTPUT'}]}", "'x' assigns nothing"),
        ("one: {runs-on: x, steps: [{run: 'echo \"x<<E\" >> $GITHUB_OUTPUT'}]}", "no line E"),
    ],
)
def test_what_the_harness_does_not_know_is_an_error(stage: Stage, jobs: str, says: str) -> None:
    with pytest.raises(HarnessError, match=says):
        run(stage, jobs)


def test_an_expression_that_names_nothing_known_is_an_error(stage: Stage) -> None:
    with pytest.raises(LanguageError):
        run(stage, "one: {runs-on: x, steps: [{run: 'echo ${{ secret.x }}'}]}")


DISPATCH = """\
on:
  workflow_dispatch:
    inputs:
      a: {type: string, required: true}
      b: {type: string, default: "2"}
      c: {type: choice, options: [x, y], default: x}
  schedule: [{cron: "1 2 * * *"}]"""
SHOWS = """
one:
  runs-on: x
  env: {A: "${{ inputs.a }}", B: "${{ inputs.b }}", C: "${{ inputs.c }}"}
  steps: [{run: 'echo "$A.$B.$C"'}]
"""


@pytest.mark.parametrize(
    ("event", "inputs", "says"),
    [
        ("workflow_dispatch", {"a": "1", "c": "y"}, "1.2.y"),
        ("schedule", {}, ".."),
    ],
)
def test_inputs_have_defaults(stage: Stage, event: str, inputs: dict[str, str], says: str) -> None:
    found = stage(flow(SHOWS, DISPATCH)).run(FLOW, event, inputs=inputs)
    assert f"\n{says}\n" in found["one"].log


@pytest.mark.parametrize(
    ("event", "inputs", "says"),
    [
        ("push", {}, "is not started by push"),
        ("workflow_dispatch", {}, "wants a"),
        ("workflow_dispatch", {"a": "1", "d": "2"}, "knows no input d"),
        ("workflow_dispatch", {"a": "1", "c": "z"}, "c cannot be z"),
    ],
)
def test_what_cannot_be_dispatched_is_an_error(
    stage: Stage, event: str, inputs: dict[str, str], says: str
) -> None:
    with pytest.raises(HarnessError, match=says):
        stage(flow(SHOWS, DISPATCH)).run(FLOW, event, inputs=inputs)


ACTION = """\
name: Own
description: Own
inputs:
  said: {description: x, required: true}
  more: {description: x, default: "${{ github.event_name }}"}
outputs:
  answer: {description: x, value: "${{ steps.a.outputs.answer }}"}
runs:
  using: composite
  steps:
    - id: a
      shell: bash
      run: echo "answer=$SAID $OUTER" >> "$GITHUB_OUTPUT"; echo "KEPT=kept" >> "$GITHUB_ENV"
      env: {SAID: "${{ inputs.said }} ${{ inputs.more }}"}
    - shell: bash
      run: test hello = "$SAID"
      env: {SAID: "${{ inputs.said }}"}
    - if: failure()
      shell: bash
      run: echo within
"""
USES = """
one:
  runs-on: x
  env: {OUTER: outer}
  steps:
    - id: own
      uses: $/.github/actions/own
      with: {said: "${{ vars.SAID }}"}
    - run: echo "$A $KEPT"
      if: always()
      env: {A: "${{ steps.own.outputs.answer }}${{ steps.a.outputs.answer }}"}
"""


@pytest.mark.parametrize(("said", "result"), [("hello", "success"), ("bye", "failure")])
def test_an_action_of_the_repository_is_run(stage: Stage, said: str, result: str) -> None:
    files = flow(USES) | {".github/actions/own/action.yml": ACTION}
    found = stage(files, variables={"SAID": said}).run(FLOW, "push")
    assert found.result == result
    assert f"{said} push outer kept\n" in found["one"].log
    assert ("within\n" in found["one"].log) is (result == "failure")


def test_jobs_share_nothing_and_inherit_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET", "s3cret")
    monkeypatch.setenv("GITHUB_TOKEN", "s3cret")
    looks = 'env; ls -A "$HOME" "$RUNNER_TEMP" .; cd "$HOME"; touch a b c .d "$RUNNER_TEMP/e"'
    jobs = "".join(f"{job}: {{runs-on: x, steps: [{{run: '{looks}'}}]}}\n" for job in ("a", "b"))
    found = run(stage, jobs)
    homes = set()
    for job in found.jobs:
        assert "s3cret" not in job.log
        assert TOKEN not in job.log
        assert not {"a", "b", "c", ".d", "e"} & set(job.log.splitlines())
        homes |= {line for line in job.log.splitlines() if line.startswith("HOME=")}
    assert len(homes) == 2


def test_failed_jobs_are_run_again_with_all_that_wait_for_them(stage: Stage) -> None:
    jobs = """
good:
  runs-on: x
  outputs: {attempt: "${{ github.run_attempt }}"}
  steps: [{run: "true"}]
rows:
  needs: good
  strategy: {fail-fast: false, matrix: {x: [a, b]}}
  runs-on: x
  steps: [{run: '[ "$X" = a ] || [ "$GITHUB_RUN_ATTEMPT" = 2 ]', env: {X: "${{ matrix.x }}"}}]
last:
  needs: [good, rows]
  if: always()
  runs-on: x
  steps: [{run: 'echo "$A"', env: {A: "${{ needs.good.outputs.attempt }}${{ needs.rows.result }}"}}]
beside:
  needs: good
  runs-on: x
  steps: [{run: "true"}]
"""
    harness = stage(flow(jobs))
    first = harness.run(FLOW, "push")
    assert first.result == "failure"
    again = harness.run(FLOW, "push", before=first)
    assert again.result == "success"
    assert (again.number, again.attempt) == (first.number, 2)
    anew = {job.name: job.anew for job in again.jobs}
    assert anew == {
        "good": False,
        "rows (a)": False,
        "rows (b)": True,
        "last": True,
        "beside": False,
    }
    assert "1success\n" in again["last"].log


def test_a_called_workflow_is_run_again_where_it_failed(stage: Stage) -> None:
    called = CALLED.replace('exit "$CODE"', "exit $((GITHUB_RUN_ATTEMPT < 2))")
    harness = stage(flow(CALLER) | {".github/workflows/called.yml": called})
    first = harness.run(FLOW, "push")
    again = harness.run(FLOW, "push", before=first)
    assert (first.result, again.result) == ("failure", "success")
    assert [job.anew for job in again.jobs] == [True, True]
    third = harness.run(FLOW, "push", before=again)
    assert [job.anew for job in third.jobs] == [False, False]


def test_a_called_workflow_that_waits_for_what_failed_is_run_again(stage: Stage) -> None:
    jobs = """
flaky:
  runs-on: x
  steps: [{run: 'test "$GITHUB_RUN_ATTEMPT" = 2'}]
call:
  needs: flaky
  if: always()
  uses: $/.github/workflows/called.yml
  permissions: {contents: read}
  with: {said: hello}
"""
    harness = stage(flow(jobs) | {".github/workflows/called.yml": CALLED}, variables={"CODE": "0"})
    first = harness.run(FLOW, "push")
    assert first.results() == {"flaky": "failure", "call / inner": "success"}
    assert all(job.anew for job in harness.run(FLOW, "push", before=first).jobs)
