"""Weights are no longer inputs of the graph, as files of before 2019 list them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir

# The first in which a weight need not be an input.
_IR_VERSION = 4


class RemoveWeightsFromInputs:
    """A caller can no longer replace them, so other passes may take them as constant."""

    name = "remove_weights_from_inputs"

    def run(self, model: ir.Model) -> bool:
        """Rewrite the model in place; return whether anything changed."""
        from onnx_ir.passes.common import RemoveInitializersFromInputsPass

        if not RemoveInitializersFromInputsPass()(model).modified:
            return False
        model.ir_version = max(model.ir_version, _IR_VERSION)
        return True
