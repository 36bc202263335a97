"""BatchNormalization after a convolution goes into its weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._graph import nodes_of
from ._rules import RulePass

if TYPE_CHECKING:
    import onnx_ir as ir
    from onnxscript.rewriter import RewriteRule


class FuseBnIntoConv(RulePass):
    """Acts where a Conv, ConvTranspose or Gemm with constant weights feeds nothing but it."""

    name = "fuse_bn_into_conv"

    def rules(self) -> Sequence[RewriteRule]:
        """Return onnxscript's rules."""
        from onnxscript.rewriter.rules import common

        return [
            common.fuse_batchnorm_into_conv_rule,
            common.fuse_batchnorm_into_conv_transpose_rule,
            common.fuse_batchnorm_into_gemm_rule,
        ]

    def run(self, model: ir.Model) -> bool:
        """Rewrite the model in place; return whether anything changed."""
        nodes = nodes_of(model, "BatchNormalization")
        if any(n.attributes.get_int("training_mode", 0) or len(n.outputs) > 1 for n in nodes):
            return False  # The rules do not look: it normalizes by the batch, not by its weights.
        return super().run(model)
