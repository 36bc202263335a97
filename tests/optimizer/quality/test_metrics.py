"""Each metric against its plain definition, and what each refuses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from mopt_api.enums import ImageLayout, QualityMetric
from mopt_api.metrics import METRICS
from mopt_optimizer.quality import (
    ConflictingRange,
    NoClasses,
    NonFiniteOutput,
    NotAnImage,
    Options,
    ShapeMismatch,
    cosine,
    max_abs_error,
    perfect,
    psnr,
    score,
    sqnr,
    ssim,
    ssim_per_image,
    top1_agreement,
)

Array = NDArray[Any]
# Task metrics, which take other shapes and numbers of rows, are in test_task_metrics.
POSITIONAL = [
    metric
    for metric in QualityMetric
    if not (METRICS[metric].counts_vary or METRICS[metric].over_set)
]
FLOATS = st.floats(-1e3, 1e3, width=32)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Array, Array]:
    shape = draw(array_shapes(min_dims=1, max_dims=4, max_side=5))
    one, two = (draw(arrays(np.float32, shape, elements=FLOATS)) for _ in range(2))
    return one, two


def noisy(shape: tuple[int, ...], amount: float = 0.05) -> tuple[Array, Array]:
    random = np.random.default_rng(0)
    clean = random.random(shape, np.float32)
    return clean, clean + random.normal(0, amount, shape).astype(np.float32)


@given(pairs())
def test_psnr_is_its_definition(pair: tuple[Array, Array]) -> None:
    x, y = (array.astype(np.float64) for array in pair)
    error = ((x - y) ** 2).mean()
    expected = min(200.0, 10 * math.log10(4 / error)) if error else 200.0
    assert psnr(*pair, 2.0) == pytest.approx(expected)


@given(pairs())
def test_sqnr_is_its_definition(pair: tuple[Array, Array]) -> None:
    x, y = (array.astype(np.float64) for array in pair)
    signal, noise = (x**2).sum(), ((x - y) ** 2).sum()
    if noise == 0:
        expected = 200.0
    elif signal == 0:
        expected = -200.0
    else:
        expected = float(np.clip(10 * np.log10(signal / noise), -200, 200))
    assert sqnr(*pair) == pytest.approx(expected)


@given(pairs())
def test_cosine_is_its_definition(pair: tuple[Array, Array]) -> None:
    x, y = (array.astype(np.longdouble).ravel() for array in pair)
    norms = np.sqrt((x**2).sum()) * np.sqrt((y**2).sum())
    expected = float(not x.any() and not y.any()) if norms == 0 else float((x * y).sum() / norms)
    assert cosine(*pair) == pytest.approx(expected, abs=1e-9)


@given(pairs())
def test_max_abs_error_is_its_definition(pair: tuple[Array, Array]) -> None:
    x, y = (array.astype(np.float64) for array in pair)
    assert max_abs_error(*pair) == np.abs(x - y).max()


@given(arrays(np.float32, (6, 4), elements=FLOATS), arrays(np.float32, (6, 4), elements=FLOATS))
def test_top1_agreement_is_its_definition(x: Array, y: Array) -> None:
    same = [
        max(range(4), key=r.__getitem__) == max(range(4), key=s.__getitem__)
        for r, s in zip(x, y, strict=True)
    ]
    assert top1_agreement(x, y) == sum(same) / 6


@given(pairs())
def test_identical_outputs_are_perfect(pair: tuple[Array, Array]) -> None:
    x, _ = pair
    perfect = [psnr(x, x, 1.0), sqnr(x, x), cosine(x, x), max_abs_error(x, x)]
    assert perfect == pytest.approx([200, 200, 1, 0])


def test_cosine_of_tiny_and_huge_values_neither_under_nor_overflows() -> None:
    tiny = np.array([1e-200, 1e-200])
    assert cosine(tiny, tiny * 1e300) == pytest.approx(1)
    assert cosine(np.array([1e200, 0]), np.array([0, 1e200])) == 0
    assert cosine(np.array([1.0, 0]), np.array([-2.0, 0])) == -1


def test_cosine_of_a_lone_zero_vector_is_zero() -> None:
    assert cosine(np.zeros(2), np.ones(2)) == 0
    assert cosine(np.zeros(2), np.zeros(2)) == 1


def test_unsigned_outputs_do_not_wrap_around() -> None:
    low, high = np.array([0], np.uint8), np.array([255], np.uint8)
    assert max_abs_error(low, high) == 255
    assert psnr(low, high, 255) == 0


@pytest.mark.parametrize(("channels", "data_range"), [(1, 1.0), (3, 2.0), (5, 255.0)])
def test_ssim_equals_scikit_image_for_each_image(channels: int, data_range: float) -> None:
    x, y = noisy((3, channels, 12, 17))
    expected = [
        structural_similarity(  # type: ignore[no-untyped-call]
            a.astype(np.float64), b.astype(np.float64), channel_axis=0, data_range=data_range
        )
        for a, b in zip(x, y, strict=True)
    ]
    assert ssim_per_image(x, y, data_range, ImageLayout.NCHW) == pytest.approx(expected)
    last_x, last_y = x.transpose(0, 2, 3, 1), y.transpose(0, 2, 3, 1)
    assert ssim_per_image(last_x, last_y, data_range, ImageLayout.NHWC) == pytest.approx(expected)
    assert ssim(x, y, data_range) == min(ssim_per_image(x, y, data_range))


def test_layout_decides_where_both_axes_could_be_channels() -> None:
    x, y = noisy((1, 3, 9, 3))
    assert ssim(x, y, 1.0) == ssim(x, y, 1.0, ImageLayout.NCHW)
    assert ssim(x, y, 1.0, ImageLayout.NCHW) != ssim(x, y, 1.0, ImageLayout.NHWC)


def test_layout_asks_for_four_axes() -> None:
    gray, _ = noisy((1, 9, 9))
    assert ssim(gray, gray, 1.0) == 1
    with pytest.raises(NotAnImage, match="NHWC"):
        ssim(gray, gray, 1.0, ImageLayout.NHWC)


def test_segmentation_classes_lie_at_axis_one() -> None:
    scores = np.zeros((1, 3, 2, 2), np.float32)
    scores[0, 2] = 1
    other = scores.copy()
    other[0, 0, 0, 0] = 2
    assert score(QualityMetric.TOP1_AGREEMENT, scores, other, options=Options(class_axis=1)) == 0.75


def test_labels_give_the_accuracy() -> None:
    scores = np.array([[0.1, 0.9], [0.8, 0.2]])
    assert top1_agreement(np.array([1, 1]), scores) == 0.5


@pytest.mark.parametrize("labels", [[[0, 1]], [0, 2], [-1, 0]])
def test_labels_that_do_not_fit_are_refused(labels: list[Any]) -> None:
    with pytest.raises(NoClasses, match="labels"):
        top1_agreement(np.array(labels), np.zeros((2, 2)))


@pytest.mark.parametrize(("shape", "axis"), [((4, 1), -1), ((4,), 1), ((), 0)])
def test_top1_without_classes_is_refused(shape: tuple[int, ...], axis: int) -> None:
    with pytest.raises(NoClasses, match="two classes"):
        top1_agreement(np.zeros(shape), np.zeros(shape), axis)


FUNCTIONS: list[Callable[[Array, Array], float]] = [
    lambda x, y: psnr(x, y, 1.0),
    lambda x, y: ssim(x, y, 1.0),
    sqnr,
    cosine,
    max_abs_error,
    top1_agreement,
]


@pytest.mark.parametrize("function", FUNCTIONS, ids=POSITIONAL)
def test_every_metric_refuses_other_shapes_and_new_nan(
    function: Callable[[Array, Array], float],
) -> None:
    good = np.zeros((1, 3, 8, 8), np.float32)
    with pytest.raises(ShapeMismatch, match=r"\(1, 3, 8, 9\)"):
        function(good, np.zeros((1, 3, 8, 9), np.float32))
    for bad in (np.nan, np.inf, -np.inf):
        spoiled = good.copy()
        spoiled[0, 1, 2, 3] = bad
        for pair in ((good, spoiled), (spoiled, good)):
            with pytest.raises(NonFiniteOutput, match="1 of 192"):
                function(*pair)


@pytest.mark.parametrize("metric", [m for m in QualityMetric if not METRICS[m].over_set])
@pytest.mark.parametrize("shape", [(0, 5), (0, 3, 8, 8), (2, 0)])
def test_nothing_against_nothing_is_exact(metric: QualityMetric, shape: tuple[int, ...]) -> None:
    empty = np.zeros(shape, np.float32)
    assert score(metric, empty, empty, 1.0) == perfect(metric)


@pytest.mark.parametrize("metric", POSITIONAL)
def test_places_that_are_not_finite_in_both_count_for_nothing(metric: QualityMetric) -> None:
    clean, output = noisy((1, 3, 8, 8))
    value = score(metric, clean, output, 1.0)
    for odd in (np.nan, np.inf, -np.inf):
        one, two = clean.copy(), output.copy()
        one[0, 1, 2, 3] = two[0, 1, 2, 3] = odd
        assert score(metric, one, one, 1.0) == pytest.approx(perfect(metric))
        assert score(metric, one, two, 1.0) == pytest.approx(value, rel=0.1)
        assert score(metric, one, two, 1.0) < 1 or metric is not QualityMetric.COSINE
        two[0, 1, 2, 3] = -odd
        if not np.isnan(odd):
            with pytest.raises(NonFiniteOutput, match="1 of 192"):
                score(metric, one, two, 1.0)


@pytest.mark.parametrize("data_range", [0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("function", [psnr, ssim])
def test_unusable_data_range_is_refused(
    function: Callable[[Array, Array, float], float], data_range: float
) -> None:
    image = np.zeros((1, 1, 8, 8))
    with pytest.raises(ConflictingRange, match="above 0"):
        function(image, image, data_range)


@pytest.mark.parametrize("metric", POSITIONAL)
def test_score_asks_for_a_range_only_where_it_counts(metric: QualityMetric) -> None:
    image = np.zeros((1, 1, 8, 8))
    if METRICS[metric].needs_range:
        with pytest.raises(ConflictingRange, match=str(metric)):
            score(metric, image, image)
        score(metric, image, image, 1.0)
    else:
        assert score(metric, image, image) == score(metric, image, image, 1.0)


def test_worst_follows_the_direction_of_the_metric() -> None:
    assert METRICS[QualityMetric.PSNR].worst([30, 20]) == 20
    assert METRICS[QualityMetric.MAX_ABS_ERROR].worst([0.1, 0.2]) == 0.2
