"""Constant nodes become initializers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir


class ExtractConstantToInitializer:
    """Moves the tensor of every Constant node to the graph's initializers, where weights are.

    Other passes and quantizers look for weights there only. Constants of scalars and lists too.
    """

    name = "extract_constant_to_initializer"

    def run(self, model: ir.Model) -> bool:
        """Rewrite the model in place; return whether anything changed."""
        from onnx_ir.passes.common import LiftConstantsToInitializersPass

        lift = LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)
        return bool(lift(model).modified)
