"""How closely one output follows another: six measures, each a pure function of two arrays.

PSNR, SSIM, SQNR, cosine and top-1 agreement are better the higher they are, the maximum error the
lower. All compute in float64. Shapes must be equal; values finite; arrays not empty.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mopt_api.figures import EXACT_PSNR_DB
from mopt_optimizer.errors import (
    ConflictingRange,
    EmptyOutput,
    NoClasses,
    NonFiniteOutput,
    NotAnImage,
    ShapeMismatch,
)

Array = NDArray[Any]

# Side of SSIM's window; smaller images use the largest odd one that fits.
_SSIM_WINDOW = 7
_SSIM_SMALLEST = 3
_CHANNELS = (1, 3, 4)


class Metric(StrEnum):
    """What is computed of two outputs."""

    PSNR = "PSNR"
    SSIM = "SSIM"
    SQNR = "SQNR"
    COSINE = "Cosine"
    MAX_ABS_ERROR = "MaxAbsError"
    TOP1_AGREEMENT = "Top1Agreement"

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger value means closer outputs."""
        return self is not Metric.MAX_ABS_ERROR

    @property
    def needs_range(self) -> bool:
        """Whether it is computed over a declared span of values."""
        return self in (Metric.PSNR, Metric.SSIM)

    def worst(self, values: Sequence[float]) -> float:
        """Return the value that is furthest from agreement; at least one value."""
        return min(values) if self.higher_is_better else max(values)


class Layout(StrEnum):
    """Order of an image batch's axes."""

    NCHW = "NCHW"
    NHWC = "NHWC"


@dataclass(frozen=True)
class Options:
    """How outputs are read.

    Attributes:
        layout: Of image outputs, for SSIM; None takes (N, C, H, W), or (N, H, W, C) where only
            the last axis can be channels (1, 3 or 4).
        class_axis: Axis whose largest value is the prediction, for top-1 agreement: the last of
            a classifier's (N, classes), 1 of a segmentation's (N, classes, H, W).
    """

    layout: Layout | None = None
    class_axis: int = -1


def check_comparable(reference: Sequence[Array], outputs: Sequence[Array]) -> None:
    """Raise where the outputs differ in number or shape, are empty or are not finite.

    Raises:
        ShapeMismatch, EmptyOutput, NonFiniteOutput: The message names the output.
    """
    if len(reference) != len(outputs):
        raise ShapeMismatch(f"{len(outputs)} outputs, FP32 has {len(reference)}")
    for index, (expected, actual) in enumerate(zip(reference, outputs, strict=True)):
        if expected.shape != actual.shape:
            raise ShapeMismatch(f"output {index} is {actual.shape}, FP32's is {expected.shape}")
        check_finite(f"output {index}", actual)


def check_finite(what: str, array: Array) -> None:
    """Raise where an array holds nothing, NaN or infinity.

    Raises:
        EmptyOutput, NonFiniteOutput
    """
    if not array.size:
        raise EmptyOutput(f"{what} is {array.shape}: it holds no value to compare")
    bad = int(array.size - np.count_nonzero(np.isfinite(array)))
    if bad:
        raise NonFiniteOutput(f"{what}: {bad} of {array.size} values are NaN or Inf")


def _pair(reference: Array, output: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    check_comparable([reference], [output])
    check_finite("the reference", reference)
    return reference.astype(np.float64), output.astype(np.float64)


def _check_range(data_range: float) -> None:
    if not (math.isfinite(data_range) and data_range > 0):
        raise ConflictingRange(
            f"data range {data_range}: give the span of the output's values, above 0; 1 for "
            "images from 0 to 1, 255 for images from 0 to 255"
        )


def _decibels(ratio: float) -> float:
    """Return 10 log10 of a power ratio, within +-EXACT_PSNR_DB: JSON has no infinity."""
    return max(-EXACT_PSNR_DB, min(EXACT_PSNR_DB, 10 * math.log10(ratio)))


def psnr(reference: Array, output: Array, data_range: float) -> float:
    """Return the peak signal-to-noise ratio in dB, at most EXACT_PSNR_DB.

    Args:
        data_range: The peak: span of the values that the output can take, never the data's own.

    Raises:
        ShapeMismatch, EmptyOutput, NonFiniteOutput, ConflictingRange
    """
    _check_range(data_range)
    expected, actual = _pair(reference, output)
    mean_square = float(np.mean(np.square(expected - actual)))
    if mean_square == 0:
        return EXACT_PSNR_DB
    return min(EXACT_PSNR_DB, 20 * math.log10(data_range) - 10 * math.log10(mean_square))


def sqnr(reference: Array, output: Array) -> float:
    """Return the signal-to-quantization-noise ratio in dB, within +-EXACT_PSNR_DB.

    The reference's own power is the signal. A silent reference with any noise is -EXACT_PSNR_DB.

    Raises:
        ShapeMismatch, EmptyOutput, NonFiniteOutput
    """
    expected, actual = _pair(reference, output)
    signal = float(np.sum(np.square(expected)))
    noise = float(np.sum(np.square(expected - actual)))
    if noise == 0:
        return EXACT_PSNR_DB
    return -EXACT_PSNR_DB if signal == 0 else _decibels(signal / noise)


def cosine(reference: Array, output: Array) -> float:
    """Return the cosine of the angle between the outputs, each taken as one long vector.

    Two zero vectors agree (1); one zero vector has no direction to share (0).

    Raises:
        ShapeMismatch, EmptyOutput, NonFiniteOutput
    """
    expected, actual = (array.ravel() for array in _pair(reference, output))
    # Divided by their peaks first: squares of small or large values would under- or overflow.
    peaks = float(np.abs(expected).max()), float(np.abs(actual).max())
    if 0 in peaks:
        return 1.0 if peaks == (0, 0) else 0.0
    expected, actual = expected / peaks[0], actual / peaks[1]
    norms = float(np.linalg.norm(expected)) * float(np.linalg.norm(actual))
    return max(-1.0, min(1.0, float(expected @ actual) / norms))


def max_abs_error(reference: Array, output: Array) -> float:
    """Return the largest difference of any value, in the output's own unit.

    Raises:
        ShapeMismatch, EmptyOutput, NonFiniteOutput
    """
    expected, actual = _pair(reference, output)
    return float(np.abs(expected - actual).max())


def top1_agreement(reference: Array, output: Array, class_axis: int = -1) -> float:
    """Return the share of predictions, 0 to 1, that name the reference's class.

    Args:
        reference: Scores of the output's shape; or integer labels, of its shape without the class
            axis, for accuracy against ground truth.
        output: Scores; the first of equal largest ones counts.

    Raises:
        NoClasses: No axis of two classes or more there, or labels of another shape or outside
            the classes.
        ShapeMismatch, EmptyOutput, NonFiniteOutput
    """
    rank = output.ndim
    if not -rank <= class_axis < rank or output.shape[class_axis] < 2:
        raise NoClasses(
            f"top-1 agreement needs two classes at axis {class_axis}; the output is {output.shape}"
        )
    predicted = np.argmax(output, axis=class_axis)
    if reference.dtype.kind in "iu" and reference.shape != output.shape:
        check_finite("the output", output)
        check_finite("the labels", reference)
        classes = output.shape[class_axis]
        if reference.shape != predicted.shape:
            raise NoClasses(f"labels are {reference.shape}; the output's are {predicted.shape}")
        if int(reference.min()) < 0 or int(reference.max()) >= classes:
            raise NoClasses(
                f"labels from {reference.min()} to {reference.max()}; the output has {classes} "
                "classes, from 0 on"
            )
        labels = reference
    else:
        expected, _ = _pair(reference, output)
        labels = np.argmax(expected, axis=class_axis)
    return float(np.mean(labels == predicted))


def image_batch(array: Array, layout: Layout | None = None) -> list[Array]:
    """Return the batch's images, each (height, width, channels).

    Raises:
        NotAnImage: Another rank.
    """
    if array.ndim == 3 and layout is None:
        return list(array[..., np.newaxis])
    if array.ndim != 4:
        wanted = layout or "(N, C, H, W)"
        raise NotAnImage(f"SSIM needs images {wanted}; the output is {array.shape}")
    last = layout is Layout.NHWC or (
        layout is None and array.shape[3] in _CHANNELS and array.shape[1] not in _CHANNELS
    )
    return list(array if last else np.moveaxis(array, 1, -1))


def ssim_per_image(
    reference: Array, output: Array, data_range: float, layout: Layout | None = None
) -> list[float]:
    """Return each image's structural similarity, channels averaged.

    Uniform 7 x 7 window and sample covariance, as scikit-image's default.

    Args:
        reference, output: (N, C, H, W), (N, H, W, C), or (N, H, W) without a layout.
        data_range: Span of the values that the output can take.
        layout: Of four axes; None infers it (see Options).

    Raises:
        NotAnImage: Another rank, or a side below 3 pixels.
        ShapeMismatch, EmptyOutput, NonFiniteOutput, ConflictingRange

    Source: Wang et al. 2004, doi 10.1109/TIP.2003.819861, equation 13.
    """
    from skimage.metrics import structural_similarity

    _check_range(data_range)
    expected_images, actual_images = (
        image_batch(array, layout) for array in _pair(reference, output)
    )
    side = min(expected_images[0].shape[:2])
    if side < _SSIM_SMALLEST:
        raise NotAnImage(f"SSIM needs 3 x 3 pixels at least; the output is {reference.shape}")
    return [
        float(
            structural_similarity(  # type: ignore[no-untyped-call]
                expected,
                actual,
                win_size=min(_SSIM_WINDOW, side - 1 + side % 2),
                channel_axis=-1,
                data_range=data_range,
            )
        )
        for expected, actual in zip(expected_images, actual_images, strict=True)
    ]


def ssim(reference: Array, output: Array, data_range: float, layout: Layout | None = None) -> float:
    """Return the structural similarity of the worst image; see ssim_per_image."""
    return min(ssim_per_image(reference, output, data_range, layout))


def score(
    metric: Metric,
    reference: Array,
    output: Array,
    data_range: float | None = None,
    options: Options = Options(),
) -> float:
    """Return one metric of two outputs.

    Args:
        data_range: Needed by PSNR and SSIM, not used by the others.

    Raises:
        ConflictingRange: PSNR or SSIM without a data range.
        ComparisonError: As the metric's own function.
    """
    if metric.needs_range and data_range is None:
        raise ConflictingRange(f"{metric} needs a data range: the span of the output's values")
    span = 1.0 if data_range is None else data_range
    compute: dict[Metric, Callable[[], float]] = {
        Metric.PSNR: lambda: psnr(reference, output, span),
        Metric.SSIM: lambda: ssim(reference, output, span, options.layout),
        Metric.SQNR: lambda: sqnr(reference, output),
        Metric.COSINE: lambda: cosine(reference, output),
        Metric.MAX_ABS_ERROR: lambda: max_abs_error(reference, output),
        Metric.TOP1_AGREEMENT: lambda: top1_agreement(reference, output, options.class_axis),
    }
    return compute[metric]()
