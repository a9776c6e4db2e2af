"""A real HTTP server for tests that does what bad networks and mirrors do."""

import hashlib
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Behaviour:
    """What the server does, and what it was asked.

    Attributes:
        ranges: whether it supports them.
        drop_after: bytes of a body after which it closes the connection, for each
            request in turn; None and later ones: it sends all.
        statuses: answers without a body, for the first requests in turn.
        change: what it makes of a file's content, for each request in turn.
        pace: called after every few kilobytes that it has sent.
        asked: path and Range of each request.
    """

    ranges: bool = True
    drop_after: list[int | None] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    change: list[Callable[[bytes], bytes]] = field(default_factory=list)
    pace: Callable[[], None] = lambda: None
    asked: list[tuple[str, str | None]] = field(default_factory=list)


class FileServer:
    """Serves ``files`` (name -> content) at ``url`` until the block ends."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files, self.behaviour = files, Behaviour()

    def __enter__(self) -> "FileServer":
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def ranges(self) -> list[str | None]:
        """Range of each request."""
        return [range_ for _, range_ in self.behaviour.asked]


class _Handler(BaseHTTPRequestHandler):
    owner: FileServer

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        do, name = self.owner.behaviour, self.path.lstrip("/")
        do.asked.append((name, self.headers.get("Range")))
        if do.statuses:
            return self._answer(do.statuses.pop(0))
        if name not in self.owner.files:
            return self._answer(404)
        content = self.owner.files[name]
        if do.change:
            content = do.change.pop(0)(content)
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        start = self._start(tag) if do.ranges else 0
        if start >= len(content):
            return self._answer(416, {"Content-Range": f"bytes */{len(content)}"})
        headers = {"ETag": tag, "Content-Length": str(len(content) - start)}
        if start:
            stated = f"bytes {start}-{len(content) - 1}/{len(content)}"
            headers["Content-Range"] = stated
        self._answer(206 if start else 200, headers)
        limit = do.drop_after.pop(0) if do.drop_after else None
        self._send(content[start:][:limit])
        self.close_connection = True

    def _start(self, tag: str) -> int:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not match or self.headers.get("If-Range", tag) != tag:
            return 0
        return int(match[1])

    def _answer(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {"Content-Length": "0"}).items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, body: bytes) -> None:
        for start in range(0, len(body), 4096):
            self.wfile.write(body[start : start + 4096])
            self.wfile.flush()
            self.owner.behaviour.pace()
