"""A web server with a certificate, whose answers a test scripts, and a proxy that tunnels to it."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from json_server import running

from devcluster.certificates import Identity, Pki

Script = Callable[["WebRequest"], None]


class WebRequest(BaseHTTPRequestHandler):
    """One request; a script answers it."""

    server: WebServer

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.server.script(self)

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Send an answer; a length that is no other header's is that of the body."""
        self.send_response(status)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in {"Content-Length": str(len(body)), **named}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        with suppress(OSError):  # The client may have read enough.
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class WebServer(ThreadingHTTPServer):
    """Serves TLS on 127.0.0.1, with the certificate `server` of a folder.

    Attributes:
        asked: Paths of the requests, in order.
    """

    daemon_threads = True

    def __init__(self, pki: Pki, script: Script) -> None:
        super().__init__(("127.0.0.1", 0), WebRequest)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pki.certificate("server"), pki.key("server"))
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.script = script
        self.asked: list[str] = []

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self.server_address[1]}"


def server_pki(folder: Path) -> Pki:
    """Return a folder's authority, `ca`, with the certificate `server` of this host."""
    pki = Pki(folder)
    pki.create_authority("ca")
    pki.issue("server", Identity("server", names=("127.0.0.1", "localhost")))
    return pki


@contextmanager
def web_server(pki: Pki, script: Script) -> Iterator[WebServer]:
    """Give a server that runs."""
    with running(WebServer(pki, script)) as server:
        yield server


class _Tunnel(BaseHTTPRequestHandler):
    server: Tunnels

    def do_CONNECT(self) -> None:
        self.server.asked.append(self.path)
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port))) as onward:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=_pump, args=(onward, self.connection))
            back.start()
            _pump(self.connection, onward)
            back.join()

    def log_message(self, format: str, *args: object) -> None:
        pass


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


class Tunnels(ThreadingHTTPServer):
    """A proxy on 127.0.0.1.

    Attributes:
        asked: HOST:PORT of each tunnel, in order.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.asked: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def tunnels() -> Iterator[Tunnels]:
    """Give a proxy that runs."""
    with running(Tunnels()) as server:
        yield server


class _Relay(socketserver.BaseRequestHandler):
    server: TlsFront

    def handle(self) -> None:
        with socket.create_connection(self.server.behind) as onward:
            back = threading.Thread(target=_pump, args=(onward, self.request))
            back.start()
            _pump(self.request, onward)
            back.join()


class TlsFront(ThreadingHTTPServer):
    """TLS on 127.0.0.1 before a server that speaks none.

    Attributes:
        behind: Host and port of that one.
    """

    daemon_threads = True

    def __init__(self, pki: Pki, behind: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Relay)
        self.behind = behind
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pki.certificate("server"), pki.key("server"))
        self.socket = context.wrap_socket(self.socket, server_side=True)

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self.server_address[1]}"


@contextmanager
def tls_front(pki: Pki, server: str) -> Iterator[TlsFront]:
    """Give one that runs before a server's http://HOST:PORT."""
    host, _, port = server.removeprefix("http://").rpartition(":")
    with running(TlsFront(pki, (host, int(port)))) as front:
        yield front
