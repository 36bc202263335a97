"""Reshapes in a row become the last one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._rules import RulePass

if TYPE_CHECKING:
    from onnxscript.rewriter import RewriteRule


class FuseConsecutiveReshapes(RulePass):
    """Joins two Reshapes, and a Squeeze of a vector with the Reshape after it."""

    name = "fuse_consecutive_reshapes"

    def rules(self) -> Sequence[RewriteRule]:
        """Return onnxscript's rules."""
        from onnxscript.rewriter.rules import common

        return [common.reshape_reshape_rule, common.squeeze_reshape_1d_rule]
