"""A detector's outputs as rows of boxes, scores and labels. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mopt_optimizer.errors import NotDetections

from .comparable import Array

COLUMNS = (5, 6)
"""Of a row: x1, y1, x2, y2, score and, where there are several classes, label."""
_WORDS = {"score": ("score", "conf"), "label": ("label", "class")}


def detection_rows(outputs: Sequence[Array], names: Sequence[str]) -> list[Array]:
    """Return the outputs that hold detections as rows of x1, y1, x2, y2, score and label.

    Either there are boxes of 4 columns and beside them scores, and labels if any, of one value for
    each box, or outputs have such rows, 5 columns or 6. In this order: the scores of 5 boxes look
    like a row. Which is which says the type, integers being labels, or else the name.

    Raises:
        NotDetections: Neither.
    """
    if len(joined := list(filter(None, (_joined(a, outputs, names) for a in outputs)))) == 1:
        return joined[0]
    if rows := [a for a in outputs if a.ndim >= 2 and a.shape[-1] in COLUMNS]:
        return rows
    shapes = ", ".join(str(array.shape) for array in outputs)
    raise NotDetections(
        "DetectionF1 needs an output with rows of x1, y1, x2, y2, score and label, or outputs with "
        f"boxes, scores and labels; the model's are {shapes}"
    )


def _joined(boxes: Array, outputs: Sequence[Array], names: Sequence[str]) -> list[Array]:
    """Return boxes as rows with the scores and labels beside them; nothing where there are none."""
    if boxes.ndim < 2 or boxes.shape[-1] != 4 or boxes.dtype.kind != "f":
        return []
    beside = [i for i, array in enumerate(outputs) if array.shape == boxes.shape[:-1]]
    scores = _one(outputs, names, beside, "score", "f")
    if scores is None:
        return []
    labels = _one(outputs, names, [i for i in beside if i != scores], "label", "iuf")
    columns = [outputs[i][..., None] for i in (scores, labels) if i is not None]
    return [np.concatenate([boxes, *columns], axis=-1, dtype=np.float64)]


def _one(
    outputs: Sequence[Array], names: Sequence[str], found: Sequence[int], what: str, kinds: str
) -> int | None:
    """Return the output that holds what is looked for; None where it is none, or not known."""
    fitting = [i for i in found if outputs[i].dtype.kind in kinds]
    named = [
        i for i in fitting if i < len(names) and any(w in names[i].lower() for w in _WORDS[what])
    ]
    for some in (fitting, named):
        if len(some) == 1:
            return some[0]
    return None
