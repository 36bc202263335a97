"""Made-up machines that serve a made-up model, for searches to be tried on."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mopt_api.figures import Latency, Serving
from mopt_api.jobs.load_result import LoadTrial
from mopt_optimizer.load.configurations import Space
from mopt_optimizer.load.rules import Bound
from mopt_optimizer.load.search import NARROW, Found, Limits, Proposal, Steps


@dataclass(frozen=True)
class Machine:
    """What configurations compute.

    Attributes:
        sample_ms: One sample on one thread.
        parallel: Share of it that threads divide.
        call_ms: Cost of a call, which a batch shares.
        crowding: Share lost with each further instance that computes.
        cache: Samples at work at once, over all instances, from which each takes longer.
        disturbed: A size of batch whose short trials show a quarter: something else ran beside.
    """

    sample_ms: float
    parallel: float
    call_ms: float
    crowding: float
    cache: int
    disturbed: int | None = None

    def call(self, serving: Serving, batch: int) -> float:
        """Return the milliseconds of a call of a batch, where all instances are at work."""
        sample = self.sample_ms * (1 - self.parallel + self.parallel / serving.threads)
        spilled = max(1.0, math.sqrt(batch * serving.instances / self.cache))
        crowded = 1 + self.crowding * (serving.instances - 1)
        return (self.call_ms + sample * batch * spilled) * crowded

    def capacity(self, serving: Serving) -> float:
        """Return samples a second of a queue that is never empty."""
        return 1e3 * serving.instances * serving.batch / self.call(serving, serving.batch)

    def latency(self, serving: Serving, rate: float) -> float:
        """Return the milliseconds of a slow request: alone at first, without end at capacity."""
        busy = rate / self.capacity(serving)
        if busy >= 1:
            return 1e6
        alone = self.call(serving, 1)
        waiting = self.call(serving, serving.batch) * busy / (1 - busy) / serving.instances
        return alone + 3 * waiting

    def highest_rate(self, serving: Serving, bound: Bound) -> float:
        """Return the highest rate whose slow requests are within a bound."""
        low, high = 0.0, self.capacity(serving)
        for _ in range(60):
            middle = (low + high) / 2
            kept = self.latency(serving, middle) <= bound.milliseconds
            low, high = (middle, high) if kept else (low, middle)
        return low

    def trial(self, proposal: Proposal, bound: Bound | None, seconds: float) -> LoadTrial:
        """Return what a trial shows."""
        rate = proposal.offered
        capacity = self.capacity(proposal.serving)
        if proposal.serving.batch == self.disturbed and not proposal.full:
            capacity /= 4
        slow = self.latency(proposal.serving, rate) if rate else 1e3
        kept = bound is None or rate is None or slow <= bound.milliseconds
        return LoadTrial(
            serving=proposal.serving,
            offered=rate,
            throughput=min(rate or capacity, capacity),
            latency_ms=Latency(p50=slow / 2, p90=slow / 1.5, p99=slow),
            queries=100,
            seconds=seconds,
            valid=proposal.full and kept,
        )


def driven(
    steps: Steps, machine: Machine, bound: Bound | None, duration: float
) -> tuple[Found, list[Proposal]]:
    """Run a search on a machine; return what it found and all that it tried."""
    tried: list[Proposal] = []
    answer: LoadTrial | None = None
    while True:
        try:
            proposal = steps.send(answer) if tried else next(steps)
        except StopIteration as end:
            found: Found = end.value
            return found, tried
        tried.append(proposal)
        answer = machine.trial(proposal, bound, duration if proposal.full else duration / 5)


def grid_trials(limits: Limits) -> int:
    """Return how many trials a grid takes that knows nothing: of Server, halving each one's rate
    until it is as narrow as the search's."""
    halvings, width = 1, 1.0
    while width > NARROW - 1:
        halvings, width = halvings + 1, width / 2
    each = halvings if limits.bound else 1
    return each * len(Space(limits.cpus, limits.batches).everything())


def grid_best(machine: Machine, limits: Limits) -> tuple[Serving, float]:
    """Return the best configuration of the whole grid, and what it reaches."""

    def value(serving: Serving) -> float:
        if limits.bound is None:
            return machine.capacity(serving)
        return machine.highest_rate(serving, limits.bound)

    best = max(Space(limits.cpus, limits.batches).everything(), key=value)
    return best, value(best)


def reached(machine: Machine, serving: Serving, limits: Limits) -> float:
    """Return what a configuration reaches."""
    if limits.bound is None:
        return machine.capacity(serving)
    return machine.highest_rate(serving, limits.bound)
