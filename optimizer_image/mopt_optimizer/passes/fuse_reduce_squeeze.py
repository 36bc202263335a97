"""A Squeeze of the axes that were just reduced becomes the reduction's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._graph import constant, input_of, nodes_of, replace_chain, rewrite_each, sole_producer

if TYPE_CHECKING:
    import onnx_ir as ir

_REDUCTIONS = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL2")


class FuseReduceSqueeze:
    """Acts where both have the same constant axes and nothing else reads the reduction."""

    name = "fuse_reduce_squeeze"

    def run(self, model: ir.Model) -> bool:
        """Rewrite the model in place; return whether anything changed."""
        return rewrite_each(nodes_of(model, "Squeeze"), _fuse)


def _fuse(squeeze: ir.Node) -> bool:
    import onnx_ir as ir

    reduction = sole_producer(squeeze.inputs[0], *_REDUCTIONS)
    if reduction is None or reduction.attributes.get_int("keepdims", 1) != 1:
        return False
    # Up to opset 17 most reductions have their axes as an attribute.
    listed = reduction.attributes.get_ints("axes")
    given = constant(input_of(reduction, 1))
    reduced = list(listed) if listed is not None else given.tolist() if given is not None else None
    removed = constant(input_of(squeeze, 1))
    if reduced is None or removed is None or sorted(reduced) != sorted(removed.tolist()):
        return False
    attributes = dict(reduction.attributes) | {"keepdims": ir.AttrInt64("keepdims", 0)}
    fused = ir.node(reduction.op_type, list(reduction.inputs), attributes=attributes)
    replace_chain([reduction, squeeze], fused)
    return True
