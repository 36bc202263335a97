"""BatchNormalization after a convolution goes into its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._rules import apply_rules

if TYPE_CHECKING:
    import onnx_ir as ir


class FuseBnIntoConv:
    """Acts where a Conv, ConvTranspose or Gemm with constant weights feeds nothing but it."""

    name = "fuse_bn_into_conv"

    def run(self, model: ir.Model) -> bool:
        """Rewrite the model in place; return whether anything changed."""
        from onnxscript.rewriter.rules import common

        return apply_rules(
            model,
            [
                common.fuse_batchnorm_into_conv_rule,
                common.fuse_batchnorm_into_conv_transpose_rule,
                common.fuse_batchnorm_into_gemm_rule,
            ],
        )
