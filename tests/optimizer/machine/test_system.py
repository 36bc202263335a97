"""What /proc and the cgroup file system say, in both versions; contents as real kernels write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mopt_api.jobs.measure_result import Disturbance
from mopt_optimizer.machine.run_queues import Turns
from mopt_optimizer.machine.system import (
    Counters,
    System,
    busy_seconds,
    cpu_features,
    cpu_model,
    disturbance,
    has_native_bf16,
    quota_v1,
    quota_v2,
    steal_seconds,
    usable_threads,
)

XEON = """processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz
flags\t\t: fpu sse2 avx2 avx512f avx512_bf16 amx_bf16 avx512_vnni avx512_fp16 amx_tile amx_int8

processor\t: 1
model name\t: another
"""
GRAVITON = """processor\t: 0
BogoMIPS\t: 2100.00
Features\t: fp asimd evtstrm aes atomics asimddp sve i8mm bf16
CPU implementer\t: 0x41
"""
CPU_STAT_V2 = """usage_usec 5021
user_usec 4000
system_usec 1021
nr_periods 300
nr_throttled 17
throttled_usec 90210
"""
CPU_STAT_V1 = "nr_periods 300\nnr_throttled 17\nthrottled_time 90210000\n"
PROC_STAT = """cpu  10132153 290696 3084719 46828483 16683 0 25195 1250 0 0
cpu0 1393280 32966 572056 13343292 6130 0 17875 700 0 0
"""
MEMINFO = "MemTotal:       24683116 kB\nMemFree:        21000000 kB\n"
GIB = 1024**3


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def container_v2(root: Path) -> Path:
    """As in a Pod: the container's own cgroup is the root of its namespace."""
    return write(
        root,
        {
            "proc/self/cgroup": "0::/\n",
            "proc/cpuinfo": XEON,
            "proc/stat": PROC_STAT,
            "proc/meminfo": MEMINFO,
            "sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n",
            "sys/fs/cgroup/cpu.max": "250000 100000\n",
            "sys/fs/cgroup/cpu.stat": CPU_STAT_V2,
            "sys/fs/cgroup/memory.max": "2147483648\n",
        },
    )


def container_v1(root: Path) -> Path:
    """As in a Pod: /proc names the host's path, the mount shows the container's cgroup on top."""
    path = "/kubepods/burstable/pod1f7f/4a5e"
    return write(
        root,
        {
            "proc/self/cgroup": f"9:name=systemd:{path}\n4:memory:{path}\n2:cpu,cpuacct:{path}\n",
            "proc/cpuinfo": XEON,
            "proc/stat": PROC_STAT,
            "proc/meminfo": MEMINFO,
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "250000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.stat": CPU_STAT_V1,
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "2147483648\n",
        },
    )


@pytest.mark.parametrize("container", [container_v2, container_v1])
def test_a_container_reports_its_limits(container: Callable[[Path], Path], tmp_path: Path) -> None:
    system = System(container(tmp_path))
    hardware = system.hardware({"MOPT_NODE_NAME": "node-7"}, affinity=8)
    assert hardware.cpu == "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz"
    assert hardware.threads == 2
    assert hardware.memory_bytes == 2 * GIB
    assert hardware.node == "node-7"
    assert system.counters() == Counters(
        throttled_periods=17, steal_seconds=12.5, busy_seconds=135327.63
    )


def test_without_limits_the_machine_is_the_limit(tmp_path: Path) -> None:
    root = container_v2(tmp_path)
    write(root, {"sys/fs/cgroup/cpu.max": "max 100000\n", "sys/fs/cgroup/memory.max": "max\n"})
    hardware = System(root).hardware({}, affinity=6)
    assert (hardware.threads, hardware.memory_bytes) == (6, 24683116 * 1024)
    assert hardware.node is None


def test_v1_without_limits_is_the_machine_too(tmp_path: Path) -> None:
    root = container_v1(tmp_path)
    write(
        root,
        {
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
    )
    hardware = System(root).hardware({}, affinity=6)
    assert (hardware.threads, hardware.memory_bytes) == (6, 24683116 * 1024)


def test_the_tightest_limit_of_the_ancestors_holds(tmp_path: Path) -> None:
    slice_ = "sys/fs/cgroup/user.slice"
    root = write(
        container_v2(tmp_path),
        {
            "proc/self/cgroup": "0::/user.slice/run.scope\n",
            f"{slice_}/cpu.max": "100000 100000\n",
            f"{slice_}/memory.max": f"{GIB}\n",
            f"{slice_}/run.scope/cpu.max": "max 100000\n",
            f"{slice_}/run.scope/memory.max": "max\n",
        },
    )
    system = System(root)
    assert system.cpu_quota() == 1.0
    assert system.memory_bytes() == GIB


@pytest.mark.parametrize(
    ("quota", "asked", "threads", "cpus"),
    [
        ("50000", None, 1, 0.5),
        ("100000", None, 1, None),
        ("150000", None, 1, 1.5),
        ("200000", None, 2, None),
        ("200000", 1, 1, 2.0),
        ("200000", 4, 4, 2.0),
        ("max", None, 3, None),
    ],
)
def test_hardware_differs_where_the_quota_does(
    tmp_path: Path, quota: str, asked: int | None, threads: int, cpus: float | None
) -> None:
    root = write(container_v2(tmp_path), {"sys/fs/cgroup/cpu.max": f"{quota} 100000\n"})
    hardware = System(root).hardware({}, affinity=3, threads=asked)
    assert (hardware.threads, hardware.cpus) == (threads, cpus)


def test_memory_in_use_leaves_out_what_the_kernel_can_drop(tmp_path: Path) -> None:
    v2 = write(
        container_v2(tmp_path / "v2"),
        {
            "sys/fs/cgroup/memory.current": f"{GIB}\n",
            "sys/fs/cgroup/memory.stat": f"anon 5\ninactive_file {GIB // 2}\nactive_file 7\n",
        },
    )
    v1 = write(
        container_v1(tmp_path / "v1"),
        {
            "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{GIB}\n",
            "sys/fs/cgroup/memory/memory.stat": f"cache 3\ntotal_inactive_file {GIB // 2}\n",
        },
    )
    assert System(v2).memory_share() == 0.25
    assert System(v1).memory_share() == 0.25


def test_memory_in_use_has_no_share_without_a_limit(tmp_path: Path) -> None:
    v1 = write(
        container_v1(tmp_path),
        {
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "1\n",
        },
    )
    assert System(v1).memory_share() is None
    assert System(tmp_path / "nothing").memory_share() is None


def test_nothing_readable_is_reported_as_not_known(tmp_path: Path) -> None:
    system = System(tmp_path)
    hardware = system.hardware({}, affinity=3)
    assert (hardware.cpu, hardware.cpu_features, hardware.memory_bytes) == (None, [], None)
    assert hardware.threads == 3
    assert system.counters() == Counters(None, None)


def test_features_that_matter_come_in_a_fixed_order() -> None:
    assert cpu_features(XEON) == [
        "avx2",
        "avx512f",
        "avx512_vnni",
        "avx512_bf16",
        "avx512_fp16",
        "amx_bf16",
        "amx_int8",
    ]
    assert cpu_features(GRAVITON) == ["asimd", "asimddp", "i8mm", "bf16", "sve"]
    assert cpu_model(GRAVITON) is None


def test_only_x86_bf16_counts_as_native_to_openvino() -> None:
    assert has_native_bf16(["avx2", "amx_bf16"])
    assert has_native_bf16(["avx512_bf16"])
    assert not has_native_bf16(["avx2", "avx512f", "bf16"])


@pytest.mark.parametrize(
    ("text", "cpus"), [("max 100000\n", None), ("150000 100000\n", 1.5), ("50000 100000", 0.5)]
)
def test_quota_of_v2(text: str, cpus: float | None) -> None:
    assert quota_v2(text) == cpus


def test_quota_of_v1() -> None:
    assert quota_v1("-1\n", "100000\n") is None
    assert quota_v1("50000\n", "100000\n") == 0.5


@pytest.mark.parametrize(
    ("quota", "affinity", "threads"),
    [(None, 4, 4), (0.5, 4, 1), (1.9, 4, 1), (2.0, 4, 2), (8.0, 4, 4)],
)
def test_threads_never_exceed_the_quota(quota: float | None, affinity: int, threads: int) -> None:
    assert usable_threads(quota, affinity) == threads


def test_steal_is_over_all_cpus() -> None:
    assert steal_seconds(PROC_STAT, 100) == 12.5
    assert steal_seconds("cpu 1 2 3\n", 100) is None
    assert steal_seconds("", 100) is None


def test_busy_is_what_is_neither_idle_nor_stolen() -> None:
    # user, nice, system, idle, iowait, irq, softirq, steal, guest
    assert busy_seconds("cpu  100 20 30 4000 500 6 7 800 90\ncpu0 1\n", 10) == 16.3
    assert busy_seconds("cpu 1 2 3\n", 100) is None


def test_disturbance_is_the_difference() -> None:
    assert disturbance(Counters(3, 1.25), Counters(10, 1.75)) == Disturbance(
        throttled_periods=7, steal_seconds=0.5
    )
    assert disturbance(Counters(None, 1.0), Counters(3, None)) == Disturbance()
    waiting = [Counters(None, None, turns=Turns(ran, ran / 4, 5)) for ran in (2.0, 12.0)]
    assert disturbance(*waiting) == Disturbance(waited_seconds=2.5)
    assert disturbance(Counters(None, None), waiting[1]) == Disturbance()


def test_childrens_turns_are_among_the_counters(tmp_path: Path) -> None:
    root = write(
        container_v2(tmp_path),
        {
            "proc/self/schedstat": "5000 1 2\n",
            "proc/12/stat": "12 (python) S 7 12 12 0\n",
            "proc/12/task/12/schedstat": "2000000000 500000000 9\n",
        },
    )
    assert System(root).counters(pid=7).turns == Turns(2.0, 0.5, 9)


@pytest.mark.parametrize(
    ("quota", "affinity", "cpus"), [("max", 4, 4), ("150000", 4, 1.5), ("800000", 4, 4)]
)
def test_usable_cpus_are_bounded_by_quota_and_affinity(
    tmp_path: Path, quota: str, affinity: int, cpus: float
) -> None:
    root = write(container_v2(tmp_path), {"sys/fs/cgroup/cpu.max": f"{quota} 100000\n"})
    assert System(root).usable_cpus(affinity) == cpus


def test_this_machine_can_be_described() -> None:
    hardware = System().hardware({})
    assert hardware.threads is not None
    assert hardware.threads >= 1
    assert hardware.memory_bytes is not None
    assert hardware.memory_bytes > 64 * 1024**2
