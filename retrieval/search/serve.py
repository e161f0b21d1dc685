"""A page to search with, on this machine alone unless told otherwise."""

import json
import logging
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from retrieval.search.index import SearchIndex
from retrieval.search.shown import as_rows
from sparse_model.errors import UserError

logger = logging.getLogger(__name__)

PAGE = Path(__file__).with_name("page.html")
LOCAL = ("127.0.0.1", "localhost", "::1")
LONGEST = 10_000
MOST_SHOWN = 100
# Nothing from elsewhere, no frame around it; the page's own script and style stand in it.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def serve(index: SearchIndex, host: str, port: int) -> None:
    """Serve until interrupted.

    Raises:
        UserError: the address cannot be taken.
    """
    server = make_server(index, host, port)
    logger.info("http://%s:%d searches %d documents; Ctrl-C ends", host, server.server_address[1], len(index))
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()


def make_server(index: SearchIndex, host: str, port: int) -> ThreadingHTTPServer:
    """A server that listens; its `serve_forever` answers.

    Raises:
        UserError: the address cannot be taken.
    """
    handler = type("Handler", (_Handler,), {"index": index, "is_local": host in LOCAL, "lock": threading.Lock()})
    try:
        return ThreadingHTTPServer((host, port), handler)
    except (OSError, OverflowError) as error:
        raise UserError(f"--host {host} --port {port}: cannot be listened on ({error}); give another --port.") from None


class _Handler(BaseHTTPRequestHandler):
    index: SearchIndex
    is_local: bool
    lock: threading.Lock
    server_version, sys_version = "search", ""
    timeout = 30

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
        """The page, or hits as JSON."""
        try:
            url, host = urlsplit(self.path), urlsplit(f"//{self.headers.get('Host', '')}")
        except ValueError:
            self._send(HTTPStatus.BAD_REQUEST, {"error": "no address"})
            return
        # A page of another site may have its own name lead here: a local server answers to local names only.
        name = host.hostname
        if self.is_local and name not in LOCAL:
            self._send(HTTPStatus.FORBIDDEN, {"error": "this server answers on localhost only"})
        elif url.path == "/":
            self._send_bytes(HTTPStatus.OK, "text/html; charset=utf-8", PAGE.read_bytes())
        elif url.path == "/search":
            self._search(parse_qs(url.query, keep_blank_values=True))
        else:
            self._send(HTTPStatus.NOT_FOUND, {"error": "there is / and /search?q=…&k=…"})

    def _search(self, given: dict[str, list[str]]) -> None:
        query, k = given.get("q", [""])[0], given.get("k", ["10"])[0]
        if not k.isdecimal() or not 1 <= int(k[:9]) <= MOST_SHOWN or len(query) > LONGEST:
            limits = f"k is from 1 to {MOST_SHOWN}, a query has at most {LONGEST} characters"
            self._send(HTTPStatus.BAD_REQUEST, {"error": limits})
            return
        started = time.perf_counter()
        with self.lock:  # tokenizers are shared
            rows = as_rows(self.index, self.index.search(query, int(k)))
        seconds = time.perf_counter() - started
        self._send(HTTPStatus.OK, {"hits": rows, "seconds": seconds, "documents": len(self.index)})

    def _send(self, status: HTTPStatus, value: Any) -> None:
        self._send_bytes(status, "application/json; charset=utf-8", json.dumps(value, ensure_ascii=False).encode())

    def _send_bytes(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": kind, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that http.server gives it
        """Nothing: queries are nobody's business."""
