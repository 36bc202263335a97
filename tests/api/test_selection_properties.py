"""Selection for any variants: never a rejected one, monotone in the gates, stable on ties."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from judged_variants import by_truth, choose, not_a_number, variant
from present import present

from mopt_api.benchmark import Benchmark
from mopt_api.enums import OnNoWinner, QualityMetric
from mopt_api.figures import (
    VariantState,
)
from mopt_api.jobs.gates import gate_failure
from mopt_api.jobs.measure_result import VariantResult
from mopt_api.jobs.selection import select
from mopt_api.objective import Objective
from mopt_api.spec import QualityGate

VARIANTS = st.lists(
    st.builds(
        variant,
        st.uuids().map(str).map(lambda text: text[:8]),
        st.floats(0.1, 1000),
        psnr=st.floats(0, 200),
        state=st.sampled_from(VariantState),
    ),
    max_size=12,
    unique_by=lambda v: v.name,
)


@given(VARIANTS, st.floats(0, 200), st.floats(1, 10))
def test_winner_passed_and_nothing_that_passed_is_faster(
    variants: list[VariantResult], minimum: float, minimum_speedup: float
) -> None:
    gate = QualityGate(metric=QualityMetric.PSNR, minimum=minimum)
    objective = Objective(minimum_speedup=minimum_speedup)
    verdict = choose(*variants, gates=(gate,), objective=objective)
    by_name = {v.name: v for v in verdict.variants}
    winner = by_name.get(verdict.selected or "")
    passed = [v.speedup or 0 for v in verdict.variants if v.state is VariantState.PASSED]
    if winner is None:
        assert verdict.selected == "baseline"
        assert all(s < minimum_speedup or s <= 1 for s in passed)
    else:
        assert winner.state is VariantState.PASSED
        assert winner.speedup == max(passed)
        assert winner.speedup >= minimum_speedup


@given(VARIANTS, st.floats(0, 200), st.floats(1, 10))
def test_what_was_only_built_never_wins(
    variants: list[VariantResult], minimum: float, minimum_speedup: float
) -> None:
    gate = QualityGate(metric=QualityMetric.PSNR, minimum=minimum)
    objective = Objective(minimum_speedup=minimum_speedup)
    verdict = choose(*variants, gates=(gate,), objective=objective)
    built = {v.name for v in variants if v.state is VariantState.BUILT}
    assert verdict.selected not in built
    alone = select(None, variants, gates=(gate,), objective=objective, benchmark=Benchmark())
    assert (alone.selected, alone.baseline) == (None, None)
    for before, after in zip(variants, alone.variants, strict=True):
        misses = gate_failure(gate, before.quality) is not None
        judged = before.state in (VariantState.BUILT, VariantState.PASSED)
        assert after.state is (VariantState.REJECTED if judged and misses else before.state)
        assert after.speedup is None


@given(VARIANTS, st.floats(0, 200), st.floats(0, 200), st.sampled_from(OnNoWinner))
def test_by_ground_truth_what_is_selected_holds_every_gate(
    variants: list[VariantResult], baseline_psnr: float, minimum: float, on_no_winner: OnNoWinner
) -> None:
    gate = QualityGate(metric=QualityMetric.PSNR, minimum=minimum)
    objective = Objective(on_no_winner=on_no_winner)
    verdict = by_truth(baseline_psnr, *variants, gates=(gate,), objective=objective)
    everyone = {v.name: v for v in (present(verdict.baseline), *verdict.variants)}
    if verdict.selected is None:
        rejected = present(verdict.baseline).state is VariantState.REJECTED
        assert rejected or on_no_winner is OnNoWinner.FAIL
    else:
        assert gate_failure(gate, everyone[verdict.selected].quality) is None
    # Gating the baseline never costs a variant its win.
    winner = choose(*variants, gates=(gate,), objective=objective).selected
    if winner not in ("baseline", None):
        assert verdict.selected == winner


@given(VARIANTS, st.floats(0, 200), st.floats(0, 200))
def test_a_stricter_gate_never_lets_more_pass(
    variants: list[VariantResult], one: float, other: float
) -> None:
    low, high = sorted((one, other))

    def passing(minimum: float) -> set[str]:
        gate = QualityGate(metric=QualityMetric.PSNR, minimum=minimum)
        verdict = choose(*variants, gates=(gate,))
        return {v.name for v in verdict.variants if v.state is VariantState.PASSED}

    assert passing(high) <= passing(low)


@given(VARIANTS, st.floats(1, 20), st.floats(1, 20))
def test_a_higher_minimum_speedup_never_lets_another_win(
    variants: list[VariantResult], one: float, other: float
) -> None:
    low, high = sorted((one, other))
    lenient = choose(*variants, objective=Objective(minimum_speedup=low)).selected
    strict = choose(*variants, objective=Objective(minimum_speedup=high)).selected
    assert strict in (lenient, "baseline")


@given(VARIANTS, st.floats(1, 10))
def test_on_no_winner_decides_only_where_nothing_wins(
    variants: list[VariantResult], minimum_speedup: float
) -> None:
    def selected(on_no_winner: OnNoWinner) -> str | None:
        objective = Objective(minimum_speedup=minimum_speedup, on_no_winner=on_no_winner)
        return choose(*variants, objective=objective).selected

    kept, failed = selected(OnNoWinner.KEEP_BASELINE), selected(OnNoWinner.FAIL)
    assert (kept, failed) == ("baseline", None) or kept == failed


@given(VARIANTS.flatmap(lambda found: st.tuples(st.just(found), st.permutations(found))))
def test_the_order_of_variants_decides_among_equals_only(
    orders: tuple[list[VariantResult], list[VariantResult]],
) -> None:
    one, other = (choose(*order) for order in orders)
    speed = {v.name: v.speedup for v in (present(one.baseline), *one.variants)}
    assert one.selected is not None
    assert other.selected is not None
    assert speed[one.selected] == speed[other.selected]
    assert {v.name: v for v in one.variants} == {v.name: v for v in other.variants}
    # Among equals the first: what was listed before the winner is no better and not as good.
    for verdict in (one, other):
        names = [v.name for v in verdict.variants if v.state is VariantState.PASSED]
        if verdict.selected in names:
            before = names[: names.index(verdict.selected)]
            assert all((speed[name] or 0) < (speed[verdict.selected] or 0) for name in before)


@given(VARIANTS, st.data())
def test_a_quality_that_is_nan_never_wins(
    variants: list[VariantResult], data: st.DataObject
) -> None:
    names = [v.name for v in variants]
    spoilt = data.draw(st.sets(st.sampled_from(names)) if names else st.just(set()))
    nan = not_a_number(QualityMetric.PSNR)
    there = [v.model_copy(update={"quality": [nan]}) if v.name in spoilt else v for v in variants]
    verdict = choose(*there)
    assert verdict.selected not in spoilt
    judged = {v.name: v.state for v in verdict.variants}
    assert all(judged[name] is not VariantState.PASSED for name in spoilt)
