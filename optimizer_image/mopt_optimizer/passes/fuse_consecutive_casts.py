"""Casts in a row become the last one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._graph import nodes_of, replace_chain, rewrite_each, sole_producer
from ._rules import RulePass

if TYPE_CHECKING:
    import onnx_ir as ir
    from onnxscript.rewriter import RewriteRule

# Types all of whose values are values of float32 too. From a wider one, as float64, float32 rounds
# once and the narrow type once more, to another value than at once.
_EXACT = ("FLOAT", "FLOAT16", "BFLOAT16", "BOOL", "INT8", "UINT8", "INT16", "UINT16")
_NARROW = ("FLOAT16", "BFLOAT16")


class FuseConsecutiveCasts(RulePass):
    """Acts where the cast in between loses nothing: to float32, of a type that it holds whole."""

    name = "fuse_consecutive_casts"

    def rules(self) -> Sequence[RewriteRule]:
        """Return onnxscript's rules."""
        from onnxscript.rewriter.rules import common

        return [
            common.cast_constant_of_shape_rule,
            common.cast_constant_of_shape_without_value_rule,
        ]

    def run(self, model: ir.Model) -> bool:
        """Rewrite the model in place; return whether anything changed."""
        fused = rewrite_each(nodes_of(model, "Cast"), _fuse)
        return super().run(model) or fused


def _fuse(last: ir.Node) -> bool:
    import onnx_ir as ir

    first = sole_producer(last.inputs[0], "Cast")
    source = first.inputs[0] if first is not None else None
    if first is None or source is None or source.dtype is None:
        return False
    between, wanted = (ir.DataType(node.attributes.get_int("to", 0)) for node in (first, last))
    if source.dtype.name not in _EXACT or between.name != "FLOAT" or wanted.name not in _NARROW:
        return False
    replace_chain([first, last], ir.node("Cast", [source], attributes=last.attributes))
    return True
