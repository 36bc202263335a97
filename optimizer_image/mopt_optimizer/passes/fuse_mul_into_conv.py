"""A constant factor after a convolution goes into its weights and bias."""

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


class FuseMulIntoConv:
    """Acts on one factor per channel, where the Conv has constant weights and no other reader."""

    name = "fuse_mul_into_conv"

    def run(self, model: ir.Model) -> bool:
        """Rewrite the model in place; return whether anything changed."""
        return rewrite_each(nodes_of(model, "Mul"), _fuse)


def _fuse(mul: ir.Node) -> bool:
    import onnx_ir as ir

    for index in (0, 1):
        conv = sole_producer(mul.inputs[index], "Conv")
        factor = constant(mul.inputs[1 - index])
        if conv is None or factor is None:
            continue
        weight, bias = constant(conv.inputs[1]), constant(input_of(conv, 2))
        if weight is None or (bias is None and input_of(conv, 2) is not None):
            continue
        channels = per_channel(factor, weight.ndim, weight.shape[0])
        if channels is None:
            continue
        name = conv.inputs[1].name  # type: ignore[union-attr]
        scaled = weight * channels.reshape(-1, *(1,) * (weight.ndim - 1))
        inputs = [conv.inputs[0], new_weight(mul, scaled.astype(weight.dtype), f"{name}_scaled")]
        if bias is not None:
            values = (bias * channels).astype(bias.dtype)
            inputs.append(new_weight(mul, values, f"{name}_bias"))
        replace_chain([conv, mul], ir.node("Conv", inputs, attributes=conv.attributes))
        return True
    return False
