"""How closely a variant's outputs follow the FP32 outputs: PSNR and SSIM, sample by sample.

Pure. Outputs are compared by position. A sample's value is that of its worst output, and, for
SSIM, of the worst image in its batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mopt_api.result import EXACT_PSNR_DB, QualityResult
from mopt_api.spec import QualityGate, QualityMetric

Array = NDArray[Any]

# Side of SSIM's window; smaller images use the largest odd one that fits.
_SSIM_WINDOW = 7
_SSIM_SMALLEST = 3
_CHANNELS = (1, 3, 4)


class ComparisonError(Exception):
    """Base: the outputs cannot be compared."""


class ShapeMismatch(ComparisonError):
    """Another number of outputs, or another shape, than FP32's."""


class NonFiniteOutput(ComparisonError):
    """An output holds NaN or infinity."""


class NotAnImage(ComparisonError):
    """SSIM is asked for, and the output is no image of at least 3 x 3 pixels."""


class ConflictingRange(ComparisonError):
    """Gates name two data ranges for one metric."""


def data_ranges(gates: Sequence[QualityGate]) -> dict[QualityMetric, float]:
    """Return which metrics to compute, each with the span of the output's values.

    Without gates both metrics are computed, for outputs from 0 to 1.

    Raises:
        ConflictingRange: One metric with two ranges: a result holds one value per metric.
    """
    if not gates:
        return dict.fromkeys(QualityMetric, 1.0)
    ranges: dict[QualityMetric, float] = {}
    for gate in gates:
        if ranges.setdefault(gate.metric, gate.data_range) != gate.data_range:
            raise ConflictingRange(
                f"quality: {gate.metric} has gates with dataRange {ranges[gate.metric]:g} and "
                f"{gate.data_range:g}; give them the same"
            )
    return ranges


def check_comparable(reference: Sequence[Array], outputs: Sequence[Array]) -> None:
    """Raise where the outputs differ in number or shape, or are not finite.

    Raises:
        ShapeMismatch, NonFiniteOutput
    """
    if len(reference) != len(outputs):
        raise ShapeMismatch(f"{len(outputs)} outputs, FP32 has {len(reference)}")
    for index, (expected, actual) in enumerate(zip(reference, outputs, strict=True)):
        if expected.shape != actual.shape:
            raise ShapeMismatch(f"output {index} is {actual.shape}, FP32's is {expected.shape}")
        bad = int(actual.size - np.count_nonzero(np.isfinite(actual)))
        if bad:
            raise NonFiniteOutput(f"output {index}: {bad} of {actual.size} values are NaN or Inf")


def psnr(reference: Array, output: Array, data_range: float) -> float:
    """Return the peak signal-to-noise ratio in dB, at most EXACT_PSNR_DB.

    Args:
        reference, output: Same shape, finite, not empty.
        data_range: The peak: span of the values that the output can take.
    """
    difference = reference.astype(np.float64) - output.astype(np.float64)
    mean_square = float(np.mean(np.square(difference)))
    if mean_square == 0:
        return EXACT_PSNR_DB
    return min(EXACT_PSNR_DB, 20 * math.log10(data_range) - 10 * math.log10(mean_square))


def _images(array: Array) -> Iterator[Array]:
    """Yield the batch's images, each (height, width, channels).

    Four axes are (N, C, H, W), or (N, H, W, C) where only the last axis can be channels; three
    are (N, H, W).
    """
    if array.ndim == 3:
        yield from array[..., np.newaxis]
    elif array.ndim == 4:
        last = array.shape[3] in _CHANNELS and array.shape[1] not in _CHANNELS
        yield from array if last else np.moveaxis(array, 1, -1)
    else:
        raise NotAnImage(f"SSIM needs images (N, C, H, W); the output is {array.shape}")


def ssim(reference: Array, output: Array, data_range: float) -> float:
    """Return the structural similarity (Wang et al. 2004, uniform window) of the worst image.

    Args:
        reference, output: Same shape, finite; (N, C, H, W), (N, H, W, C) or (N, H, W).
        data_range: Span of the values that the output can take.

    Raises:
        NotAnImage: Another rank, or a side below 3 pixels.
    """
    from skimage.metrics import structural_similarity

    values: list[float] = []
    for expected, actual in zip(_images(reference), _images(output), strict=True):
        side = min(expected.shape[:2])
        if side < _SSIM_SMALLEST:
            raise NotAnImage(f"SSIM needs 3 x 3 pixels at least; the output is {reference.shape}")
        values.append(
            float(
                structural_similarity(  # type: ignore[no-untyped-call]
                    expected.astype(np.float64),
                    actual.astype(np.float64),
                    win_size=min(_SSIM_WINDOW, side - 1 + side % 2),
                    channel_axis=-1,
                    data_range=data_range,
                )
            )
        )
    return min(values)


_METRICS = {QualityMetric.PSNR: psnr, QualityMetric.SSIM: ssim}


@dataclass
class Comparison:
    """Collects one variant's agreement, a sample at a time, so that outputs need not be kept.

    Attributes:
        ranges: Metrics to compute, each with its data range.
        required: False leaves SSIM out where the outputs are no images, instead of raising.
    """

    ranges: Mapping[QualityMetric, float]
    required: bool = True
    _values: dict[QualityMetric, list[float]] = field(init=False)
    _exact: bool = field(init=False, default=True)

    def __post_init__(self) -> None:
        self._values = {metric: [] for metric in self.ranges}

    def add(self, reference: Sequence[Array], outputs: Sequence[Array]) -> None:
        """Compare the outputs of the next sample.

        Raises:
            ShapeMismatch, NonFiniteOutput, NotAnImage
        """
        check_comparable(reference, outputs)
        pairs = list(zip(reference, outputs, strict=True))
        self._exact &= all(np.array_equal(expected, actual) for expected, actual in pairs)
        for metric in list(self._values):
            compute, data_range = _METRICS[metric], self.ranges[metric]
            try:
                self._values[metric].append(min(compute(e, a, data_range) for e, a in pairs))
            except NotAnImage:
                if self.required:
                    raise
                del self._values[metric]

    def results(self) -> list[QualityResult]:
        """Return worst, mean and each sample's value per metric; empty before any sample."""
        return [
            QualityResult(
                metric=metric,
                worst=min(values),
                mean=math.fsum(values) / len(values),
                exact=self._exact,
                per_sample=values,
            )
            for metric, values in self._values.items()
            if values
        ]
