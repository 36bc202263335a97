"""Functions that the model defines are written out where they are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir


class InlineFunctions:
    """Calls become the function's nodes, so that other passes and quantizers see them."""

    name = "inline_functions"

    def run(self, model: ir.Model) -> bool:
        """Rewrite the model in place; return whether anything changed."""
        from onnx_ir.passes.common import InlinePass, RemoveUnusedFunctionsPass

        if not InlinePass()(model).modified:
            return False
        RemoveUnusedFunctionsPass()(model)  # type: ignore[no-untyped-call]
        return True
