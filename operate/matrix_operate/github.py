"""The way to GitHub's API: a client of ours, and one line for whatever goes wrong with it."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from github import Auth, BadAttributeException, Github, GithubException, GithubRetry
from github import RateLimitExceededException as RateLimited
from github.NamedUser import NamedUser
from github.Organization import Organization
from requests import RequestException

from matrix_capture.errors import MatrixError
from matrix_operate.errors import OutageError

API = "https://api.github.com"
SHA = re.compile(r"[0-9a-f]{40}")
"""What a commit looks like."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9_][A-Za-z0-9._-]*", re.ASCII)

# GitHub asks for a pause between requests, and a longer one between those that write.
_PAUSE, _PAUSE_TO_WRITE = 0.1, 1.0
_RETRIES, _BACKOFF, _LONGEST_WAIT = 4, 1.0, 120


def connect(*, anonymous: bool = False) -> Github:
    """A client for the API that the environment names, with its token.

    What only reads and what only sets something is tried again; what would make something twice is
    not. `anonymous` says that public data will do.

    Raises:
        MatrixError: there is no token and it takes one, or the address is none.
    """
    url = os.environ.get("GITHUB_API_URL") or API
    token = os.environ.get("GITHUB_TOKEN")
    if not re.match(r"https?://[^/]", url):
        raise MatrixError(f"GITHUB_API_URL: {url!r} is no address; leave it out for {API}")
    if not (token or anonymous):
        raise MatrixError("GITHUB_TOKEN is not set; it takes a token that may write issues")
    return Github(
        auth=Auth.Token(token) if token else None,
        base_url=url.rstrip("/"),
        per_page=100,
        user_agent="colbert-matrix",
        retry=GithubRetry(
            total=_RETRIES,
            backoff_factor=_BACKOFF,
            max_rate_limit_wait=_LONGEST_WAIT,
            retry_after_max=_LONGEST_WAIT,
            allowed_methods={"GET", "PATCH"},
        ),
        seconds_between_requests=_PAUSE,
        seconds_between_writes=_PAUSE_TO_WRITE,
        lazy=True,
    )


@contextmanager
def asking() -> Iterator[None]:
    """Turns what GitHub refuses, or the way to it does wrong, into one line.

    Raises:
        OutageError: GitHub is out of reach, has failed, answers what it should not, or has had
            enough of us for now.
        MatrixError: it refuses.
    """
    try:
        yield
    except RateLimited:
        raise OutageError("GitHub answers no more for now (rate limit); try again later") from None
    except GithubException as error:
        told = f"{error.status}: {error.message or 'without a reason'}"
        if error.status >= 500 or error.status == HTTPStatus.TOO_MANY_REQUESTS:
            raise OutageError(f"GitHub fails ({told}); try again later") from None
        raise MatrixError(
            f"GitHub refuses ({told}); does the repository exist, may the token do that?"
        ) from None
    except (RequestException, BadAttributeException) as error:
        raise OutageError(f"GitHub is out of reach ({type(error).__name__}: {error})") from None


def repository_name(text: str) -> str:
    """A repository as it is named, `owner/name`.

    Raises:
        MatrixError: it is not named so.
    """
    if not _NAME.fullmatch(text) or ".." in text:
        raise MatrixError(f"{text!r} names no repository; that takes OWNER/NAME")
    return text


def account(client: Github) -> str:
    """The account that the token belongs to.

    The token of a workflow run may not ask `GET /user`, but may ask this.
    """
    _, answer = client.requester.graphql_query("query { viewer { login } }", {})
    return str(answer["data"]["viewer"]["login"])


def login(user: NamedUser | Organization | None) -> str:
    """The name of an account; that of one that is gone is GitHub's own word for it."""
    return user.login if user else "ghost"


def sha(text: str) -> str:
    """A commit, once it is sure that it is one: it goes into commands and into files of lines.

    Raises:
        OutageError: it is none.
    """
    if not SHA.fullmatch(text):
        raise OutageError(f"GitHub answers {text!r} for a commit; try again later")
    return text


def website() -> str:
    """Where people look at what the API tells of."""
    return (os.environ.get("GITHUB_SERVER_URL") or "https://github.com").rstrip("/")
