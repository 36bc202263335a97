"""Min and Max with constants in a row become one Clip, Min or Max."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._rules import RulePass

if TYPE_CHECKING:
    from onnxscript.rewriter import RewriteRule


class FuseMinMaxIntoClip(RulePass):
    """Acts on constant operands; Min and Max of scalars become a Clip."""

    name = "fuse_min_max_into_clip"

    def rules(self) -> Sequence[RewriteRule]:
        """Return onnxscript's rules."""
        from onnxscript.rewriter.rules import common

        return [common.min_min_rule, common.max_max_rule, common.min_max_rule, common.max_min_rule]
