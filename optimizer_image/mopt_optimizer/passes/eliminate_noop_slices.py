"""Slices that keep everything are removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._rules import RulePass

if TYPE_CHECKING:
    from onnxscript.rewriter import RewriteRule


class EliminateNoopSlices(RulePass):
    """Acts where starts, ends and steps are constant, or the shapes before and after are equal."""

    name = "eliminate_noop_slices"

    def rules(self) -> Sequence[RewriteRule]:
        """Return onnxscript's rules."""
        from onnxscript.rewriter.rules import common

        return [common.collapse_slice_rule, common.collapse_slice2_rule]
