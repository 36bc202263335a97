"""What depends on constants only is computed now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .eliminate_noop import trains

if TYPE_CHECKING:
    import onnx_ir as ir

# Amounts of padding, axes, sizes: the exporters' arithmetic on them goes with it.
_SMALL = 1024


class FoldConstants:
    """Folds nodes whose inputs are all constant, and sizes that are known from shapes.

    Values that would become larger than the limits of onnxscript's folder stay as nodes.
    """

    name = "fold_constants"

    def run(self, model: ir.Model) -> bool:
        """Rewrite the model in place; return whether anything changed."""
        from onnxscript.optimizer import fold_constants

        return bool(fold_constants(model, should_fold=_should_fold).modified)


def _should_fold(node: ir.Node) -> bool | None:
    """Return False for random nodes, True for a small ConstantOfShape.

    onnxscript leaves that alone for the size that it may have.

    Args:
        node: One whose inputs are constant.
    """
    if node.op_type == "Bernoulli" or (node.op_type == "Dropout" and trains(node)):
        return False  # random
    if node.op_type != "ConstantOfShape" or node.domain:
        return None
    shape = node.inputs[0].const_value if node.inputs[0] is not None else None
    return True if shape is not None and shape.numpy().prod() <= _SMALL else None
