"""What runs and what waits to run, kept from one reconciliation to the next.

Nothing here outlives the process: each reconciliation says anew what its resource holds and wants.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import islice

from mopt_operator.cluster.cache import Key
from mopt_operator.config.settings import Settings
from mopt_operator.decide.admission import (
    Claim,
    Holding,
    Lane,
    Occupant,
    Usage,
    admitted,
    claims_of,
    waiting_text,
)
from mopt_operator.decide.jobs import MAX_AVOIDED_NODES
from mopt_operator.objects import Raw, Resource


class Slots:
    """Grants Jobs the right to be created, and wakes resources whose turn has come.

    Args:
        wake: Has a resource looked at soon.
    """

    def __init__(self, settings: Settings, wake: Callable[[Key], None]) -> None:
        self._settings = settings
        self._wake = wake
        self._usage = Usage(settings)
        self._held: dict[Key, Holding] = {}
        self._claims: dict[Key, list[Claim]] = {}
        self._waiting: defaultdict[Lane, dict[str, list[Claim]]] = defaultdict(dict)
        # By node and Job, in the order in which they were seen there.
        self._nodes: defaultdict[str, dict[str, Occupant]] = defaultdict(dict)
        # By namespace and name, Jobs that gave way to another on a node: whose they are, and to
        # which one.
        self._gave_way: dict[tuple[str, str], tuple[Key, Occupant]] = {}

    def use(self, settings: Settings) -> None:
        """Go by other settings from now on."""
        self._settings = settings
        self._usage.use(settings)
        self._serve()

    def observe(self, key: Key, held: Holding) -> None:
        """Count what a resource's Jobs hold now."""
        before = self._held.pop(key, Holding())
        if held != Holding():
            self._held[key] = held
        self._move(before.occupants, held.occupants)
        changes = Counter(held.places)
        changes.subtract(Counter(before.places))
        for place, number in changes.items():
            self._usage.add(place, number)
        if any(number < 0 for number in changes.values()):
            self._serve()

    def next_look(self, key: Key) -> datetime | None:
        """Return when something that a resource holds stops to count; None for never."""
        return self._held.get(key, Holding()).until

    def nodes(self) -> list[str]:
        """Return nodes on which something is measured or built: as many as a Pod can name."""
        return list(islice(self._nodes, MAX_AVOIDED_NODES))

    def crowded(self, key: Key) -> dict[str, str]:
        """Return a resource's Jobs that are to give way to another one on their node.

        Returns:
            By the Job's UID the node. Until the other one is gone the Job is not granted again.
        """
        found = {}
        for own in self._held.get(key, Holding()).occupants:
            for other in self._nodes[own.node].values():
                if other == own:
                    break
                if own.measures or other.measures:
                    found[own.uid] = own.node
                    self._gave_way[key[0], own.job] = (key, other)
                    break
        return found

    def ask(self, resource: Resource, jobs: Iterable[Raw]) -> dict[str, str]:
        """Take the place of all that a resource wants to create now.

        Returns:
            Why it has to wait, for each that has to, by the Job's name. What is granted counts
            until `observe` finds the Job, or finds that there is none.
        """
        key = (resource.namespace, resource.name)
        crowded, rest = self._without_crowded(key, jobs)
        wanted = list(claims_of(resource, rest, self._settings))
        withdrawn = self._withdraw(key)
        for claim in wanted:
            insort(self._line(claim), claim)
        room = not all(self._usage.full(claim.place) for claim in wanted)
        turns = admitted(self._waiting, self._usage) if room or withdrawn else []
        granted = [claim for claim in turns if claim in wanted]
        held = self._held.get(key, Holding())
        self._held[key] = held._replace(places=(*held.places, *(c.place for c in granted)))
        for claim in granted:
            self._usage.add(claim.place)
            self._remove(claim)
        if waiting := [claim for claim in wanted if claim not in granted]:
            self._claims[key] = waiting
        self._wake_all(claim for claim in turns if claim not in wanted)
        return crowded | {claim.job: waiting_text(claim, self._settings) for claim in waiting}

    def withdraw(self, key: Key) -> None:
        """Forget what a resource waits for; others may be served in its place."""
        if self._withdraw(key):
            self._serve()

    def waiting(self) -> Counter[str]:
        """Return how many Jobs wait, by profile."""
        return Counter(claim.lane.profile for claims in self._claims.values() for claim in claims)

    def _move(self, before: Iterable[Occupant], after: Sequence[Occupant]) -> None:
        for gone in set(before) - set(after):
            del self._nodes[gone.node][gone.uid]
            if not self._nodes[gone.node]:
                del self._nodes[gone.node]
            for job, (key, other) in list(self._gave_way.items()):
                if other == gone:
                    del self._gave_way[job]
                    self._wake(key)
        for occupant in after:
            self._nodes[occupant.node].setdefault(occupant.uid, occupant)

    def _without_crowded(self, key: Key, jobs: Iterable[Raw]) -> tuple[dict[str, str], list[Raw]]:
        """Return why some Jobs still give way, by their names, and the other Jobs."""
        crowded, rest = {}, []
        for manifest in jobs:
            name = manifest["metadata"]["name"]
            if (key[0], name) in self._gave_way:
                _, other = self._gave_way[key[0], name]
                crowded[name] = f"Waiting for another measurement to leave node {other.node}"
            else:
                rest.append(manifest)
        return crowded, rest

    def _serve(self) -> None:
        self._wake_all(admitted(self._waiting, self._usage))

    def _wake_all(self, claims: Iterable[Claim]) -> None:
        for claim in claims:
            self._wake((claim.namespace, claim.resource))

    def _line(self, claim: Claim) -> list[Claim]:
        return self._waiting[claim.lane].setdefault(claim.namespace, [])

    def _withdraw(self, key: Key) -> bool:
        claims = self._claims.pop(key, [])
        for claim in claims:
            self._remove(claim)
        return bool(claims)

    def _remove(self, claim: Claim) -> None:
        """Take a claim out of its line."""
        line = self._line(claim)
        del line[bisect_left(line, claim)]
        if not line:
            del self._waiting[claim.lane][claim.namespace]
