"""The operator's HTTP port: /healthz (alive), /readyz (working, or ready to), /metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from mopt_operator.errors import OperatorError

# Prometheus' text format.
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def application(
    not_ready: Callable[[], list[str]], metrics: Callable[[], bytes]
) -> web.Application:
    """Return the three pages.

    Args:
        not_ready: Returns what is missing, a line each; nothing where the operator is ready.
        metrics: Returns all metrics in Prometheus' text format.
    """

    async def healthz(_: web.Request) -> web.Response:
        # An answer is all it takes: the event loop runs. Dead watches end the process.
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        missing = not_ready()
        text = "\n".join(missing or ["ok"])
        return web.Response(text=f"{text}\n", status=503 if missing else 200)

    async def show_metrics(_: web.Request) -> web.Response:
        return web.Response(body=metrics(), headers={"Content-Type": METRICS_TYPE})

    pages = web.Application()
    pages.router.add_get("/healthz", healthz)
    pages.router.add_get("/readyz", readyz)
    pages.router.add_get("/metrics", show_metrics)
    return pages


@asynccontextmanager
async def serve(address: str, pages: web.Application) -> AsyncIterator[None]:
    """Serve pages at HOST:PORT.

    Raises:
        OperatorError: The port cannot be opened.
    """
    host, _, port = address.rpartition(":")
    runner = web.AppRunner(pages, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, int(port)).start()
    except OSError as error:
        await runner.cleanup()
        raise OperatorError(f"cannot listen on {address}: {error}") from error
    try:
        yield
    finally:
        await runner.cleanup()
