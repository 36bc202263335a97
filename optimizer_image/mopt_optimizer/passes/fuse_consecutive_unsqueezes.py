"""Unsqueezes in a row become one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._rules import RulePass

if TYPE_CHECKING:
    from onnxscript.rewriter import RewriteRule


class FuseConsecutiveUnsqueezes(RulePass):
    """Acts where the axes are constant."""

    name = "fuse_consecutive_unsqueezes"

    def rules(self) -> Sequence[RewriteRule]:
        """Return onnxscript's rules."""
        from onnxscript.rewriter.rules import common

        return [common.unsqueeze_unsqueeze_rule]
