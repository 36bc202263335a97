"""Whether a second search is made, and what it aims at: the pure decision."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mopt_api.enums import Aggregate, ObjectiveMetric, Precision, QualityMetric, Runtime
from mopt_api.figures import (
    MOST_AIM_DECIBELS,
    QualityResult,
    VariantReason,
    VariantState,
    converted,
)
from mopt_api.jobs.aim import GateAim, aim_of, raised
from mopt_api.jobs.measure_result import VariantResult
from mopt_api.jobs.second_search import Aims, missed_gates, second_aims
from mopt_api.jobs.termination import VariantSummary
from mopt_api.noise import margin_of, minimum_with_margin, signed
from mopt_api.objective import Constraint, Objective
from mopt_api.spec import OutputSlice, QualityGate

PSNR = QualityGate(metric=QualityMetric.PSNR, minimum=30)
COSINE = QualityGate(metric=QualityMetric.COSINE, minimum=0.99)
ERROR = QualityGate(metric=QualityMetric.MAX_ABS_ERROR, maximum=0.1)
DETECTIONS = QualityGate(metric=QualityMetric.DETECTION_F1, minimum=0.9)


def quality(metric: QualityMetric, value: float, **fields: Any) -> QualityResult:
    return QualityResult(metric=metric, worst=value, mean=value, **fields)


def variant(name: str = "int8", **fields: Any) -> VariantResult:
    """Return one that 8 dB keep from winning."""
    return VariantResult(
        **{
            "name": name,
            "runtime": Runtime.ONNX_RUNTIME,
            "precision": Precision.INT8,
            "state": VariantState.REJECTED,
            "reason": VariantReason.QUALITY_GATE,
            "speedup": 3.0,
            "quality": [quality(QualityMetric.PSNR, 22.0)],
            "aim_decibels": 9,
        }
        | fields
    )


PASSED = {"state": VariantState.PASSED, "reason": None, "aim_decibels": None}


def decided(
    *variants: VariantResult,
    selected: str | None = "baseline",
    gates: tuple[QualityGate, ...] = (PSNR,),
    **objective: Any,
) -> Aims:
    shown = [converted(variant, VariantSummary) for variant in variants]
    return second_aims(shown, selected, gates=gates, objective=Objective(**objective))


WANTED: Aims = {"int8": [GateAim.of(PSNR, 9)]}


def test_what_misses_a_constraint_too_is_not_searched_again() -> None:
    bound = Constraint(metric=ObjectiveMetric.PEAK_MEMORY, maximum=1)
    assert decided(variant(), constraints=[bound]) == {}
    assert decided(variant(peak_memory_bytes=1), constraints=[bound]) == WANTED


@pytest.mark.parametrize("selected", ["baseline", None])
def test_faster_than_what_is_kept_is_worth_it(selected: str | None) -> None:
    assert decided(variant(), selected=selected) == WANTED


CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("it passes", PASSED),
    ("it failed", {"state": VariantState.FAILED, "reason": VariantReason.CRASHED}),
    ("more than a gate is wrong", {"reason": VariantReason.CONSTANT_CHANNEL}),
    ("only built, its speed is not known", {"speedup": None}),
    ("not faster than the baseline", {"speedup": 1.0}),
    ("slower", {"speedup": 0.7}),
    ("its measurement says that there is none to be made", {"aim_decibels": None}),
    ("aimed before", {"aimed_by": "Evaluation"}),
    ("nothing was compared", {"quality": []}),
]


@pytest.mark.parametrize("changes", [c for _, c in CHANGES], ids=[why for why, _ in CHANGES])
def test_no_second_search(changes: dict[str, Any]) -> None:
    assert decided(variant(**changes)) == {}


def test_it_must_beat_what_is_selected() -> None:
    for speedup, wanted in ((2.9, WANTED), (3.0, {}), (3.1, {})):
        winner = variant("fp32", speedup=speedup, **PASSED)
        assert decided(variant(), winner, selected="fp32") == wanted


def test_it_must_reach_the_minimum_speedup() -> None:
    assert decided(variant(), minimum_speedup=3.0) == WANTED
    assert decided(variant(), minimum_speedup=3.01) == {}


def test_a_target_is_aimed_once() -> None:
    other = variant("other", aimed_by="Evaluation", aim_decibels=None)
    assert decided(variant(), other) == {}


def test_each_variant_has_aims_of_its_own() -> None:
    other = variant("other", aim_decibels=3)
    assert decided(variant(), other) == WANTED | {"other": [GateAim.of(PSNR, 3)]}


def test_only_missed_gates_are_raised() -> None:
    part = OutputSlice(name="boxes", axis=-1, range=(0, 4))
    boxes = QualityGate(metric=QualityMetric.PSNR, minimum=30, output="found", slice=part)
    mean = QualityGate(metric=QualityMetric.COSINE, minimum=0.99, aggregate=Aggregate.MEAN)
    both = QualityResult(metric=QualityMetric.COSINE, worst=0.98, mean=0.995)
    found = [
        quality(QualityMetric.PSNR, 31.0),
        quality(QualityMetric.PSNR, 29.0, output="found", slice="boxes"),
        both,
        quality(QualityMetric.MAX_ABS_ERROR, 0.2),
    ]
    aims = decided(variant(quality=found), gates=(PSNR, boxes, COSINE, mean, ERROR))
    assert aims["int8"] == [GateAim.of(gate, 9) for gate in (boxes, COSINE, ERROR)]
    assert (aims["int8"][0].output, aims["int8"][0].slice) == ("found", "boxes")


def test_gate_that_counts_is_none_to_aim_at() -> None:
    found = [quality(QualityMetric.PSNR, 22.0), quality(QualityMetric.DETECTION_F1, 0.5)]
    assert missed_gates(found, [PSNR, DETECTIONS]) == [PSNR]
    assert missed_gates(found[1:], [DETECTIONS]) == []


def test_miss_that_rounding_hides_is_still_one() -> None:
    found = [quality(QualityMetric.PSNR, 30.0), quality(QualityMetric.COSINE, 0.999)]
    assert decided(variant(quality=found), gates=(PSNR, COSINE)) == WANTED


GATES = st.sampled_from([PSNR, COSINE, ERROR])
DECIBELS = st.integers(1, MOST_AIM_DECIBELS)


@given(GATES, DECIBELS, st.floats(-60, 60))
def test_raised_gate_is_as_much_stricter(gate: QualityGate, decibels: int, margin: float) -> None:
    (strict,) = raised([gate], [GateAim.of(gate, decibels)])
    assert QualityGate.model_validate(strict.to_api()) == strict
    value = minimum_with_margin(gate, margin)
    assert margin_of(value, gate) == pytest.approx(margin, abs=1e-3)
    if abs(margin - decibels) > 1e-6:
        assert strict.passes(signed(gate.metric, value)) == (margin > decibels)


@given(DECIBELS)
def test_other_gates_stay_as_they_are(decibels: int) -> None:
    aims = [GateAim.of(PSNR, decibels)]
    assert raised([COSINE, ERROR], aims) == [COSINE, ERROR]
    assert (aim_of(COSINE, aims), aim_of(PSNR, aims)) == (None, decibels)
    mean = PSNR.model_copy(update={"aggregate": Aggregate.MEAN})
    assert aim_of(mean, aims) is None


@given(
    st.floats(0.1, 10),
    st.floats(0.1, 10),
    st.floats(1, 10),
    st.floats(10, 50),
    st.one_of(st.none(), DECIBELS),
    st.booleans(),
)
def test_who_is_searched_again_would_win_and_misses_its_gate(
    speedup: float,
    standing: float,
    minimum: float,
    reached: float,
    decibels: int | None,
    aimed: bool,
) -> None:
    winner = variant("fp32", speedup=standing, **PASSED)
    missing = reached < 30
    state: dict[str, Any] = {} if missing else PASSED
    found = [quality(QualityMetric.PSNR, reached)]
    given_by = "Evaluation" if aimed else None
    fields: dict[str, Any] = {"speedup": speedup, "quality": found, "aimed_by": given_by}
    one = variant(**fields | {"aim_decibels": decibels} | state)
    wins = standing >= minimum and standing > 1
    aims = decided(one, winner, selected="fp32" if wins else "baseline", minimum_speedup=minimum)
    to_beat = standing if wins else 1.0
    worth = missing and not aimed and bool(decibels) and speedup > to_beat and speedup >= minimum
    assert (aims != {}) == worth
    if worth:
        assert aims == {"int8": [GateAim.of(PSNR, decibels or 0)]}
        assert math.isfinite(signed(PSNR.metric, raised([PSNR], aims["int8"])[0].minimum or 0))
