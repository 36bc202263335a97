"""A constant added after a convolution goes into its bias."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ._conv import conv_then_constant
from ._graph import new_weight, nodes_of, replace_chain, rewrite_each

if TYPE_CHECKING:
    import onnx_ir as ir


class FuseAddIntoConv:
    """Acts on one value per channel, where the Conv has constant weights and no other reader."""

    name = "fuse_add_into_conv"

    def run(self, model: ir.Model) -> bool:
        """Rewrite the model in place; return whether anything changed."""
        return rewrite_each(nodes_of(model, "Add"), _fuse)


def _fuse(add: ir.Node) -> bool:
    import onnx_ir as ir

    found = conv_then_constant(add)
    if found is None:
        return False
    values = found.operand if found.bias is None else found.bias + found.operand
    if found.bias is not None and _absorbed(found.bias, found.operand, values):
        return False
    bias = new_weight(add, values.astype(found.weight.dtype), f"{found.name}_bias")
    conv = found.conv
    fused = ir.node("Conv", [*conv.inputs[:2], bias], attributes=conv.attributes)
    replace_chain([conv, add], fused)
    return True


def _absorbed(bias: NDArray[Any], operand: NDArray[Any], total: NDArray[Any]) -> bool:
    """Return whether a summand is lost: 1e-10 in a bias of 1, which the result may not have."""
    lost = ((operand != 0) & (total == bias)) | ((bias != 0) & (total == operand))
    return bool(lost.any())
