"""Make sure that a commit is what a pull request is now, before anything of it runs."""

import argparse
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from github.PullRequest import PullRequest

from matrix_capture.errors import MatrixError
from matrix_compare.markdown import code
from matrix_compare.report import plain
from matrix_operate.github import SHA, asking, connect, login, repository_name, sha

SENSITIVE = (
    *("setup.py", "setup.cfg", "pyproject.toml", "MANIFEST.in", "*requirements*"),
    *("*.yml", "*.yaml"),
    *(".github/*", "*.sh", "*Makefile*", "*Dockerfile*", ".gitmodules", "*conftest.py", "*.pth"),
    *("*.c", "*.cc", "*.cpp", "*.cu", "*.cuh", "*.h", "*.hpp", "*.so"),
    *("*.pyc", "*.pkl", "*.pt", "*.bin"),
)
"""Names of what runs at installation or in workflows, is compiled, or cannot be read as text."""

_MOST_FILES = 3000  # that the API tells of
_MOST_NAMED = 60


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument("--pull", required=True, metavar="N", help="number of the pull request")
    parser.add_argument("--sha", required=True, help="the commit that was read, in full")
    parser.add_argument("--watched", required=True, metavar="OWNER/NAME", help="its repository")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="gets what is vetted",
    )
    parser.add_argument(
        "--summary", type=Path, metavar="FILE", help="add what is being approved, Markdown"
    )


@asking()
def run(options: argparse.Namespace) -> int:
    """Vet a commit; returns 0, or 1 where it is no longer the head of the pull request.

    The base is where the pull request left its branch, so that it answers for what it changes
    itself and for nothing that came to that branch since; a page of changes shows the same.
    """
    if not re.fullmatch(r"[1-9][0-9]{0,8}", options.pull):
        raise MatrixError(f"--pull: {options.pull!r} is no number of a pull request")
    if not SHA.fullmatch(options.sha):
        raise MatrixError(f"--sha: {options.sha!r} is no commit; that takes 40 digits of 0-9a-f")
    watched, number = repository_name(options.watched), int(options.pull)
    repository = connect(anonymous=True).get_repo(watched)
    pull = repository.get_pull(number)
    if pull.state != "open":
        raise MatrixError(f"pull request {number} of {watched} is not open")
    head = sha(pull.head.sha)
    if head != options.sha:
        print(f"pull request {number} of {watched} has moved to {head}; read that, then start anew")
        return 1
    base = sha(repository.compare(sha(pull.base.sha), head).merge_base_commit.sha)
    summary = "\n".join(_summary(pull, watched, base))
    if options.summary:
        with options.summary.open("a", encoding="utf-8") as file:
            file.write(f"{summary}\n")
    owner, name = watched.split("/")
    with options.output.open("a", encoding="utf-8") as file:
        file.write(f"number={number}\nhead={head}\nbase={base}\nowner={owner}\nname={name}\n")
    print(f"pull request {number} of {watched}: {head}, which left its branch at {base}")
    return 0


def _summary(pull: PullRequest, watched: str, base: str) -> Iterator[str]:
    """What is being approved: how much it changes, and what of it should be read twice."""
    yield f"### Pull request {pull.number} of `{watched}`\n"
    yield (
        f"{code(plain(pull.title))} by {code(plain(login(pull.user)))}: commit "
        f"{code(sha(pull.head.sha))}, held against {code(base)}.\n"
    )
    names = [plain(file.filename) for file in pull.get_files()]
    risky = [name for name in names if any(fnmatchcase(name, one) for one in SENSITIVE)]
    more = " or more" if len(names) >= _MOST_FILES else ""
    yield f"It changes {len(names)} files{more}. Any Python runs as soon as it is imported.\n"
    if risky:
        yield (
            f"**By their names, {len(risky)} of them run at installation or in workflows, are "
            "compiled, or cannot be read as text:**\n"
        )
        yield from (f"- {code(name)}" for name in risky[:_MOST_NAMED])
        if len(risky) > _MOST_NAMED:
            yield f"- {len(risky) - _MOST_NAMED} more"
    else:
        yield (
            "By their names, none of them runs at installation or in workflows, is compiled, or "
            "cannot be read as text."
        )
