"""Concats of Concats become one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._graph import nodes_of, replace_chain, rewrite_each, sole_producer

if TYPE_CHECKING:
    import onnx_ir as ir


class FuseConsecutiveConcats:
    """Acts along the same axis, where the inner Concat has no other reader."""

    name = "fuse_consecutive_concats"

    def run(self, model: ir.Model) -> bool:
        """Rewrite the model in place; return whether anything changed."""
        return rewrite_each(nodes_of(model, "Concat"), _fuse)


def _fuse(outer: ir.Node) -> bool:
    import onnx_ir as ir

    axis = outer.attributes.get_int("axis")
    inputs: list[ir.Value | None] = []
    inner_nodes = []
    for value in outer.inputs:
        inner = sole_producer(value, "Concat")
        if inner is not None and inner.attributes.get_int("axis") == axis:
            inner_nodes.append(inner)
            inputs += inner.inputs
        else:
            inputs.append(value)
    if not inner_nodes:
        return False
    replace_chain([*inner_nodes, outer], ir.node("Concat", inputs, attributes=outer.attributes))
    return True
