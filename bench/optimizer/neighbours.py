"""What a measurement sees of its neighbours: run-queue waits beside the cgroup's pressure.

Two forms of a small network take turns as in a measurement, alone and beside busy loops. Alone the
figures show what a measurement does to itself; both signals must be small then, and large beside a
neighbour. Each row says how much of the CPUs processes other than ours and the loops had: it was
no quiet run where that is more than a tenth of one.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mopt_api.enums import Precision, Runtime
from mopt_optimizer.data.npy import save_array
from mopt_optimizer.errors import VariantFailure
from mopt_optimizer.machine.system import Counters, System
from mopt_optimizer.runtimes.base import Opening
from mopt_optimizer.stages.measure.process import VariantProcess
from mopt_optimizer.timing.disturbance import Shares, shares
from mopt_optimizer.timing.interleave import interleave, schedule

CHANNELS = 32
LAYERS = 4
# Calls of about 0.1 and 3 ms: many wake-ups in the time, and few.
SIZES = (16, 96)
RUNTIMES = (Runtime.ONNX_RUNTIME, Runtime.OPENVINO)
QUIET_CPUS = 0.1
_LOOK_SECONDS = 0.3
_POINT = "point"
# A process between, so that the loops are no children of ours: children count as variants.
_NEIGHBOURS = """
import subprocess, sys
loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range({count})]
print(*(loop.pid for loop in loops), flush=True)
sys.stdin.read()
for loop in loops:
    loop.kill()
"""


@dataclass(frozen=True)
class Case:
    """One measurement: its image's size, its threads, and the busy loops beside it."""

    size: int
    threads: int
    loops: int


@dataclass(frozen=True)
class Seen:
    """What was seen of it.

    Attributes:
        raw_share: As shares.waited, being woken included.
        wait_per_turn: Seconds.
        pressure: Part of the time in which a thread of our cgroup waited for a CPU.
        others: CPUs that neither we nor the loops had.
        milliseconds: Median call of each runtime.
    """

    shares: Shares
    raw_share: float | None
    wait_per_turn: float | None
    pressure: float | None
    others: float
    milliseconds: list[float]


def network(path: Path, size: int, layers: int = LAYERS) -> None:
    """Write a chain of convolutions on 1xCxSIZExSIZE."""
    generator = np.random.default_rng(0)
    shape = [1, CHANNELS, size, size]
    weights = generator.standard_normal((layers, CHANNELS, CHANNELS, 3, 3)).astype(np.float32) / 16
    names = ["image", *(f"v{i}" for i in range(layers))]
    nodes = [
        helper.make_node("Conv", [names[i], f"w{i}"], [names[i + 1]], pads=[1, 1, 1, 1])
        for i in range(layers)
    ]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info(names[0], TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(names[-1], TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weight, f"w{i}") for i, weight in enumerate(weights)],
    )
    opset = helper.make_opsetid("", 18)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), path)


@contextmanager
def neighbours(count: int) -> Iterator[list[int]]:
    """Keep so many loops busy; give their process numbers."""
    if not count:
        yield []
        return
    with subprocess.Popen(
        [sys.executable, "-c", _NEIGHBOURS.format(count=count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None  # noqa: S101
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        try:
            yield pids
        finally:
            parent.communicate("")


def pressure_file() -> Path:
    """Return our cgroup's, where there is one, else the machine's."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            for top in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
                path = Path(top, line[3:].lstrip("/"), "cpu.pressure")
                if path.is_file():
                    return path
    return Path("/proc/pressure/cpu")


def stalled_seconds(path: Path) -> float | None:
    """Return the total of the line `some`; None where pressure is not counted."""
    try:
        found = re.search(r"^some .*total=(\d+)$", path.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) / 1e6 if found else None


def ran_seconds(pids: list[int]) -> float:
    """Return the CPU time of processes of one thread each."""
    return sum(int(Path(f"/proc/{p}/schedstat").read_text().split()[0]) for p in pids) / 1e9


def wait_until_quiet(system: System, patience: float) -> None:
    """Wait until nobody computes, for so many seconds at most."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        before = system.counters().busy_seconds or 0
        time.sleep(_LOOK_SECONDS)
        busy = (system.counters().busy_seconds or 0) - before
        if busy / _LOOK_SECONDS < 2 * QUIET_CPUS:
            return


def measure(case: Case, seconds: float, patience: float, workdir: Path) -> Seen:
    """Measure one case.

    Args:
        seconds: Of each runtime.
        patience: Seconds to wait for a quiet machine.
    """
    system, pressure = System(), pressure_file()
    model, image = workdir / "model.onnx", workdir / "image.npy"
    network(model, case.size)
    generator = np.random.default_rng(0)
    save_array(image, generator.random((1, CHANNELS, case.size, case.size), np.float32))
    with ExitStack() as stack:
        forms = [
            stack.enter_context(
                VariantProcess(
                    runtime.value,
                    Opening(
                        runtime=runtime,
                        precision=Precision.FP32,
                        path=model,
                        threads=case.threads,
                    ),
                    workdir=workdir,
                    environ=os.environ,
                    read=[workdir],
                )
            )
            for runtime in RUNTIMES
        ]
        for form in forms:
            form.bind(_POINT, {"image": image})
            form.take_turn(_POINT, seconds=_LOOK_SECONDS, calls=1)
        wait_until_quiet(system, patience)
        loops = stack.enter_context(neighbours(case.loops))
        before, started = system.counters(), time.monotonic()
        stalled, ran = stalled_seconds(pressure), ran_seconds(loops)
        times = interleave(
            forms, _POINT, schedule(seconds), warmup_seconds=0, drop=_fail, failures=VariantFailure
        )
        after, elapsed = system.counters(), time.monotonic() - started
        own, waited, number = _between(before, after)
        busy = (after.busy_seconds or 0) - (before.busy_seconds or 0)
        now = stalled_seconds(pressure)
        return Seen(
            shares=shares(before, after, elapsed),
            raw_share=waited / (own + waited) if own else None,
            wait_per_turn=waited / number if number else None,
            pressure=None if now is None or stalled is None else (now - stalled) / elapsed,
            others=max(0.0, busy - own - (ran_seconds(loops) - ran)) / elapsed,
            milliseconds=[statistics.median(times[form.name]) / 1e6 for form in forms],
        )


def _between(before: Counters, after: Counters) -> tuple[float, float, int]:
    """Return the seconds that our children ran and waited, and their turns."""
    if before.turns is None or after.turns is None:
        return 0.0, 0.0, 0
    first, last = before.turns, after.turns
    return last.ran - first.ran, last.waited - first.waited, last.number - first.number


def _fail(_form: VariantProcess, failure: VariantFailure) -> None:
    raise failure


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def main() -> None:
    """Print a row per case, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each runtime and case")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds for a quiet machine")
    parser.add_argument("--times", type=int, default=3, help="how often each case is measured")
    arguments = parser.parse_args()
    cpus = len(os.sched_getaffinity(0))
    threads = sorted({1, cpus})
    cases = [Case(s, t, loops) for s in SIZES for t in threads for loops in sorted({0, 1, cpus})]
    cases += [Case(SIZES[-1], 2 * cpus, 0)]
    columns = ["Image", "Threads", "Loops", "Waited", "With wake-ups", "µs a turn", "Pressure"]
    columns += ["Stolen", "Others", *(f"{runtime} ms" for runtime in RUNTIMES)]
    print(f"| {' | '.join(columns)} |")
    print("|" + "---:|" * len(columns))
    for _ in range(arguments.times):
        for case in cases:
            with tempfile.TemporaryDirectory() as folder:
                seen = measure(case, arguments.seconds, arguments.patience, Path(folder))
            latencies = " | ".join(f"{ms:.3g}" for ms in seen.milliseconds)
            print(
                f"| {case.size} | {case.threads} | {case.loops} | {_share(seen.shares.waited)} "
                f"| {_share(seen.raw_share)} | {1e6 * (seen.wait_per_turn or 0):.1f} "
                f"| {_share(seen.pressure)} | {_share(seen.shares.stolen)} "
                f"| {seen.others:.2f} | {latencies} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
