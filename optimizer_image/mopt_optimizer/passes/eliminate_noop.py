"""Arithmetic and casts that change nothing are removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._graph import broadcasts_into, constant, drop_identities, input_of, nodes_of, remove_noop

if TYPE_CHECKING:
    import onnx_ir as ir

# The operand that leaves the other one as it is; on either side where the operator commutes.
_NEUTRAL = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1, "Pow": 1}
_COMMUTES = ("Add", "Mul")
# What tells -0 from +0.
_SEES_SIGN_OF_ZERO = ("Div", "Reciprocal", "Pow")


class EliminateNoop:
    """Removes +0, -0, *1, /1, **1, casts to the same type, Expand to the same shape, and Dropout.

    Constants are compared exactly: +1e-10 keeps a logarithm or a divisor from 0, and stays. So
    does a +0 that makes -0 positive in a model that divides, and Dropout that trains.
    """

    name = "eliminate_noop"

    def run(self, model: ir.Model) -> bool:
        """Rewrite the model in place; return whether anything changed."""
        divides = next(nodes_of(model, *_SEES_SIGN_OF_ZERO), None) is not None
        changed = False
        for node in nodes_of(model, *_NEUTRAL, "Cast", "Expand", "Dropout"):
            source = _unchanged(node, divides=divides)
            if source is not None:
                remove_noop(node, source)
                changed = True
        if changed:
            drop_identities(model)
        return changed


def _unchanged(node: ir.Node, *, divides: bool) -> ir.Value | None:
    """Return the input that a node's first output equals at every value; None where none does."""
    source = node.inputs[0]
    if node.op_type in _NEUTRAL:
        return _other_than_neutral(node, divides=divides)
    if source is None:
        return None
    if node.op_type == "Cast":
        same = source.dtype is not None and source.dtype == node.attributes.get_int("to")
    elif node.op_type == "Expand":
        shape = constant(input_of(node, 1))
        same = shape is not None and broadcasts_into(shape.tolist(), source.shape)
    else:
        same = not trains(node) and not _read(node.outputs[1:])
    return source if same else None


def _other_than_neutral(node: ir.Node, *, divides: bool) -> ir.Value | None:
    for index in (1, 0) if node.op_type in _COMMUTES else (1,):
        source, operand = node.inputs[1 - index], constant(node.inputs[index])
        if source is None or operand is None or not operand.size:
            continue
        neutral = bool((operand == _NEUTRAL[node.op_type]).all())
        if not neutral or not broadcasts_into(operand.shape, source.shape):
            continue
        if not (divides and _makes_zero_positive(node.op_type, operand)):
            return source
    return None


def _makes_zero_positive(operator: str, zero: NDArray[Any]) -> bool:
    """Return whether -0 becomes +0: with +0 added, or -0 subtracted."""
    if operator not in ("Add", "Sub") or zero.dtype.kind in "iu":
        return False
    negative = np.signbit(zero.astype(np.float64))
    return bool((negative if operator == "Sub" else ~negative).any())


def trains(dropout: ir.Node) -> bool:
    """Return whether a Dropout may drop values."""
    mode = input_of(dropout, 2)
    value = constant(mode)
    return mode is not None and (value is None or bool(value.any()))


def _read(values: Sequence[ir.Value]) -> bool:
    return any(value.uses() or value.is_graph_output() for value in values)
