"""What no output depends on is removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir


class EliminateDeadNodes:
    """Removes nodes and initializers that nothing uses; inputs and outputs of the graph stay."""

    name = "eliminate_dead_nodes"

    def run(self, model: ir.Model) -> bool:
        """Rewrite the model in place; return whether anything changed."""
        from onnx_ir.passes.common import RemoveUnusedNodesPass

        return bool(RemoveUnusedNodesPass()(model).modified)
