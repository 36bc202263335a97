"""The fastest form at each quality, and what another gate would cost or bring."""

from __future__ import annotations

from itertools import pairwise

import report_results
from hypothesis import given
from hypothesis import strategies as st

from mopt_api.enums import QualityMetric
from mopt_api.figures import VariantReason, VariantState
from mopt_api.jobs.measure_result import MeasureResult
from mopt_api.spec import QualityGate
from mopt_optimizer.stages.report.page import render_page
from mopt_optimizer.stages.report.page.frontier import Form, forms, frontier, prices

PSNR, SSIM = report_results.GATES[:2]


def form(name: str, speedup: float, decibels: float, gate: float = 40.0) -> Form:
    return Form(name, speedup, decibels, f"{decibels:g} dB", passes=decibels >= gate)


FORMS = st.lists(
    st.builds(form, st.just("any"), st.integers(1, 6).map(float), st.integers(30, 45).map(float)),
    max_size=8,
)


@given(FORMS)
def test_each_form_has_a_step_that_is_as_fast_and_as_close(found: list[Form]) -> None:
    steps = frontier(found)
    for each in found:
        assert any(s.speedup >= each.speedup and s.closeness >= each.closeness for s in steps)
    for before, after in pairwise(steps):
        assert before.speedup > after.speedup
        assert before.closeness < after.closeness


@given(FORMS)
def test_words_are_of_better_forms_only(found: list[Form]) -> None:
    passing = [each for each in found if each.passes]
    winner = max(passing, key=lambda each: each.speedup, default=None)
    for said in prices(found, None if winner is None else winner.name):
        assert ("is let in" in said) or winner is not None


def test_both_neighbours_of_the_winner_are_told() -> None:
    found = [
        form("int8", 3.0, 38.2),
        form("int8-wild", 3.2, 31.0),
        form("mixed", 2.5, 43.2),
        form("fp16", 2.0, 60.5),
        form("fp32", 1.5, 120.0),
    ]
    assert prices(found, "mixed") == [
        "A gate that 43.2 dB misses: fp16 is the fastest, 2.00x instead of 2.50x, with 60.5 dB.",
        "A gate that 38.2 dB passes: int8 is let in, 3.00x instead of 2.50x, with 38.2 dB.",
    ]
    assert prices(found[2:3], "mixed") == [
        "A gate that 43.2 dB misses: no form but the baseline is left."
    ]
    # Where nothing wins, the baseline is what a looser gate would be better than.
    assert prices(found[:2], None) == [
        "A gate that 38.2 dB passes: int8 is let in, 3.00x instead of 1.00x, with 38.2 dB."
    ]
    assert prices([], None) == []


def test_a_form_that_misses_another_gate_is_not_let_in() -> None:
    result = report_results.result(measured=5)
    gates = report_results.GATES
    names = {each.name: each for each in forms(result, PSNR, gates)}
    rejected = result.variants[0]
    assert (rejected.state, rejected.reason) == (VariantState.REJECTED, VariantReason.QUALITY_GATE)
    assert rejected.name not in names
    alone = {each.name: each for each in forms(result, PSNR, [PSNR])}
    assert not alone[rejected.name].passes
    assert all(each.passes for each in names.values())


def test_smaller_errors_are_closer() -> None:
    gate = QualityGate(metric=QualityMetric.MAX_ABS_ERROR, maximum=0.1)
    found = {each.name: each for each in forms(report_results.result(measured=5), gate, [gate])}
    errors = {
        v.name: next(q.worst for q in v.quality if q.metric is gate.metric)
        for v in report_results.result(measured=5).variants
        if v.name in found
    }
    assert len(found) > 2
    ordered = sorted(found, key=lambda name: errors[name])
    assert ordered == sorted(found, key=lambda name: -found[name].closeness)


def page(result: MeasureResult, gates: list[QualityGate] | None = None) -> str:
    return render_page(result, report_results.plan(gates), digest=report_results.DIGEST)


def test_page_draws_it_where_there_is_a_gate() -> None:
    shown = page(report_results.result(measured=5))
    assert 'class="frontier"' in shown
    assert "A gate that" in shown
    without = page(report_results.result(measured=5), [])
    assert 'class="frontier"' not in without
    assert "The stairs" not in without
