"""Casts in a row become the last one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._rules import RulePass

if TYPE_CHECKING:
    from onnxscript.rewriter import RewriteRule


class FuseConsecutiveCasts(RulePass):
    """Acts where the cast in between loses nothing that the last one keeps."""

    name = "fuse_consecutive_casts"

    def rules(self) -> Sequence[RewriteRule]:
        """Return onnxscript's rules."""
        from onnxscript.rewriter.rules import common

        return [
            common.cast_cast_rule,
            common.cast_constant_of_shape_rule,
            common.cast_constant_of_shape_without_value_rule,
        ]
