"""Reads what an output store holds, and removes what nothing names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime

from mopt_api.jobs.plan import Credentials
from mopt_optimizer.store.inventory import Found, open_inventory

from .graph import FOLDERS, Plan, Sort, StoredObject, counted, plan_removal, sort_of
from .live import Live

_READERS = 8
BATCH = 1000
"""Objects that are removed before the resources are read again; as many as S3 takes in a request.

A run that starts after they were read stores nothing before its Job's process is there, which takes
longer than a request: so it finds no object that is then removed, and takes it for stored.
"""
# Of a model registry, whose files are blobs beside it.
_MANIFEST = "manifest.json"

ReadLive = Callable[[], Live]


class Unsafe(Exception):
    """Nothing may be removed now; the message says why and what to do."""


@dataclass(frozen=True)
class Outcome:
    """What a sweep found and did.

    Attributes:
        removed: What is gone, in order; of a dry run, nothing.
    """

    plan: Plan
    objects: tuple[StoredObject, ...]
    live: Live
    removed: tuple[StoredObject, ...] = ()


class Sweep:
    """One run of `mopt gc` on an output.

    Args:
        output: Its uri.
        read_live: Reads what is in use, anew at each call.
        cutoff: What was written later stays.
        say: Gets a line for the user before what may take long.
    """

    def __init__(
        self,
        output: str,
        environ: Mapping[str, str],
        read_live: ReadLive,
        cutoff: datetime,
        say: Callable[[str], None],
    ) -> None:
        """
        Raises:
            OptimizerError: The store cannot be used.
        """
        self._output = output
        self._inventory, prefix = open_inventory(output, Credentials.OUTPUT, environ)
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._read_live = read_live
        self._cutoff = cutoff
        self._say = say

    def look(self) -> Outcome:
        """Return what would go.

        Raises:
            OptimizerError: The store refuses.
            CliError: What is in use cannot be read.
        """
        # First the store: what is written while the resources are read is not seen, and stays.
        objects = self._objects()
        live = self._read_live()
        live.roots |= self._inventory.digests(f"{self._prefix}{_MANIFEST}")
        return Outcome(self._plan(objects, live), objects, live)

    def remove(self, outcome: Outcome) -> Outcome:
        """Remove what would go, and is not in use by now.

        Cache entries go first. A run that starts later is served nothing that is about to go; one
        that started before is at work, and is seen as the resources are read again: after the
        cache entries, and after each BATCH of objects.

        Raises:
            Unsafe: A resource is at work.
            OptimizerError: The store refuses.
            CliError: What is in use cannot be read.
        """
        live, removed = outcome.live, dict[str, StoredObject]()
        while True:
            self._check_idle(live, removed.values())
            plan = self._plan(outcome.objects, live)
            left = ([one for one in wave if one.key not in removed] for wave in plan.waves)
            batch = next(filter(None, left), [])[:BATCH]
            if not batch:
                return replace(outcome, plan=plan, live=live, removed=tuple(removed.values()))
            self._inventory.remove([self._prefix + one.key for one in batch])
            removed |= {one.key: one for one in batch}
            live = self._read_live()
            live.roots |= outcome.live.roots

    def _check_idle(self, live: Live, removed: Collection[StoredObject]) -> None:
        try:
            check_idle(live, self._output)
        except Unsafe as error:
            if not removed:
                raise
            raise Unsafe(f"{error} (already removed: {counted(removed)})") from error

    def _plan(self, objects: Iterable[StoredObject], live: Live) -> Plan:
        return plan_removal(objects, live.roots, cutoff=self._cutoff)

    def _objects(self) -> tuple[StoredObject, ...]:
        found = [one for folder in FOLDERS for one in self._listed(folder)]
        self._say(f"{len(found)} objects below {self._output}: reading what they name")
        readers = ThreadPoolExecutor(_READERS)
        try:
            return tuple(readers.map(self._read, found))
        finally:
            readers.shutdown(cancel_futures=True)

    def _listed(self, folder: str) -> Iterator[StoredObject]:
        for one in self._inventory.objects(self._prefix + folder):
            if (known := _stored(one, self._prefix)) is not None:
                yield known

    def _read(self, one: StoredObject) -> StoredObject:
        if one.sort not in (Sort.BLOB, Sort.ENTRY):
            return one
        documents = one.sort is Sort.BLOB
        names = self._inventory.digests(self._prefix + one.key, documents=documents)
        return replace(one, names=names)


def _stored(found: Found, prefix: str) -> StoredObject | None:
    """Return an object as it is known; None where mopt did not write it."""
    key = found.key.removeprefix(prefix)
    if (known := sort_of(key)) is None:
        return None
    sort, name = known
    return StoredObject(sort, name, key, found.size, found.modified)


def check_idle(live: Live, output: str) -> None:
    """Raise Unsafe where a resource is at work: it may have been served what is about to go."""
    if not live.working:
        return
    first = ", ".join(sorted(live.working)[:3])
    more = f" and {len(live.working) - 3} more" if len(live.working) > 3 else ""
    raise Unsafe(
        f"{first}{more} may be writing to {output}, and use what is stored there: run mopt gc "
        "again once they are done"
    )
