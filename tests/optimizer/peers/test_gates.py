"""The gates of the comparison: from lenient to strict, and of what they judge."""

from __future__ import annotations

import pytest
from gates import (
    MIDDLE,
    RUNGS,
    Figure,
    figure_of,
    figures,
    gate,
    holds,
    in_words,
    shown,
    with_gates,
)
from subjects import SUBJECTS, trained_resource

from mopt_api.enums import Aggregate, QualityMetric
from mopt_api.spec import ModelOptimizationSpec

PSNR, TOP1 = QualityMetric.PSNR, QualityMetric.TOP1_AGREEMENT
FACTS = {
    "sha256": "a" * 64,
    "metric": "Top1Agreement",
    "reached": 0.9765,
    "evaluation_samples": 256,
}


@pytest.mark.parametrize("metric", sorted({subject.metric for subject in SUBJECTS.values()}))
def test_each_gate_is_stricter_than_the_one_before(metric: QualityMetric) -> None:
    bounds = [gate(metric, rung).minimum or 0 for rung in RUNGS]
    assert bounds == sorted(set(bounds))


def test_decibels_are_what_their_rungs_say_and_a_cosine_reaches_from_99_to_9999() -> None:
    assert [gate(PSNR, rung).minimum for rung in RUNGS] == [float(rung) for rung in RUNGS]
    cosines = [gate(QualityMetric.COSINE, rung).minimum for rung in RUNGS]
    assert (cosines[0], cosines[-1]) == (0.99, 0.9999)


@pytest.mark.parametrize("metric", sorted({subject.metric for subject in SUBJECTS.values()}))
@pytest.mark.parametrize("truth", [False, True])
def test_what_gates_judge_is_shown_first_and_keys_name_one_figure(
    metric: QualityMetric, *, truth: bool
) -> None:
    found = figures(metric, truth=truth)
    bound = gate(metric, MIDDLE)
    assert found[0] == Figure(bound.metric, bound.aggregate)
    assert any(figure.truth for figure in found) is truth
    assert [figure_of(figure.key) for figure in found] == list(found)
    assert len({figure.key for figure in found}) == len(found)


def test_a_gate_is_held_by_its_own_figure_alone() -> None:
    bound = gate(TOP1, MIDDLE)
    assert holds(bound, {"Mean Top1Agreement": 0.99})
    assert not holds(bound, {"Mean Top1Agreement": 0.98})
    assert not holds(bound, {"Mean Top1Agreement with truth": 1.0, "Worst Top1Agreement": 1.0})
    assert holds(bound, {"Mean Top1Agreement with truth": 0.99}, truth=True)


def test_words() -> None:
    assert in_words(gate(PSNR, "45")) == "Worst PSNR 45 dB"
    assert in_words(gate(TOP1, "30"), truth=True) == "Mean Top1Agreement 0.95 with truth"
    assert shown(Figure(PSNR, Aggregate.WORST).key, 41.256) == "41.26"
    assert shown(Figure(TOP1, Aggregate.MEAN).key, 0.995) == "99.50%"


def test_a_trained_networks_resource_is_valid_and_asks_for_its_accuracy() -> None:
    document = trained_resource("vision_transformer", ("image", (3, 64, 64)), FACTS)
    spec = ModelOptimizationSpec.model_validate(document["spec"])
    (own,) = spec.quality
    assert (own.metric, own.minimum, own.aggregate) == (TOP1, 0.9667, Aggregate.MEAN)
    assert spec.data is not None
    assert spec.data.evaluation is not None
    assert spec.data.evaluation.references is not None


def test_a_gates_resource_compares_with_fp32_and_takes_any_gain() -> None:
    document = trained_resource("classifier", ("image", (3, 64, 64)), FACTS)
    document["spec"]["objective"]["minimumSpeedup"] = 1.2
    bound = gate(TOP1, "50")
    asked = ModelOptimizationSpec.model_validate(with_gates(document, [bound])["spec"])
    assert asked.quality == [bound]
    assert asked.objective.minimum_speedup == 1.0
    assert asked.data is not None
    assert asked.data.evaluation is not None
    assert asked.data.evaluation.references is None
    # What it was made of is as it was.
    assert "references" in document["spec"]["data"]["evaluation"]
    assert document["spec"]["objective"]["minimumSpeedup"] == 1.2
