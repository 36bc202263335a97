"""What depends on constants only is computed now."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir


class FoldConstants:
    """Folds nodes whose inputs are all constant, and sizes that are known from shapes.

    Values that would become larger than the limits of onnxscript's folder stay as nodes.
    """

    name = "fold_constants"

    def run(self, model: ir.Model) -> bool:
        """Rewrite the model in place; return whether anything changed."""
        from onnxscript.optimizer import fold_constants

        return bool(fold_constants(model).modified)
