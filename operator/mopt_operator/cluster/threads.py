"""A thread with an event loop of its own, for what must go on while the operator's is busy."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress


class LoopThread:
    """Runs one coroutine in a thread of its own, until it returns or is stopped.

    Args:
        run: Called in the thread; takes an event that is set when it is to return.

    Attributes:
        ended: Done when the coroutine has ended; holds its exception, if it raised one.
    """

    def __init__(self, name: str, run: Callable[[asyncio.Event], Awaitable[None]]) -> None:
        self.ended: Future[None] = Future()
        self._run = run
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._asked = threading.Event()
        # A daemon: a process that ends in a hurry does not wait for it.
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask the coroutine to return; does not wait."""
        self._asked.set()
        loop, stop = self._loop, self._stop
        if loop is not None and stop is not None:
            with suppress(RuntimeError):  # It has ended by itself, and its loop is closed.
                loop.call_soon_threadsafe(stop.set)

    async def end(self, timeout: float | None = None) -> None:
        """Ask the coroutine to return, and wait for it; its error is in `ended`."""
        self.stop()
        ended = asyncio.wrap_future(self.ended)
        ended.add_done_callback(lambda over: over.cancelled() or over.exception())
        await asyncio.wait({ended}, timeout=timeout)

    def _main(self) -> None:
        try:
            asyncio.run(self._inside())
        except BaseException as error:  # noqa: BLE001 - whoever looks at `ended` gets it
            self.ended.set_exception(error)
        else:
            self.ended.set_result(None)

    async def _inside(self) -> None:
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        if self._asked.is_set():
            self._stop.set()
        await self._run(self._stop)
