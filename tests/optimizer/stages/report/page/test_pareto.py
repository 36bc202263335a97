"""The Pareto front, the curves under load and the constraints of a page."""

from __future__ import annotations

import report_results
from hypothesis import given
from hypothesis import strategies as st
from present import present

from mopt_api.jobs.measure_result import MeasureResult
from mopt_api.pareto import dominates
from mopt_optimizer.stages.report.page import render_page
from mopt_optimizer.stages.report.page.curves import load_curves
from mopt_optimizer.stages.report.page.pareto import pareto

GOODNESS = st.tuples(*[st.floats(0, 3).map(round) for _ in range(4)])


@given(GOODNESS, GOODNESS, GOODNESS)
def test_domination_is_an_order(
    one: tuple[int, ...], other: tuple[int, ...], third: tuple[int, ...]
) -> None:
    assert not dominates(one, one)
    assert not (dominates(one, other) and dominates(other, one))
    if dominates(one, other) and dominates(other, third):
        assert dominates(one, third)


def test_what_is_dominated_names_what_is_nowhere_worse() -> None:
    result = report_results.result(first_name="first", measured=5)
    worse = result.variants[2].model_copy(update={"name": "worse", "load": None})
    told = result.model_copy(update={"variants": [*result.variants[:11], worse]})
    rows = {row.name: row for row in pareto(told, report_results.plan())}
    assert rows["worse"].by is not None
    # Single calls are not compared with figures under load.
    assert rows["worse"].cost == "\u2013"
    assert rows[str(result.selected)].by is None


def test_curves_hold_every_trial_and_the_bounds() -> None:
    result = report_results.result(measured=5)
    chart = present(load_curves(result, report_results.plan().objective))
    assert [len(curve.dots) for curve in chart.curves] == [18] * 6
    assert chart.bounds == "LatencyP99 \u2264 60ms, Throughput \u2265 100/s"
    assert chart.plot.top < present(chart.most) < chart.plot.bottom
    assert chart.plot.left < present(chart.least) < chart.plot.right
    for curve in chart.curves:
        for dot in curve.dots:
            assert (dot.y >= present(chart.most) - 0.1) or not dot.kept
    assert load_curves(without_load(), report_results.plan().objective) is None


def without_load() -> MeasureResult:
    result = report_results.result(measured=5)
    bare = {"load": None, "load_search": None}
    return result.model_copy(
        update={
            "baseline": present(result.baseline).model_copy(update=bare),
            "variants": [v.model_copy(update=bare) for v in result.variants],
        }
    )


def test_page_shows_load_only_where_it_was_measured() -> None:
    for result, loaded in ((report_results.result(), True), (without_load(), False)):
        page = render_page(result, report_results.plan(), digest=report_results.DIGEST)
        assert ("Under load" in page) is loaded
        assert "LatencyP99 \u2264 60ms" in page
        assert "judged across targets" in page
