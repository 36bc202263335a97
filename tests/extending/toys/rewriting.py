"""A graph pass: two Neg in a row are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mopt_optimizer.passes import PASSES

if TYPE_CHECKING:
    import onnx_ir as ir

PASSES["eliminate_double_negation"] = f"{__name__}:EliminateDoubleNegation"


class EliminateDoubleNegation:
    """Takes what the first Neg reads for what the second gives, where no output is concerned."""

    name = "eliminate_double_negation"

    def run(self, model: ir.Model) -> bool:
        """Rewrite the model in place; return whether anything changed."""
        import onnx_ir as ir

        changed = False
        for node in list(model.graph):
            read = node.inputs[0] if node.op_type == "Neg" else None
            inner = None if read is None else read.producer()
            if inner is None or inner.op_type != "Neg" or node.outputs[0].is_graph_output():
                continue
            source = inner.inputs[0]
            assert source is not None  # Neg has one input
            ir.convenience.replace_all_uses_with(node.outputs[0], source)
            changed = True
        return changed
