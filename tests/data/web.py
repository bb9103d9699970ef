"""A web server on this machine that misbehaves as it is told."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Page:
    """What is at one path, and how it is served.

    Attributes:
        ranges: whether the header Range is followed.
        break_after: after how many bytes the connection is cut, for the coming answers in turn.
        claim: what Content-Length says instead of the truth; False: nothing.
        codes: what is answered before the file is, in turn.
    """

    data: bytes = b""
    etag: str | None = '"one"'
    modified: str | None = None
    ranges: bool = True
    break_after: list[int] = field(default_factory=list)
    claim: int | bool | None = None
    codes: list[int] = field(default_factory=list)
    redirect: str | None = None
    kind: str = "application/octet-stream"
    ignore_if_range: bool = False


class Web:
    """Pages by path, and the requests that came: path and Range."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.address = ""

    def put(self, path: str, data: bytes, **how: object) -> str:
        self.pages[path] = Page(data, **how)  # type: ignore[arg-type]
        return self.address + path

    @property
    def asked(self) -> list[str | None]:
        """The ranges asked for."""
        return [wanted for _, wanted in self.requests]


@contextmanager
def served() -> Iterator[Web]:
    web = Web()

    class Handler(_Handler):
        site = web

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    web.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield web
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    site: Web

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        wanted = self.headers["Range"]
        self.site.requests.append((self.path, wanted))
        page = self.site.pages.get(self.path)
        if page is None or page.codes:
            self.send_error(page.codes.pop(0) if page else 404)
        elif page.redirect:
            self.send_response(302)
            self.send_header("Location", page.redirect)
            self.end_headers()
        else:
            self._serve(page, wanted)

    def _serve(self, page: Page, wanted: str | None) -> None:
        start = 0
        known = self.headers["If-Range"] in (None, page.etag, page.modified)
        if wanted and page.ranges and (known or page.ignore_if_range):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(page.data):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(page.data)}")
                self.end_headers()
                return
        self.send_response(206 if start else 200)
        if start:
            last = len(page.data) - 1
            self.send_header("Content-Range", f"bytes {start}-{last}/{len(page.data)}")
        if page.claim is not False:
            length = len(page.data) - start if page.claim is None else page.claim
            self.send_header("Content-Length", str(length))
        self.send_header("Content-Type", page.kind)
        if page.kind != "text/html":
            self.send_header("Content-Disposition", 'attachment; filename="x.zip"')
        if page.etag:
            self.send_header("ETag", page.etag)
        if page.modified:
            self.send_header("Last-Modified", page.modified)
        self.end_headers()
        body = page.data[start:]
        self.wfile.write(body[: page.break_after.pop(0)] if page.break_after else body)
