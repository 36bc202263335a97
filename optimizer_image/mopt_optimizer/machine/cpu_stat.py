"""What a cgroup's cpu.stat counts of its CPU quota. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CpuStat:
    """Running totals.

    Attributes:
        periods: Of the quota, 100 ms each, in which anything ran.
        throttled: Of these, those in which the quota was used up, and all stood still.
        throttled_seconds: For so long, all CPUs together.
    """

    periods: int
    throttled: int
    throttled_seconds: float

    @classmethod
    def parse(cls, text: str) -> CpuStat:
        """Return what a cpu.stat says: v2 has throttled_usec, v1 throttled_time in nanoseconds."""
        values = {key: int(value) for key, value in map(str.split, text.splitlines())}
        seconds = values.get("throttled_usec", values.get("throttled_time", 0) / 1e3) / 1e6
        return cls(values.get("nr_periods", 0), values.get("nr_throttled", 0), seconds)

    def since(self, before: CpuStat) -> CpuStat:
        """Return what was added since another reading."""
        return CpuStat(
            self.periods - before.periods,
            self.throttled - before.throttled,
            self.throttled_seconds - before.throttled_seconds,
        )

    @property
    def share(self) -> float | None:
        """Of the periods, those in which all stood still: 0 to 1; None without a quota."""
        return self.throttled / self.periods if self.periods else None
