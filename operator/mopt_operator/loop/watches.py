"""What kopf does: three watches that keep the store up to date and feed the queue.

Only `event` handlers: create/update handlers, timers and daemons put annotations and finalizers on
objects that belong to the user's Git, and with `index` handlers each object that is indexed wakes
all that wait to be: n(n+1)/2 wake-ups at a start. The store is full before kopf runs; see lists.
"""

from __future__ import annotations

import itertools
from typing import Any

import kopf

from mopt_api.base import GROUP, PLURAL, VERSION
from mopt_operator.cluster.cache import Kind, Store
from mopt_operator.cluster.client import login
from mopt_operator.objects import SELECTOR, Raw

from .queue import WorkQueue
from .storage import NoDiffBase, NoProgress

# As kopf names the watch tasks.
RESOURCES = (f"{PLURAL}.{VERSION}.{GROUP}", "jobs.v1.batch", "pods.v1")
SILENT_SECONDS = 70.0


class _Endless:
    """Delays in seconds between retries, without end; kopf iterates once per request."""

    def __iter__(self) -> itertools.chain[float]:
        return itertools.chain((1.0, 1.0, 2.0, 3.0, 5.0, 8.0), itertools.repeat(13.0))


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
    settings.watching.chunk_size = 500
    settings.watching.label_selectors["batch", "v1", "jobs"] = SELECTOR
    settings.watching.label_selectors["", "v1", "pods"] = SELECTOR
    settings.networking.request_timeout = 60
    settings.networking.error_backoffs = _Endless()
    settings.process.ultimate_exiting_timeout = 10
    settings.persistence.diffbase_storage = NoDiffBase()
    settings.persistence.progress_storage = NoProgress()
    return settings


def registry(store: Store, queue: WorkQueue) -> kopf.OperatorRegistry:
    """Return the handlers of the three kinds."""
    handlers = kopf.OperatorRegistry()
    kopf.on.login(registry=handlers)(login)
    _observe(handlers, (GROUP, VERSION, PLURAL), store.resources, queue)
    _observe(handlers, ("batch", "v1", "jobs"), store.jobs, queue)
    _observe(handlers, ("", "v1", "pods"), store.pods, queue)
    return handlers


def _observe(
    handlers: kopf.OperatorRegistry,
    resource: tuple[str, str, str],
    kind: Kind[Any],
    queue: WorkQueue,
) -> None:
    plural = resource[2]

    # Asynchronous though it awaits nothing: kopf runs synchronous handlers in threads.
    @kopf.on.event(*resource, id=f"event-{plural}", registry=handlers)
    async def changed(event: Raw, **_: Any) -> None:
        if key := kind.show(event["object"], deleted=event["type"] == "DELETED"):
            queue.add(key)
