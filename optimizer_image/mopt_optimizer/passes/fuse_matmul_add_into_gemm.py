"""A matrix product and the addition after it become a Gemm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ._graph import constant, input_of, new_weight, nodes_of, rewrite_each
from ._rules import RulePass

if TYPE_CHECKING:
    import onnx_ir as ir
    from onnxscript.rewriter import RewriteRule


class FuseMatmulAddIntoGemm(RulePass):
    """Acts on matrices of rank 2; a Transpose before the product goes into the Gemm. A constant
    that is added to each row gets one axis, as quantizers take it."""

    name = "fuse_matmul_add_into_gemm"

    def rules(self) -> Sequence[RewriteRule]:
        """Return onnxscript's rules."""
        from onnxscript.rewriter.rules import common

        return [
            common.matmul_add_to_gemm_rule,
            common.transpose_a_matmul_add_to_gemm_rule,
            common.transpose_b_matmul_add_to_gemm_rule,
            common.transpose_ab_matmul_add_to_gemm_rule,
        ]

    def run(self, model: ir.Model) -> bool:
        """Rewrite the model in place; return whether anything changed."""
        fused = super().run(model)
        return rewrite_each(nodes_of(model, "Gemm"), _flatten_bias) or fused


def _flatten_bias(node: ir.Node) -> bool:
    """Give a constant bias that is the same for each row one axis: quantizers take no other."""
    bias, weight = input_of(node, 2), input_of(node, 1)
    values = constant(bias)
    if bias is None or values is None or weight is None or weight.shape is None:
        return False
    width = weight.shape[0 if node.attributes.get_int("transB", 0) else 1]
    if not isinstance(width, int) or values.shape == (width,):
        return False
    if values.size != 1 and values.shape != (1, width):
        return False
    row = np.broadcast_to(values.reshape(-1), (width,))
    node.replace_input_with(2, new_weight(node, row, f"{bias.name}_row"))
    return True
