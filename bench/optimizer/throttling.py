"""`mopt serve` in CPU limits as a Pod has them: what is held back, and what p99 is.

    .venv/bin/python bench/optimizer/throttling.py [--limits 0.5 1 1.5 2] [--seconds 4]
        [--budget 30] [--burst 0] [--record docs/records/throttling.json]

As root. For each limit: a search under load in it says how the model is to be served and which p99
to expect; what mopt export writes of that is served in it, and then the same server as one instance
with all threads (a part of a CPU counts as one), with as many instances as CPUs rounded up, and
with what the runtime chooses by itself. LoadGen and Triton's client ask from outside, at rates
that rise until p99 is over the bound. Some ten minutes; the machine must be quiet, and have two
CPUs more than the largest limit for the client's work not to count.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cpu_limits import CpuLimit, NoLimits
from load import Runs, Subject, encoder
from served import DEFAULT_SERVER, MOPT_SERVER, Asker, exported, running
from serving_steps import ONE_INSTANCE, Limited, Step, Way, bars, stepped, table

from mopt_api.enums import Runtime
from mopt_api.figures import Serving
from mopt_optimizer.load.rules import Bound
from mopt_optimizer.machine.system import System

LIMITS = (0.5, 1.0, 1.5, 2.0)
SHARES = (0.5, 0.7, 0.85, 1.0, 1.2, 1.4)
"""Rates that are asked for, of the reported one."""
TOKENS = 128
"""A call takes some milliseconds on one CPU, a few times what the server's front does with it."""
RUNTIME = Runtime.ONNX_RUNTIME
MOPT, ROUNDED_UP, DEFAULTS = "mopt", "instances rounded up", "the runtime's defaults"


def ways(cpus: float, found: Serving) -> dict[str, Serving | None]:
    """Return the ways to serve in a limit: as was found best, and what others do. Pure."""
    all_threads = math.ceil(cpus)
    others = {ONE_INSTANCE: Serving(instances=1, threads=all_threads, batch=1)}
    if cpus > 1 and cpus != all_threads:
        up = Serving(instances=all_threads, threads=1, batch=found.batch)
        others[ROUNDED_UP] = up
    return {MOPT: found, **others, DEFAULTS: None}


def command_of(name: str, how: Serving | None) -> tuple[Sequence[str], Sequence[str]]:
    """Return the program that serves in a way, and its options. Pure.

    mopt's own has none: the folder says how it was measured.
    """
    if how is None:
        return DEFAULT_SERVER, ()
    if name == MOPT:
        return MOPT_SERVER, ()
    return MOPT_SERVER, [f"--{option}={value}" for option, value in how.model_dump().items()]


@dataclass(frozen=True)
class Bench:
    """What is the same in every limit."""

    subject: Subject
    runs: Runs
    folder: Path
    bound: Bound
    seconds: float
    burst: float

    def limited(self, limit: CpuLimit, cpus: float) -> Limited:
        """Return what was reported in a limit, and what servers in it did."""
        limit.set(cpus, self.burst * cpus)
        with limit.inside():
            found, _, _ = self.runs.run(RUNTIME, self.runs.limits(self.bound))
        if found.best is None:
            return Limited(cpus=cpus, message=found.message)
        best = found.best
        model = self.runs.forms[RUNTIME]
        folder = exported(self.folder / f"{cpus:g}", model, self.subject, best)
        told = Limited(
            cpus=cpus,
            serving=best.serving,
            rate=best.throughput,
            p99_ms=best.latency_ms.p99,
            throttled=best.throttled,
        )
        for name, how in ways(cpus, best.serving).items():
            told.ways.append(self._way(limit, folder, told, name, how))
        return told

    def _way(
        self, limit: CpuLimit, folder: Path, told: Limited, name: str, how: Serving | None
    ) -> Way:
        print(f"{told.cpus:g} CPUs: {name}", file=sys.stderr, flush=True)
        # Libraries take seconds to load, without a limit.
        limit.set(None)
        with (
            running(folder, *command_of(name, how)) as server,
            Asker(server.address, self.subject, self.folder) as asker,
        ):
            limit.take(server.pid)
            limit.set(told.cpus, self.burst * told.cpus)
            ask: Callable[[float], Step] = partial(asker.step, limit, self.bound, self.seconds)
            rates = [share * (told.rate or 0) for share in SHARES]
            steps = stepped(rates, self.bound.milliseconds, ask)
            return Way(name=name, serving=how, threads=server.threads, steps=steps)


def measured(
    limits: Sequence[float], folder: Path, seconds: float, budget: float, burst: float
) -> tuple[Bound, list[Limited]]:
    """Return the bound on p99, and what each limit gave.

    Raises:
        NoLimits: No cgroup can be made.
    """
    with CpuLimit("throttling") as limit:
        subject = encoder(TOKENS)
        runs = Runs(subject, folder, seconds, budget)
        limit.set(1.0)
        with limit.inside():
            bound = runs.bound(RUNTIME)
        bench = Bench(subject, runs, folder, bound, seconds, burst)
        return bound, [bench.limited(limit, cpus) for cpus in limits]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--limits", type=float, nargs="+", default=LIMITS)
    parser.add_argument("--seconds", type=float, default=4.0, help="of a step")
    parser.add_argument("--budget", type=float, default=30.0, help="seconds of a search")
    parser.add_argument(
        "--burst", type=float, default=0.0, help="of a quota, saved up (cpu.max.burst); 0 to 1"
    )
    parser.add_argument("--record", type=Path)
    options = parser.parse_args(arguments)
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory() as folder:
            bound, limits = measured(
                options.limits, Path(folder), options.seconds, options.budget, options.burst
            )
    except NoLimits as error:
        print(f"throttling.py: {error}", file=sys.stderr)
        return 1
    hardware = System().hardware({})
    record = {
        "cpu": hardware.cpu,
        "hostThreads": hardware.threads,
        "model": f"encoder, {TOKENS} tokens",
        "bound": str(bound),
        "boundMs": bound.milliseconds,
        "burst": options.burst,
        "limits": [{**limit.to_api(), "bars": bars(limit, bound.milliseconds)} for limit in limits],
        "seconds": round(time.monotonic() - started),
    }
    print(table(limits, bound.milliseconds))
    if options.record is not None:
        options.record.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
