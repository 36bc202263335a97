"""Nodes that stay FP32 since what they compute was not seen, and may not fit the narrower type."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mopt_optimizer.onnx_files.layers import WEIGHTED

from .guards import float_constants, guarded_tensors
from .keeping import Doubts, kept_for
from .observing import Observations
from .unvaried import huge_tensors, infinite_constants

if TYPE_CHECKING:
    import onnx

# 8 bits of a span of 100 are steps of 0.4: what Softmax makes of scores then is off by half.
_HUGE = 100.0
# Beside values of 1, a step of 8 bits is 0.004.
_GUARD = 1e-3


def kept_after(
    model: onnx.ModelProto, observations: Observations, folder: Path | None = None
) -> dict[str, str]:
    """Return the nodes that stay FP32 after these observations, with the reason for each.

    Args:
        folder: The model's, if it may have external data.
    """
    constants = list(float_constants(model, folder))
    kept = kept_for(
        model,
        Doubts(
            constant=observations.constant,
            infinite={**infinite_constants(constants), **observations.infinite},
            huge=huge_tensors(constants, observations.observers, _HUGE),
        ),
    )
    return _guarding(model) | kept


def _guarding(model: onnx.ModelProto) -> dict[str, str]:
    """Return the nodes at a guarded divisor but layers, which stay fast, with the reason for each.

    8 bits make 0 of all that is below a step, and its reciprocal is then that of the guard.
    """
    guarded = guarded_tensors(model, _GUARD)
    found = {}
    for node in model.graph.node:
        names = () if node.op_type in WEIGHTED else (*node.output, *node.input)
        if reason := next((guarded[name] for name in names if name in guarded), None):
            found[node.name] = reason
    return found


def kept_for_fills(model: onnx.ModelProto, limit: float) -> dict[str, str]:
    """Return the nodes that finite constants of limit or more may fill, with the reason for each.

    Such as -3e38 in place of masked scores, which calibration need not have shown: in a type that
    cannot hold it, it is infinite.
    """
    huge = huge_tensors(float_constants(model), {}, limit)
    return kept_for(model, Doubts(huge=huge, fills=True))
