"""When to try again where the API server refuses Jobs: for all of a namespace, one resource tries.

A quota or a policy that refuses one Job refuses the next one too, so what that costs must not grow
with the number of resources that wait. The pause grows with each refusal, and ends where a Job of
the namespace is deleted, which is what gives a quota on Jobs back.
"""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from mopt_operator.cluster.cache import Key

# The quota's controller takes about as long to notice that something is deleted.
FIRST_SECONDS = 1.0
LONGEST_SECONDS = 120.0
# Deletions come in bursts; each may end the pause, but not more often than this.
SHORTEST_SECONDS = 1.0
# By up to this part a pause is shorter: else the namespaces would all try in the same second.
_JITTER = 0.25


class Refusal(NamedTuple):
    """What the API server answered.

    Attributes:
        job: The Job that it refused.
    """

    status: int
    message: str
    job: str

    def about(self, job: str) -> tuple[int, str]:
        """Return status and message as they would be for another Job."""
        return self.status, self.message.replace(self.job, job)


@dataclass
class _Gate:
    """A namespace, or a single Job, that is not tried before its time.

    Attributes:
        opens: When, on the clock.
        tried: When it was tried last.
        waiting: Resources that want to create Jobs there; the first one tries next.
        trying: The one that does now.
    """

    refusal: Refusal
    opens: float
    tried: float
    failures: int = 0
    waiting: OrderedDict[Key, None] = field(default_factory=OrderedDict)
    trying: Key | None = None


class Refusals:
    """Where Jobs were refused, and who tries next.

    Args:
        wake: Has a resource looked at after so many seconds.
    """

    def __init__(
        self,
        wake: Callable[[Key, float], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._wake = wake
        self._clock = clock
        self._chance = chance
        # By namespace, then by the Job where the refusal is that one's alone, or else "".
        self._gates: dict[str, dict[str, _Gate]] = {}

    def __len__(self) -> int:
        return len(self._gates)

    def hold(self, key: Key, jobs: Iterable[str]) -> dict[str, tuple[int, str]]:
        """Return the Jobs that are not to be tried now, with status and message of the refusal.

        The resource waits from now on to try them, until `leave` says that it wants none.
        """
        gates = self._gates.get(key[0])
        if not gates:
            return {}
        held = {}
        wide = self._closed(gates.get(""), key)
        for job in jobs:
            if gate := wide or self._closed(gates.get(job), key):
                held[job] = gate.refusal.about(job)
        return held

    def refused(
        self, key: Key, job: str, status: int, message: str, *, alone: bool = False
    ) -> tuple[int, str]:
        """Note a refusal; return its status and message.

        Args:
            alone: It says nothing of the namespace's other Jobs.
        """
        now, refusal = self._clock(), Refusal(status, message, job)
        gates = self._gates.setdefault(key[0], {})
        scope = job if alone else ""
        gate = gates.setdefault(scope, _Gate(refusal, opens=now, tried=now))
        # Of several that were under way at once only one counts.
        if gate.trying == key or now >= gate.opens:
            gate.refusal, gate.tried, gate.trying = refusal, now, None
            pause = min(FIRST_SECONDS * 2.0**gate.failures, LONGEST_SECONDS)
            gate.failures = min(gate.failures + 1, 10)
            gate.opens = now + pause * (1 - _JITTER * self._chance())
        # Another one tries next time: what is refused to one may be allowed to the other.
        gate.waiting.pop(key, None)
        gate.waiting[key] = None
        self._arm(gate)
        return status, message

    def tried(self, key: Key, *, created: bool) -> None:
        """End a resource's try; where a Job was created, the next one may try at once."""
        for gate in self._gates_of(key):
            if gate.trying == key:
                gate.trying = None
                del gate.waiting[key]
                if created:
                    gate.failures = 0
        self._tidy(key[0])

    def leave(self, key: Key) -> None:
        """Forget a resource that wants to create nothing."""
        for gate in self._gates_of(key):
            gate.waiting.pop(key, None)
            gate.trying = None if gate.trying == key else gate.trying
        self._tidy(key[0])

    def freed(self, namespace: str) -> None:
        """End the pause of a namespace in which a Job was deleted."""
        gate = self._gates.get(namespace, {}).get("")
        if gate is not None:
            gate.failures = 0
            gate.opens = min(gate.opens, max(self._clock(), gate.tried + SHORTEST_SECONDS))
            self._arm(gate)

    def _gates_of(self, key: Key) -> list[_Gate]:
        return [gate for gate in self._gates.get(key[0], {}).values() if key in gate.waiting]

    def _closed(self, gate: _Gate | None, key: Key) -> _Gate | None:
        """Return the gate if it holds a resource up; None where it may try."""
        if gate is None or gate.trying == key:
            return None
        gate.waiting.setdefault(key, None)
        if gate.trying is None and self._clock() >= gate.opens:
            gate.trying = key
            return None
        self._arm(gate)
        return gate

    def _tidy(self, namespace: str) -> None:
        """Drop the gates at which nobody waits; wake those that are first at the others."""
        gates = self._gates.pop(namespace, {})
        if left := {scope: gate for scope, gate in gates.items() if gate.waiting}:
            self._gates[namespace] = left
        for gate in left.values():
            self._arm(gate)

    def _arm(self, gate: _Gate) -> None:
        """Have the first that waits looked at when the gate opens."""
        if gate.trying is None:
            self._wake(next(iter(gate.waiting)), max(0.0, gate.opens - self._clock()))
