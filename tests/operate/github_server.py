"""A GitHub in a thread: issues, comments and pull requests in memory, over real HTTP.

It answers as the API does where that matters here: pages with `Link` headers, who wrote what by the
token, and failures where they are planted.
"""

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

BOT = "github-actions[bot]"
NOW = "2026-11-20T10:00:00Z"
RATE_LIMIT = "API rate limit exceeded for installation."

Body = dict[str, Any]
Failure = Literal["502", "403", "429", "rate limit", "short rate limit", "lost"]


@dataclass(kw_only=True)
class State:
    """What the server holds; `failures` are met by the first request that fits, one each.

    `filters` says whether it heeds that only what one account opened is asked for.
    A failure fits a method and a path that the pattern is found in. `lost` does what was asked and
    hangs up. `log` has every request that was answered or not.
    """

    tokens: dict[str, str] = field(default_factory=lambda: {"token": BOT})
    issues: list[Body] = field(default_factory=list)
    comments: dict[int, list[Body]] = field(default_factory=dict)
    pulls: dict[str, list[Body]] = field(default_factory=dict)
    files: dict[int, list[str]] = field(default_factory=dict)
    check_runs: list[Body] = field(default_factory=list)
    merge_base: str = "b" * 40
    filters: bool = True
    failures: list[tuple[str, str, Failure]] = field(default_factory=list)
    log: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""

    @property
    def writes(self) -> list[tuple[str, str]]:
        """What changed something, or tried to."""
        return [one for one in self.log if one[0] != "GET" and not one[1].endswith("/graphql")]

    def issue(self, title: str, body: str, *, by: str = BOT, state: str = "open") -> Body:
        """Add an issue that somebody has opened."""
        number = len(self.issues) + 1
        url = f"{self.url}/repos/us/matrix/issues/{number}"
        found = {
            "number": number,
            "title": title,
            "body": body,
            "state": state,
            "user": _user(by),
            "labels": [{"name": "colbert-matrix"}],
            "url": url,
            "html_url": f"https://github.com/us/matrix/issues/{number}",
            "created_at": NOW,
        }
        self.issues.append(found)
        return found

    def said(self, number: int) -> list[str]:
        """The comments on an issue."""
        return [comment["body"] for comment in self.comments.get(number, [])]


def pull_of(number: int, sha: str, *, title: str = "A change", **more: Any) -> Body:
    """A pull request as the API tells of it."""
    return {
        "number": number,
        "title": title,
        "state": "open",
        "user": _user("somebody"),
        "head": {"sha": sha, "ref": "patch"},
        "base": {"sha": "a" * 40, "ref": "main"},
        "updated_at": NOW,
        **more,
    }


@contextmanager
def serving(state: State) -> Iterator[str]:
    """The address of a server with this state."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"held": state}))
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield state.url
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _user(name: str) -> Body:
    return {"login": name, "id": 1, "url": f"https://api.github.com/users/{name}"}


class _Handler(BaseHTTPRequestHandler):
    held: State
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PATCH = do_GET  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class says so
        """Say nothing."""

    def _serve(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        sent = json.loads(self.rfile.read(size)) if size else {}
        self.held.log.append((self.command, self.path))
        planted = self._planted()
        if planted == "502":
            self._answer(502, {"message": "Server Error"})
        elif planted == "403":
            self._answer(403, {"message": "Resource not accessible by integration"})
        elif planted == "429":
            self._answer(429, {"message": "Too many requests"})
        elif planted == "rate limit":
            reset = {"X-RateLimit-Reset": str(int(time.time()) + 3000)}
            self._answer(403, {"message": RATE_LIMIT}, **reset)
        elif planted == "short rate limit":
            self._answer(403, {"message": RATE_LIMIT}, **{"X-RateLimit-Reset": "1"})
        else:
            status, found, headers = self._asked(sent)
            if planted == "lost":
                self.close_connection = True
            else:
                self._answer(status, found, **headers)

    def _planted(self) -> Failure | None:
        for number, (method, path, failure) in enumerate(self.held.failures):
            if method == self.command and re.search(path, self.path):
                del self.held.failures[number]
                return failure
        return None

    def _asked(self, sent: Body) -> tuple[int, Any, dict[str, str]]:
        address = urlsplit(self.path)
        query = dict(parse_qsl(address.query))
        token = (self.headers.get("Authorization") or "").rpartition(" ")[2]
        account = self.held.tokens.get(token)
        if (token or self.command != "GET") and account is None:
            return 401, {"message": "Bad credentials"}, {}
        for method, pattern, answer in _ROUTES:
            found = re.fullmatch(pattern, address.path)
            if found and method == self.command:
                status, body = answer(self.held, account or "", found, query | sent)
                if isinstance(body, list):
                    return self._page(address.path, query, body)
                return status, body, {}
        return 404, {"message": "Not Found"}, {}

    def _page(
        self, path: str, query: dict[str, str], found: list[Body]
    ) -> tuple[int, list[Body], dict[str, str]]:
        size, page = min(100, int(query.get("per_page", 30))), int(query.get("page", 1))
        rest = found[page * size :]
        following = urlencode(query | {"page": str(page + 1)})
        link = {"Link": f'<{self.held.url}{path}?{following}>; rel="next"'} if rest else {}
        return 200, found[(page - 1) * size : page * size], link

    def _answer(self, status: int, found: Any, **headers: str) -> None:
        content = json.dumps(found).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


Answer = tuple[int, Any]
Match = re.Match[str]


def _viewer(state: State, account: str, found: Match, sent: Body) -> Answer:
    return 200, {"data": {"viewer": {"login": account}}}


def _list(state: State, account: str, found: Match, sent: Body) -> Answer:
    held = [one for one in state.issues if sent.get("state", "open") in {"all", one["state"]}]
    if "creator" in sent and state.filters:
        held = [one for one in held if one["user"]["login"] == sent["creator"]]
    return 200, held if sent.get("direction") == "asc" else held[::-1]


def _open(state: State, account: str, found: Match, sent: Body) -> Answer:
    if len(sent["body"]) > 65_536:
        return 422, {"message": "body is too long (maximum is 65536 characters)"}
    return 201, state.issue(sent["title"], sent["body"], by=account)


def _edit(state: State, account: str, found: Match, sent: Body) -> Answer:
    issue = state.issues[int(found[1]) - 1]
    issue.update({name: sent[name] for name in ("title", "body", "state") if name in sent})
    return 200, issue


def _comments(state: State, account: str, found: Match, sent: Body) -> Answer:
    return 200, state.comments.get(int(found[1]), [])


def _comment(state: State, account: str, found: Match, sent: Body) -> Answer:
    comment = {"id": 1, "body": sent["body"], "user": _user(account), "url": ""}
    state.comments.setdefault(int(found[1]), []).append(comment)
    return 201, comment


def _pulls(state: State, account: str, found: Match, sent: Body) -> Answer:
    return 200, [one for one in state.pulls.get(found[1], []) if one["state"] == "open"]


def _pull(state: State, account: str, found: Match, sent: Body) -> Answer:
    for one in state.pulls.get(found[1], []):
        if one["number"] == int(found[2]):
            return 200, one | {"url": f"{state.url}/repos/{found[1]}/pulls/{found[2]}"}
    return 404, {"message": "Not Found"}


def _files(state: State, account: str, found: Match, sent: Body) -> Answer:
    return 200, [{"filename": name} for name in state.files.get(int(found[2]), [])]


def _check_run(state: State, account: str, found: Match, sent: Body) -> Answer:
    state.check_runs.append(sent)
    number = len(state.check_runs)
    return 201, sent | {
        "id": number,
        "url": f"{state.url}{found[0]}/{number}",
        "html_url": f"https://github.com/{found[1]}/runs/{number}",
    }


def _compare(state: State, account: str, found: Match, sent: Body) -> Answer:
    return 200, {"merge_base_commit": {"sha": state.merge_base}, "url": f"{state.url}{found[0]}"}


_ISSUES = "/repos/us/matrix/issues"
_REPOSITORY = r"/repos/([\w.-]+/[\w.-]+)"
_ROUTES = (
    ("POST", "/graphql", _viewer),
    ("GET", _ISSUES, _list),
    ("POST", _ISSUES, _open),
    ("PATCH", rf"{_ISSUES}/(\d+)", _edit),
    ("GET", rf"{_ISSUES}/(\d+)/comments", _comments),
    ("POST", rf"{_ISSUES}/(\d+)/comments", _comment),
    ("GET", rf"{_REPOSITORY}/pulls", _pulls),
    ("GET", rf"{_REPOSITORY}/pulls/(\d+)", _pull),
    ("GET", rf"{_REPOSITORY}/pulls/(\d+)/files", _files),
    ("POST", rf"{_REPOSITORY}/check-runs", _check_run),
    ("GET", rf"{_REPOSITORY}/compare/[0-9a-f]+\.\.\.[0-9a-f]+", _compare),
)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[State]:
    """The state of a server that our client takes for GitHub, without pauses between requests."""
    for name in ("_PAUSE", "_PAUSE_TO_WRITE", "_BACKOFF"):
        monkeypatch.setattr(f"matrix_operate.github.{name}", 0.001)
    state = State()
    with serving(state) as url:
        monkeypatch.setenv("GITHUB_API_URL", url)
        monkeypatch.setenv("GITHUB_TOKEN", "token")
        monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.com")
        yield state
