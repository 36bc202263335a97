"""A constant factor after a convolution goes into its weights and bias."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._conv import conv_then_constant
from ._graph import new_weight, nodes_of, replace_chain, rewrite_each

if TYPE_CHECKING:
    import onnx_ir as ir


class FuseMulIntoConv:
    """Acts on one factor per channel, where the Conv has constant weights and no other reader."""

    name = "fuse_mul_into_conv"

    def run(self, model: ir.Model) -> bool:
        """Rewrite the model in place; return whether anything changed."""
        return rewrite_each(nodes_of(model, "Mul"), _fuse)


def _fuse(mul: ir.Node) -> bool:
    import onnx_ir as ir

    found = conv_then_constant(mul)
    if found is None:
        return False
    factor = found.operand.reshape(-1, *(1,) * (found.weight.ndim - 1))
    scaled = (found.weight * factor).astype(found.weight.dtype)
    if _leaves_range(scaled, found.weight, factor):
        return False
    inputs = [found.conv.inputs[0], new_weight(mul, scaled, f"{found.name}_scaled")]
    if found.bias is not None:
        values = (found.bias * found.operand).astype(found.bias.dtype)
        inputs.append(new_weight(mul, values, f"{found.name}_bias"))
    fused = ir.node("Conv", inputs, attributes=found.conv.attributes)
    replace_chain([found.conv, mul], fused)
    return True


def _leaves_range(scaled: NDArray[Any], weight: NDArray[Any], factor: NDArray[Any]) -> bool:
    """Return whether products overflow, or lose bits below the smallest normal number."""
    small = (np.abs(scaled) < np.finfo(scaled.dtype).tiny) & (weight != 0) & (factor != 0)
    return bool((small | ~np.isfinite(scaled)).any())
