"""Rewrite rules of onnxscript's, as passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir
    from onnxscript.rewriter import RewriteRule


def apply_rules(model: ir.Model, rules: Sequence[RewriteRule]) -> bool:
    """Apply rules wherever they match; return whether any did."""
    from onnxscript.rewriter import RewriteRuleSet

    return bool(RewriteRuleSet(list(rules)).apply_to_model(model))
