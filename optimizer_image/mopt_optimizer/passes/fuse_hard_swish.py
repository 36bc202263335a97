"""The arithmetic of HardSwish and HardSigmoid becomes that operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._rules import RulePass

if TYPE_CHECKING:
    from onnxscript.rewriter import RewriteRule


class FuseHardSwish(RulePass):
    """Acts on Clip(x + 3, 0, 6) / 6, alone or times x, as MobileNet has it."""

    name = "fuse_hard_swish"

    def rules(self) -> Sequence[RewriteRule]:
        """Return onnxscript's rules."""
        from onnxscript.rewriter.rules import common

        return [*common.fuse_hardswish_rules()]
