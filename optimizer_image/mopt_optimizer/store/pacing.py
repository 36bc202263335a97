"""Connections that send and receive at a pace, and answers whose heads have an end."""

from __future__ import annotations

import http.client
import io
import socket
import time
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

SLOWEST_BYTES_PER_SECOND = 64 * 1024
"""An answer may take twice its longest pause, and then must come at this pace."""
SEND_SECONDS = 60.0
"""To send a request, beside the time that its body takes at that pace."""
MAX_HEAD_BYTES = 256 * 1024


class _Paced(io.RawIOBase):
    """Bytes from a socket, none of them later than the pace requires.

    Only the time spent in waiting counts, not what a reader does between two reads.
    """

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw = raw
        self._sock = sock
        self._pause = sock.gettimeout() or SEND_SECONDS
        self._patience = 2 * self._pause
        self._left: int | None = None

    def limit(self, count: int | None) -> None:
        """Refuse to read more than so many bytes from now on; None for no limit."""
        self._left = count

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._patience <= 0:
            raise TimeoutError("too slow")
        self._sock.settimeout(min(self._pause, self._patience))
        started = time.monotonic()
        count = self._raw.readinto(buffer)
        self._patience += (count or 0) / SLOWEST_BYTES_PER_SECOND - (time.monotonic() - started)
        if self._left is not None:
            self._left -= count or 0
            if self._left < 0:
                raise http.client.HTTPException("the head of the answer has no end")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _PacedResponse(http.client.HTTPResponse):
    """An answer whose head is bounded, read at the pace."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._paced = _Paced(self.fp.detach(), sock)
        self.fp = io.BufferedReader(self._paced)

    def begin(self) -> None:
        self._paced.limit(MAX_HEAD_BYTES)
        super().begin()
        self._paced.limit(None)


def _await_sent(connection: HTTPConnection, data: Any) -> None:
    """Set how long sending may take: urllib3 allows what connecting may, too short for a part."""
    if connection.sock is None:
        connection.connect()
    size = len(data) if isinstance(data, bytes) else 0
    connection.sock.settimeout(SEND_SECONDS + size / SLOWEST_BYTES_PER_SECOND)


class _Connection(HTTPConnection):
    response_class = _PacedResponse

    def send(self, data: Any) -> None:
        _await_sent(self, data)
        super().send(data)


class _TlsConnection(HTTPSConnection):
    response_class = _PacedResponse

    def send(self, data: Any) -> None:
        _await_sent(self, data)
        super().send(data)


class PacedPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class PacedTlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection
