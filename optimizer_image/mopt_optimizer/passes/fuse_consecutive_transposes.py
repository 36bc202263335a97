"""Transposes in a row become one, or none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._rules import apply_rules

if TYPE_CHECKING:
    import onnx_ir as ir


class FuseConsecutiveTransposes:
    """Joins two Transposes; removes one that keeps the order, which two opposite ones leave."""

    name = "fuse_consecutive_transposes"

    def run(self, model: ir.Model) -> bool:
        """Rewrite the model in place; return whether anything changed."""
        from onnxscript.rewriter.rules import common

        return apply_rules(model, [common.transpose_transpose_rule, common.no_op_transpose_rule])
