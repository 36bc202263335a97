"""What is computed twice is computed once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir


class EliminateCommonSubexpressions:
    """Joins nodes with the same operator, inputs and attributes, unless they are random."""

    name = "eliminate_common_subexpressions"

    def run(self, model: ir.Model) -> bool:
        """Rewrite the model in place; return whether anything changed."""
        from onnx_ir.passes.common import CommonSubexpressionEliminationPass

        return bool(CommonSubexpressionEliminationPass()(model).modified)
