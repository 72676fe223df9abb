"""Keep one issue with the pull requests of another repository that wait to be checked."""

import argparse
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from github import Github
from github.PullRequest import PullRequest

from matrix_capture.errors import MatrixError
from matrix_compare.check import check_path, read_check
from matrix_compare.markdown import bold, code, table
from matrix_compare.report import plain
from matrix_operate.github import asking, connect, login, repository_name, sha, website
from matrix_operate.ledger import Entry, Ledger

WORKFLOW = "pr.yml"
"""The workflow that checks one commit of a pull request."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument(
        "--watched", required=True, metavar="OWNER/NAME", help="whose pull requests are listed"
    )
    parser.add_argument("--repository", required=True, metavar="OWNER/NAME", help="whose issue")
    parser.add_argument("--data", type=Path, metavar="DIR", help="what was checked already")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, do nothing")


@asking()
def run(options: argparse.Namespace) -> int:
    """List the open pull requests in one issue; nothing of them is fetched or run. Returns 0."""
    watched, repository = map(repository_name, (options.watched, options.repository))
    client = connect()
    pulls = open_pulls(client, watched)
    ledger = Ledger(client, repository, dry_run=options.dry_run)
    ledger.keep(waiting(pulls, watched, repository, options.data))
    ledger.settle()
    if options.dry_run:
        print("A dry run: nothing of this was done.")
    for line in ledger.told or ["nothing has changed"]:
        print(plain(line))
    return 0


def open_pulls(client: Github, watched: str) -> list[PullRequest]:
    """The open pull requests of a repository, the newest first."""
    found = client.get_repo(watched).get_pulls(state="open", sort="created")
    return sorted(found, key=lambda pull: pull.number, reverse=True)


def waiting(
    pulls: Sequence[PullRequest], watched: str, repository: str, data: Path | None
) -> Entry:
    """The issue that lists pull requests; `data` says which were checked already."""
    return Entry(
        kind="pulls",
        fingerprint=hashlib.blake2b(watched.encode(), digest_size=16).hexdigest(),
        subject=watched,
        state="open",
        title=f"Pull requests of {watched} that wait to be checked",
        sections=list(_sections(pulls, watched, repository, data)),
    )


def _sections(
    pulls: Sequence[PullRequest], watched: str, repository: str, data: Path | None
) -> Iterator[str]:
    yield (
        "A check runs the code of a pull request on our GPU. Read the changes, then start it for "
        "exactly the commit that you have read.\n"
    )
    if not pulls:
        yield f"No pull request of `{watched}` is open.\n"
        return
    titles = ("number", "title", "author", "commit", "updated", "check")
    yield "\n".join(table(titles, (_row(pull, watched, data) for pull in pulls)))
    start = f"{website()}/{repository}/actions/workflows/{WORKFLOW}"
    yield f"[Start a check]({start}) with number and commit, or on a command line:\n"
    commands = (
        f"gh workflow run {WORKFLOW} --repo {repository} "
        f"-f pr={pull.number} -f sha={sha(pull.head.sha)}"
        for pull in pulls
    )
    yield "\n".join(["```console", *commands, "```\n"])


def _row(pull: PullRequest, watched: str, data: Path | None) -> tuple[str, ...]:
    head = sha(pull.head.sha)
    # Through this host a link leaves no trace in the discussion that it leads to.
    host = website().replace("://github.com", "://redirect.github.com")
    return (
        f"[{pull.number}]({host}/{watched}/pull/{pull.number}/files)",
        code(plain(pull.title)),
        code(plain(login(pull.user))),
        code(head),
        f"{pull.updated_at:%Y-%m-%d}" if pull.updated_at else "",
        _state(data, pull.number, head) if data else "",
    )


def _state(data: Path, number: int, head: str) -> str:
    path = check_path(data, number, head)
    if not path.exists():
        return "waits"
    try:
        return f"done: {bold(read_check(path).level)}"
    except MatrixError:
        return "done, but cannot be read"
