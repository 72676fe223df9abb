"""Repositories from a server that acts as the hub, and where there is none."""

import json
import re
import socket
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import huggingface_hub
import pytest

from matrix_capture import hub
from matrix_capture.conditionalqa import CHECKPOINT, DATASET, prepare
from matrix_capture.errors import MatrixError


def kept(cache: Path) -> list[str]:
    """What a cache holds, without checkpoints."""
    found = (path.relative_to(cache).as_posix() for path in cache.rglob("*") if path.is_file())
    return sorted(name for name in found if not name.startswith("checkpoint-"))


class FakeHub(ThreadingHTTPServer):
    """Serves a copy as the hub serves its repositories, and can refuse to."""

    daemon_threads = True

    def __init__(self, copy: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.copy = copy
        self.asked: list[str] = []
        self.refusals: dict[str, tuple[int, str]] = {}  # part of a path to status and error code

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answers(BaseHTTPRequestHandler):
    server: FakeHub

    def do_HEAD(self) -> None:
        self._answer(self._content())

    def do_GET(self) -> None:
        content = self._content()
        if self._answer(content):
            self.wfile.write(content or b"")

    def log_message(self, *_: object) -> None:
        pass

    def _content(self) -> bytes | None:
        self.server.asked.append(self.path)
        for repository in (DATASET, CHECKPOINT):
            folder = self.server.copy / repository.name
            place = f"datasets/{repository.name}" if repository is DATASET else repository.name
            listed = f"/api/{repository.kind}s/{repository.name}/revision/{repository.revision}"
            if self.path == listed:
                names = [p.relative_to(folder) for p in folder.rglob("*") if p.is_file()]
                files = [{"rfilename": name.as_posix()} for name in sorted(names)]
                listing = {"id": repository.name, "sha": repository.revision, "siblings": files}
                return json.dumps(listing).encode()
            below = f"/{place}/resolve/{repository.revision}/"
            if self.path.startswith(below):
                return (folder / self.path.removeprefix(below)).read_bytes()
        return None

    def _answer(self, content: bytes | None) -> bool:
        refusals = (code for part, code in self.server.refusals.items() if part in self.path)
        usual = (404, "RepoNotFound") if content is None else (200, "")
        status, error = next(refusals, usual)
        self.send_response(status)
        if status != 200:
            self.send_header("X-Error-Code", error)
        else:
            revision = re.search(r"[0-9a-f]{40}", self.path)
            self.send_header("ETag", f'"{hash(content):x}"')
            self.send_header("X-Repo-Commit", revision[0] if revision else "")
        self.send_header("Content-Length", str(len(content or b"") if status == 200 else 0))
        self.end_headers()
        return status == 200


def point_at(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What HF_ENDPOINT does, but for a library that is imported already."""
    api = huggingface_hub.HfApi(endpoint=url)
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: api)


@pytest.fixture
def fake_hub(hub_copy: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with FakeHub(hub_copy) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        point_at(server.url, monkeypatch)
        yield server
        server.shutdown()
        thread.join()


def test_revisions_are_commits() -> None:
    assert all(re.fullmatch(r"[0-9a-f]{40}", one.revision) for one in (DATASET, CHECKPOINT))


def test_the_hub_gives_what_a_copy_gives(
    fake_hub: FakeHub, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (fake_hub.copy / CHECKPOINT.name / "pytorch_model.bin").write_bytes(b"never fetched")
    fetched = prepare(None, tmp_path / "cache")
    assert fetched.hashes == prepare(fake_hub.copy, tmp_path / "other").hashes
    assert not any("README" in path or ".bin" in path for path in fake_hub.asked)
    assert not any("train.parquet" in path for path in fake_hub.asked)
    assert capfd.readouterr() == ("", "")  # the sessions read what is printed


def test_what_was_fetched_is_not_asked_for_again(fake_hub: FakeHub, tmp_path: Path) -> None:
    first = prepare(None, tmp_path / "cache")
    fake_hub.asked.clear()
    assert prepare(None, tmp_path / "cache") == first
    assert fake_hub.asked == []


@pytest.mark.parametrize(
    ("part", "refusal", "expected"),
    [
        ("/api/datasets/", (401, "RepoNotFound"), r"^UKPLab/dapr is not at http.*, or not open"),
        ("model.safetensors", (403, "GatedRepo"), r"^answerdotai/.* is not at .*, or not open"),
        ("/api/models/", (404, "RevisionNotFound"), f"has no revision {CHECKPOINT.revision} at"),
        ("/api/", (503, ""), r"^UKPLab/dapr cannot be fetched from http.*\(HfHubHTTPError\)"),
    ],
)
def test_a_refusal_is_one_line_with_the_cure_and_leaves_nothing(
    part: str,
    refusal: tuple[int, str],
    expected: str,
    fake_hub: FakeHub,
    tmp_path: Path,
) -> None:
    fake_hub.refusals[part] = refusal
    with pytest.raises(MatrixError, match=expected) as caught:
        prepare(None, tmp_path / "cache")
    assert "give a copy with --inputs DIR, laid out as docs/formats.md says" in str(caught.value)
    assert not any("answerdotai" in name for name in kept(tmp_path / "cache"))
    # Once it answers, what is missing is fetched.
    fake_hub.refusals.clear()
    assert prepare(None, tmp_path / "cache").collection


def test_a_repository_without_a_file_is_one_line(fake_hub: FakeHub, tmp_path: Path) -> None:
    (fake_hub.copy / DATASET.name / DATASET.files[1]).unlink()
    with pytest.raises(MatrixError, match=rf"^UKPLab/dapr has no {DATASET.files[1]} at http"):
        prepare(None, tmp_path / "cache")
    assert kept(tmp_path / "cache") == []


def test_a_connection_that_breaks_leaves_no_half_of_a_repository(
    fake_hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(_Answers, "do_GET", lambda self: self._answer(b"0" * 99))
        with pytest.raises(MatrixError, match="cannot be fetched"):
            prepare(None, tmp_path / "cache")
    assert kept(tmp_path / "cache") == []


def test_nobody_at_the_other_end_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    point_at(url, monkeypatch)
    started = time.monotonic()
    with pytest.raises(MatrixError) as caught:
        prepare(None, tmp_path / "cache")
    assert time.monotonic() - started < 10
    told = str(caught.value)
    assert re.match(rf"UKPLab/dapr cannot be fetched from {url} \(Connect\w*Error\); give", told)


def test_a_hub_that_says_nothing_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        point_at(url, monkeypatch)
        started = time.monotonic()
        with pytest.raises(MatrixError, match=r"cannot be fetched from .*Timeout"):
            prepare(None, tmp_path / "cache")
    assert time.monotonic() - started < 10
