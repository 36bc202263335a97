"""NVIDIA's perf_analyzer asks the server: what it takes for Triton it can measure."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path

import pytest
from perf_analyzer import PerfAnalyzer, installed
from served_folders import Served

pytestmark = pytest.mark.clients

# Whether figures are stable is the machine's affair.
REQUESTS = 50
COUNTED = ("--request-count", str(REQUESTS))
SHAPE = ("--shape", "image:3,24,32")


@pytest.fixture(scope="module")
def perf_analyzer(tmp_path_factory: pytest.TempPathFactory) -> PerfAnalyzer:
    return installed(tmp_path_factory.mktemp("perf-analyzer"))


def answered(server: Served) -> int:
    """Return how many requests the server has computed."""
    with urllib.request.urlopen(f"{server.url}/metrics") as response:  # noqa: S310
        text = response.read().decode()
    found = re.search(r'request_predict_seconds_count\{model_name="upscaler"\} (\S+)', text)
    return int(float(found.group(1))) if found else 0


@pytest.mark.parametrize(("batch", "concurrency"), [(1, 1), (1, 2), (2, 1)])
def test_it_measures_what_is_served(
    batch: int, concurrency: int, server: Served, perf_analyzer: PerfAnalyzer, tmp_path: Path
) -> None:
    before = answered(server)
    (level,) = perf_analyzer.run(
        tmp_path, "-m", "upscaler", "-u", server.host, *SHAPE, *COUNTED,
        "-b", str(batch), "--concurrency-range", str(concurrency),
    )  # fmt: skip
    assert level.concurrency == concurrency
    assert level.throughput > 0
    assert level.p50_us > 0
    assert answered(server) - before >= REQUESTS


def test_a_model_that_is_not_served_is_told_by_name(
    server: Served, perf_analyzer: PerfAnalyzer, tmp_path: Path
) -> None:
    with pytest.raises(AssertionError, match="Model with name other does not exist"):
        perf_analyzer.run(tmp_path, "-m", "other", "-u", server.host, *SHAPE, *COUNTED)
