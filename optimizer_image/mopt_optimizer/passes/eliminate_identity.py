"""Identity nodes are removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir


class EliminateIdentity:
    """Joins an Identity's input and output; one that ties a graph input to a graph output stays."""

    name = "eliminate_identity"

    def run(self, model: ir.Model) -> bool:
        """Rewrite the model in place; return whether anything changed."""
        from onnx_ir.passes.common import IdentityEliminationPass

        return bool(IdentityEliminationPass()(model).modified)
