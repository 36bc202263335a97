"""Rewrite rules of onnxscript's, as passes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from ._graph import drop_identities

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir
    from onnxscript.rewriter import RewriteRule

# Wider than any tolerance of onnxscript's.
_TOLERANCE = 1e-3


class RulePass(ABC):
    """Applies rules wherever they match, in subgraphs too.

    Attributes:
        numbers: Those in the rules' patterns. onnxscript compares them with a tolerance; a model
            that has one within it, but not equal, is left alone: a rewrite is exact.
    """

    name: ClassVar[str]
    numbers: ClassVar[tuple[float, ...]] = ()

    @abstractmethod
    def rules(self) -> Sequence[RewriteRule]:
        """Return the rules; onnxscript is imported here only."""

    def run(self, model: ir.Model) -> bool:
        """Rewrite the model in place; return whether anything changed.

        Rules put an Identity where a node becomes nothing, and Constants where they need a
        number; both are cleared here, else the pass that made them would look useless.
        """
        from onnx_ir.passes.common import LiftConstantsToInitializersPass
        from onnxscript.rewriter import RewriteRuleSet

        if self.numbers and any(almost(number, self.numbers) for number in _scalars(model)):
            return False
        matched = bool(RewriteRuleSet(list(self.rules())).apply_to_model(model))
        if matched:
            drop_identities(model)
            LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        return matched


def almost(number: float, others: Sequence[float]) -> bool:
    """Return whether a number is close to one of the others, and equal to none."""
    return number not in others and any(
        math.isclose(number, other, rel_tol=_TOLERANCE) for other in others
    )


def _scalars(model: ir.Model) -> Iterator[float]:
    """Yield the real numbers that a model holds as tensors of one value."""
    import onnx_ir as ir

    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        for value in node.inputs:
            tensor = None if value is None else ir.convenience.get_const_tensor(value)
            if tensor is not None and tensor.size == 1 and tensor.dtype.is_floating_point():
                yield float(tensor.numpy().reshape(-1)[0])
