"""Reads what LoadGen wrote about a test: lines of its detailed log. Pure."""

from __future__ import annotations

import json

from pydantic import Field, JsonValue

from mopt_api.base import Count, ObservedModel, PerSecond
from mopt_api.figures import Latency
from mopt_optimizer.errors import RuntimeFailure

_MARK = ":::MLLOG "
_NS_PER_MS = 1e6
_LATENCY = "result_{:.2f}_percentile_latency_ns"
# Where a request takes less, its time is that of passing it on.
_SHORTEST_MS = 1e-4


class Outcome(ObservedModel):
    """What LoadGen says of a test.

    Attributes:
        throughput: Samples a second.
        valid: Whether it is a result, by LoadGen's rules.
        objection: Why it is none; empty where it is.
    """

    throughput: PerSecond
    latency_ms: Latency
    queries: Count
    valid: bool
    objection: str = Field(default="", max_length=256)


def outcome_of(log: str) -> Outcome:
    """Return the outcome that mlperf_log_detail.txt tells.

    Raises:
        RuntimeFailure: It tells none: the test did not come to its end.
    """
    values = dict(_entries(log))
    try:
        rate = values.get(
            "result_completed_samples_per_sec", values.get("result_samples_per_second")
        )
        return Outcome(
            throughput=_number(rate),
            latency_ms=Latency(
                p50=_milliseconds(values, 50),
                p90=_milliseconds(values, 90),
                p99=_milliseconds(values, 99),
            ),
            queries=int(_number(values["result_query_count"]))
            * int(_number(values["generated_samples_per_query"])),
            valid=values["result_validity"] == "VALID",
            objection=_objection(values),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RuntimeFailure(f"LoadGen's log tells no result: {error}") from error


def _entries(log: str) -> list[tuple[str, JsonValue]]:
    found: list[tuple[str, JsonValue]] = []
    for line in log.splitlines():
        if line.startswith(_MARK):
            entry = json.loads(line.removeprefix(_MARK))
            found.append((entry["key"], entry["value"]))
    return found


def _number(value: JsonValue) -> float:
    if not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return float(value)


def _milliseconds(values: dict[str, JsonValue], percentile: int) -> float:
    return max(_SHORTEST_MS, _number(values[_LATENCY.format(percentile)]) / _NS_PER_MS)


def _objection(values: dict[str, JsonValue]) -> str:
    if values["result_validity"] == "VALID":
        return ""
    checks = {
        "result_perf_constraints_met": "the latency bound is not kept",
        "result_min_duration_met": "it was too short",
        "result_min_queries_met": "there were too few requests",
        "early_stopping_met": "there were too few requests to be sure of the percentile",
    }
    return ", ".join(words for key, words in checks.items() if values.get(key) is False)[:256]
