"""Nodes that stay FP32 since what they compute was not seen, and may not fit the narrower type."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .guards import float_constants
from .keeping import Doubts, kept_for
from .observing import Observations
from .unvaried import huge_tensors, infinite_constants

if TYPE_CHECKING:
    import onnx

# 8 bits of a span of 100 are steps of 0.4: what Softmax makes of scores then is off by half.
_HUGE = 100.0


def kept_after(
    model: onnx.ModelProto, observations: Observations, folder: Path | None = None
) -> dict[str, str]:
    """Return the nodes that stay FP32 after these observations, with the reason for each.

    Args:
        folder: The model's, if it may have external data.
    """
    constants = list(float_constants(model, folder))
    return kept_for(
        model,
        Doubts(
            constant=observations.constant,
            infinite={**infinite_constants(constants), **observations.infinite},
            huge=huge_tensors(constants, observations.observers, _HUGE),
        ),
    )


def kept_for_fills(model: onnx.ModelProto, limit: float) -> dict[str, str]:
    """Return the nodes that finite constants of limit or more may fill, with the reason for each.

    Such as -3e38 in place of masked scores, which calibration need not have shown: in a type that
    cannot hold it, it is infinite.
    """
    huge = huge_tensors(float_constants(model), {}, limit)
    return kept_for(model, Doubts(huge=huge, fills=True))
