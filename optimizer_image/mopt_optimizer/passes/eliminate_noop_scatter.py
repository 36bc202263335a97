"""ScatterND that replaces everything is removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._rules import RulePass

if TYPE_CHECKING:
    from onnxscript.rewriter import RewriteRule


class EliminateNoopScatter(RulePass):
    """Acts where the indices are those of the whole first axis."""

    name = "eliminate_noop_scatter"

    def rules(self) -> Sequence[RewriteRule]:
        """Return onnxscript's rules."""
        from onnxscript.rewriter.rules import common

        return [common.no_op_dynamic_scatter_nd_rule, common.no_op_static_scatter_nd_rule]
