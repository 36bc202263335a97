"""What is far too slow is dropped before it is timed."""

from __future__ import annotations

from pathlib import Path

import pytest
from trial_world import MS, POINTS, Behaviour, run, world

from mopt_api.figures import VariantReason, VariantState

SLOW = Behaviour(call_ns=31 * MS)


def test_a_probe_drops_what_is_three_times_as_slow_as_the_fastest_fp32(tmp_path: Path) -> None:
    there = world(fp32=Behaviour(call_ns=10 * MS), nearly=Behaviour(call_ns=30 * MS), slow=SLOW)
    results = run(tmp_path, there, prunes=True, int8=("nearly", "slow"))
    slow = results["slow"]
    assert (slow.state, slow.reason) == (VariantState.SKIPPED, VariantReason.TOO_SLOW)
    assert slow.message == (
        "probed at 31 ms a call at point small, baseline at 10 ms: more than 3 times as long"
    )
    assert slow.points == []
    # Calls of the probe, one turn at each point, are no figures.
    assert there.events.count("turn slow") == len(POINTS)
    for name in ("baseline", "fp32", "nearly"):
        assert results[name].state is VariantState.PASSED
        assert [p.runs for p in results[name].points] == [6, 6]
    assert there.open_now == set()


def test_the_bar_is_no_variant_that_may_still_be_rejected(tmp_path: Path) -> None:
    there = world(int8=Behaviour(call_ns=1 * MS), fp32=Behaviour(call_ns=9 * MS))
    results = run(tmp_path, there, prunes=True, int8=("int8",))
    assert [r.state for r in results.values()] == [VariantState.PASSED] * 3


def test_the_baseline_is_never_dropped(tmp_path: Path) -> None:
    there = world(Behaviour(call_ns=100 * MS), fast=Behaviour(call_ns=1 * MS))
    results = run(tmp_path, there, prunes=True)
    assert [p.latency_ms.p50 for p in results["baseline"].points] == [100, 100]


def test_what_is_slow_at_one_point_only_stays(tmp_path: Path) -> None:
    there = world(uneven=Behaviour(call_ns=9 * MS, slow_at="small"), slow=SLOW)
    results = run(tmp_path, there, prunes=True)
    assert results["uneven"].state is VariantState.PASSED
    assert results["slow"].reason is VariantReason.TOO_SLOW


def test_a_later_group_is_held_to_the_bar_of_an_earlier_one(tmp_path: Path) -> None:
    there = world(fast=Behaviour(call_ns=1 * MS, memory=200), slow=SLOW)
    results = run(tmp_path, there, prunes=True, budget=300)
    assert results["slow"].reason is VariantReason.TOO_SLOW
    assert "fast at 1 ms" in (results["slow"].message or "")


def test_listed_variants_are_not_probed(tmp_path: Path) -> None:
    there = world(slow=SLOW)
    assert run(tmp_path, there)["slow"].state is VariantState.PASSED


@pytest.mark.parametrize("fails", ["bind", "turn"])
def test_a_variant_that_fails_in_the_probe_fails(tmp_path: Path, fails: str) -> None:
    results = run(tmp_path, world(bad=Behaviour(fails=fails), good=Behaviour()), prunes=True)
    assert results["bad"].reason is VariantReason.CRASHED
    assert results["good"].state is VariantState.PASSED
