"""A TCP proxy before the API server with the faults that networks and load balancers have.

Plain towards the operator, TLS towards the API server: it sees where requests begin and what they
are. It can cut connections, go silent without closing them, swallow what watches bring, and call
somebody right before or right after a write.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

_CHUNK = 65536
_WRITES = (b"POST ", b"PUT ", b"PATCH ", b"DELETE ")


class When(Enum):
    """On which side of a write something happens."""

    BEFORE = "before"
    AFTER = "after"


@dataclass
class Trap:
    """What happens at a write.

    Attributes:
        writes: How many still pass.
        spring: Called in the proxy's thread; tells whether the connection lives on.
    """

    writes: int
    when: When
    spring: Callable[[], bool]


class _Connection:
    """
    Attributes:
        silent: What the client sends is swallowed.
        mute: What the server sends is swallowed.
    """

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.writers = (client, server)
        self.silent = False
        self.mute = False
        self.watches = False
        self.trap: Trap | None = None

    def cut(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


class FaultyProxy:
    """A proxy in a thread of its own.

    Attributes:
        port: Where it listens on 127.0.0.1.
        writes: Method and path of each write, but of those of Leases, which come by the clock.
    """

    def __init__(self, host: str, port: int, context: ssl.SSLContext) -> None:
        self._target = (host, port)
        self._context = context
        self._connections: set[_Connection] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._deaf = False
        self._silent = self._mute = False
        self._trap: Trap | None = None
        self.writes: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        listening = asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(listening, self._loop).result(10)
        self.port: int = self._server.sockets[0].getsockname()[1]

    # The faults; from any thread.

    def silence(self) -> None:
        """Let all open connections go silent both ways, without closing them."""
        self._loop.call_soon_threadsafe(self._silence)

    def _silence(self) -> None:
        for connection in self._connections:
            connection.silent = connection.mute = True

    def part(self, *, one_way: bool) -> None:
        """Let nothing through any more, on new connections neither, and close none.

        Args:
            one_way: Requests still reach the API server; no answer comes back.
        """
        self._mute, self._silent = True, not one_way
        self._loop.call_soon_threadsafe(self._part)

    def _part(self) -> None:
        for connection in self._connections:
            connection.mute, connection.silent = self._mute, self._silent

    def cut(self) -> None:
        """Break all connections off."""
        self._loop.call_soon_threadsafe(self._cut)

    def _cut(self) -> None:
        for connection in list(self._connections):
            connection.cut()

    def deafen(self) -> None:
        """Swallow what the API server sends on connections that watch, also new ones."""
        self._deaf = True

    def heal(self) -> None:
        """Let new connections work as they should."""
        self._deaf = self._silent = self._mute = False
        self._trap = None

    def at_write(self, trap: Trap) -> None:
        """Let something happen at a write to come, once."""
        self._trap = trap

    def close(self) -> None:
        """End it."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        """Break off what is open, and what is being opened."""
        self._server.close()
        for serving in self._serving:
            serving.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await asyncio.sleep(0)  # Broken off connections are closed in the loop's next turn.

    # The traffic.

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.current_task()
        assert serving is not None
        self._serving.add(serving)
        try:
            await self._join(reader, writer)
        finally:
            self._serving.discard(serving)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            remote, onward = await asyncio.open_connection(*self._target, ssl=self._context)
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
            return
        connection = _Connection(writer, onward)
        connection.mute, connection.silent = self._mute, self._silent
        self._connections.add(connection)
        pumps = (
            asyncio.ensure_future(self._requests(connection, reader, onward)),
            asyncio.ensure_future(self._answers(connection, remote, writer)),
        )
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            connection.cut()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._connections.discard(connection)

    async def _requests(
        self,
        connection: _Connection,
        reader: asyncio.StreamReader,
        onward: asyncio.StreamWriter,
    ) -> None:
        # A client waits for its answer: each request begins a chunk.
        while chunk := await reader.read(_CHUNK):
            if connection.silent:
                continue
            head = chunk.split(b"\r\n", 1)[0]
            connection.watches |= b"watch=true" in head
            if self._writes(head) and (trap := self._sprung()):
                if trap.when is When.AFTER:
                    connection.trap = trap
                elif not trap.spring():
                    return
            onward.write(chunk)
            await onward.drain()

    def _writes(self, head: bytes) -> bool:
        if not head.startswith(_WRITES) or b"/leases" in head:
            return False
        self.writes.append(head.decode().rpartition(" ")[0].partition("?")[0])
        return True

    def _sprung(self) -> Trap | None:
        trap = self._trap
        if trap is None:
            return None
        trap.writes -= 1
        if trap.writes >= 0:
            return None
        self._trap = None
        return trap

    async def _answers(
        self,
        connection: _Connection,
        remote: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        with contextlib.suppress(OSError):
            while chunk := await remote.read(_CHUNK):
                trap, connection.trap = connection.trap, None
                if trap is not None and not trap.spring():
                    return
                if connection.mute or (self._deaf and connection.watches):
                    continue
                writer.write(chunk)
                await writer.drain()
