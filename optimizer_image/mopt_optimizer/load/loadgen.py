"""The edge to MLPerf's LoadGen: arrivals, seeds, percentiles and validity are its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile

import mlperf_loadgen as loadgen

from mopt_api.load import LoadScenario

from .batching import Request
from .outcome import Outcome, outcome_of
from .rules import Rules

_PREFIX = "mlperf_log_"
_DETAIL = f"{_PREFIX}detail.txt"
# Any that its configuration does not name: rules of its own are for MLPerf's models.
_MODEL = "any"
_NS_PER_MS = 1e6
_USER_CONFIG = 1
_SEEDS = ("qsl_rng_seed", "sample_index_rng_seed", "schedule_rng_seed")
Put = Callable[[Sequence[Request]], None]


def answer(numbers: Sequence[int]) -> None:
    """Tell LoadGen which requests are done."""
    loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(n, 0, 0) for n in numbers])


def run(put: Put, samples: int, rules: Rules, folder: Path) -> Outcome:
    """Return the outcome of a test.

    Args:
        put: Takes requests as they arrive; each is to be answered, once.
        samples: How many there are to ask for, by number.
        folder: Its logs are written there.

    Raises:
        RuntimeFailure: The test did not come to its end.
    """
    settings = _settings(rules, _seeds())
    with _made(put, samples) as (sut, library):
        loadgen.StartTestWithLogSettings(sut, library, settings, _logging(folder), "")
    return outcome_of((folder / _DETAIL).read_text())


@contextmanager
def _made(put: Put, samples: int) -> Iterator[tuple[int, int]]:
    def issue(asked: Sequence[loadgen.QuerySample]) -> None:
        put([(sample.id, sample.index) for sample in asked])

    def nothing(_: object = None) -> None:
        """All samples are in memory, and nothing is held back."""

    sut = loadgen.ConstructSUT(issue, nothing)
    library = loadgen.ConstructQSL(samples, samples, nothing, nothing)
    try:
        yield sut, library
    finally:
        loadgen.DestroyQSL(library)
        loadgen.DestroySUT(sut)


@cache
def _seeds() -> Mapping[str, int]:
    """Return MLPerf's seeds, which LoadGen has in it: it reads them once in a process, and only
    with a file of the user's."""
    settings = loadgen.TestSettings()
    with NamedTemporaryFile(suffix=".conf") as config:
        settings.FromConfig(config.name, _MODEL, LoadScenario.SERVER.value, _USER_CONFIG)
    return {name: getattr(settings, name) for name in _SEEDS}


def _settings(rules: Rules, seeds: Mapping[str, int]) -> loadgen.TestSettings:
    settings = loadgen.TestSettings()
    for name, value in seeds.items():
        setattr(settings, name, value)
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = round(rules.seconds * 1e3)
    settings.min_query_count = rules.requests
    if rules.scenario is LoadScenario.OFFLINE:
        settings.scenario = loadgen.TestScenario.Offline
        settings.offline_expected_qps = rules.rate
        return settings
    settings.scenario = loadgen.TestScenario.Server
    settings.server_target_qps = rules.rate
    settings.server_target_latency_percentile = rules.percentile
    if rules.bound_ms is not None:
        settings.server_target_latency_ns = round(rules.bound_ms * _NS_PER_MS)
    return settings


def _logging(folder: Path) -> loadgen.LogSettings:
    output = loadgen.LogOutputSettings()
    output.outdir, output.prefix = str(folder), _PREFIX
    output.copy_summary_to_stdout = False
    settings = loadgen.LogSettings()
    settings.log_output, settings.enable_trace = output, False
    return settings
