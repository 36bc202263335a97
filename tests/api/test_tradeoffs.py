"""The Pareto front over all forms of all targets."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mopt_api.pareto import Goodness, dominates, dominators
from mopt_api.spec import QualityGate
from mopt_api.status import TargetStatus
from mopt_api.tradeoffs import Tradeoff, tradeoffs

GATE = QualityGate.model_validate({"metric": "PSNR", "minimum": "40"})
GOODNESS = st.tuples(*[st.sampled_from([-math.inf, 0.0, 1.0, 2.0, math.inf]) for _ in range(4)])


@given(st.dictionaries(st.integers(), GOODNESS, max_size=12))
def test_the_front_is_what_nothing_dominates(goodness: dict[int, Goodness]) -> None:
    better = dominators(goodness)
    assert better.keys() == goodness.keys()
    front = {key for key, by in better.items() if by is None}
    assert bool(front) is bool(goodness)
    for key in front:
        assert not any(dominates(other, goodness[key]) for other in goodness.values())
    for key, by in better.items():
        if by is not None:
            assert by in front
            assert dominates(goodness[by], goodness[key])


FIGURE = st.one_of(st.none(), st.integers(1, 4))
FORM = st.fixed_dictionaries(
    {
        "psnr": FIGURE,
        "p50": st.integers(1, 4),
        "peak": FIGURE,
        "rate": FIGURE,
        "state": st.sampled_from(["Passed", "Passed", "Rejected", "Skipped"]),
        "reason": st.sampled_from([None, "Constraint", "QualityGate"]),
    }
)
PRICE = st.one_of(st.none(), st.floats(0.01, 1))


def form(
    name: str,
    *,
    psnr: float | None = 50,
    p50: float = 10,
    peak: int | None = 100,
    rate: float | None = 20,
    state: str = "Passed",
    reason: str | None = None,
) -> dict[str, Any]:
    quality = [] if psnr is None else [{"metric": "PSNR", "worst": psnr, "mean": psnr}]
    return {
        "name": name,
        "runtime": "OpenVINO",
        "precision": "INT8",
        "state": state,
        "reason": reason,
        "quality": quality,
        "latencyMs": {"p50": p50, "p90": p50, "p99": p50},
        "throughput": rate,
        "peakMemoryBytes": peak,
    }


def target(name: str, *forms: dict[str, Any], **changes: Any) -> TargetStatus:
    raw = {
        "name": name,
        "hardware": {"threads": 1},
        "report": {"digest": "d", "uri": "s3://out/r"},
        "baseline": forms[0] | {"name": "baseline", "quality": []},
        "variants": forms[1:],
    }
    return TargetStatus.model_validate(raw | changes)


def regards(row: Tradeoff) -> Goodness:
    """What a row shows, larger where it is better: written here once more."""
    quality = math.inf if row.variant == "baseline" else -math.inf
    if row.quality is not None:
        quality = row.quality.worst
    costs = (row.latency_p50_ms, row.peak_memory_bytes, row.cost_per_million)
    return (quality, *(-math.inf if cost is None else -cost for cost in costs))


@given(
    st.lists(st.lists(FORM, min_size=1, max_size=4), min_size=1, max_size=3),
    st.lists(PRICE, min_size=3, max_size=3),
)
def test_what_is_dominated_names_a_form_on_the_front_that_is_nowhere_worse(
    drawn: list[list[dict[str, Any]]], prices: list[float | None]
) -> None:
    targets = [
        target(f"t{number}", *(form(f"v{place}", **each) for place, each in enumerate(forms)))
        for number, forms in enumerate(drawn)
    ]
    rows = tradeoffs(targets, {f"t{n}": price for n, price in enumerate(prices)}, GATE)
    counted = [
        (t.name, f.name)
        for t in targets
        for f in t.everyone
        if f.state == "Passed" or (f.state == "Rejected" and f.reason == "Constraint")
    ]
    assert sorted((row.target, row.variant) for row in rows) == sorted(counted)
    front = {f"{row.target}/{row.variant}": row for row in rows if row.dominated_by is None}
    assert bool(front) is bool(rows)
    # A price that is rounded to four digits may make equal what is not.
    for row in rows:
        if row.dominated_by is not None:
            best = regards(front[row.dominated_by])
            pairs = zip(best, regards(row), strict=True)
            assert all(a >= b or math.isclose(a, b, rel_tol=1e-3) for a, b in pairs)
    assert [row.dominated_by is None for row in rows] == [True] * len(front) + [False] * (
        len(rows) - len(front)
    )


def test_the_front_runs_through_targets() -> None:
    slow = target("slow", form("baseline", p50=80, rate=12), form("int8", psnr=42, p50=30, rate=33))
    fast = target(
        "fast",
        form("baseline", p50=40, rate=25, peak=300),
        form("int8", psnr=42, p50=12, rate=80),
        form("bf16", psnr=41, p50=12, rate=80),
    )
    rows = tradeoffs([slow, fast], {"slow": 0.02, "fast": 0.09}, GATE)
    found = {f"{row.target}/{row.variant}": row for row in rows}
    assert found["fast/bf16"].dominated_by == "fast/int8"
    assert found["slow/int8"].dominated_by is None  # It costs half.
    assert found["slow/int8"].cost_per_million == pytest.approx(0.1684)
    assert found["fast/int8"].cost_per_million == pytest.approx(0.3125)
    # Without prices the slower machine has nothing to offer but the source model's quality.
    unpriced = {
        f"{row.target}/{row.variant}": row.dominated_by for row in tradeoffs([slow, fast], {}, GATE)
    }
    assert unpriced["slow/int8"] == "fast/int8"
    assert unpriced["slow/baseline"] is None
    assert tradeoffs([target("old", form("x"), fromEarlierRun=True)], {}, None) == []


def test_single_calls_are_not_compared_with_figures_under_load() -> None:
    serving = {"instances": 1, "threads": 1, "batch": 1}
    load = {
        "scenario": "Server",
        "serving": serving,
        "throughput": 20.0,
        "latencyMs": {"p50": 1, "p90": 2, "p99": 3},
        "queries": 700,
    }
    one = target("one", form("baseline", p50=99), form("a") | {"load": load}, form("b", rate=900))
    rows = {row.variant: row for row in tradeoffs([one], {"one": 0.072}, GATE)}
    assert rows["a"].cost_per_million == pytest.approx(1.0)
    assert rows["b"].cost_per_million is None
    assert rows["b"].dominated_by == "one/a"
