"""What kopf does: three watches that keep the store up to date and feed the queue.

Only `event` handlers: create/update handlers, timers and daemons put annotations and finalizers on
objects that belong to the user's Git, and with `index` handlers each object that is indexed wakes
all that wait to be: n(n+1)/2 wake-ups at a start.

The store is full before kopf runs (see lists), so kopf neither lists nor remembers: in 10,000
resources with their Jobs and Pods that would be a second list of everything, 50,000 tasks with an
object each and 150 MiB of notes. What replaces its list and its notes is not part of its public
interface; kopf is pinned, and a test tells when it changes there.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

import kopf
from kopf._cogs.clients import fetching, watching
from kopf._cogs.clients.errors import APIError
from kopf._core.reactor.inventory import ResourceMemories, ResourceMemory

from mopt_api.base import GROUP, PLURAL, VERSION
from mopt_operator.cluster.cache import Kind, Restored, Store
from mopt_operator.cluster.client import login
from mopt_operator.errors import OperatorError
from mopt_operator.objects import SELECTOR, Raw

from .lists import Lists
from .queue import WorkQueue
from .storage import NoDiffBase, NoProgress

logger = logging.getLogger(__name__)

# As kopf names the watch tasks.
RESOURCES = (f"{PLURAL}.{VERSION}.{GROUP}", "jobs.v1.batch", "pods.v1")
SILENT_SECONDS = 70.0
# kopf keeps a task and the last event of each object that changed for so long.
IDLE_SECONDS = 0.5
# Between a stream that failed and the list from which the next one starts.
RESTART_SECONDS = 1.0
_GONE_CODE = 410


class _Endless:
    """Delays in seconds between retries, without end; kopf iterates once per request."""

    def __iter__(self) -> itertools.chain[float]:
        return itertools.chain((1.0, 1.0, 2.0, 3.0, 5.0, 8.0), itertools.repeat(13.0))


class Forgetful(ResourceMemories):
    """kopf's notes about objects, 3 KiB each, which only other kinds of handlers read."""

    async def recall(self, raw_body: Any, **options: Any) -> ResourceMemory:
        return await super().recall(raw_body, **(options | {"ephemeral": True}))


class _StreamFailed(Exception):
    """The API server said in a stream that it cannot go on."""


def _checked(raw: Any) -> Any:
    """Return what a watch brought.

    Raises:
        _StreamFailed: It is an error that kopf does not expect.
    """
    if raw["type"] == "ERROR" and raw["object"].get("code") != _GONE_CODE:
        raise _StreamFailed(raw["object"].get("message"))
    return raw


async def restarting(stream: AsyncIterator[Any], what: str) -> AsyncGenerator[Any, None]:
    """Yield what a watch brings; where it fails, have kopf start it anew from a list.

    kopf does so at 410 in a stream alone. At any other error, at an answer of 410 and at half an
    event, as a proxy or an API server that ends leaves it, it ends the whole process.
    """
    try:
        async for raw in stream:
            yield _checked(raw)
    except (APIError, _StreamFailed, ValueError) as error:
        logger.warning("The watch of %s failed, starting it anew: %s", what, error)
        await asyncio.sleep(RESTART_SECONDS)
        yield {"type": "ERROR", "object": {"code": _GONE_CODE}}


@contextmanager
def watches_start_from(lists: Lists) -> Iterator[None]:
    """Let kopf's watches start where our lists ended, instead of listing everything itself."""
    its_own, its_watch = fetching.fetch_objs, watching.watch_objs

    async def watch_objs(*, resource: Any, **options: Any) -> AsyncIterator[Any]:
        stream: Any = its_watch(resource=resource, **options)
        async with (
            aclosing(stream),
            aclosing(restarting(stream, resource.plural)) as events,
        ):
            async for raw in events:
                yield raw

    async def fetch_objs(
        *, resource: Any, namespace: str | None, **_: Any
    ) -> AsyncIterator[tuple[tuple[()], str]]:
        for delay in _Endless():
            try:
                version = await lists.version_to_watch(resource.plural, namespace)
            except Restored:
                await asyncio.Event().wait()  # The process ends; see Lists.fail_if_restored.
            except OperatorError as error:
                logger.warning("Cannot list %s, trying again: %s", resource.plural, error)
                await asyncio.sleep(delay)
            else:
                yield (), version
                return

    fetching.fetch_objs, watching.watch_objs = fetch_objs, watch_objs
    try:
        yield
    finally:
        fetching.fetch_objs, watching.watch_objs = its_own, its_watch


def kopf_settings() -> kopf.OperatorSettings:
    """Return how kopf is to watch."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    # No permission on CRDs and namespaces is needed.
    settings.scanning.disabled = True
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    settings.watching.connect_timeout = 30
    # The API server sends a bookmark about every minute: a watch without even these is presumed
    # cut off, and reopened.
    settings.watching.inactivity_timeout = SILENT_SECONDS
    settings.queueing.idle_timeout = IDLE_SECONDS
    settings.watching.label_selectors["batch", "v1", "jobs"] = SELECTOR
    settings.watching.label_selectors["", "v1", "pods"] = SELECTOR
    settings.networking.request_timeout = 60
    settings.networking.error_backoffs = _Endless()
    settings.process.ultimate_exiting_timeout = 10
    settings.persistence.diffbase_storage = NoDiffBase()
    settings.persistence.progress_storage = NoProgress()
    return settings


def registry(
    store: Store, queue: WorkQueue, job_deleted: Callable[[str], None]
) -> kopf.OperatorRegistry:
    """Return the handlers of the three kinds.

    Args:
        job_deleted: Called with the namespace of each Job that is deleted.
    """
    handlers = kopf.OperatorRegistry()
    kopf.on.login(registry=handlers)(login)
    _observe(handlers, (GROUP, VERSION, PLURAL), store.resources, queue)
    _observe(handlers, ("batch", "v1", "jobs"), store.jobs, queue, job_deleted)
    _observe(handlers, ("", "v1", "pods"), store.pods, queue)
    return handlers


def _observe(
    handlers: kopf.OperatorRegistry,
    resource: tuple[str, str, str],
    kind: Kind[Any],
    queue: WorkQueue,
    deleted: Callable[[str], None] = lambda _: None,
) -> None:
    plural = resource[2]

    # Asynchronous though it awaits nothing: kopf runs synchronous handlers in threads.
    @kopf.on.event(*resource, id=f"event-{plural}", registry=handlers)
    async def changed(event: Raw, **_: Any) -> None:
        take(event, kind, queue, deleted)


def take(event: Raw, kind: Kind[Any], queue: WorkQueue, deleted: Callable[[str], None]) -> None:
    """Put what a watch brings into the store, and have its resource looked at."""
    gone = event["type"] == "DELETED"
    if key := kind.show(event["object"], deleted=gone):
        queue.add(key)
    if key and gone:
        deleted(key[0])
