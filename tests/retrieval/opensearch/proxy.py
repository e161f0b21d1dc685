"""A proxy that misbehaves: refuses, drops and delays requests on their way to a server, asks for a password, or TLS."""

import base64
import http.client
import random
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit


class Proxy(ThreadingHTTPServer):
    """Forwards to `target` (a URL that may change); faults are shares of requests, drawn with a seed."""

    daemon_threads = True

    def __init__(self, target: str, certificate: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = target
        self.refused = self.dropped = self.delayed = self.lost = 0.0
        self.password = ""
        self.counts = {"refused": 0, "dropped": 0, "delayed": 0, "lost": 0, "passed": 0}
        self.random, self.lock = random.Random(0), threading.Lock()
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, certificate.with_suffix(".key"))
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.url = f"{'https' if certificate else 'http'}://localhost:{self.server_address[1]}"

    def draw(self, fault: str) -> bool:
        with self.lock:
            hit = self.random.random() < getattr(self, fault)
            self.counts[fault] += hit
        return hit

    def handle_error(self, *_: object) -> None:
        """Dropped connections are meant."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def do_GET(self) -> None:
        proxy = self.server
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        expected = "Basic " + base64.b64encode(f"user:{proxy.password}".encode()).decode()
        if proxy.password and self.headers.get("authorization") != expected:
            return self._answer(401, b'{"error": "unauthorized"}', "application/json")
        if proxy.draw("dropped"):  # before the server sees it
            self.close_connection = True
            return self.connection.close()
        if proxy.draw("refused"):
            return self._answer(429, b'{"error": {"type": "rejected_execution_exception"}}', "application/json")
        if proxy.draw("delayed"):
            time.sleep(0.3)
        status, answer, kind = self._forward(body)
        if proxy.draw("lost"):  # the server did it, and nobody hears of it
            self.close_connection = True
            return self.connection.close()
        proxy.counts["passed"] += 1
        return self._answer(status, answer, kind)

    do_POST = do_PUT = do_DELETE = do_HEAD = do_GET

    def _forward(self, body: bytes) -> tuple[int, bytes, str]:
        target = http.client.HTTPConnection(urlsplit(self.server.target).netloc, timeout=60)
        try:
            kind = {"content-type": self.headers.get("content-type") or "application/json"}
            target.request(self.command, self.path, body, kind)
            answer = target.getresponse()
            return answer.status, answer.read(), answer.headers.get("content-type") or ""
        except OSError:
            return 502, b"{}", "application/json"
        finally:
            target.close()

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Tests are silent."""


@contextmanager
def proxied(target: str, certificate: Path | None = None) -> Iterator[Proxy]:
    """A running proxy."""
    with Proxy(target, certificate) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield proxy
        proxy.shutdown()
