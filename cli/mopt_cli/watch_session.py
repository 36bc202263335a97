"""Watches a resource in a cluster: watches and logs become events, and reopen on failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import suppress
from typing import Any

from ._errors import CliError, ExitCode
from .cluster import Cluster, NoAnswer, Raw, Refused
from .following import Event, Following, Line, LogSaid, PodsSeen, ResourceSeen, Troubled, parse_said
from .looking import first
from .observed import ObservedPod

OnLine = Callable[[Line], None]

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 10.0
# A Pod's last lines may still be in transit when status has its result.
_DRAIN_SECONDS = 3.0
_LOOK_SECONDS = 0.1
_NO_RIGHT = (401, 403)
_SERVER = "the API server"


class WatchSession:
    """One run of `mopt watch`, and of others that wait for a resource.

    Args:
        pods: Whether Pods and their logs are watched too.
    """

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        following: Following,
        on_line: OnLine,
        *,
        pods: bool = True,
    ) -> None:
        self._cluster = cluster
        self._name = name
        self._following = following
        self._on_line = on_line
        self._queue: asyncio.Queue[Event | BaseException] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._logs: dict[str, asyncio.Task[None]] = {}
        self._sees_pods = pods
        self._may_read_logs = True
        self._raw: Raw | None = None

    async def run(self) -> tuple[ExitCode, Raw | None]:
        """Return how the resource ended, and the resource; None where it was deleted.

        Raises:
            CliError: There is no such resource, or reading it is forbidden.
        """
        self._take(await self._first())
        try:
            if self._following.ended is None:
                self._start(self._watch_resource())
                if self._sees_pods:
                    self._start(self._watch_pods())
            while self._following.ended is None:
                item = await self._queue.get()
                if isinstance(item, BaseException):
                    raise item
                self._take(item)
                self._read_logs()
            await self._drain()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        return self._following.ended, self._raw

    async def _first(self) -> ResourceSeen:
        """Return the resource as it is now; a failure here ends the command."""
        return ResourceSeen(await first(self._cluster, self._name))

    def _take(self, event: Event) -> None:
        if isinstance(event, ResourceSeen) and self._following.ended is None:
            self._raw = event.raw
        for line in self._following.update(event):
            self._on_line(line)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._queue.put_nowait(error)

    async def _watch_resource(self) -> None:
        def event(found: tuple[Raw, ...]) -> Event:
            return ResourceSeen(found[0] if found else None)

        await self._keep_watching(lambda: self._cluster.resources(self._name), event)

    async def _watch_pods(self) -> None:
        try:
            await self._keep_watching(lambda: self._cluster.pods(self._name), PodsSeen)
        except CliError as error:
            message = f"continuing with status alone: {error}"
            self._queue.put_nowait(Troubled("the Pods", message))

    async def _keep_watching(
        self,
        watch: Callable[[], AsyncGenerator[tuple[Raw, ...]]],
        event: Callable[[tuple[Raw, ...]], Event],
    ) -> None:
        """Put what a watch shows into the queue, and reopen it whenever it breaks.

        Raises:
            CliError: Watching it is forbidden, from the start or later.
        """
        pause, renewed, who = _FIRST_PAUSE, False, str(id(watch))
        while True:
            try:
                async for found in watch():
                    pause, renewed = _FIRST_PAUSE, False
                    self._queue.put_nowait(Troubled(_SERVER, None, who))
                    self._queue.put_nowait(event(found))
            except Refused as error:
                if error.status == 401 and not renewed:
                    renewed = True
                    await self._cluster.renew()
                elif error.status in _NO_RIGHT:
                    raise CliError(
                        f"{_SERVER} refuses the request: {error}", ExitCode.FAILED
                    ) from error
                elif error.status == 404:  # The CRD is gone, and all its resources.
                    self._queue.put_nowait(event(()))
                elif error.status != 410:  # 410: the version expired; it is listed again.
                    message = f"{_SERVER} refuses the request: {error}; retrying"
                    self._queue.put_nowait(Troubled(_SERVER, message, who))
            except NoAnswer as error:
                message = f"{_SERVER} does not answer: {error}; retrying"
                self._queue.put_nowait(Troubled(_SERVER, message, who))
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 2)

    def _read_logs(self) -> None:
        """Start a task for each log that is to be read and is not yet."""
        if not self._may_read_logs:
            return
        for pod in self._following.speaking():
            if pod.uid not in self._logs:
                self._logs[pod.uid] = self._start(self._read_log(pod))

    async def _read_log(self, pod: ObservedPod) -> None:
        """Put a log's lines into the queue; after a break, continue behind the last one."""
        pause = _FIRST_PAUSE
        while (now := self._following.pod(pod.uid)) is not None:
            heard = self._following.heard(pod.uid)
            try:
                async for line in self._cluster.log(pod.name, heard, ended=now.finished):
                    pause = _FIRST_PAUSE
                    self._queue.put_nowait(Troubled(_log_of(pod), None))
                    if (said := parse_said(pod.uid, line)) is not None:
                        self._queue.put_nowait(said)
                if now.finished:
                    return
            except Refused as error:
                if error.status == 403:
                    self._may_read_logs = False
                    message = f"no right to read logs; continuing with status alone: {error}"
                    self._queue.put_nowait(Troubled("the logs", message))
                    return
                if error.status == 401:
                    await self._cluster.renew()
                if error.status != 404:  # Gone: the watch will report it.
                    self._log_trouble(pod, str(error))
            except NoAnswer as error:
                self._log_trouble(pod, str(error))
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 2)

    def _log_trouble(self, pod: ObservedPod, message: str) -> None:
        message = f"{_log_of(pod)} cannot be read: {message}; retrying"
        self._queue.put_nowait(Troubled(_log_of(pod), message))

    async def _drain(self) -> None:
        """Read the logs to their ends, within a time limit."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                while any(not task.done() for task in self._logs.values()):
                    with suppress(TimeoutError):
                        item = await asyncio.wait_for(self._queue.get(), _LOOK_SECONDS)
                        if not isinstance(item, BaseException):
                            self._take(item)
        while not self._queue.empty():
            item = self._queue.get_nowait()
            if isinstance(item, LogSaid):
                self._take(item)


def _log_of(pod: ObservedPod) -> str:
    return f"the log of Pod {pod.name}"
