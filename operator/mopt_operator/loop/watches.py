"""What kopf does: three watches that keep the store up to date and feed the queue.

Only `event` handlers: create/update handlers, timers and daemons put annotations and finalizers on
objects that belong to the user's Git, and with `index` handlers each object that is indexed wakes
all that wait to be: n(n+1)/2 wake-ups at a start.

The store is full before kopf runs (see lists), so kopf neither lists nor remembers: in 10,000
resources with their Jobs and Pods that would be a second list of everything, 50,000 tasks with an
object each and 150 MiB of notes. Nor does it queue what needs no handler: a task and a queue for
each Job and each Pod, with their twenty events, were a third of all CPU time. What replaces its
list, its notes and its JSON parser is not part of its public interface; kopf is pinned, and a test
tells when it changes there.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

import kopf
import orjson
from kopf._cogs.clients import api, fetching, watching
from kopf._cogs.clients.errors import APIError
from kopf._core.reactor.inventory import ResourceMemories, ResourceMemory

from mopt_api.base import GROUP, PLURAL, VERSION
from mopt_api.profiles import PROFILE_PLURAL
from mopt_operator.cluster.cache import Key, Restored, Store, key_of
from mopt_operator.cluster.client import login
from mopt_operator.errors import OperatorError
from mopt_operator.objects import SELECTOR, Job, Pod, Raw

from .lists import Lists
from .queue import WorkQueue
from .storage import NoDiffBase, NoProgress

logger = logging.getLogger(__name__)

# As kopf names the watch tasks.
RESOURCES = (f"{PLURAL}.{VERSION}.{GROUP}", "jobs.v1.batch", "pods.v1")
PROFILES = f"{PROFILE_PLURAL}.{VERSION}.{GROUP}"
SILENT_SECONDS = 70.0
# kopf keeps a task and the last event of each object that changed for so long.
IDLE_SECONDS = 0.5
# Between a stream that failed and the list from which the next one starts.
RESTART_SECONDS = 1.0
_GONE_CODE = 410
# It has no types.
_kopf_api: Any = api
_OF_OBJECTS = frozenset({"ADDED", "MODIFIED", "DELETED"})


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


Take = Callable[[str, Raw], bool]


def _bookmark(raw: Raw) -> Raw:
    """Return what moves a watch on to an event's version, and is handled no further."""
    version = raw["object"]["metadata"]["resourceVersion"]
    return {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": version}}}


@contextmanager
def watches_start_from(lists: Lists, taken: Take) -> Iterator[None]:
    """Let kopf's watches start where our lists ended, instead of listing everything itself.

    Args:
        taken: Gets each event with the plural of its kind; tells whether kopf need not handle it.
    """
    its_own, its_watch, its_json = fetching.fetch_objs, watching.watch_objs, _kopf_api.json

    async def watch_objs(*, resource: Any, **options: Any) -> AsyncIterator[Any]:
        stream: Any = its_watch(resource=resource, **options)
        plural = resource.plural
        async with aclosing(stream), aclosing(restarting(stream, plural)) as events:
            async for raw in events:
                done = raw["type"] in _OF_OBJECTS and taken(plural, raw)
                yield _bookmark(raw) if done else raw

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

    fetching.fetch_objs, watching.watch_objs, _kopf_api.json = fetch_objs, watch_objs, orjson
    try:
        yield
    finally:
        fetching.fetch_objs, watching.watch_objs, _kopf_api.json = its_own, its_watch, its_json


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


class Events:
    """Takes what the watches bring.

    Args:
        job_deleted: Called with the namespace of each Job that is deleted.
        offers_changed: Called once an OptimizationProfile has changed.
    """

    def __init__(
        self,
        store: Store,
        queue: WorkQueue,
        job_deleted: Callable[[str], None],
        offers_changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._queue = queue
        self._job_deleted = job_deleted
        self._offers_changed = offers_changed

    def take(self, plural: str, event: Raw) -> None:
        """Put what a watch brings into the store, and have its resource looked at."""
        raw, gone = event["object"], event["type"] == "DELETED"
        kind = self._store.kinds()[plural]
        key = kind.show(raw, deleted=gone)
        if key is None:
            return
        if plural == PROFILE_PLURAL:
            self._offers_changed()
            return
        item = None if gone else kind.get(key_of(raw["metadata"]))
        if plural == PLURAL or self._is_urgent(key, item):
            self._queue.add(key)
        else:
            self._queue.add_soon(key)
        if gone and plural == "jobs":
            self._job_deleted(key[0])

    def before_kopf(self, plural: str, event: Raw) -> bool:
        """Take what needs no handler of kopf's; tell whether it is taken.

        That is what happens to Jobs and Pods, and the echoes of the operator's own writes.
        """
        try:
            if plural == PLURAL and not self._is_echo(event):
                return False
            self.take(plural, event)
        except Exception:
            # As kopf does where a handler fails: one object must not end the watch of all.
            logger.exception("Cannot read an event of %s", plural)
        return True

    def _is_echo(self, event: Raw) -> bool:
        return event["type"] != "DELETED" and self._store.resources.has(event["object"])

    def _is_urgent(self, key: Key, item: Job | Pod | None) -> bool:
        """Tell whether more can be done now: a Job has ended, and no more of it will be seen."""
        match item:
            case Job():
                return item.finished
            case Pod():
                jobs = self._store.jobs.of(key)
                return any(job.uid == item.job_uid and job.finished for job in jobs)
        return True


def registry(events: Events, *, offers: bool = False) -> kopf.OperatorRegistry:
    """Return the handlers of the kinds, without which kopf does not watch them.

    Args:
        offers: OptimizationProfiles are among them.
    """
    handlers = kopf.OperatorRegistry()
    kopf.on.login(registry=handlers)(login)
    for resource in ((GROUP, VERSION, PLURAL), ("batch", "v1", "jobs"), ("", "v1", "pods")):
        _observe(handlers, resource, events)
    if offers:
        _observe(handlers, (GROUP, VERSION, PROFILE_PLURAL), events)
    return handlers


def _observe(
    handlers: kopf.OperatorRegistry, resource: tuple[str, str, str], events: Events
) -> None:
    plural = resource[2]

    # Asynchronous though it awaits nothing: kopf runs synchronous handlers in threads.
    @kopf.on.event(*resource, id=f"event-{plural}", registry=handlers)
    async def changed(event: Raw, **_: Any) -> None:
        events.take(plural, event)
