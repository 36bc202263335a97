"""Reshapes that only make a matrix product broadcast are removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._rules import RulePass

if TYPE_CHECKING:
    from onnxscript.rewriter import RewriteRule


class EliminateReshapesAroundMatmul(RulePass):
    """Acts on Reshape, MatMul, Reshape where MatMul broadcasts to the same result."""

    name = "eliminate_reshapes_around_matmul"

    def rules(self) -> Sequence[RewriteRule]:
        """Return onnxscript's rules."""
        from onnxscript.rewriter.rules import common

        return [common.two_reshapes_matmul_reshape_rule, common.one_reshape_matmul_reshape_rule]
