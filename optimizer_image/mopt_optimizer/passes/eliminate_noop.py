"""Arithmetic and casts that change nothing are removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._rules import apply_rules

if TYPE_CHECKING:
    import onnx_ir as ir


class EliminateNoop:
    """Removes +0, -0, *1, /1, casts to the same type, and Dropout, which only training needs."""

    name = "eliminate_noop"

    def run(self, model: ir.Model) -> bool:
        """Rewrite the model in place; return whether anything changed."""
        from onnxscript.rewriter.rules import common

        return apply_rules(
            model,
            [
                common.add_0_rule,
                common.sub_0_rule,
                common.mul_by_1_rule,
                common.div_by_1_rule,
                common.no_op_cast_rule,
                common.no_op_expand_rule,
                common.dropout_inference_rule,
                common.dropout_zero_rule,
            ],
        )
