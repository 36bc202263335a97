"""Expand before arithmetic that broadcasts by itself is removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._rules import RulePass

if TYPE_CHECKING:
    from onnxscript.rewriter import RewriteRule


class EliminateExpand(RulePass):
    """Acts where the other operand has the expanded shape anyway."""

    name = "eliminate_expand"

    def rules(self) -> Sequence[RewriteRule]:
        """Return onnxscript's rules."""
        from onnxscript.rewriter.rules import common

        return [*common.expand_before_binary_op_rules]
