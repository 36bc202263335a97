"""Relu and Clip in a row become one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._rules import RulePass

if TYPE_CHECKING:
    from onnxscript.rewriter import RewriteRule


class FuseClips(RulePass):
    """Joins Relu and Clip after either, where the bounds are constant."""

    name = "fuse_clips"

    def rules(self) -> Sequence[RewriteRule]:
        """Return onnxscript's rules."""
        from onnxscript.rewriter.rules import common

        return [
            common.successive_relu_rule,
            common.successive_clip_rule,
            common.successive_clip_relu_rule,
            common.successive_relu_clip_rule,
        ]
