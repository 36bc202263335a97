"""What is computed twice is computed once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._graph import nodes_of
from .eliminate_noop import trains

if TYPE_CHECKING:
    import onnx_ir as ir


class EliminateCommonSubexpressions:
    """Joins nodes with the same operator, inputs and attributes, unless they are random."""

    name = "eliminate_common_subexpressions"

    def run(self, model: ir.Model) -> bool:
        """Rewrite the model in place; return whether anything changed."""
        from onnx_ir.passes.common import CommonSubexpressionEliminationPass

        if next(nodes_of(model, "Bernoulli"), None) or any(map(trains, nodes_of(model, "Dropout"))):
            return False  # onnx_ir knows other random operators, and not these.
        return bool(CommonSubexpressionEliminationPass()(model).modified)
