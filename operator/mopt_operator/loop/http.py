"""The operator's HTTP port: /healthz (alive), /readyz (working, or ready to), /metrics.

It is served by a thread of its own, so that a busy event loop is not taken for a dead one: that
loop is asked for /readyz and /metrics, and its heartbeat alone tells whether it is alive.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import TypeVar

from aiohttp import web

from mopt_operator.cluster.threads import LoopThread
from mopt_operator.config.settings import HealthTls
from mopt_operator.errors import OperatorError

from .certificates import RENEW_SECONDS, Certificates

# Prometheus' text format.
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BEAT_SECONDS = 1.0
# A list page, a scrape or the garbage collector hold the event loop up for tenths of a second; on a
# node without CPU to spare that is seconds. The kubelet asks three times before it restarts a Pod.
STALLED_SECONDS = 60.0
# Less than the probes wait.
ANSWER_SECONDS = 4.0

_T = TypeVar("_T")

Judge = Callable[[str], Awaitable[HTTPStatus]]
"""Whether the bearer of a token may read /metrics: OK, UNAUTHORIZED or FORBIDDEN."""


class Heartbeat:
    """When the event loop last turned.

    Args:
        late: Called with the seconds by which each beat was late.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        late: Callable[[float], object] = lambda _: None,
    ) -> None:
        self._clock = clock
        self._late = late
        self._last = clock()

    async def beat(self) -> None:
        """Beat until cancelled."""
        while True:
            self._last = self._clock()
            await asyncio.sleep(BEAT_SECONDS)
            self._late(max(self.age() - BEAT_SECONDS, 0.0))

    def age(self) -> float:
        """Return the seconds since the last beat; from any thread."""
        return self._clock() - self._last


def application(
    not_ready: Callable[[], list[str]],
    metrics: Callable[[], Awaitable[bytes]],
    heartbeat: Heartbeat,
    judge: Judge | None = None,
) -> web.Application:
    """Return the three pages; call it where the event loop runs that they are about.

    Args:
        not_ready: Returns what is missing, a line each; nothing where the operator is ready.
        metrics: Returns all metrics in Prometheus' text format.
        judge: Of the tokens of those who ask for /metrics; None asks for none.
    """
    home = asyncio.get_running_loop()

    async def ask(question: Callable[[], Awaitable[_T]]) -> _T:
        async def answer() -> _T:
            return await question()

        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(answer(), home))
        except TimeoutError as error:
            text = f"the event loop has been busy for {heartbeat.age():.0f} s\n"
            raise web.HTTPServiceUnavailable(text=text) from error

    async def healthz(_: web.Request) -> web.Response:
        # Dead watches end the process.
        if (age := heartbeat.age()) > STALLED_SECONDS:
            return web.Response(
                text=f"the event loop has stood still for {age:.0f} s\n", status=503
            )
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        async def look() -> list[str]:
            return not_ready()

        missing = await ask(look)
        text = "\n".join(missing or ["ok"])
        return web.Response(text=f"{text}\n", status=503 if missing else 200)

    async def show_metrics(request: web.Request) -> web.Response:
        if _is_stranger(request):
            raise web.HTTPForbidden(text="a client certificate is required\n")
        if judge is not None:
            token = _token(request)
            try:
                _admit(await ask(partial(judge, token)) if token else HTTPStatus.UNAUTHORIZED)
            except OperatorError as error:
                text = f"the token cannot be judged: {error}\n"
                raise web.HTTPServiceUnavailable(text=text) from error
        return web.Response(body=await ask(metrics), headers={"Content-Type": METRICS_TYPE})

    pages = web.Application()
    pages.router.add_get("/healthz", healthz)
    pages.router.add_get("/readyz", readyz)
    pages.router.add_get("/metrics", show_metrics)
    return pages


def _is_stranger(request: web.Request) -> bool:
    """Tell whether a client has no certificate, though clients are to have one."""
    found = request.get_extra_info("ssl_object")
    asked = isinstance(found, ssl.SSLObject) and found.context.verify_mode is not ssl.CERT_NONE
    return asked and not found.getpeercert()


def _token(request: web.Request) -> str:
    """Return a client's bearer token; "" where it has none."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _admit(verdict: HTTPStatus) -> None:
    """Raise the answer for whom a verdict keeps out."""
    if verdict is HTTPStatus.UNAUTHORIZED:
        raise web.HTTPUnauthorized(
            text="a bearer token is required that the API server knows\n",
            headers={"WWW-Authenticate": "Bearer"},
        )
    if verdict is not HTTPStatus.OK:
        raise web.HTTPForbidden(
            text="the token's user may not get /metrics: bind it to a ClusterRole with verb get "
            "of nonResourceURLs [/metrics]\n"
        )


@asynccontextmanager
async def serve(
    address: str, pages: web.Application, tls: HealthTls | None = None
) -> AsyncIterator[None]:
    """Serve pages at HOST:PORT, from a thread.

    Raises:
        OperatorError: The port cannot be opened, or the certificate cannot be used.
    """
    certificates = Certificates(tls) if tls else None
    opened: Future[None] = Future()

    def tell(ended: Future[None]) -> None:
        if not opened.done():
            opened.set_exception(ended.exception() or OperatorError(f"{address} was not opened"))

    thread = LoopThread("http", lambda stop: _serve(address, pages, certificates, opened, stop))
    thread.ended.add_done_callback(tell)
    thread.start()
    try:
        await asyncio.wrap_future(opened)
        yield
    finally:
        await thread.end()


async def _serve(
    address: str,
    pages: web.Application,
    certificates: Certificates | None,
    opened: Future[None],
    stop: asyncio.Event,
) -> None:
    host, _, port = address.rpartition(":")
    runner = web.AppRunner(pages, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        context = certificates.context if certificates else None
        await web.TCPSite(runner, host, int(port), ssl_context=context).start()
        opened.set_result(None)
        await _hold(certificates, stop)
    except (OSError, OverflowError) as error:
        raise OperatorError(f"cannot listen on {address}: {error}") from error
    finally:
        await runner.cleanup()


async def _hold(certificates: Certificates | None, stop: asyncio.Event) -> None:
    """Wait for the end, and look now and then whether the certificate is renewed."""
    while True:
        try:
            async with asyncio.timeout(RENEW_SECONDS if certificates else None):
                await stop.wait()
                return
        except TimeoutError:
            if certificates:
                certificates.renew()
