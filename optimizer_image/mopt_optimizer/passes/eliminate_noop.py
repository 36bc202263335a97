"""Arithmetic and casts that change nothing are removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._rules import RulePass

if TYPE_CHECKING:
    from onnxscript.rewriter import RewriteRule


class EliminateNoop(RulePass):
    """Removes +0, -0, *1, /1, casts to the same type, and Dropout, which only training needs."""

    name = "eliminate_noop"

    def rules(self) -> Sequence[RewriteRule]:
        """Return onnxscript's rules."""
        from onnxscript.rewriter.rules import common

        return [
            common.add_0_rule,
            common.sub_0_rule,
            common.mul_by_1_rule,
            common.div_by_1_rule,
            common.no_op_cast_rule,
            common.no_op_expand_rule,
            common.dropout_inference_rule,
            common.dropout_zero_rule,
        ]
