"""PSNR and SSIM against their definitions, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from mopt_api.enums import Aggregate, QualityMetric
from mopt_api.figures import EXACT_PSNR_DB
from mopt_api.metrics import METRICS, Outputs
from mopt_api.spec import QualityGate
from mopt_optimizer.quality import (
    Comparison,
    ConflictingRange,
    NonFiniteOutput,
    NotAnImage,
    ShapeMismatch,
    data_ranges,
    psnr,
    ssim,
)

Array = NDArray[Any]


def noisy(shape: tuple[int, ...], seed: int = 0) -> tuple[Array, Array]:
    random = np.random.default_rng(seed)
    clean = random.random(shape, np.float32)
    return clean, clean + random.normal(0, 0.05, shape).astype(np.float32)


def ssim_by_definition(x: Array, y: Array, data_range: float, side: int = 7) -> float:
    """Wang et al. 2004, equation 13, uniform window, sample covariance; one (H, W) channel."""
    windows_x = sliding_window_view(x.astype(np.float64), (side, side)).reshape(-1, side * side)
    windows_y = sliding_window_view(y.astype(np.float64), (side, side)).reshape(-1, side * side)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mean_x, mean_y = windows_x.mean(1), windows_y.mean(1)
    covariance = ((windows_x - mean_x[:, None]) * (windows_y - mean_y[:, None])).sum(1)
    covariance /= side * side - 1
    variance = windows_x.var(1, ddof=1) + windows_y.var(1, ddof=1)
    values = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (variance + c2)
    )
    return float(values.mean())


@pytest.mark.parametrize("data_range", [1.0, 2.0, 255.0])
def test_psnr_is_peak_squared_over_mean_square_error(data_range: float) -> None:
    reference, output = noisy((1, 3, 8, 9))
    error = np.mean((reference.astype(np.float64) - output) ** 2)
    assert psnr(reference, output, data_range) == pytest.approx(
        10 * math.log10(data_range**2 / error)
    )


def test_psnr_peak_is_not_taken_from_the_data() -> None:
    reference, output = np.full((1, 4), 100.0), np.full((1, 4), 100.1)
    assert psnr(reference, output, 1.0) == pytest.approx(20.0)


def test_psnr_of_identical_outputs_is_bounded() -> None:
    reference, _ = noisy((1, 3, 4, 4))
    assert psnr(reference, reference.copy(), 1.0) == EXACT_PSNR_DB


@given(exponent=st.integers(-150, 3))
def test_psnr_never_exceeds_the_value_of_identical_outputs(exponent: int) -> None:
    value = psnr(np.zeros((1, 2)), np.full((1, 2), 10.0**exponent), 1.0)
    assert value == pytest.approx(min(EXACT_PSNR_DB, -20.0 * exponent))


@pytest.mark.parametrize("data_range", [1.0, 255.0])
def test_ssim_follows_its_definition(data_range: float) -> None:
    reference, output = noisy((1, 3, 16, 21))
    channels = [
        ssim_by_definition(x, y, data_range) for x, y in zip(reference[0], output[0], strict=True)
    ]
    assert ssim(reference, output, data_range) == pytest.approx(np.mean(channels), abs=1e-9)


def test_ssim_takes_the_worst_image_of_a_batch() -> None:
    reference, output = noisy((2, 3, 16, 16))
    output[0] = reference[0]
    assert ssim(reference, output, 1.0) == pytest.approx(ssim(reference[1:], output[1:], 1.0))
    assert ssim(reference, output, 1.0) < 0.999


def test_ssim_of_channels_last_equals_channels_first() -> None:
    reference, output = noisy((1, 3, 16, 20))
    assert ssim(
        reference.transpose(0, 2, 3, 1), output.transpose(0, 2, 3, 1), 1.0
    ) == pytest.approx(ssim(reference, output, 1.0))


def test_ssim_of_gray_images_without_a_channel_axis() -> None:
    reference, output = noisy((1, 16, 20))
    assert ssim(reference, output, 1.0) == pytest.approx(
        ssim_by_definition(reference[0], output[0], 1.0), abs=1e-9
    )


@pytest.mark.parametrize(("side", "window"), [(3, 3), (4, 3), (5, 5), (6, 5), (7, 7), (8, 7)])
def test_ssim_window_shrinks_to_the_largest_odd_one_that_fits(side: int, window: int) -> None:
    reference, output = noisy((1, 1, side, 12))
    assert ssim(reference, output, 1.0) == pytest.approx(
        ssim_by_definition(reference[0, 0], output[0, 0], 1.0, window), abs=1e-9
    )


@pytest.mark.parametrize("shape", [(1, 10), (1, 3, 2, 9), (1, 1, 8, 8, 8)])
def test_ssim_refuses_what_is_no_image(shape: tuple[int, ...]) -> None:
    with pytest.raises(NotAnImage, match=str(shape[-1])):
        ssim(np.zeros(shape), np.zeros(shape), 1.0)


def test_comparison_keeps_worst_mean_and_every_sample() -> None:
    comparison = Comparison({QualityMetric.PSNR: 1.0})
    for error in (0.1, 0.01):
        comparison.add([np.zeros((1, 4))], [np.full((1, 4), error)])
    (result,) = comparison.results()
    assert (result.metric, result.exact) == (QualityMetric.PSNR, False)
    assert [result.worst, result.mean] == pytest.approx([20, 30])
    assert result.per_sample == pytest.approx([20, 40])


def test_comparison_of_identical_outputs_is_exact() -> None:
    comparison = Comparison({QualityMetric.PSNR: 1.0, QualityMetric.SSIM: 1.0})
    image, _ = noisy((1, 3, 8, 8))
    comparison.add([image], [image.copy()])
    assert [(r.worst, r.exact) for r in comparison.results()] == [(200.0, True), (1.0, True)]


def test_comparison_judges_the_worst_of_several_outputs() -> None:
    comparison = Comparison({QualityMetric.PSNR: 1.0})
    comparison.add([np.zeros(2), np.zeros(3)], [np.full(2, 0.01), np.full(3, 0.1)])
    assert comparison.results()[0].worst == pytest.approx(20)


def test_comparison_without_samples_has_no_results() -> None:
    assert Comparison({QualityMetric.PSNR: 1.0}).results() == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_comparison_refuses_non_finite_outputs(value: float) -> None:
    output = np.array([0.5, value])
    with pytest.raises(NonFiniteOutput, match="1 of 2 values"):
        Comparison({QualityMetric.PSNR: 1.0}).add([np.zeros(2)], [output])


def test_comparison_refuses_other_shapes_even_if_they_broadcast() -> None:
    with pytest.raises(ShapeMismatch, match=r"\(1, 3\).*\(2, 3\)"):
        Comparison({}).add([np.zeros((2, 3))], [np.zeros((1, 3))])


def test_comparison_refuses_another_number_of_outputs() -> None:
    with pytest.raises(ShapeMismatch, match="2 outputs"):
        Comparison({}).add([np.zeros(2)], [np.zeros(2), np.zeros(2)])


def test_ssim_that_nobody_required_is_left_out_where_it_does_not_fit() -> None:
    ranges = {QualityMetric.PSNR: 1.0, QualityMetric.SSIM: 1.0}
    vectors = [np.zeros((1, 10))]
    lenient = Comparison(ranges, required=False)
    lenient.add(vectors, vectors)
    assert [r.metric for r in lenient.results()] == [QualityMetric.PSNR]
    with pytest.raises(NotAnImage):
        Comparison(ranges).add(vectors, vectors)


def test_gates_say_what_is_computed_and_over_which_range() -> None:
    gates = [
        QualityGate(metric=QualityMetric.PSNR, minimum=40, data_range=2),
        QualityGate(metric=QualityMetric.PSNR, minimum=42, data_range=2, aggregate=Aggregate.MEAN),
    ]
    assert data_ranges(gates) == {QualityMetric.PSNR: 2.0}
    assert data_ranges([]) == {QualityMetric.PSNR: 1.0, QualityMetric.SSIM: 1.0}


def test_two_ranges_for_one_metric_are_refused() -> None:
    gates = [
        QualityGate(metric=QualityMetric.PSNR, minimum=40, data_range=1),
        QualityGate(
            metric=QualityMetric.PSNR, minimum=42, data_range=255, aggregate=Aggregate.MEAN
        ),
    ]
    with pytest.raises(ConflictingRange, match=r"PSNR.*1 and 255"):
        data_ranges(gates)


def test_worst_of_the_maximum_error_is_the_largest() -> None:
    comparison = Comparison({QualityMetric.MAX_ABS_ERROR: 1.0, QualityMetric.COSINE: 1.0})
    for error in (0.5, 2.0, 1.0):
        comparison.add([np.ones((1, 4))], [np.array([[1, 1, 1, 1 + error]])])
    largest, cosine = comparison.results()
    assert largest.worst == 2.0
    assert largest.mean == pytest.approx(3.5 / 3)
    assert cosine.per_sample is not None
    assert cosine.worst == min(cosine.per_sample)


def test_every_metric_of_the_resource_is_computed() -> None:
    # The others: test_task_metrics.
    others = (Outputs.DETECTIONS, Outputs.EMBEDDINGS)
    metrics = [m for m in QualityMetric if METRICS[m].outputs not in others]
    comparison = Comparison(dict.fromkeys(metrics, 1.0))
    clean, output = noisy((1, 3, 8, 8))
    comparison.add([clean], [output])
    assert [result.metric for result in comparison.results()] == metrics
