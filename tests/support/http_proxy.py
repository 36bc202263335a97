"""An HTTP proxy whose answers a test scripts: what an API server or a store says, but at the wrong
time, twice, in part, damaged, or not at all.

`faulty_proxy` is the one for connections; this one reads what passes.
"""

from __future__ import annotations

import asyncio
import io
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web
from yarl import URL

# Of one connection, not of the message.
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "upgrade"}

_TLS_SECONDS = 0.25

Chunks = AsyncIterator[bytes]


class Broken(Exception):
    """The connection breaks here."""


@dataclass
class Call:
    """A request on its way through the proxy.

    Attributes:
        forward: Passes it on, and the answer back; takes what changes the answer's body.
    """

    request: web.Request
    forward: Callable[..., Awaitable[web.StreamResponse]] = field(repr=False)

    @property
    def method(self) -> str:
        return self.request.method

    @property
    def path(self) -> str:
        return self.request.path

    @property
    def watches(self) -> str | None:
        """The plural of what it watches; None where it is no watch."""
        if self.request.query.get("watch") != "true":
            return None
        return self.path.rpartition("/")[2]

    @property
    def writes(self) -> bool:
        return self.method not in ("GET", "HEAD")

    async def body(self) -> bytes:
        """Return all of what the client sends, however much it is."""
        return await self.request.content.read()

    async def answer(self, status: int, text: str = "", **headers: str) -> web.StreamResponse:
        """Answer in the server's place; headers by name, - written as _."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(
            status=status, text=text, content_type="application/json", headers=named
        )


Script = Callable[[Call], Awaitable[web.StreamResponse]]


async def as_it_is(chunks: Chunks) -> Chunks:
    async for chunk in chunks:
        yield chunk


async def lines(chunks: Chunks) -> Chunks:
    """Yield whole lines, with their ends; the last one may lack it."""
    rest = b""
    async for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line + b"\n"
    if rest:
        yield rest


async def no_fault(call: Call) -> web.StreamResponse:
    return await call.forward()


class HttpProxy:
    """A proxy in a thread of its own.

    Args:
        target: Such as https://127.0.0.1:6443.
        context: How to trust the target.

    Attributes:
        port: Where it listens on 127.0.0.1.
        calls: Method and path of each request.
    """

    def __init__(self, target: str, context: ssl.SSLContext | None = None) -> None:
        self._target = target
        self._context = context
        self._script: Script = no_fault
        self._streams: set[asyncio.Task[None]] = set()
        self.calls: list[tuple[str, str]] = []
        self.port = 0
        self._stop = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        listening = threading.Event()
        self._thread = threading.Thread(
            target=self._loop.run_until_complete, args=(self._run(listening),), daemon=True
        )
        self._thread.start()
        assert listening.wait(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # From any thread.

    def play(self, script: Script, *, reopen: bool = True) -> None:
        """Let a script answer from now on.

        Args:
            reopen: End the answers that are under way, watches among them.
        """
        self._script = script
        if reopen:
            self._loop.call_soon_threadsafe(self._end_streams)

    def heal(self) -> None:
        """Let everything pass, also what a script holds back."""
        self.play(no_fault)

    def close(self) -> None:
        """End it."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()

    def _end_streams(self) -> None:
        for stream in self._streams:
            stream.cancel()

    # The traffic.

    async def _run(self, listening: threading.Event) -> None:
        # The client's own address and keys are in what it signs: everything passes as it is.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._context or False, limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
        )
        server = web.Server(self._serve)
        runner = web.ServerRunner(server, handler_cancellation=True, shutdown_timeout=0.2)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        listening.set()
        await self._stop.wait()
        self._end_streams()
        await runner.cleanup()
        await self._session.close()
        # TLS ends a little later than close() says (aiohttp's documentation, Graceful shutdown).
        await asyncio.sleep(_TLS_SECONDS)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        self.calls.append((request.method, request.path))

        async def forward(change: Callable[[Chunks], Chunks] = as_it_is) -> web.StreamResponse:
            return await self._forward(request, change)

        call = Call(request, forward)  # type: ignore[arg-type]
        try:
            return await self._script(call)
        except (Broken, aiohttp.ClientError, OSError):
            if request.transport is not None:
                request.transport.abort()
            return web.Response()

    async def _forward(
        self, request: web.BaseRequest, change: Callable[[Chunks], Chunks]
    ) -> web.StreamResponse:
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP_BY_HOP}
        body = await request.content.read()
        async with self._session.request(
            request.method,
            URL(self._target + request.raw_path, encoded=True),
            headers=headers,
            data=io.BytesIO(body) if body else None,
            skip_auto_headers=("Content-Type", "User-Agent", "Accept", "Accept-Encoding"),
            allow_redirects=False,
        ) as answer:
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in _HOP_BY_HOP}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            passing = asyncio.ensure_future(self._pass(answer, response, change))
            self._streams.add(passing)
            try:
                await passing
            except asyncio.CancelledError:
                passing.cancel()
                if not passing.cancelled():
                    raise
            finally:
                self._streams.discard(passing)
            with suppress(ConnectionError):
                await response.write_eof()
            return response

    async def _pass(
        self,
        answer: aiohttp.ClientResponse,
        response: web.StreamResponse,
        change: Callable[[Chunks], Chunks],
    ) -> None:
        async for chunk in change(answer.content.iter_any()):
            await response.write(chunk)
