"""GitHub's own parser takes every workflow and sees the jobs that we mean."""

from typing import Any

import pytest

from tests.workflows.documents import EXAMPLES, FILES, read
from tests.workflows.language import Language, LanguageError, Status

DOCUMENTS = {document.name: document.text for document in map(read, (*FILES, *EXAMPLES))}

NIGHTLY, CAPTURE = ".github/workflows/nightly.yml", ".github/workflows/_capture.yml"
SETUP = ".github/actions/setup/action.yml"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_file_is_understood(language: Language, name: str) -> None:
    assert language.parse(name, DOCUMENTS)["errors"] == []


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        (NIGHTLY, "needs: capture", "needs: nobody", "unknown job 'nobody'"),
        (NIGHTLY, "      kind:", "      kinds:", "kinds is not defined"),
        (NIGHTLY, "      kind:", "      kinds:", "Input kind is required"),
        (NIGHTLY, "workflows/_capture.yml", "workflows/none.yml", "Unable to find"),
        (NIGHTLY, "  queue: max", "  queue: some", "some"),
        (NIGHTLY, "  group: nightly", "  group: nightly\n  group: x", "already defined"),
        (NIGHTLY, "!inputs.passages", "!inputs.passages (", "Unexpected symbol"),
        (NIGHTLY, "!inputs.passages", "!secrets.passages", "Unrecognized named-value"),
        (CAPTURE, "timeout-minutes: 350", "timeout-minuts: 350", "timeout-minuts"),
        (CAPTURE, "${{ matrix.name }}", "${{ matrx.name }}", "matrx"),
        (SETUP, "shell: bash", "shel: bash", "shel"),
    ],
)
def test_a_planted_fault_is_found(
    language: Language, name: str, old: str, new: str, says: str
) -> None:
    assert old in DOCUMENTS[name]
    planted = {**DOCUMENTS, name: DOCUMENTS[name].replace(old, new)}
    assert says in "\n".join(language.parse(name, planted)["errors"])


def test_the_nightly_has_the_jobs_that_are_meant(language: Language) -> None:
    def graph(jobs: list[dict[str, Any]]) -> dict[str, Any]:
        return {job["id"]: (job["needs"], graph(job["jobs"])) for job in jobs}

    found = graph(language.parse(NIGHTLY, DOCUMENTS)["jobs"])
    capture: dict[str, Any] = {
        "plan": ([], {}),
        "capture": (["plan"], {}),
        "collect": (["plan", "capture"], {}),
    }
    pages: dict[str, Any] = {"build": ([], {}), "deploy": (["build"], {})}
    assert found["capture"] == ([], capture)
    assert found["record"] == (["capture"], {})
    assert found["pages"] == (["record"], pages)
    assert found["alert"] == (["record"], {})


def test_a_plan_becomes_the_jobs_of_a_matrix(language: Language) -> None:
    rows = '{"include": [{"name": "a", "runs_on": ["self-hosted"]}, {"name": "b", "runs_on": []}]}'
    contexts = {"needs": {"plan": {"outputs": {"matrix": rows}}}}
    matrix = language.fill("${{ fromJSON(needs.plan.outputs.matrix) }}", contexts)
    assert [row["name"] for row in matrix["include"]] == ["a", "b"]


def test_text_around_an_expression_stays(language: Language) -> None:
    contexts = {"github": {"run_attempt": "2"}, "matrix": {"name": "a"}}
    filled = language.fill("c-${{ matrix.name }}-${{ github.run_attempt }}.", contexts)
    assert filled == "c-a-2."
    assert language.fill("${{ github.none }}${{ github.none }}.", contexts) == "."
    assert language.fill({"x": ["${{ 'a}}b' }}", 1]}, contexts) == {"x": ["a}}b", 1]}


@pytest.mark.parametrize("planted", ["${{ matrx.name }}", "${{ matrix.name", "${{ f() }}"])
def test_what_is_no_expression_is_an_error(language: Language, planted: str) -> None:
    with pytest.raises(LanguageError):
        language.fill(planted, {"matrix": {}})


@pytest.mark.parametrize(
    ("condition", "failed", "holds"),
    [
        ("", False, True),
        ("", True, False),
        ("true", True, False),  # asks for success() in silence
        ("${{ !cancelled() }}", True, True),
        ("always() && inputs.x == 'y'", True, True),
        ("failure()", True, True),
        ("failure()", False, False),
        ("inputs.x", False, True),
        ("inputs.none", False, False),
    ],
)
def test_a_condition_knows_how_it_went(
    language: Language, condition: str, *, failed: bool, holds: bool
) -> None:
    contexts = {"inputs": {"x": "y"}}
    status = Status(success=not failed, failure=failed)
    assert language.condition(condition, contexts, status) is holds
