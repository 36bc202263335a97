"""Where cgroups are, and what is told of a server in a CPU limit."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from cpu_limits import Hierarchy, hierarchy_of
from hypothesis import given
from hypothesis import strategies as st
from serving_steps import (
    ONE_INSTANCE,
    Limited,
    Step,
    Way,
    bars,
    highest_kept,
    stepped,
    table,
)

from mopt_api.figures import Serving

UNIFIED = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n"
HYBRID = (
    "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n"
    "cgroup /sys/fs/cgroup/cpuset cgroup rw,cpuset 0 0\n"
    "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n"
    "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"
)


@pytest.mark.parametrize(
    ("mounts", "cgroups", "found"),
    [
        (UNIFIED, "0::/a/b\n", Hierarchy(Path("/sys/fs/cgroup"), "/a/b", is_v2=True)),
        (
            HYBRID,
            "3:cpuset:/\n2:cpu,cpuacct:/a:b\n0::/c\n",
            Hierarchy(Path("/sys/fs/cgroup/cpu,cpuacct"), "/a:b", is_v2=False),
        ),
        ("proc /proc proc rw 0 0\n", "", None),
    ],
)
def test_the_cpu_controller_is_found(mounts: str, cgroups: str, found: Hierarchy | None) -> None:
    assert hierarchy_of(mounts, cgroups) == found


BOUND = 50.0


def step(rate: float, p99: float = 20, failures: int = 0, throttled: int = 0) -> Step:
    return Step(
        offered=rate,
        throughput=rate,
        p50_ms=5,
        p99_ms=p99,
        requests=100,
        failures=failures,
        periods=100,
        throttled=throttled,
        throttled_seconds=throttled * 0.05,
    )


@given(
    st.lists(st.floats(1, 100), min_size=1, max_size=8, unique=True).map(sorted),
    st.floats(1, 100),
)
def test_rates_rise_until_one_is_too_high(rates: list[float], most: float) -> None:
    """On a server that keeps the bound up to some rate."""
    asked: list[float] = []

    def ask(rate: float) -> Step:
        asked.append(rate)
        return step(rate, p99=20 if rate <= most else 90)

    steps = stepped(rates, BOUND, ask)
    kept = [rate for rate in rates if rate <= most]
    assert asked == [each.offered for each in steps] == rates[: len(kept) + 1]
    best = highest_kept(steps, BOUND)
    assert (best and best.offered) == (max(kept) if kept else None)


def test_a_refused_request_breaks_the_bound() -> None:
    assert step(1).keeps(BOUND)
    assert not step(1, failures=1).keeps(BOUND)
    assert not step(1, p99=BOUND + 1).keeps(BOUND)


ONE = Serving(instances=1, threads=2, batch=1)
TWO = Serving(instances=2, threads=1, batch=4)


def limited(*ours: Step, alone: float = 40) -> Limited:
    ways = [
        Way(name="mopt", serving=TWO, threads=9, steps=list(ours)),
        Way(name=ONE_INSTANCE, serving=ONE, threads=8, steps=[step(alone)]),
        Way(name="the runtime's defaults", serving=None, threads=40, steps=[step(10, p99=900)]),
    ]
    return Limited(cpus=1.5, serving=TWO, rate=50, p99_ms=20, ways=ways)


def test_the_table_has_a_line_for_each_server() -> None:
    nothing = Limited(cpus=0.5, message="no rate keeps p99 within 50 ms")
    ours = limited(step(25), step(50, p99=21, throttled=2))
    told = table([nothing, ours], BOUND).splitlines()
    assert told[2:] == [
        "| 0.5 | no rate keeps p99 within 50 ms | | | | | | |",
        "| 1.5 | mopt: 2 copies x 1 thread, batch 4 | 9 | 50 | 21 | 1.05 | 2.0 % | 1.25 |",
        "| 1.5 | one instance: 1 copy x 2 threads, batch 1 | 8 | 40 | 20 | 1.00 | 0.0 % | 1.00 |",
        "| 1.5 | the runtime's defaults: its own choice | 40 | no rate kept the bound | | | | |",
    ]
    assert len({line.count("|") for line in told}) == 1


@pytest.mark.parametrize(
    ("ours", "alone", "held"),
    [
        (step(50, p99=21), 40, (True, True, True)),
        (step(50, p99=23, throttled=1), 45, (False, False, False)),
        (step(50, p99=60), 40, (None, False, None)),
        # It never came to the reported rate.
        (step(42, p99=5), 40, (True, False, False)),
    ],
)
def test_the_bars(ours: Step, alone: float, held: tuple[bool | None, ...]) -> None:
    found = bars(limited(ours, alone=alone), BOUND)
    assert tuple(found.values()) == held
    assert set(bars(Limited(cpus=1, message="nothing"), math.inf).values()) == {None}
