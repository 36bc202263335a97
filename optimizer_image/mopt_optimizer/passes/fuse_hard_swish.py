"""The arithmetic of HardSwish and HardSigmoid becomes that operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ._graph import nodes_of
from ._rules import RulePass, almost

if TYPE_CHECKING:
    import onnx_ir as ir
    from onnxscript.rewriter import RewriteRule


class FuseHardSwish(RulePass):
    """Acts on Clip(x + 3, 0, 6) / 6, alone or times x, as MobileNet has it."""

    name = "fuse_hard_swish"
    numbers = (3.0, 6.0)

    def rules(self) -> Sequence[RewriteRule]:
        """Return onnxscript's rules."""
        from onnxscript.rewriter.rules import common

        return [*common.fuse_hardswish_rules()]

    def run(self, model: ir.Model) -> bool:
        """Rewrite the model in place; return whether anything changed."""
        if any(_almost_swish(node) for node in nodes_of(model, "HardSigmoid")):
            return False
        return super().run(model)


def _almost_swish(node: ir.Node) -> bool:
    """Return whether a HardSigmoid is near HardSwish's, x / 6 + 0.5, and another."""
    alpha = float(np.float32(node.attributes.get_float("alpha", 0.2)))
    beta = float(np.float32(node.attributes.get_float("beta", 0.5)))
    return almost(alpha, [float(np.float32(1 / 6))]) or almost(beta, [0.5])
