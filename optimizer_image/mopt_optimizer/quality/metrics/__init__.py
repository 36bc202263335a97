"""Registry of the quality metrics: one module each, loaded on first use.

Properties of a metric's values are in mopt_api.metrics. Shapes and places that are not
finite must be equal, see comparable; all metrics compute in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pkgutil import resolve_name
from typing import Protocol

from mopt_api.enums import QualityMetric
from mopt_api.figures import EXACT_PSNR_DB
from mopt_api.metrics import METRICS as ROWS
from mopt_api.metrics import Scale
from mopt_optimizer.errors import ComparisonError, ConflictingRange
from mopt_optimizer.quality.comparable import Array, Options, check_pair, has_numbers


class Compute(Protocol):
    """Signature of the functions in METRICS: pure, of two arrays."""

    def __call__(
        self, reference: Array, output: Array, data_range: float, options: Options, /
    ) -> float:
        """Return one metric of two outputs.

        Args:
            data_range: Span of the output's values; 1 where the metric needs none.

        Raises:
            ComparisonError: The metric cannot compare the outputs.
        """
        ...


METRICS: dict[QualityMetric, str] = {
    QualityMetric.PSNR: f"{__name__}.psnr:compute",
    QualityMetric.SSIM: f"{__name__}.ssim:compute",
    QualityMetric.SQNR: f"{__name__}.sqnr:compute",
    QualityMetric.COSINE: f"{__name__}.cosine:compute",
    QualityMetric.MAX_ABS_ERROR: f"{__name__}.max_abs_error:compute",
    QualityMetric.TOP1_AGREEMENT: f"{__name__}.top1_agreement:compute",
    QualityMetric.DETECTION_F1: f"{__name__}.detection_f1:compute",
    QualityMetric.SEQUENCE_AGREEMENT: f"{__name__}.sequence_agreement:compute",
}
"""Module and function of each metric of a sample, as module:function."""


class ComputeOverSet(Protocol):
    """Signature of the functions in OVER_SETS: pure, of the outputs of all samples."""

    def __call__(
        self, reference: Sequence[Array], output: Sequence[Array], options: Options, /
    ) -> list[float]:
        """Return the value of each sample, which depends on the others too.

        Args:
            reference, output: One array per sample, of equal shapes.

        Raises:
            ComparisonError: The metric cannot compare the outputs.
            DataError: Too few of them.
        """
        ...


OVER_SETS: dict[QualityMetric, str] = {
    QualityMetric.NEIGHBOR_AGREEMENT: f"{__name__}.neighbor_agreement:compute",
}
"""Module and function of each metric of all samples together."""


@cache
def _loaded(place: str) -> Compute:
    compute: Compute = resolve_name(place)
    return compute


@cache
def over_set(metric: QualityMetric) -> ComputeOverSet:
    """Return what computes a metric of all samples together."""
    compute: ComputeOverSet = resolve_name(OVER_SETS[metric])
    return compute


def perfect(metric: QualityMetric) -> float:
    """Return the value of identical outputs."""
    match ROWS[metric].scale:
        case Scale.DECIBELS:
            return EXACT_PSNR_DB
        case Scale.UP_TO_ONE:
            return 1.0
        case Scale.ERROR:
            return 0.0


def score(
    metric: QualityMetric,
    reference: Array,
    output: Array,
    data_range: float | None = None,
    options: Options | None = None,
) -> float:
    """Return one metric of two outputs.

    Args:
        data_range: Required by PSNR and SSIM, ignored by the others.

    Raises:
        ConflictingRange: PSNR or SSIM without a data range.
        ComparisonError: As the metric's own function; a metric of all samples together.
    """
    if metric in OVER_SETS:
        raise ComparisonError(f"{metric} is of all samples together: see over_set")
    if ROWS[metric].needs_range and data_range is None:
        raise ConflictingRange(f"{metric} needs a data range: the span of the output's values")
    if reference.shape == output.shape and not has_numbers(reference):
        check_pair("the output", reference, output)
        return perfect(metric)
    span = 1.0 if data_range is None else data_range
    return _loaded(METRICS[metric])(reference, output, span, options or Options())
