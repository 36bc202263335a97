"""Rewrite rules of onnxscript's, as passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir
    from onnxscript.rewriter import RewriteRule


def apply_rules(model: ir.Model, rules: Sequence[RewriteRule]) -> bool:
    """Apply rules wherever they match; return whether any did.

    Rules put an Identity where a node becomes nothing; it is removed here, else the pass that
    made it would look useless.
    """
    from onnx_ir.passes.common import IdentityEliminationPass
    from onnxscript.rewriter import RewriteRuleSet

    matched = bool(RewriteRuleSet(list(rules)).apply_to_model(model))
    if matched:
        IdentityEliminationPass()(model)
    return matched
