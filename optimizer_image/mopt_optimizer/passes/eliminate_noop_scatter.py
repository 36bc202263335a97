"""ScatterND that replaces everything is removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._graph import nodes_of
from ._rules import RulePass

if TYPE_CHECKING:
    import onnx_ir as ir
    from onnxscript.rewriter import RewriteRule


class EliminateNoopScatter(RulePass):
    """Acts where the indices are those of the whole first axis."""

    name = "eliminate_noop_scatter"

    def rules(self) -> Sequence[RewriteRule]:
        """Return onnxscript's rules."""
        from onnxscript.rewriter.rules import common

        return [common.no_op_dynamic_scatter_nd_rule, common.no_op_static_scatter_nd_rule]

    def run(self, model: ir.Model) -> bool:
        """Rewrite the model in place; return whether anything changed."""
        nodes = nodes_of(model, "ScatterND")
        if any(node.attributes.get_string("reduction", "none") != "none" for node in nodes):
            return False  # The rules do not look: the old values count too.
        return super().run(model)
