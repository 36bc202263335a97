"""Transposes in a row become one, or none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._rules import RulePass

if TYPE_CHECKING:
    from onnxscript.rewriter import RewriteRule


class FuseConsecutiveTransposes(RulePass):
    """Joins two Transposes; removes one that keeps the order, which two opposite ones leave."""

    name = "fuse_consecutive_transposes"

    def rules(self) -> Sequence[RewriteRule]:
        """Return onnxscript's rules."""
        from onnxscript.rewriter.rules import common

        return [common.transpose_transpose_rule, common.no_op_transpose_rule]
