"""A server asked at rates that rise until its p99 is over a bound, and what is told of it. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from pydantic import Field

from mopt_api.base import ObservedModel
from mopt_api.figures import Serving

ENOUGH = 0.01
"""Share of periods that may be held back: the bar of the issue."""
CLOSE = 0.1
"""How far p99 may be from the one that was reported."""
GAIN = 1.15
"""Times the throughput of one instance with all threads."""
ONE_INSTANCE = "one instance"
"""Name of the way that throughput is compared with."""


class Step(ObservedModel):
    """What a server did at a rate.

    Attributes:
        offered: Requests a second that arrived, at random.
        failures: Requests that were refused.
        periods: Of 100 ms, in which anything ran in the container.
        throttled: Of these, those in which its quota was used up.
        throttled_seconds: It was held back for so long, all CPUs together.
    """

    offered: float
    throughput: float
    p50_ms: float
    p99_ms: float
    requests: int
    failures: int
    periods: int
    throttled: int
    throttled_seconds: float

    @property
    def share(self) -> float:
        """Of the periods, those that were held back: 0 to 1."""
        return self.throttled / self.periods if self.periods else 0.0

    def keeps(self, bound_ms: float) -> bool:
        """Return whether every request was answered, and p99 is within a bound."""
        return not self.failures and self.p99_ms <= bound_ms


class Way(ObservedModel):
    """A way to serve in a limit.

    Attributes:
        serving: None where the runtime chooses.
        threads: Of the whole process, once it is ready.
    """

    name: str
    serving: Serving | None
    threads: int
    steps: list[Step] = Field(min_length=1)


class Limited(ObservedModel):
    """A CPU limit: what was reported for it, and what servers in it did.

    Attributes:
        serving, rate, p99_ms: Of the measurement; None where it found none.
        throttled: Likewise, see LoadTrial.
        message: Why it found none.
    """

    cpus: float
    serving: Serving | None = None
    rate: float | None = None
    p99_ms: float | None = None
    throttled: float | None = None
    message: str = ""
    ways: list[Way] = []


def stepped(rates: Iterable[float], bound_ms: float, ask: Callable[[float], Step]) -> list[Step]:
    """Return the steps at rising rates, up to and with the first that does not keep a bound."""
    steps: list[Step] = []
    for rate in rates:
        steps.append(ask(rate))
        if not steps[-1].keeps(bound_ms):
            break
    return steps


def highest_kept(steps: Sequence[Step], bound_ms: float) -> Step | None:
    """Return the step of the highest rate that keeps a bound; None where none does."""
    kept = [step for step in steps if step.keeps(bound_ms)]
    return max(kept, key=lambda step: step.offered, default=None)


def table(limits: Sequence[Limited], bound_ms: float) -> str:
    """Return a table for documents: of each way the highest rate within the bound, what p99 it had
    there, how much was held back, and its rate over that of one instance with all threads."""
    lines = [
        "| CPU limit | Server | Threads | Requests/s | p99 ms | of reported | throttled | gain |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for limit in limits:
        one = next((way for way in limit.ways if way.name == ONE_INSTANCE), None)
        alone = highest_kept(one.steps, bound_ms) if one is not None else None
        if limit.message:
            lines.append(f"| {limit.cpus:g} | {limit.message} | | | | | | |")
        lines += [_line(limit, way, highest_kept(way.steps, bound_ms), alone) for way in limit.ways]
    return "\n".join(lines)


def _line(limit: Limited, way: Way, best: Step | None, alone: Step | None) -> str:
    how = way.serving.in_words if way.serving is not None else "its own choice"
    start = f"| {limit.cpus:g} | {way.name}: {how} | {way.threads} "
    if best is None:
        return f"{start}| no rate kept the bound | | | | |"
    of_reported = best.p99_ms / limit.p99_ms if limit.p99_ms else math.nan
    gain = "-" if alone is None else f"{best.throughput / alone.throughput:.2f}"
    return (
        f"{start}| {best.throughput:.4g} | {best.p99_ms:.3g} "
        f"| {of_reported:.2f} | {100 * best.share:.1f} % | {gain} |"
    )


def bars(limit: Limited, bound_ms: float) -> dict[str, bool | None]:
    """Return which of the issue's bars the first way holds: what is held back at the highest rate
    within the bound, p99 at the reported rate, the throughput over that of one instance; None where
    it cannot be told."""
    if not limit.ways or limit.rate is None or limit.p99_ms is None:
        return {"neverThrottles": None, "p99AsReported": None, "gain": None}
    steps, rate = limit.ways[0].steps, limit.rate
    best = highest_kept(steps, bound_ms)
    reported = next((step for step in steps if math.isclose(step.offered, rate)), None)
    one = next((way for way in limit.ways if way.name == ONE_INSTANCE), None)
    alone = highest_kept(one.steps, bound_ms) if one is not None else None
    return {
        "neverThrottles": None if best is None else best.share < ENOUGH,
        # A lower rate that broke the bound already is answer enough.
        "p99AsReported": reported is not None and reported.p99_ms <= (1 + CLOSE) * limit.p99_ms,
        "gain": best.throughput >= GAIN * alone.throughput if best and alone else None,
    }
