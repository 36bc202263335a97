"""Agreement of two sets of detections: which boxes find their counterpart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mopt_optimizer.errors import NotDetections
from mopt_optimizer.quality.comparable import Array, Options, check_finite
from mopt_optimizer.quality.detections import COLUMNS

_BOX, _SCORE = slice(0, 4), 4
MATCHED_IOU = 0.5
"""As in PASCAL VOC, and COCO's AP50."""


def detection_f1(reference: Array, output: Array, minimum_score: float = 0.25) -> float:
    """Return the F1 score, 0 to 1, of an output's detections with the reference's as truth.

    As VOC and COCO match: in order of their scores, each takes the free box of its label with the
    largest intersection over union, of MATCHED_IOU at least.

    Args:
        reference, output: Rows x1, y1, x2, y2, score and, where there are several classes, label;
            shape (..., rows, 5 or 6). Rows may differ in number.
        minimum_score: Rows below count for nothing, so neither do rows of padding.

    Returns:
        2 * matched / (rows of one + rows of the other); 1 where neither has any.

    Raises:
        NotDetections: Another shape.
        NonFiniteOutput: NaN or infinity in a row.
    """
    pictures = [
        [_counted(rows, minimum_score) for rows in _pictures(array)]
        for array in (reference, output)
    ]
    if len(pictures[0]) != len(pictures[1]):
        raise NotDetections(f"detections of {len(pictures[1])} pictures, not {len(pictures[0])}")
    matched = sum(_matched(*pair) for pair in zip(*pictures, strict=True))
    total = sum(len(rows) for some in pictures for rows in some)
    return 2 * matched / total if total else 1.0


def _pictures(array: Array) -> NDArray[np.float64]:
    """Return the rows of each picture, shape (pictures, rows, columns)."""
    if array.ndim < 2 or array.shape[-1] not in COLUMNS or array.dtype.kind not in "fiu":
        raise NotDetections(
            f"DetectionF1 needs rows of x1, y1, x2, y2, score and label (5 or 6 columns); the "
            f"output is {array.shape}"
        )
    if array.size:
        check_finite("detections", array)
    rows, columns = array.shape[-2:]
    count = int(np.prod(array.shape[:-2]))
    return array.reshape(count, rows, columns).astype(np.float64)


def _counted(rows: NDArray[np.float64], minimum_score: float) -> NDArray[np.float64]:
    """Return the rows that count, best first."""
    kept = rows[rows[:, _SCORE] >= minimum_score]
    return kept[np.argsort(-kept[:, _SCORE], kind="stable")]


def _matched(reference: NDArray[np.float64], output: NDArray[np.float64]) -> int:
    if not len(reference) or not len(output):
        return 0
    overlap = _iou(output[:, _BOX], reference[:, _BOX])
    overlap[(output[:, None, 5:] != reference[None, :, 5:]).any(axis=2)] = 0
    matched = 0
    for row in overlap:
        best = int(np.argmax(row))
        if row[best] >= MATCHED_IOU:
            matched += 1
            overlap[:, best] = 0
    return matched


def _iou(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the intersection over union of each of one with each of the other; of equal boxes 1,
    also where they have no area."""
    one, other = first[:, None], second[None]
    sides = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    shared = np.maximum(sides, 0).prod(axis=2)
    areas = [np.maximum(b[..., 2:] - b[..., :2], 0).prod(axis=2) for b in (one, other)]
    union = areas[0] + areas[1] - shared
    result: NDArray[np.float64] = np.divide(
        shared, union, out=np.zeros(shared.shape), where=union > 0
    )
    result[(one == other).all(axis=2)] = 1.0
    return result


def compute(reference: Array, output: Array, _data_range: float, options: Options) -> float:
    """Return the detection_f1 of two outputs, of the scores that the options count."""
    return detection_f1(reference, output, options.minimum_score)
