"""Zero padding before a convolution becomes the convolution's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._rules import RulePass

if TYPE_CHECKING:
    from onnxscript.rewriter import RewriteRule


class FusePadIntoConv(RulePass):
    """Acts on constant zero Pads of the spatial axes that a single Conv reads."""

    name = "fuse_pad_into_conv"

    def rules(self) -> Sequence[RewriteRule]:
        """Return onnxscript's rules."""
        from onnxscript.rewriter.rules import common

        return [common.normalize_pad_format_conv_rule, common.fuse_pad_into_conv_rule]
