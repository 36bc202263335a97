"""What the watches have shown so far, in memory, by resource.

Newer versions replace older ones, never the other way round: answers to the operator's writes are
put here too, and a watch may still lag behind them.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from mopt_api.base import PLURAL
from mopt_api.profiles import PROFILE_PLURAL
from mopt_operator.config.offers import Offer, observe_offer
from mopt_operator.errors import OperatorError
from mopt_operator.objects import (
    Held,
    Job,
    Pod,
    Raw,
    Snapshot,
    is_selected,
    observe_job,
    observe_pod,
    observe_resource,
)

from .lag import Awaited, is_older
from .learned import Learned
from .packed import PackedResource, pack

Key = tuple[str, str]  # namespace, name

# Kinds whose objects are in no namespace.
CLUSTER_SCOPED = frozenset({PROFILE_PLURAL})
# UIDs of deleted objects that are remembered; answers are late by seconds at most.
MAX_GONE = 1024


def key_of(metadata: Raw) -> Key:
    """Return where an object is; the namespace is empty where it is in none."""
    return metadata.get("namespace", ""), metadata["name"]


class Listed(NamedTuple):
    """An object in a list of metadata."""

    namespace: str
    name: str
    uid: str
    version: str


class Restored(OperatorError):
    """The cluster was set back to an earlier state; only a restart forgets what was seen since."""


class _Stored(Protocol):
    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def uid(self) -> str: ...
    @property
    def version(self) -> str: ...


_T = TypeVar("_T", bound=_Stored)


def _says_the_same(old: Any, new: Any) -> bool:
    """Tell whether two states of an object differ in nothing but the version."""
    return bool(replace(old, version=new.version) == new)


class Kind(Generic[_T]):
    """The objects of one kind, reduced, grouped by the resource they belong to.

    Attributes:
        touched: When the watch last brought something, on the clock of time.monotonic.
        awaited: What the watch has yet to bring.
        newest: The highest resourceVersion that anything has shown.
    """

    def __init__(
        self,
        reduce: Callable[[Raw], _T],
        resource_name: Callable[[_T], str],
        clock: Callable[[], float] = time.monotonic,
        *,
        watched: Callable[[Raw], bool] = lambda _: True,
    ) -> None:
        self._reduce = reduce
        self._resource_name = resource_name
        self._watched = watched
        self._objects: dict[Key, _T] = {}
        # By resource, in tuples: most have a few, and a set takes as much as ten.
        self._groups: dict[Key, tuple[Key, ...]] = {}
        self._clock = clock
        self.touched = clock()
        self.awaited = Awaited()
        self.newest = "0"
        # UIDs, oldest first: an answer may come after the watch has shown the deletion.
        self._gone: OrderedDict[str, None] = OrderedDict()

    def put(self, raw: Raw) -> Key:
        """Remember an object unless a newer version is known; return its resource's key."""
        return self._put(self._reduce(raw))

    def put_answer(self, raw: Raw) -> Key:
        """Remember what the answer to a call holds; the watch must bring it too, if it can."""
        new = self._reduce(raw)
        if new.uid in self._gone:
            return self._group(new)
        old = self._objects.get((new.namespace, new.name))
        is_news = old is None or old.uid != new.uid or is_older(old.version, new.version)
        if is_news and self._watched(raw):
            name = f"{new.namespace}/{new.name}"
            self.awaited.expect(new.uid, name, new.version, self._clock())
        return self._put(new)

    def show(self, raw: Raw, *, deleted: bool) -> Key | None:
        """Take what the watch brings; return the key of the resource that is to be looked at.

        None where nothing differs of what is kept: the echo of a write whose answer is known, or
        of what others write there. These are half of all events.
        """
        self.touched = self._clock()
        metadata = raw["metadata"]
        self.awaited.shown(metadata["uid"], metadata["resourceVersion"], self.touched)
        if deleted:
            return self.remove(raw)
        if self.has(raw):
            return None
        place = key_of(metadata)
        old = self._objects.get(place)
        key = self.put(raw)
        new = self._objects[place]
        return None if old is not None and _says_the_same(old, new) else key

    def has(self, raw: Raw) -> bool:
        """Tell whether this version of an object is known, or a newer one."""
        metadata = raw["metadata"]
        known = self._objects.get(key_of(metadata))
        return (
            known is not None
            and known.uid == metadata["uid"]
            and not is_older(known.version, metadata["resourceVersion"])
        )

    def remove(self, raw: Raw) -> Key:
        """Forget an object, not its successor of the same name; return its resource's key."""
        gone = self._reduce(raw)
        self._notice(gone.version)
        self._gone[gone.uid] = None
        if len(self._gone) > MAX_GONE:
            self._gone.popitem(last=False)
        self.forget(gone)
        return self._group(gone)

    def forget(self, gone: _T) -> None:
        """Forget an object, not its successor of the same name."""
        self.awaited.gone(gone.uid)
        known = self._objects.get((gone.namespace, gone.name))
        if known is not None and known.uid == gone.uid:
            self._discard(known)

    def compare(
        self, listed: Iterable[Listed], version: str, namespace: str | None
    ) -> tuple[list[Listed], set[Key]]:
        """Compare with a list: return what is newer there, and forget what is not in it.

        Args:
            version: The list's resourceVersion; objects newer than it are kept.
            namespace: Where the list is from; None for everywhere.

        Returns:
            The objects to read, and the keys of the resources from which something is gone.
        """
        before = tuple(self._objects.values())
        seen, newer, changed = set(), [], set()
        for item in listed:
            seen.add(item.uid)
            known = self._objects.get((item.namespace, item.name))
            is_known = known is not None and known.uid == item.uid
            if item.uid not in self._gone and (
                not is_known or (known is not None and is_older(known.version, item.version))
            ):
                newer.append(item)
        for known in before:
            outside = namespace is not None and known.namespace != namespace
            if known.uid in seen or outside or not is_older(known.version, version):
                continue
            self.forget(known)
            changed.add(self._group(known))
        return newer, changed

    def get(self, key: Key) -> _T | None:
        return self._objects.get(key)

    def of(self, resource: Key) -> tuple[_T, ...]:
        """Return the objects that belong to a resource, by name."""
        return tuple(self._objects[key] for key in self._groups.get(resource, ()))

    def __iter__(self) -> Iterator[_T]:
        return iter(tuple(self._objects.values()))

    def __len__(self) -> int:
        return len(self._objects)

    def _put(self, new: _T) -> Key:
        key, group = (new.namespace, new.name), self._group(new)
        self._notice(new.version)
        old = self._objects.get(key)
        if old is not None and old.uid == new.uid and is_older(new.version, old.version):
            return group
        if old is not None and self._group(old) != group:
            self._leave(self._group(old), key)  # Somebody has changed the label.
        self._objects[key] = new
        members = self._groups.get(group, ())
        if key not in members:
            self._groups[group] = tuple(sorted((*members, key)))
        return group

    def _notice(self, version: str) -> None:
        if is_older(self.newest, version):
            self.newest = version

    def _group(self, item: _T) -> Key:
        return (item.namespace, self._resource_name(item))

    def _discard(self, known: _T) -> None:
        key = (known.namespace, known.name)
        del self._objects[key]
        self._leave(self._group(known), key)

    def _leave(self, group: Key, key: Key) -> None:
        members = tuple(member for member in self._groups[group] if member != key)
        if members:
            self._groups[group] = members
        else:
            del self._groups[group]


class Store:
    """Everything that is observed.

    Attributes:
        learned: What the resources' results tell of images, nodes and data.
        offers_watched: OptimizationProfiles are among it.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, *, offers: bool = False
    ) -> None:
        self.learned = Learned()
        self.resources: Kind[PackedResource] = Kind(self._observe, lambda item: item.name, clock)
        self.jobs: Kind[Job] = Kind(
            observe_job, lambda item: item.owner_name, clock, watched=is_selected
        )
        self.pods: Kind[Pod] = Kind(
            observe_pod, lambda item: item.owner_name, clock, watched=is_selected
        )
        self.offers: Kind[Offer] = Kind(observe_offer, lambda item: item.name, clock)
        self.offers_watched = offers

    def _observe(self, raw: Raw) -> PackedResource:
        resource = observe_resource(raw)
        self.learned.learn(resource.status, resource.namespace)
        return pack(resource)

    def kinds(self) -> dict[str, Kind[Any]]:
        """Return the kinds that are watched by their plural."""
        kinds: dict[str, Kind[Any]]
        kinds = {PLURAL: self.resources, "jobs": self.jobs, "pods": self.pods}
        if self.offers_watched:
            kinds[PROFILE_PLURAL] = self.offers
        return kinds

    def snapshot(
        self,
        key: Key,
        *,
        warnings: Mapping[str, str] | None = None,
        held: Mapping[str, Held] | None = None,
        refusals: Mapping[str, tuple[int, str]] | None = None,
        waits: Mapping[str, str] | None = None,
        namespace_labels: Mapping[str, str] | None = None,
    ) -> Snapshot | None:
        """Return what is known around a resource; None where there is no such resource."""
        resource = self.resources.get(key)
        if resource is None:
            return None
        return Snapshot(
            resource.unpack(),
            self.jobs.of(key),
            self.pods.of(key),
            warnings=warnings or {},
            held=held or {},
            refusals=refusals or {},
            waits=waits or {},
            told=self.learned.told,
            namespace_labels=namespace_labels,
        )
