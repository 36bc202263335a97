"""Quality over samples: against FP32, against ground truth, and broken data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mopt_api.enums import QualityMetric
from mopt_optimizer.errors import DataError, OptimizerError, SpecError
from mopt_optimizer.quality import (
    Comparison,
    Evaluation,
    NonFiniteOutput,
    NotAnImage,
    ShapeMismatch,
    evaluate,
)

Array = NDArray[Any]
SAMPLES = [{"x": np.full((1, 4), value, np.float32)} for value in (0.0, 1.0)]


def identity(sample: Any) -> Sequence[Array]:
    return [sample["x"]]


def off_by_its_value(sample: Any) -> Sequence[Array]:
    """Wrong by 0.1 at the sample of zeros, by 0.2 at the one of ones."""
    return [sample["x"] + np.float32(0.1) * (1 + sample["x"])]


def test_worst_is_lowest_psnr_and_highest_error() -> None:
    found = evaluate(identity, off_by_its_value, SAMPLES, metrics=["PSNR", "MaxAbsError"])
    assert found.samples == 2
    psnr, error = found.against_fp32
    assert psnr.per_sample == pytest.approx((20, 13.979), abs=1e-3)
    assert (psnr.worst, psnr.mean) == pytest.approx((13.979, 16.990), abs=1e-3)
    assert (error.worst, error.mean) == pytest.approx((0.2, 0.15))
    assert found.value("MaxAbsError") == error.worst
    assert found.value("PSNR", aggregate="Mean") == psnr.mean


def test_ground_truth_judges_the_reference_too() -> None:
    truth = [[sample["x"] + np.float32(0.1)] for sample in SAMPLES]
    found = evaluate(identity, off_by_its_value, SAMPLES, metrics=["MaxAbsError"], truth=truth)
    assert found.against_truth[0].per_sample == pytest.approx((0, 0.1), abs=1e-6)
    assert found.reference_against_truth[0].per_sample == pytest.approx((0.1, 0.1))
    assert found.value("MaxAbsError", truth=True) == pytest.approx(0.1)


def test_labels_serve_as_ground_truth_of_a_classifier() -> None:
    samples = [{"x": np.eye(3, dtype=np.float32)}]
    agreement = Comparison({QualityMetric.TOP1_AGREEMENT: None})
    agreement.add_truth([np.array([0, 1, 0])], identity(samples[0]))
    assert agreement.results()[0].worst == pytest.approx(2 / 3)


def test_identical_models_are_exact() -> None:
    (psnr,) = evaluate(identity, identity, SAMPLES, metrics=["PSNR", "PSNR"]).against_fp32
    assert (psnr.exact, psnr.worst) == (True, 200)


def test_a_sample_that_fails_in_one_metric_leaves_no_trace() -> None:
    agreement = Comparison({QualityMetric.COSINE: None, QualityMetric.SSIM: 1.0})
    with pytest.raises(NotAnImage):
        agreement.add([np.ones((1, 4))], [np.zeros((1, 4))])
    assert agreement.results() == []


def test_no_samples_is_an_error() -> None:
    with pytest.raises(DataError, match="no samples"):
        evaluate(identity, identity, [])


@pytest.mark.parametrize(("count", "message"), [(1, "ends at sample 1"), (3, "more ground truth")])
def test_ground_truth_comes_for_each_sample(count: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        evaluate(identity, identity, SAMPLES, truth=[[np.zeros((1, 4))]] * count)


def test_ground_truth_of_another_number_of_outputs_is_refused() -> None:
    with pytest.raises(DataError, match="2 ground-truth arrays for 1 outputs"):
        evaluate(identity, identity, SAMPLES, truth=[[np.zeros((1, 4))] * 2] * 2)


def test_ground_truth_of_another_shape_is_refused() -> None:
    with pytest.raises(ShapeMismatch, match="sample 0"):
        evaluate(identity, identity, SAMPLES, truth=[[np.zeros((1, 5))]] * 2)


@pytest.mark.parametrize("spoil_reference", [True, False])
def test_nan_names_the_sample(spoil_reference: bool) -> None:
    def spoiled(sample: Any) -> Sequence[Array]:
        return [np.where(sample["x"] == 1, np.nan, sample["x"])]

    models = (spoiled, identity) if spoil_reference else (identity, spoiled)
    with pytest.raises(NonFiniteOutput, match=r"sample 1: .*output 0: 4 of 4") as caught:
        evaluate(*models, SAMPLES)
    assert isinstance(caught.value, OptimizerError)
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("metrics", "message"), [(["LPIPS"], "none of PSNR, SSIM"), ([], "no metric")]
)
def test_metrics_must_be_known(metrics: list[str], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        evaluate(identity, identity, SAMPLES, metrics=metrics)


def test_value_refuses_what_was_not_computed() -> None:
    found = Evaluation(samples=1, against_fp32=())
    with pytest.raises(SpecError, match="PSNR was not computed against FP32"):
        found.value("PSNR")
    with pytest.raises(SpecError, match="against ground truth"):
        found.value("PSNR", truth=True)
    with pytest.raises(SpecError, match="Median"):
        found.value("PSNR", aggregate="Median")
