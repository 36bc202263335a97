"""What a measurement runs on, and what disturbed it: parsed from /proc and the cgroup file system.

Threads are max(1, floor(CPU quota)), and never more than the CPUs the process may run on: a thread
above the quota only gets the container throttled.
"""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mopt_api.auto.int8 import CpuClass, cpu_class
from mopt_api.auto.search import NATIVE_BF16
from mopt_api.figures import Hardware
from mopt_api.jobs.measure_result import Disturbance

from .cpu_stat import CpuStat
from .run_queues import RunQueues, Turns

NODE_VARIABLE = "MOPT_NODE_NAME"
MEMORY_END = 0.92
"""Share of the container's memory limit at which a child is ended, before the kernel ends all."""

# In the order shown; status keeps the first eight.
_FEATURES = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "asimddp",
    "i8mm",
    "bf16",
    "sve",
)
_CPU_FOLDERS = ("cpu", "cpu,cpuacct")
_KIB = 1024
# What cgroup v1 shows without a limit is near 2**63; no machine has this much.
_UNLIMITED = 2**60


@dataclass(frozen=True)
class Counters:
    """Running totals that show disturbances of a measurement.

    Attributes:
        throttled_periods: Quota periods in which the cgroup was held back; None without a cgroup.
        steal_seconds: CPU time taken by the hypervisor, over all CPUs; None if unknown.
        busy_seconds: CPU time used, over all CPUs; None if unknown.
        turns: Run and wait time of the threads of child processes; None if unknown.
    """

    throttled_periods: int | None
    steal_seconds: float | None
    busy_seconds: float | None = None
    turns: Turns | None = None


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:  # Absent, or not for this user: not known is a legal answer everywhere here.
        return None


def cpu_model(cpuinfo: str) -> str | None:
    """Return the CPU's name in /proc/cpuinfo, or None (ARM kernels give none)."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()[:128] or None
    return None


def cpu_features(cpuinfo: str) -> list[str]:
    """Return those instruction sets in /proc/cpuinfo that matter to inference."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            present = set(value.split())
            return [feature for feature in _FEATURES if feature in present]
    return []


def has_native_bf16(features: list[str]) -> bool:
    """Return whether OpenVINO would really compute in bf16 on such a CPU."""
    return not NATIVE_BF16.isdisjoint(features)


def quota_v2(cpu_max: str) -> float | None:
    """Return the CPUs that a cgroup v2 cpu.max grants ("150000 100000" is 1.5), None for max."""
    quota, _, period = cpu_max.strip().partition(" ")
    return None if quota == "max" else int(quota) / int(period or 100_000)


def quota_v1(quota_us: str, period_us: str) -> float | None:
    """Return the CPUs that cgroup v1's cfs quota and period grant, None for no quota (-1)."""
    quota = int(quota_us)
    return None if quota <= 0 else quota / int(period_us)


def _stat_value(text: str, name: str) -> int | None:
    """Return a value of a cgroup's stat file: one "name number" per line."""
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return None


def _cpu_ticks(proc_stat: str) -> list[int] | None:
    """Return /proc/stat's line over all CPUs: user, nice, system, idle, iowait, irq, softirq,
    steal, ..."""
    fields = proc_stat.partition("\n")[0].split()
    if len(fields) < 9 or fields[0] != "cpu":
        return None
    return [int(field) for field in fields[1:]]


def steal_seconds(proc_stat: str, ticks_per_second: int) -> float | None:
    """Return the steal time of /proc/stat's line over all CPUs, in seconds."""
    ticks = _cpu_ticks(proc_stat)
    return ticks[7] / ticks_per_second if ticks else None


def busy_seconds(proc_stat: str, ticks_per_second: int) -> float | None:
    """Return the time, of all CPUs together, that was neither idle nor stolen."""
    ticks = _cpu_ticks(proc_stat)
    return (sum(ticks[:3]) + sum(ticks[5:7])) / ticks_per_second if ticks else None


def usable_threads(quota: float | None, affinity: int) -> int:
    """Return how many threads a runtime may compute with."""
    return affinity if quota is None else max(1, min(affinity, math.floor(quota)))


class System:
    """The files under one root, "/" outside tests."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._cgroup = root / "sys/fs/cgroup"
        self._is_v2 = (self._cgroup / "cgroup.controllers").is_file()
        self._run_queues = RunQueues(root / "proc")

    def _cgroup_path(self, controller: str) -> str:
        """Return the process's path in a hierarchy; "" names v2's."""
        for line in (_text(self._root / "proc/self/cgroup") or "").splitlines():
            _, controllers, path = line.split(":", 2)
            if controller in controllers.split(","):
                return path
        return "/"

    def _folders(self, controller: str) -> Iterator[Path]:
        """Yield the process's cgroup and its ancestors as far as they are visible.

        In a container of v1 /proc names the host's path while the mount shows the container's
        cgroup at its top: then only the top exists.
        """
        if self._is_v2:
            tops, path = [self._cgroup], self._cgroup_path("")
        else:
            names = _CPU_FOLDERS if controller == "cpu" else (controller,)
            tops, path = [self._cgroup / name for name in names], self._cgroup_path(controller)
        top = next((folder for folder in tops if folder.is_dir()), tops[0])
        folder = top / path.lstrip("/")
        while folder != top and folder.is_relative_to(top):
            if folder.is_dir():
                yield folder
            folder = folder.parent
        yield top

    def cpu_quota(self) -> float | None:
        """Return the CPUs granted, the smallest along the path; None without a quota."""
        quotas: list[float] = []
        for folder in self._folders("cpu"):
            if self._is_v2:
                text = _text(folder / "cpu.max")
                quota = quota_v2(text) if text else None
            else:
                quota_us = _text(folder / "cpu.cfs_quota_us")
                period_us = _text(folder / "cpu.cfs_period_us")
                quota = quota_v1(quota_us, period_us) if quota_us and period_us else None
            if quota is not None:
                quotas.append(quota)
        return min(quotas, default=None)

    def memory_bytes(self) -> int | None:
        """Return the memory limit, or the machine's size where that is smaller."""
        name = "memory.max" if self._is_v2 else "memory.limit_in_bytes"
        sizes = [
            int(text)
            for folder in self._folders("memory")
            if (text := (_text(folder / name) or "").strip()) not in ("", "max")
        ]
        meminfo = (_text(self._root / "proc/meminfo") or "").splitlines()
        sizes += [int(line.split()[1]) * _KIB for line in meminfo if line.startswith("MemTotal:")]
        return min(sizes, default=None)

    def memory_share(self) -> float | None:
        """Return how much of the tightest memory limit is in use, 0 to 1; None without a limit.

        Cached file content that the kernel can drop at once does not count.
        """
        limit_name, used_name, cache_key = (
            ("memory.max", "memory.current", "inactive_file")
            if self._is_v2
            else ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        )
        shares: list[float] = []
        for folder in self._folders("memory"):
            limit = (_text(folder / limit_name) or "max").strip()
            used = _text(folder / used_name)
            if limit == "max" or int(limit) >= _UNLIMITED or used is None:
                continue
            cached = _stat_value(_text(folder / "memory.stat") or "", cache_key) or 0
            shares.append((int(used) - cached) / int(limit))
        return max(shares, default=None)

    def cpu_stat(self) -> CpuStat | None:
        """Return what the cgroup has counted of a CPU quota; None where it counts nothing."""
        text = _text(next(self._folders("cpu")) / "cpu.stat") or ""
        return CpuStat.parse(text) if "nr_periods" in text else None

    def counters(self, pid: int | None = None) -> Counters:
        """Return the running totals now.

        Args:
            pid: Whose children compute; ours when None.
        """
        cpu_stat = self.cpu_stat()
        proc_stat = _text(self._root / "proc/stat")
        ticks = os.sysconf("SC_CLK_TCK")
        return Counters(
            throttled_periods=cpu_stat.throttled if cpu_stat else None,
            steal_seconds=steal_seconds(proc_stat, ticks) if proc_stat else None,
            busy_seconds=busy_seconds(proc_stat, ticks) if proc_stat else None,
            turns=self._run_queues.read(os.getpid() if pid is None else pid),
        )

    def usable_cpus(self, affinity: int | None = None) -> float:
        """Return the CPUs that all threads together may use.

        Args:
            affinity: CPUs the process may run on; asked of the kernel when None.
        """
        cpus = len(os.sched_getaffinity(0)) if affinity is None else affinity
        return min(cpus, self.cpu_quota() or cpus)

    def hardware(
        self,
        environ: Mapping[str, str],
        affinity: int | None = None,
        *,
        threads: int | None = None,
    ) -> Hardware:
        """Return what is known of this machine.

        Args:
            affinity: CPUs the process may run on; asked of the kernel when None.
            threads: To be used in place of as many as the CPU quota allows.
        """
        cpuinfo = _text(self._root / "proc/cpuinfo") or ""
        cpus = len(os.sched_getaffinity(0)) if affinity is None else affinity
        used, usable = threads or usable_threads(self.cpu_quota(), cpus), self.usable_cpus(cpus)
        return Hardware(
            cpu=cpu_model(cpuinfo),
            architecture=platform.machine(),
            cpu_features=cpu_features(cpuinfo),
            threads=used,
            # Less than a thread's worth makes each call slower, more leaves room for others.
            cpus=None if usable == used else round(usable, 3),
            memory_bytes=self.memory_bytes(),
            node=environ.get(NODE_VARIABLE) or None,
        )


def own_cpu_class() -> CpuClass:
    """Return the class of this machine's CPU."""
    return cpu_class(platform.machine(), System().hardware({}).cpu_features)


def disturbance(before: Counters, after: Counters) -> Disturbance:
    """Return the difference of two readings; None where a counter is unknown."""
    throttled = (
        after.throttled_periods - before.throttled_periods
        if before.throttled_periods is not None and after.throttled_periods is not None
        else None
    )
    steal = (
        round(after.steal_seconds - before.steal_seconds, 3)
        if before.steal_seconds is not None and after.steal_seconds is not None
        else None
    )
    waited = (
        round(after.turns.waited - before.turns.waited, 3)
        if before.turns is not None and after.turns is not None
        else None
    )
    return Disturbance(throttled_periods=throttled, steal_seconds=steal, waited_seconds=waited)
