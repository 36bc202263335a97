"""Operators on shapes that change nothing are removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._graph import constant, drop_identities, input_of, nodes_of, remove_noop

if TYPE_CHECKING:
    import onnx_ir as ir

_SINGLE = ("Concat", "Sum", "Max", "Min", "Mean")


class EliminateNoopShapeChanges:
    """Removes Concat, Sum, Max, Min, Mean of one tensor, Pad by nothing, Reshape to what it is."""

    name = "eliminate_noop_shape_changes"

    def run(self, model: ir.Model) -> bool:
        """Rewrite the model in place; return whether anything changed."""
        changed = False
        for node in nodes_of(model, *_SINGLE, "Pad", "Reshape"):
            source = node.inputs[0]
            if source is not None and _changes_nothing(node, source):
                remove_noop(node, source)
                changed = True
        if changed:
            drop_identities(model)
        return changed


def _changes_nothing(node: ir.Node, source: ir.Value) -> bool:
    if node.op_type in _SINGLE:
        return len(node.inputs) == 1
    argument = constant(input_of(node, 1))
    if argument is None:
        return False
    if node.op_type == "Pad":
        return not argument.any()
    # One size may be unknown: it follows from the others.
    shape, wanted = source.shape, argument.tolist()
    if shape is None or len(shape) != len(wanted):
        return False
    keeps_zero = node.attributes.get_int("allowzero", 0) == 0
    unknown = [
        have
        for have, want in zip(shape, wanted, strict=True)
        if have != want and not (want == 0 and keeps_zero)
    ]
    return not unknown or (
        len(unknown) == 1 and wanted.count(-1) == 1 and shape[wanted.index(-1)] == unknown[0]
    )
