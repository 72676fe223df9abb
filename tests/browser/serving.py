"""A local server of a folder, which packs text as the hosts of static pages do."""

import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import BinaryIO

_TEXT = {".html", ".css", ".js", ".json", ".svg", ".xml"}


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of the folder while it is served, ending in a slash."""

    class Handler(_Handler):
        root = folder

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


class _Handler(SimpleHTTPRequestHandler):
    """Answers from `root`, and tells nobody about it."""

    protocol_version = "HTTP/1.1"
    root: Path

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments, directory=str(self.root))  # type: ignore[arg-type]

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        path = Path(self.translate_path(self.path))
        if path.suffix not in _TEXT or not path.is_file():
            return super().send_head()
        packed = gzip.compress(path.read_bytes())
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(packed)))
        self.end_headers()
        return io.BytesIO(packed)

    def log_message(self, *_: object) -> None:
        pass
