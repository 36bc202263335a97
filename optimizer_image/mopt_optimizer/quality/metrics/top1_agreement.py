"""Share of predictions that match the reference."""

from __future__ import annotations

import numpy as np

from mopt_optimizer.errors import NoClasses, NonFiniteOutput
from mopt_optimizer.quality.comparable import Array, Options, check_pair


def top1_agreement(reference: Array, output: Array, class_axis: int = -1) -> float:
    """Return the share of predictions, 0 to 1, that match the reference's class.

    Args:
        reference: Scores in the output's shape; or integer labels, in its shape without the class
            axis, for accuracy against ground truth.
        output: Scores, -inf for a class ruled out; on a tie the first counts.

    Raises:
        NoClasses: class_axis is missing or has fewer than two classes, or labels have another
            shape or are out of range.
        ShapeMismatch, NonFiniteOutput
    """
    rank = output.ndim
    if not -rank <= class_axis < rank or output.shape[class_axis] < 2:
        raise NoClasses(
            f"top-1 agreement needs two classes at axis {class_axis}; the output is {output.shape}"
        )
    predicted = np.argmax(output, axis=class_axis)
    if reference.dtype.kind in "iu" and reference.shape != output.shape:
        if np.isnan(output).any():
            raise NonFiniteOutput(f"{int(np.isnan(output).sum())} of {output.size} values are NaN")
        classes = output.shape[class_axis]
        if reference.shape != predicted.shape:
            raise NoClasses(f"labels are {reference.shape}; the output's are {predicted.shape}")
        if not reference.size:
            return 1.0
        if int(reference.min()) < 0 or int(reference.max()) >= classes:
            raise NoClasses(
                f"labels from {reference.min()} to {reference.max()}; the output has {classes} "
                "classes, from 0 on"
            )
        labels = reference
    else:
        check_pair("the output", reference, output)
        labels = np.argmax(reference, axis=class_axis)
    return float(np.mean(labels == predicted)) if labels.size else 1.0


def compute(reference: Array, output: Array, _data_range: float, options: Options) -> float:
    """Return the top1_agreement of two outputs, along the class axis of the options."""
    return top1_agreement(reference, output, options.class_axis)
