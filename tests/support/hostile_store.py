"""HTTP servers that stand in for a store and lie as a script says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from mopt_api.jobs.plan import Credentials
from mopt_optimizer.store.base import Store
from mopt_optimizer.store.registry import open_store

TOKEN = "a-session-token"
LIST = (
    "<ListBucketResult><Name>bucket</Name>{items}<IsTruncated>{more}</IsTruncated>"
    "<NextContinuationToken>{token}</NextContinuationToken></ListBucketResult>"
)

Script = Callable[["Request"], None]


class Request(BaseHTTPRequestHandler):
    """One request, answered by the server's script."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: HostileServer

    def _answer(self) -> None:
        self.server.requests.append((self.command, self.path, dict(self.headers)))
        self.server.delay()
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        try:
            self.server.script(self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_HEAD = do_GET = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815 - http.server's names

    def send(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Send an answer; headers by name, - written as _."""
        self.send_response(status)
        fields = {
            "Content-Length": str(len(body)),
            "Content-Type": "application/xml",
            "ETag": '"tag"',
            "Last-Modified": formatdate(usegmt=True),
        } | {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in fields.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.write(body)

    def write(self, data: bytes) -> None:
        self.wfile.write(data)
        self.server.sent += len(data)

    def write_for_ever(self, data: bytes, pause: float = 0.0) -> None:
        """Write until the client hangs up, or the server ends."""
        while not self.server.ended.wait(pause):
            self.write(data)

    def log_message(self, *_: object) -> None:
        pass


class HostileServer(ThreadingHTTPServer):
    """
    Attributes:
        requests: Method, path and headers of each.
        sent: Bytes of all answers.
        delay: Called before a request's body is read.
    """

    daemon_threads = True

    def __init__(self, script: Script) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.script = script
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.sent = 0
        self.ended = threading.Event()
        self.delay: Callable[[], None] = lambda: None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def store(self) -> Store:
        environ = {
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_SESSION_TOKEN": TOKEN,
            "AWS_ENDPOINT_URL": self.endpoint,
        }
        return open_store("s3://bucket/key", Credentials.MODEL, environ)[0]


@contextmanager
def served(script: Script) -> Iterator[HostileServer]:
    with HostileServer(script) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.ended.set()
            server.shutdown()
            thread.join()


def operations(store: Store, folder: Path) -> dict[str, Callable[[], object]]:
    """Return everything that asks a store for something."""
    (folder / "in").write_bytes(b"content")
    return {
        "fetch": lambda: store.fetch("key", folder / "out"),
        "read": lambda: store.read("key"),
        "digest": lambda: store.digest("key"),
        "size": lambda: store.size("key"),
        "put_file": lambda: store.put_file("key", folder / "in"),
        "put_bytes": lambda: store.put_bytes("key", b"content"),
        "list": lambda: store.list("folder/"),
    }


def listing(*keys: str, more: bool = False, token: str = "next") -> bytes:  # noqa: S107
    """Return a page of a list of objects."""
    items = "".join(f"<Contents><Key>{key}</Key></Contents>" for key in keys)
    return LIST.format(items=items, more=str(more).lower(), token=token).encode()
