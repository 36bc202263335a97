"""Checks that all metrics share: equal shapes, finite values, non-empty arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mopt_api.enums import ImageLayout
from mopt_api.figures import EXACT_PSNR_DB
from mopt_optimizer.errors import ConflictingRange, EmptyOutput, NonFiniteOutput, ShapeMismatch

Array = NDArray[Any]


@dataclass(frozen=True)
class Options:
    """How outputs are interpreted.

    Attributes:
        layout: Of image outputs, for SSIM; None means (N, C, H, W), or (N, H, W, C) if only the
            last axis can be channels (1, 3 or 4).
        class_axis: Axis whose largest value is the prediction, for top-1 agreement: the last for
            a classifier's (N, classes), 1 for a segmentation's (N, classes, H, W).
    """

    layout: ImageLayout | None = None
    class_axis: int = -1


def check_comparable(reference: Sequence[Array], outputs: Sequence[Array]) -> None:
    """Raise if the outputs differ in number or shape, are empty or are not finite.

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
    """Raise if an array is empty or holds NaN or infinity.

    Raises:
        EmptyOutput, NonFiniteOutput
    """
    if not array.size:
        raise EmptyOutput(f"{what} is {array.shape}: it holds no value to compare")
    bad = int(array.size - np.count_nonzero(np.isfinite(array)))
    if bad:
        raise NonFiniteOutput(f"{what}: {bad} of {array.size} values are NaN or Inf")


def as_float64(reference: Array, output: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both arrays as float64, the type all metrics compute in.

    Raises:
        ShapeMismatch, EmptyOutput, NonFiniteOutput
    """
    check_comparable([reference], [output])
    check_finite("the reference", reference)
    return reference.astype(np.float64), output.astype(np.float64)


def check_range(data_range: float) -> None:
    """Raise if a data range is not positive and finite.

    Raises:
        ConflictingRange
    """
    if not (math.isfinite(data_range) and data_range > 0):
        raise ConflictingRange(
            f"data range {data_range}: give the span of the output's values, above 0; 1 for "
            "images from 0 to 1, 255 for images from 0 to 255"
        )


def decibels(ratio: float) -> float:
    """Return 10 log10 of a power ratio, within +-EXACT_PSNR_DB: JSON has no infinity."""
    return max(-EXACT_PSNR_DB, min(EXACT_PSNR_DB, 10 * math.log10(ratio)))
