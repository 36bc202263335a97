"""Equal weights are stored once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir


class DeduplicateInitializers:
    """Joins initializers with the same type, shape and bytes, of any size."""

    name = "deduplicate_initializers"

    def run(self, model: ir.Model) -> bool:
        """Rewrite the model in place; return whether anything changed."""
        from onnx_ir.passes.common import DeduplicateHashedInitializersPass

        return bool(DeduplicateHashedInitializersPass()(model).modified)
