"""What a CPU quota has counted, by both versions of cgroups."""

from __future__ import annotations

from pathlib import Path

import pytest

from mopt_optimizer.machine.cpu_stat import CpuStat
from mopt_optimizer.machine.system import System

V2 = """usage_usec 9000000
user_usec 8000000
system_usec 1000000
nr_periods 200
nr_throttled 30
throttled_usec 1500000
nr_bursts 0
burst_usec 0
"""
V1 = "nr_periods 200\nnr_throttled 30\nthrottled_time 1500000000\nnr_bursts 0\nburst_time 0\n"


@pytest.mark.parametrize("text", [V2, V1])
def test_both_versions_say_the_same(text: str) -> None:
    found = CpuStat.parse(text)
    assert found == CpuStat(200, 30, 1.5)
    assert found.since(CpuStat(100, 5, 1.0)) == CpuStat(100, 25, 0.5)
    assert found.share == 0.15


def test_without_a_quota_there_is_no_share() -> None:
    assert CpuStat.parse("usage_usec 1\n").share is None
    assert CpuStat.parse(V2).since(CpuStat.parse(V2)).share is None


@pytest.mark.parametrize(
    ("text", "found"), [(V2, CpuStat(200, 30, 1.5)), ("usage_usec 1\n", None), (None, None)]
)
def test_the_top_of_all_cgroups_counts_nothing(
    text: str | None, found: CpuStat | None, tmp_path: Path
) -> None:
    top = tmp_path / "sys/fs/cgroup"
    top.mkdir(parents=True)
    (top / "cgroup.controllers").write_text("cpu\n")
    if text is not None:
        (top / "cpu.stat").write_text(text)
    assert System(tmp_path).cpu_stat() == found
