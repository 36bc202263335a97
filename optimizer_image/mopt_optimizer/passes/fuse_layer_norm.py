"""The arithmetic of layer normalization becomes one LayerNormalization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._rules import RulePass

if TYPE_CHECKING:
    from onnxscript.rewriter import RewriteRule


class FuseLayerNorm(RulePass):
    """Acts on mean, variance, division and scale over the last axis, with or without a bias."""

    name = "fuse_layer_norm"
    numbers = (2.0,)

    def rules(self) -> Sequence[RewriteRule]:
        """Return onnxscript's rules."""
        from onnxscript.rewriter.rules.fusion._layer_norm import layer_normalization_rules

        return list(layer_normalization_rules)
