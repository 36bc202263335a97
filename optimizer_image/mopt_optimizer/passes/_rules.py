"""Rewrite rules of onnxscript's, as passes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import onnx_ir as ir
    from onnxscript.rewriter import RewriteRule


class RulePass(ABC):
    """Applies rules wherever they match, in subgraphs too."""

    name: ClassVar[str]

    @abstractmethod
    def rules(self) -> Sequence[RewriteRule]:
        """Return the rules; onnxscript is imported here only."""

    def run(self, model: ir.Model) -> bool:
        """Rewrite the model in place; return whether anything changed.

        Rules put an Identity where a node becomes nothing, and Constants where they need a
        number; both are cleared here, else the pass that made them would look useless.
        """
        from onnx_ir.passes.common import IdentityEliminationPass, LiftConstantsToInitializersPass
        from onnxscript.rewriter import RewriteRuleSet

        matched = bool(RewriteRuleSet(list(self.rules())).apply_to_model(model))
        if matched:
            IdentityEliminationPass()(model)
            LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        return matched
