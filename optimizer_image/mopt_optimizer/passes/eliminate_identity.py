"""Identity nodes are removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._graph import drop_identities

if TYPE_CHECKING:
    import onnx_ir as ir


class EliminateIdentity:
    """Joins an Identity's input and output; one that makes an output of its own stays."""

    name = "eliminate_identity"

    def run(self, model: ir.Model) -> bool:
        """Rewrite the model in place; return whether anything changed."""
        return drop_identities(model)
