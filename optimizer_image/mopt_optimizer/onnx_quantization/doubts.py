"""Nodes that stay FP32 since what they compute was not seen, and may not fit the narrower type."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from mopt_optimizer.onnx_files.layers import WEIGHTED

from .guards import float_constants, guarded_tensors
from .keeping import Doubts, kept_for
from .observing import Observations
from .unvaried import huge_tensors, infinite_constants

if TYPE_CHECKING:
    import onnx

Constants = Sequence[tuple[str, NDArray[Any]]]
"""Names and values of constants."""

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
    # What only layers read is large, and neither guard nor mask nor fill.
    read = {n for node in model.graph.node if node.op_type not in WEIGHTED for n in node.input}
    constants = [(name, values) for name, values in float_constants(model, folder) if name in read]
    kept = kept_for(
        model,
        Doubts(
            constant=observations.constant,
            infinite={**infinite_constants(constants), **observations.infinite},
            huge=huge_tensors(constants, observations.observers, _HUGE),
        ),
    )
    return _guarding(model, constants) | kept


def _guarding(model: onnx.ModelProto, constants: Constants) -> dict[str, str]:
    """Return the nodes at a guarded divisor but layers, which stay fast, with the reason for each.

    8 bits make 0 of all that is below a step, and its reciprocal is then that of the guard.
    """
    guarded = guarded_tensors(model, _GUARD, constants)
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
