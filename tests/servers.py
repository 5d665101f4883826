"""A web server on loopback that serves one file as well or as badly as a test wants."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Behaviour:
    """How the server answers; `log` is what it was asked: path and Range of each request."""

    content: bytes = b""
    cut_after: list[int] = field(default_factory=list)  # bytes sent of the first, second, ... answer
    ranges: bool = True
    etag: str | None = '"one"'
    statuses: list[int] = field(default_factory=list)  # of the first, second, ... answer
    redirects: dict[str, str] = field(default_factory=dict)  # path to location
    headers: dict[str, str] = field(default_factory=dict)
    silent: threading.Event | None = None  # answers nothing until it is set
    length: bool = True  # says Content-Length
    log: list[tuple[str, str | None]] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    behaviour: Behaviour

    def log_message(self, *_):
        pass

    def do_GET(self):
        does = self.behaviour
        does.log.append((self.path, self.headers.get("Range")))
        if does.silent is not None:
            does.silent.wait(10)
            return
        if self.path in does.redirects:
            self.send_response(302)
            self.send_header("Location", does.redirects[self.path])
            self.end_headers()
            return
        if does.statuses and (status := does.statuses.pop(0)) != 200:
            self.send_error(status)
            return
        start = self._start()
        if start >= len(does.content) > 0:
            self.send_error(416)
            return
        self._send(start)

    def _start(self):
        does, wanted = self.behaviour, self.headers.get("Range")
        same = self.headers.get("If-Range") in {None, does.etag}
        return int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and does.ranges and same else 0

    def _send(self, start):
        does = self.behaviour
        body = does.content[start:]
        self.send_response(206 if start else 200)
        headers = {"Content-Length": str(len(body))} if does.length else {}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(does.content) - 1}/{len(does.content)}"
        if does.etag:
            headers["ETag"] = does.etag
        for name, value in {**headers, **does.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: does.cut_after.pop(0)] if does.cut_after else body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A client that hangs up is part of the tests."""


@contextmanager
def serving(behaviour):
    """Serve; gives the server's address."""
    handler = type("Handler", (_Handler,), {"behaviour": behaviour})
    with _Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            if behaviour.silent is not None:
                behaviour.silent.set()
            server.shutdown()
            thread.join()
