"""A Squeeze that undoes an Unsqueeze, or the reverse, is removed with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._graph import constant, drop_identities, input_of, nodes_of, remove_noop, rewrite_each

if TYPE_CHECKING:
    import onnx_ir as ir

_OPPOSITE = {"Squeeze": "Unsqueeze", "Unsqueeze": "Squeeze"}


class EliminateSqueezePairs:
    """Acts on equal constant axes; the first of the pair stays where others read it too."""

    name = "eliminate_squeeze_pairs"

    def run(self, model: ir.Model) -> bool:
        """Rewrite the model in place; return whether anything changed."""
        changed = rewrite_each(nodes_of(model, *_OPPOSITE), _remove)
        if changed:
            drop_identities(model)
        return changed


def _remove(second: ir.Node) -> bool:
    value = second.inputs[0]
    first = value.producer() if value is not None else None
    if first is None or first.op_type != _OPPOSITE[second.op_type] or first.domain:
        return False
    axes = [constant(input_of(node, 1)) for node in (first, second)]
    if axes[0] is None or axes[1] is None or sorted(axes[0].tolist()) != sorted(axes[1].tolist()):
        return False
    source = first.inputs[0]
    if source is None or first.graph is not second.graph:
        return False
    remove_noop(second, source)
    if value is not None and not value.uses() and not value.is_graph_output():
        first.graph.remove(first, safe=True)  # type: ignore[union-attr]
    return True
