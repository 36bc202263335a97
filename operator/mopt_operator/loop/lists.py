"""Lists the cluster: at the start to fill the store, later to find what the watches missed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Protocol

from mopt_api.profiles import PROFILE_PLURAL
from mopt_operator.cluster.cache import CLUSTER_SCOPED, Kind, Listed, Restored, Store, key_of
from mopt_operator.cluster.lag import is_older
from mopt_operator.errors import NotFound, OperatorError, Refused
from mopt_operator.objects import Raw

from .metrics import Metrics
from .queue import WorkQueue

logger = logging.getLogger(__name__)


class Api(Protocol):
    """The API calls of the lists; see cluster.api."""

    def pages(self, plural: str, namespace: str | None, *, whole: bool) -> AsyncIterator[Raw]: ...
    async def read(self, plural: str, namespace: str, name: str) -> Raw: ...


class Lists:
    """Brings the store to what the cluster holds, page by page.

    Args:
        namespaces: Those that are watched; empty for the whole cluster.
        offers_changed: Called once OptimizationProfiles are found to have changed.
    """

    def __init__(
        self,
        cluster: Api,
        namespaces: list[str],
        *,
        store: Store,
        queue: WorkQueue,
        metrics: Metrics,
        offers_changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._cluster = cluster
        self._namespaces: list[str | None] = [*namespaces] or [None]
        self._store = store
        self._queue = queue
        self._metrics = metrics
        self._offers_changed = offers_changed
        # By plural and namespace: the version of the list that filled the store.
        self._filled: dict[tuple[str, str | None], str] = {}
        self._restored = Restored()
        self._noticed = asyncio.Event()

    async def fill(self) -> None:
        """Put all that there is into the store, before anything is decided or watched.

        A namespace that refuses is left to its watches, which try again and again.

        Raises:
            OperatorError: A call failed.
        """
        for namespace, kinds in self._scopes():
            try:
                await self._fill(namespace, kinds)
            except Refused as error:
                if namespace is None:
                    raise
                logger.warning("Cannot list namespace %s: %s", namespace, error)
        self._metrics.resync.at.set_to_current_time()
        self._offers_changed()
        # The oldest first: where few may run at once, they are the ones.
        for resource in sorted(
            self._store.resources, key=lambda r: (r.created, r.namespace, r.name)
        ):
            self._queue.add((resource.namespace, resource.name), later=resource.settled)
        self._queue.begin_first_pass()

    async def version_to_watch(self, plural: str, namespace: str | None) -> str:
        """Return the resourceVersion that a watch starts from: the store is at least that new.

        At first it is that of `fill`; whenever a watch starts anew, that of a comparison.

        Raises:
            Restored: See `compare`.
            OperatorError: A call failed.
        """
        version = self._filled.pop((plural, namespace), None)
        if version is not None:
            return version
        return await self._compare(plural, self._store.kinds()[plural], namespace)

    async def fail_if_restored(self) -> None:
        """Wait for a list that is older than what has been seen, whoever asked for it.

        Raises:
            Restored: Always, in the end.
        """
        await self._noticed.wait()
        raise self._restored

    def _scopes(self) -> list[tuple[str | None, dict[str, Kind[Any]]]]:
        """Return where to list, and which kinds there by their plural."""
        kinds = self._store.kinds()
        if self._namespaces == [None]:
            return [(None, kinds)]
        inside = {plural: kind for plural, kind in kinds.items() if plural not in CLUSTER_SCOPED}
        outside = {plural: kind for plural, kind in kinds.items() if plural in CLUSTER_SCOPED}
        return [(None, outside), *((namespace, inside) for namespace in self._namespaces)]

    async def _fill(self, namespace: str | None, kinds: Mapping[str, Kind[Any]]) -> None:
        for plural, kind in kinds.items():
            version = "0"
            async for page in self._cluster.pages(plural, namespace, whole=True):
                version = page["metadata"]["resourceVersion"]
                for raw in page["items"] or ():
                    kind.put(raw)
            self._filled[plural, namespace] = version

    async def compare(self) -> None:
        """Find what the watches missed, such as deletions while one was reopened.

        Only metadata is listed; what differs is read. A namespace that cannot be listed does not
        keep the others from being compared.

        Raises:
            Restored: A list is older than what has been seen.
        """
        failed = False
        with self._metrics.resync.seconds.time():
            for namespace, kinds in self._scopes():
                try:
                    for plural, kind in kinds.items():
                        await self._compare(plural, kind, namespace)
                except Restored:
                    raise
                except OperatorError as error:
                    failed = True
                    self._metrics.resync.failures.inc()
                    where = "the cluster" if namespace is None else f"namespace {namespace}"
                    logger.warning("Cannot compare the store with %s: %s", where, error)
        if not failed:
            self._metrics.resync.at.set_to_current_time()

    async def _compare(self, plural: str, kind: Kind[Any], namespace: str | None) -> str:
        seen, listed, version = kind.newest, [], "0"
        async for page in self._cluster.pages(plural, namespace, whole=False):
            version = page["metadata"]["resourceVersion"]
            if is_older(version, seen):
                self._restored = Restored(
                    f"the list of {plural} is at resourceVersion {version}, though {seen} has been "
                    "seen: etcd was restored from a backup; starting anew"
                )
                self._noticed.set()
                raise self._restored
            listed += [_listed(raw["metadata"]) for raw in page["items"] or ()]  # Go's nil
        newer, changed = kind.compare(listed, version, namespace)
        for item in newer:
            try:
                raw = await self._cluster.read(plural, item.namespace, item.name)
            except NotFound:
                continue  # The watch will show that it is gone, or the next comparison.
            changed.add(kind.put_answer(raw))
        self._metrics.resync.missed.inc(len(changed))
        if plural == PROFILE_PLURAL:
            self._offers_changed()
            return version
        for key in changed:
            self._queue.add(key)
        return version


def _listed(metadata: Raw) -> Listed:
    return Listed(*key_of(metadata), metadata["uid"], metadata["resourceVersion"])
