"""LoadGen itself: the same arrivals in each test, by MLPerf's seeds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from mopt_api.load import LoadScenario
from mopt_optimizer.load import loadgen
from mopt_optimizer.load.batching import Queue
from mopt_optimizer.load.rules import Rules

pytestmark = pytest.mark.optimizer


def test_each_test_has_mlperfs_seeds(tmp_path: Path) -> None:
    def compute(_samples: Sequence[int]) -> None:
        pass

    rules = Rules(scenario=LoadScenario.SERVER, rate=100, seconds=0.2, requests=11, bound_ms=60_000)
    seeds: list[list[str]] = []
    for _ in range(2):
        with Queue([compute], (1,), loadgen.answer) as queue:
            assert loadgen.run(queue.put, 4, rules, tmp_path).queries >= 11
        summary = (tmp_path / "mlperf_log_summary.txt").read_text()
        assert "No errors encountered during test." in summary
        seeds.append(re.findall(r"(\w+_rng_seed : \d+)", summary))
    assert seeds[0] == seeds[1]
    assert not any(seed.endswith(": 0") for seed in seeds[0] if "accuracy" not in seed)
