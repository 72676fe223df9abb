"""A check as a check run of GitHub: the mark beside a commit, with the summary behind it."""

from typing import Any

from matrix_capture.errors import MatrixError
from matrix_compare.check import Check
from matrix_compare.check_markdown import check_markdown
from matrix_compare.finding import finding
from matrix_compare.policy import Level
from matrix_compare.report import plain
from matrix_operate.github import SHA, asking, connect, repository_name

NAME = "colbert-matrix"

CONCLUSIONS = {Level.FAILURE: "failure", Level.ALERT: "neutral", Level.PASS: "success"}

_TITLE = 120
"""Letters of the line that stands beside the mark; GitHub cuts it sooner or later."""


def check_run(check: Check) -> dict[str, Any]:
    """What `POST /repos/{owner}/{repo}/check-runs` takes.

    Raises:
        MatrixError: the check is of no commit.
    """
    if not SHA.fullmatch(check.sha):
        raise MatrixError("the check is of no commit; check with --number and --sha")
    title = plain(finding(check))
    return {
        "name": NAME,
        "head_sha": check.sha,
        "status": "completed",
        "conclusion": CONCLUSIONS[check.level],
        "output": {
            "title": title if len(title) <= _TITLE else f"{title[: _TITLE - 1]}…",
            "summary": check_markdown(check),
        },
    }


def post(repository: str, run: dict[str, Any]) -> str:
    """Make the check run in a repository, with the token of a GitHub App; returns its address.

    Raises:
        MatrixError: GitHub refuses.
    """
    with asking():
        return connect().get_repo(repository_name(repository)).create_check_run(**run).html_url
