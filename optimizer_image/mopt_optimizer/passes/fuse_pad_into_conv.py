"""Zero padding before a convolution becomes the convolution's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._rules import apply_rules

if TYPE_CHECKING:
    import onnx_ir as ir


class FusePadIntoConv:
    """Acts on constant zero Pads of the spatial axes that a single Conv reads."""

    name = "fuse_pad_into_conv"

    def run(self, model: ir.Model) -> bool:
        """Rewrite the model in place; return whether anything changed."""
        from onnxscript.rewriter.rules import common

        return apply_rules(
            model, [common.normalize_pad_format_conv_rule, common.fuse_pad_into_conv_rule]
        )
