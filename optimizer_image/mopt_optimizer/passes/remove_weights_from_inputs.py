"""Weights are no longer inputs of the graph, as files of before 2019 list them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir


class RemoveWeightsFromInputs:
    """A caller can no longer replace them, so other passes may take them as constant."""

    name = "remove_weights_from_inputs"

    def run(self, model: ir.Model) -> bool:
        """Rewrite the model in place; return whether anything changed."""
        from onnx_ir.passes.common import RemoveInitializersFromInputsPass

        return bool(RemoveInitializersFromInputsPass()(model).modified)
