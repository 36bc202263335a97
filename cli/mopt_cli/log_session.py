"""Reads the logs of a resource's Pods, to their present ends or until the resource is done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

from ._errors import CliError, ExitCode
from .cluster import Cluster, NoAnswer, Raw, Refused
from .following import Line, parse_said
from .looking import answered, first
from .observed import ObservedPod, observe_resource
from .pod_logs import LogFilter, LogFollowing, LogText, known_works, pods_of
from .watch_session import WatchSession

_PAUSE = 1.0
_NO_RIGHT = (401, 403)
_NO_LOG = (400, 404)
"""The container has not started; the Pod is gone."""


class LogSession:
    """One run of `mopt logs`.

    Args:
        show: Takes a line of a log.
        tell: Takes a remark.
    """

    def __init__(
        self,
        cluster: Cluster,
        wanted: LogFilter,
        show: Callable[[str], None],
        tell: Callable[[str], None],
    ) -> None:
        self._cluster = cluster
        self._wanted = wanted
        self._show = show
        self._tell = tell

    async def run(self, name: str, *, follow: bool) -> None:
        """Show the logs of a resource.

        Args:
            follow: Wait for what is still to come, until it is Ready or Stalled.

        Raises:
            NotFound: There is no such resource.
            CliError: It has no such Pods; or none of their logs can be read.
        """
        resource = await first(self._cluster, name)
        if follow and observe_resource(resource).ended is None:
            session = WatchSession(
                self._cluster, name, LogFollowing(name, self._wanted), self._on_line
            )
            await session.run()
            return
        pods = await self._pods(name, resource)
        refusals = [await self._read(pod, follow=follow) for pod in pods]
        if all(refusals):
            raise CliError(str(refusals[0]), ExitCode.FAILED)
        for refusal in filter(None, refusals):
            self._tell(refusal)

    def _on_line(self, line: Line) -> None:
        (self._show if isinstance(line, LogText) else self._tell)(line.text)

    async def _pods(self, name: str, resource: Raw) -> list[ObservedPod]:
        with answered():
            async with aclosing(self._cluster.pods(name)) as watch:
                there = pods_of(await anext(watch), resource["metadata"]["uid"])
        if found := [pod for pod in there if self._wanted.fits(pod)]:
            return found
        raise CliError(
            f"{name} has no such Pods, there are: {known_works(there)}; a finished Job's Pod is "
            "removed with it, after ttlSecondsAfterFinished",
            ExitCode.FAILED,
        )

    async def _read(self, pod: ObservedPod, *, follow: bool) -> str | None:
        """Show a Pod's log; return why it cannot be read, or None."""
        self._tell(f"{pod.work}: Pod {pod.name}: {pod.state}")
        try:
            async for text in self._lines(pod, follow=follow):
                self._show(self._wanted.shown(pod, text))
        except Refused as error:
            said = f"the log of Pod {pod.name} cannot be read: {error}"
            if error.status in _NO_RIGHT:
                said += "; it takes the right to get pods/log"
            if error.status not in _NO_LOG:
                return said
            self._tell(said)
        return None

    async def _lines(self, pod: ObservedPod, *, follow: bool) -> AsyncIterator[str]:
        """Yield the lines of a log; after a break, continue behind the last one."""
        heard = 0
        while True:
            try:
                async with aclosing(
                    self._cluster.log(pod.name, heard, ended=True, follow=follow)
                ) as lines:
                    async for line in lines:
                        said = parse_said(pod.uid, line)
                        if said is not None and said.stamp > heard:
                            heard = said.stamp
                            yield said.text
            except NoAnswer as error:
                if not follow:
                    raise Refused(0, str(error)) from error
                self._tell(f"the log of Pod {pod.name} broke off: {error}; retrying")
            else:
                return
            await asyncio.sleep(_PAUSE)
