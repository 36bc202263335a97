"""A constant added after a convolution goes into its bias."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._graph import (
    constant,
    input_of,
    new_weight,
    nodes_of,
    per_channel,
    replace_chain,
    rewrite_each,
    sole_producer,
)

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

    for index in (0, 1):
        conv = sole_producer(add.inputs[index], "Conv")
        offset = constant(add.inputs[1 - index])
        if conv is None or offset is None:
            continue
        weight, bias = constant(conv.inputs[1]), constant(input_of(conv, 2))
        if weight is None or (bias is None and input_of(conv, 2) is not None):
            continue
        channels = per_channel(offset, weight.ndim, weight.shape[0])
        if channels is None:
            continue
        values = (channels if bias is None else bias + channels).astype(weight.dtype)
        new_bias = new_weight(add, values, f"{conv.inputs[1].name}_bias")  # type: ignore[union-attr]
        fused = ir.node("Conv", [*conv.inputs[:2], new_bias], attributes=conv.attributes)
        replace_chain([conv, add], fused)
        return True
    return False
