"""A web server on the loopback interface that serves one file, and misbehaves as it is told."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["Site", "serving"]


@dataclass
class Site:
    """What is served and what goes wrong."""

    content: bytes
    cut_after: list[int] = field(default_factory=list)
    """For each request in turn: close the connection after so many bytes; the last ones in full."""
    refusals: list[int] = field(default_factory=list)
    """Status to answer the first requests with."""
    ranges: bool = True
    tag: str | None = '"one"'
    stated_bytes: int | None = None
    stall: threading.Event | None = None
    """Send half of the bytes, and nothing more before this is set."""
    stalls: int = 0
    """How many requests are treated like that."""
    asked: list[str | None] = field(default_factory=list)
    """The Range of every request."""
    address: str = ""

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


def _handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            span = self.headers.get("Range")
            site.asked.append(span)
            if site.refusals:
                self.send_error(site.refusals.pop(0))
                return
            fresh = self.headers.get("If-Range") in (None, site.tag)
            if span and site.ranges and fresh:
                first, _, last = span.removeprefix("bytes=").partition("-")
                start, end = int(first), min(int(last or len(site.content) - 1), len(site.content) - 1)
                if start >= len(site.content):
                    self.send_error(416)
                    return
                self._send(206, site.content[start : end + 1], f"bytes {start}-{end}/{len(site.content)}")
            else:
                self._send(200, site.content, None)

        def _send(self, status: int, body: bytes, content_range: str | None) -> None:
            stated = len(body) if site.stated_bytes is None or content_range else site.stated_bytes
            self.send_response(status)
            self.send_header("Content-Length", str(stated))
            if content_range:
                self.send_header("Content-Range", content_range)
            if site.tag:
                self.send_header("ETag", site.tag)
            self.end_headers()
            cut = site.cut_after.pop(0) if site.cut_after else len(body)
            if site.stalls:
                site.stalls -= 1
                self.wfile.write(body[: len(body) // 2])
                self.wfile.flush()
                assert site.stall is not None
                site.stall.wait(30)
                return
            self.wfile.write(body[:cut])

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    return Handler


@contextmanager
def serving(site: Site) -> Iterator[Site]:
    """The site at a free port while the context lasts."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(site))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    site.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield site
    finally:
        if site.stall is not None:
            site.stall.set()
        server.shutdown()
        thread.join()
        server.server_close()
