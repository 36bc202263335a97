"""What of two outputs can be compared: the rule that all metrics and checks share.

Shapes are equal. Where FP32 computes NaN or infinity, so must the other, of the same sign; all
other values are finite, and metrics are computed of these. So an output without values, or one
whose values are all the same NaN or infinity, is equal.
"""

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

_ROWS_RANK = 3
# Text and objects: equal or not, and no numbers.
_NO_NUMBERS = "OSUT"


@dataclass(frozen=True)
class Options:
    """How outputs are interpreted.

    Attributes:
        layout: Of image outputs, for SSIM; None means (N, C, H, W), or (N, H, W, C) if only the
            last axis can be channels (1, 3 or 4).
        class_axis: Axis whose largest value is the prediction, for top-1 agreement: the last for
            a classifier's (N, classes), 1 for a segmentation's (N, classes, H, W).
        minimum_score: Detections below count for nothing. The default is that of common
            detectors' own tools.
    """

    layout: ImageLayout | None = None
    class_axis: int = -1
    minimum_score: float = 0.25


def check_comparable(
    reference: Sequence[Array], outputs: Sequence[Array], names: Sequence[str] = ()
) -> None:
    """Raise if the outputs differ in number, shape, or in where they are not finite.

    Args:
        names: Of the outputs, as far as they are known.

    Raises:
        ShapeMismatch, NonFiniteOutput: The message names the output.
    """
    if len(reference) != len(outputs):
        raise ShapeMismatch(f"{len(outputs)} outputs, FP32 has {len(reference)}")
    for index, (expected, actual) in enumerate(zip(reference, outputs, strict=True)):
        check_pair(output_name(names, index), expected, actual)


def check_counts(
    reference: Sequence[Array], outputs: Sequence[Array], names: Sequence[str] = ()
) -> None:
    """Raise as check_comparable, but let outputs differ in how many rows they have.

    Along one axis, that is, of at most three: detections or tokens, and no pictures.

    Raises:
        ShapeMismatch, NonFiniteOutput: The message names the output.
    """
    if len(reference) != len(outputs):
        raise ShapeMismatch(f"{len(outputs)} outputs, FP32 has {len(reference)}")
    for index, (expected, actual) in enumerate(zip(reference, outputs, strict=True)):
        sizes = zip(expected.shape, actual.shape, strict=False)
        same_rank = expected.ndim == actual.ndim <= _ROWS_RANK
        if not same_rank or sum(mine != other for mine, other in sizes) != 1:
            check_pair(output_name(names, index), expected, actual)
    check_no_new_non_finite(reference, outputs, names)


def output_name(names: Sequence[str], index: int) -> str:
    """Return what messages call an output."""
    return f"output {names[index] if index < len(names) else index}"


def check_pair(what: str, reference: Array, output: Array) -> None:
    """Raise if two arrays differ in shape, or in where they are not finite.

    Args:
        what: What messages call the output.

    Raises:
        ShapeMismatch, NonFiniteOutput
    """
    if reference.shape != output.shape:
        raise ShapeMismatch(f"{what} is {output.shape}, FP32's is {reference.shape}")
    if reference.dtype.kind in _NO_NUMBERS:
        if not np.array_equal(reference, output):
            raise ShapeMismatch(f"{what} holds text, and another than FP32's")
        return
    expected, found = np.isfinite(reference), np.isfinite(output)
    if expected.all() and found.all():
        return
    differ = (reference != output) & ~(np.isnan(reference) & np.isnan(output))
    if new := np.count_nonzero(differ & ~found):
        raise NonFiniteOutput(
            f"{what}: {new} of {output.size} values are NaN or Inf, and FP32's are not"
        )
    if lost := np.count_nonzero(differ & ~expected):
        raise NonFiniteOutput(
            f"{what}: {lost} of {output.size} values are finite where FP32's are NaN or Inf"
        )


def check_no_new_non_finite(
    reference: Sequence[Array], outputs: Sequence[Array], names: Sequence[str] = ()
) -> None:
    """Raise if outputs hold NaN or infinity where the reference's do not; shapes may differ.

    For inputs that are no data, such as noise: on these, rows may differ in number.

    Raises:
        NonFiniteOutput: The message names the output.
    """
    for index, (expected, actual) in enumerate(zip(reference, outputs, strict=False)):
        if expected.shape == actual.shape:
            check_pair(output_name(names, index), expected, actual)
        elif expected.dtype.kind not in _NO_NUMBERS and np.isfinite(expected).all():
            bad = actual.size - np.count_nonzero(np.isfinite(actual))
            if bad:
                what = output_name(names, index)
                raise NonFiniteOutput(f"{what}: {bad} of {actual.size} values are NaN or Inf")


def check_some_finite(outputs: Sequence[Array], names: Sequence[str] = ()) -> None:
    """Raise if outputs hold values, none of them finite: there is nothing to be compared with.

    Raises:
        NonFiniteOutput
    """
    numbers = [array for array in outputs if array.dtype.kind not in _NO_NUMBERS]
    if any(array.size for array in numbers) and not any(np.isfinite(a).any() for a in numbers):
        named = ", ".join(output_name(names, index) for index in range(len(outputs)))
        raise NonFiniteOutput(f"{named}: every value is NaN or Inf")


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


def has_numbers(array: Array) -> bool:
    """Return whether any value is a finite number, so that a metric says something of it."""
    return array.dtype.kind not in _NO_NUMBERS and bool(np.isfinite(array).any())


def identical(reference: Array, output: Array) -> bool:
    """Return whether two arrays are equal; NaN is equal to NaN."""
    numbers = reference.dtype.kind not in _NO_NUMBERS
    return np.array_equal(reference, output, equal_nan=numbers)


def finite_values(
    reference: Array, output: Array
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the values that a metric is computed of, flat, as float64: the finite ones.

    Raises:
        ShapeMismatch, NonFiniteOutput
    """
    check_pair("the output", reference, output)
    finite = np.isfinite(reference)
    if finite.all():
        return reference.ravel().astype(np.float64), output.ravel().astype(np.float64)
    return reference[finite].astype(np.float64), output[finite].astype(np.float64)


def powers(reference: Array, output: Array) -> tuple[float, float]:
    """Return signal and noise: the sums of the squares of the reference and of the error.

    Raises:
        ShapeMismatch, NonFiniteOutput
    """
    expected, actual = finite_values(reference, output)
    return float(np.sum(np.square(expected))), float(np.sum(np.square(expected - actual)))


def as_float64(reference: Array, output: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both arrays as float64, in their shape; equal places that are not finite become 0.

    Raises:
        ShapeMismatch, NonFiniteOutput
    """
    check_pair("the output", reference, output)
    both = reference.astype(np.float64), output.astype(np.float64)
    finite = np.isfinite(both[0])
    return both if finite.all() else (np.where(finite, both[0], 0), np.where(finite, both[1], 0))


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
